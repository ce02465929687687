//===- Combine.cpp - the weighted sum of a token's expert outputs ---------===//
//
// A task is a block of tokens; a token's pairs are added in ascending order to
// the residual, each column on its own.
//
//===----------------------------------------------------------------------===//

#include "codegen/cpu/Emitter.h"
#include "codegen/cpu/Kernels.h"

#include <algorithm>

using namespace llvm;
using namespace moec;
using namespace moec::cpu;

void cpu::emitCombine(Emitter &e, const kernel::CombineSpec &spec,
                      CpuKernel &result) {
  bool ragged = spec.topk == 0;
  unsigned next = 1 + ragged;
  unsigned weightBuffer = next;
  next += spec.weighted;
  unsigned residualBuffer = next;
  next += spec.residual;
  unsigned outBuffer = next;
  // Some 16 Ki numbers a task.
  int64_t tokensPerTask = std::clamp<int64_t>(
      (16 << 10) / (spec.width * (ragged ? 4 : spec.topk)), 1, 64);
  int64_t yBytes = spec.width * blockBytes(spec.y);

  Value *y = e.buffer(0), *out = e.buffer(outBuffer);
  Value *weights = spec.weighted ? e.buffer(weightBuffer) : nullptr;
  Value *residual = spec.residual ? e.buffer(residualBuffer) : nullptr;
  Value *end = e.min(e.mul(e.taskEnd, tokensPerTask), e.extent(0));
  e.loop(e.mul(e.taskBegin, tokensPerTask), end, 1, [&](Value *token) {
    Value *firstPair = e.mul(token, spec.topk), *count = e.index(spec.topk);
    if (ragged) {
      Value *offsets = e.buffer(1);
      firstPair = e.loadIndex(offsets, token);
      count = e.b.CreateSub(e.loadIndex(offsets, e.add(token, 1)), firstPair);
    }
    Value *outRow = e.element(out, token, spec.width * blockBytes(spec.out));
    e.columns(spec.width, [&](Value *column, Value *mask) {
      Value *sum = e.splat(0.0, e.lanes);
      if (residual) {
        unsigned bytes = blockBytes(spec.residualElement);
        Value *row = e.element(residual, token, spec.width * bytes);
        sum = e.loadFloats(spec.residualElement, e.element(row, column, bytes),
                           e.lanes, mask);
      }
      Value *rows = e.element(e.element(y, firstPair, yBytes), column,
                              blockBytes(spec.y));
      Values sums =
          e.loop(e.index(0), count, 1, {sum},
                 [&](Value *choice, ArrayRef<Value *> carried) -> Values {
                   Value *term = e.loadFloats(
                       spec.y, e.element(rows, choice, yBytes), e.lanes, mask);
                   if (!weights)
                     return {e.b.CreateFAdd(carried[0], term)};
                   Value *pair = e.b.CreateAdd(firstPair, choice);
                   Value *weight = e.load(e.f32, e.element(weights, pair, 4));
                   return {e.fma(e.splat(weight, e.lanes), term, carried[0])};
                 });
      e.storeFloats(spec.out, sums[0],
                    e.element(outRow, column, blockBytes(spec.out)), mask);
    });
  });
  result.grid = {{.extent = 0, .divisor = tokensPerTask}};
}
