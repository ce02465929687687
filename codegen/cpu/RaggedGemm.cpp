//===- RaggedGemm.cpp - the GEMM of every expert over its own rows --------===//
//
// Grouped: a task is (quarter of the panels, expert, panel of the quarter), the
// last varying fastest. A range of tasks takes neighbouring panels of an expert
// together, so that its rows are gathered once for them; and a range that is a
// quarter of all tasks is a quarter of every expert's columns, so that threads
// stay balanced when most tokens choose the same experts. A task takes all rows
// of its expert, by blocks, through `order`. An expert without rows costs a
// comparison.
//
// Direct: a task is (pair, some panels), panels varying fastest; nothing but
// the panels of chosen experts is read.
//
// See GemmCore.h for the block; both forms give the same bits.
//
//===----------------------------------------------------------------------===//

#include "codegen/cpu/GemmCore.h"
#include "codegen/cpu/Kernels.h"
#include "llvm/Support/MathExtras.h"

using namespace llvm;
using namespace moec;
using namespace moec::cpu;

static constexpr int64_t kParts = 4;

static void emitGrouped(Emitter &e, GemmCore &core, int64_t experts,
                        unsigned offsetsBuffer, CpuKernel &result) {
  IRBuilder<> &b = e.b;
  int64_t partPanels = divideCeil(uint64_t(core.panels()), uint64_t(kParts));
  Value *offsets = e.buffer(offsetsBuffer);
  e.whileLoop(
      {e.taskBegin},
      [&](ArrayRef<Value *> task) {
        return b.CreateICmpSLT(task[0], e.taskEnd);
      },
      [&](ArrayRef<Value *> task) -> Values {
        Value *pair = b.CreateUDiv(task[0], e.index(partPanels));
        Value *first = b.CreateURem(task[0], e.index(partPanels));
        Value *part = b.CreateUDiv(pair, e.index(experts));
        Value *expert = b.CreateURem(pair, e.index(experts));
        Value *count = e.min(b.CreateSub(e.index(partPanels), first),
                             b.CreateSub(e.taskEnd, task[0]));
        Value *panelBegin = b.CreateAdd(e.mul(part, partPanels), first);
        Value *panelEnd =
            e.min(b.CreateAdd(panelBegin, count), e.index(core.panels()));
        Value *rowsEnd = e.loadIndex(offsets, e.add(expert, 1));
        e.ifThen(b.CreateICmpSLT(panelBegin, panelEnd), [&] {
          e.loop(e.loadIndex(offsets, expert), rowsEnd, core.blockRows(),
                 [&](Value *row) {
                   Value *rows = e.min(b.CreateSub(rowsEnd, row),
                                       e.index(core.blockRows()));
                   core.emitBlock(row, rows, panelBegin, panelEnd, expert);
                 });
        });
        return {b.CreateAdd(task[0], count)};
      });
  result.grid = {
      {.constant = kParts}, {.constant = experts}, {.constant = partPanels}};
}

static void emitDirect(Emitter &e, GemmCore &core, unsigned expertBuffer,
                       CpuKernel &result) {
  int64_t perTask = core.panelsPerTask();
  Value *perPair =
      e.index(divideCeil(uint64_t(core.panels()), uint64_t(perTask)));
  e.whileLoop(
      {e.taskBegin},
      [&](ArrayRef<Value *> task) {
        return e.b.CreateICmpSLT(task[0], e.taskEnd);
      },
      [&](ArrayRef<Value *> task) -> Values {
        Value *pair = e.b.CreateUDiv(task[0], perPair);
        Value *first = e.b.CreateURem(task[0], perPair);
        Value *count = e.min(e.b.CreateSub(perPair, first),
                             e.b.CreateSub(e.taskEnd, task[0]));
        Value *panelEnd = e.min(e.mul(e.b.CreateAdd(first, count), perTask),
                                e.index(core.panels()));
        Value *expert = e.loadIndex(e.buffer(expertBuffer), pair);
        e.ifThen(e.b.CreateICmpSGE(expert, e.index(0)), [&] {
          core.emitBlock(pair, e.index(1), e.mul(first, perTask), panelEnd,
                         expert);
        });
        return {e.b.CreateAdd(task[0], count)};
      });
  result.grid = {{.extent = 0},
                 {.constant = core.panels(), .divisor = perTask}};
}

/// The token whose pairs `pair` is among: the last one of `tokens` whose first
/// pair is not behind it.
static Value *emitTokenOf(Emitter &e, Value *offsets, Value *tokens,
                          Value *pair) {
  IRBuilder<> &b = e.b;
  return e.whileLoop(
      {e.index(0), tokens},
      [&](ArrayRef<Value *> range) {
        return b.CreateICmpSGT(b.CreateSub(range[1], range[0]), e.index(1));
      },
      [&](ArrayRef<Value *> range) -> Values {
        Value *middle = b.CreateLShr(b.CreateAdd(range[0], range[1]), 1);
        Value *behind = b.CreateICmpSGT(e.loadIndex(offsets, middle), pair);
        return {b.CreateSelect(behind, range[0], middle),
                b.CreateSelect(behind, middle, range[1])};
      })[0];
}

void cpu::emitRaggedGemm(Emitter &e, const kernel::RaggedGemmSpec &spec,
                         CpuKernel &result) {
  bool grouped = spec.form == kernel::RaggedGemmSpec::Form::Grouped;
  GemmTraits traits;
  traits.n = spec.n;
  traits.k = spec.k;
  traits.a = spec.a;
  traits.w = spec.w;
  traits.out = spec.out;
  traits.activation = spec.activation;
  traits.gated = spec.gated;
  traits.gathers = grouped || spec.gather;
  unsigned routingBuffer = 1; // expertOffsets or pairExpert
  unsigned orderBuffer = 2;
  unsigned next = grouped ? 3 : 2;
  unsigned tokenOffsetsBuffer = next;
  next += spec.searchesToken();
  traits.wBuffer = next++;
  if (spec.bias)
    traits.biasBuffer = next++;
  if (spec.weighted)
    traits.weightBuffer = next++;
  traits.outBuffer = next;

  auto outputRow = [&](Value *row) {
    return grouped ? e.loadIndex(e.buffer(orderBuffer), row) : row;
  };
  auto sourceRow = [&](Value *row) -> Value * {
    Value *pair = outputRow(row);
    if (!spec.gather)
      return pair;
    if (spec.topk == 0)
      return emitTokenOf(e, e.buffer(tokenOffsetsBuffer), e.extent(1), pair);
    return e.b.CreateUDiv(pair, e.index(spec.topk));
  };
  traits.sourceRow = sourceRow;
  traits.outputRow = outputRow;

  GemmCore core(e, traits);
  core.emitFunctions();
  core.emitBegin();
  if (grouped)
    emitGrouped(e, core, spec.experts, routingBuffer, result);
  else
    emitDirect(e, core, routingBuffer, result);
  core.emitEnd();
  result.scratchBytes = core.scratchBytes();
  result.weight = weightLayout(spec.a, spec.w, spec.gated, e.level);
}
