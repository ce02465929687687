//===- Dispatch.cpp - expert-major order of pairs -------------------------===//
//
// A counting sort in one task: count, sum up, place. Pairs keep their order
// within an expert. Scratch holds each expert's next place. Where tokens have
// different numbers of pairs, the end of the buffer holds none.
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
  // The place of each pair's expert, in order.
  auto forEachPair = [&](function_ref<void(Value * pair, Value * place)> body) {
    e.loop(first, pairs, 1, [&](Value *pair) {
      Value *expert = e.loadIndex(pairExpert, pair);
      auto use = [&] { body(pair, e.element(places, expert, 4)); };
      if (spec.ragged)
        e.ifThen(e.b.CreateICmpSGE(expert, first), use);
      else
        use();
    });
  };
  e.ifThen(e.b.CreateICmpSLT(e.taskBegin, e.taskEnd), [&] {
    e.loop(first, experts, 1, [&](Value *expert) {
      e.store(e.b.getInt32(0), e.element(places, expert, 4));
    });
    forEachPair([&](Value *, Value *place) {
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
    forEachPair([&](Value *pair, Value *place) {
      Value *position = e.load(e.i32, place);
      e.store(e.b.CreateTrunc(pair, e.i32),
              e.element(order, e.b.CreateSExt(position, e.i64), 4));
      e.store(e.b.CreateAdd(position, e.b.getInt32(1)), place);
    });
  });
  result.scratchBytes = spec.experts * 4;
}
