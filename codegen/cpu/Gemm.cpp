//===- Gemm.cpp - dense GEMM ----------------------------------------------===//
//
// A task is a block of rows times a few panels. As many blocks as an L2 holds,
// and at most half of them, form a group; within a group blocks vary fastest,
// so a thread's range of tasks reads each of its panels once for all of them.
// A few threads then work on rows of their own, in every product and between
// products. The panels of a single block are taken together: one row streams
// them. See GemmCore.h for the block.
//
//===----------------------------------------------------------------------===//

#include "codegen/cpu/GemmCore.h"
#include "codegen/cpu/Kernels.h"
#include "llvm/Support/MathExtras.h"

using namespace llvm;
using namespace moec;
using namespace moec::cpu;

void cpu::emitGemm(Emitter &e, const kernel::GemmSpec &spec,
                   CpuKernel &result) {
  GemmTraits traits;
  traits.n = spec.n;
  traits.k = spec.k;
  traits.a = spec.a;
  traits.w = spec.w;
  traits.out = spec.out;
  traits.activation = spec.activation;
  traits.gated = spec.gated;
  traits.gathers = spec.rowIndex;
  unsigned next = 1;
  unsigned rowIndexBuffer = next;
  next += spec.rowIndex;
  traits.wBuffer = next++;
  if (spec.bias)
    traits.biasBuffer = next++;
  if (spec.residual)
    traits.residualBuffer = next++;
  traits.residual = spec.residualElement;
  traits.outBuffer = next;
  auto sourceRow = [&](Value *row) {
    return e.loadIndex(e.buffer(rowIndexBuffer), row);
  };
  auto outputRow = [](Value *row) { return row; };
  traits.sourceRow = sourceRow;
  traits.outputRow = outputRow;

  GemmCore core(e, traits);
  core.emitFunctions();
  int64_t rowsPerTask = core.blockRows();
  int64_t perTask = core.panelsPerTask();
  int64_t tasksPerBlock =
      divideCeil(uint64_t(core.panels()), uint64_t(perTask));
  core.emitBegin();
  Value *rows = e.extent(0);
  Value *perBlock = e.index(tasksPerBlock);
  Value *blocks = e.ceilDiv(rows, rowsPerTask);
  Value *groupBlocks = e.max(
      e.min(e.ceilDiv(blocks, 2), e.index(core.blocksPerGroup())), e.index(1));
  e.whileLoop(
      {e.taskBegin},
      [&](ArrayRef<Value *> task) {
        return e.b.CreateICmpSLT(task[0], e.taskEnd);
      },
      [&](ArrayRef<Value *> task) -> Values {
        Value *perGroup = e.b.CreateMul(perBlock, groupBlocks);
        Value *firstBlock =
            e.b.CreateMul(e.b.CreateUDiv(task[0], perGroup), groupBlocks);
        Value *inGroup = e.b.CreateURem(task[0], perGroup);
        Value *together = e.min(e.b.CreateSub(blocks, firstBlock), groupBlocks);
        Value *first = e.b.CreateUDiv(inGroup, together);
        Value *block =
            e.b.CreateAdd(firstBlock, e.b.CreateURem(inGroup, together));
        Value *isSingle = e.b.CreateICmpEQ(together, e.index(1));
        Value *panelTasks = e.min(e.b.CreateSub(perBlock, first),
                                  e.b.CreateSub(e.taskEnd, task[0]));
        Value *count = e.b.CreateSelect(isSingle, panelTasks, e.index(1));
        Value *rowBegin = e.mul(block, rowsPerTask);
        Value *panelEnd = e.min(e.mul(e.b.CreateAdd(first, count), perTask),
                                e.index(core.panels()));
        core.emitBlock(
            rowBegin,
            e.min(e.b.CreateSub(rows, rowBegin), e.index(rowsPerTask)),
            e.mul(first, perTask), panelEnd, e.index(0));
        return {e.b.CreateAdd(task[0], count)};
      });
  core.emitEnd();
  result.grid = {{.extent = 0, .divisor = rowsPerTask},
                 {.constant = core.panels(), .divisor = perTask}};
  result.scratchBytes = core.scratchBytes();
  result.weight = weightLayout(spec.a, spec.w, spec.gated, e.level);
}
