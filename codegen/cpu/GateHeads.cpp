//===- GateHeads.cpp - a mixture of attention heads -----------------------===//
//
// A task is a block of tokens. A row becomes zero, and then each pair writes
// the heads of its expert.
//
//===----------------------------------------------------------------------===//

#include "codegen/cpu/Emitter.h"
#include "codegen/cpu/Kernels.h"

#include <algorithm>

using namespace llvm;
using namespace moec;
using namespace moec::cpu;

void cpu::emitGateHeads(Emitter &e, const kernel::GateHeadsSpec &spec,
                        CpuKernel &result) {
  bool ragged = spec.topk == 0;
  int64_t width = spec.heads * spec.headDim;
  int64_t xBytes = blockBytes(spec.x), outBytes = blockBytes(spec.out);
  Value *x = e.buffer(0), *pairExpert = e.buffer(1 + ragged);
  Value *pairWeight = e.buffer(2 + ragged), *out = e.buffer(3 + ragged);
  // Some 16 Ki numbers a task.
  int64_t tokensPerTask = std::clamp<int64_t>((16 << 10) / width, 1, 64);
  Value *end = e.min(e.mul(e.taskEnd, tokensPerTask), e.extent(0));
  e.loop(e.mul(e.taskBegin, tokensPerTask), end, 1, [&](Value *token) {
    Value *xRow = e.element(x, token, width * xBytes);
    Value *outRow = e.element(out, token, width * outBytes);
    e.columns(width, [&](Value *column, Value *mask) {
      e.storeFloats(spec.out, e.splat(0.0, e.lanes),
                    e.element(outRow, column, outBytes), mask);
    });
    Value *firstPair = e.mul(token, spec.topk);
    Value *endPair = e.add(firstPair, spec.topk);
    if (ragged) {
      firstPair = e.loadIndex(e.buffer(1), token);
      endPair = e.loadIndex(e.buffer(1), e.add(token, 1));
    }
    e.loop(firstPair, endPair, 1, [&](Value *pair) {
      Value *expert = e.loadIndex(pairExpert, pair);
      Value *weight =
          e.splat(e.load(e.f32, e.element(pairWeight, pair, 4)), e.lanes);
      e.loop(expert, e.index(spec.heads), spec.experts, [&](Value *head) {
        Value *first = e.mul(head, spec.headDim);
        e.columns(spec.headDim, [&](Value *column, Value *mask) {
          Value *at = e.b.CreateAdd(first, column);
          Value *number =
              e.loadFloats(spec.x, e.element(xRow, at, xBytes), e.lanes, mask);
          e.storeFloats(spec.out, e.b.CreateFMul(number, weight),
                        e.element(outRow, at, outBytes), mask);
        });
      });
    });
  });
  result.grid = {{.extent = 0, .divisor = tokensPerTask}};
}
