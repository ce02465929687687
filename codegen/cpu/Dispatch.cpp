//===- Dispatch.cpp - expert-major order of pairs -------------------------===//
//
// A counting sort in one task: count, sum up, place. Pairs keep their order
// within an expert. Scratch holds each expert's next place.
//
//===----------------------------------------------------------------------===//

#include "codegen/cpu/Emitter.h"
#include "codegen/cpu/Kernels.h"

using namespace llvm;
using namespace moec;
using namespace moec::cpu;

void cpu::emitDispatch(Emitter &e, const kernel::DispatchSpec &spec,
                       CpuKernel &result) {
  Value *pairExpert = e.buffer(0), *offsets = e.buffer(1);
  Value *order = e.buffer(2), *places = e.scratch;
  Value *pairs = e.extent(0);
  Value *first = e.index(0), *experts = e.index(spec.experts);
  e.ifThen(e.b.CreateICmpSLT(e.taskBegin, e.taskEnd), [&] {
    e.loop(first, experts, 1, [&](Value *expert) {
      e.store(e.b.getInt32(0), e.element(places, expert, 4));
    });
    e.loop(first, pairs, 1, [&](Value *pair) {
      Value *place = e.element(places, e.loadIndex(pairExpert, pair), 4);
      e.store(e.b.CreateAdd(e.load(e.i32, place), e.b.getInt32(1)), place);
    });
    Values total = e.loop(first, experts, 1, {e.b.getInt32(0)},
                          [&](Value *expert, ArrayRef<Value *> sum) -> Values {
                            Value *place = e.element(places, expert, 4);
                            Value *count = e.load(e.i32, place);
                            e.store(sum[0], place);
                            e.store(sum[0], e.element(offsets, expert, 4));
                            return {e.b.CreateAdd(sum[0], count)};
                          });
    e.store(total[0], e.offset(offsets, spec.experts * 4));
    e.loop(first, pairs, 1, [&](Value *pair) {
      Value *place = e.element(places, e.loadIndex(pairExpert, pair), 4);
      Value *position = e.load(e.i32, place);
      e.store(e.b.CreateTrunc(pair, e.i32),
              e.element(order, e.b.CreateSExt(position, e.i64), 4));
      e.store(e.b.CreateAdd(position, e.b.getInt32(1)), place);
    });
  });
  result.scratchBytes = spec.experts * 4;
}
