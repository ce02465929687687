//===- Route.cpp - choosing experts ---------------------------------------===//
//
// A task is a block of tokens. Scores lie in scratch, and with them an i32 key
// of each that orders as selection does: by score, equal zeros, NaN below all
// numbers, chosen experts below NaN. `topk` scans pick the first largest key,
// so ties go to the lower expert.
//
//===----------------------------------------------------------------------===//

#include "codegen/cpu/Emitter.h"
#include "codegen/cpu/Kernels.h"
#include "codegen/cpu/VectorMath.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>
#include <limits>

using namespace llvm;
using namespace moec;
using namespace moec::cpu;
using kernel::RouteSpec;

static constexpr int64_t kTokensPerTask = 16;
static constexpr int32_t kChosen = std::numeric_limits<int32_t>::min();
static constexpr int32_t kNanKey = kChosen + 1;

namespace {

struct RouteEmitter {
  Emitter &e;
  const RouteSpec &spec;
  Value *scores; ///< f32 [experts], in scratch
  Value *keys;   ///< i32 [experts], in scratch

  void emitScores(Value *logits);
  void emitKeys(Value *bias);
  void emitToken(Value *token, Value *logits, Value *bias, Value *counters,
                 Value *pairExpert, Value *pairWeight);
};

} // namespace

void RouteEmitter::emitScores(Value *logits) {
  IRBuilder<> &b = e.b;
  auto at = [&](Value *base, Value *column) {
    return e.element(base, column, 4);
  };
  if (spec.score != RouteSpec::Score::Softmax) {
    e.columns(spec.experts, [&](Value *column, Value *mask) {
      Value *x =
          e.loadFloats(ElementType::f32, at(logits, column), e.lanes, mask);
      if (spec.score == RouteSpec::Score::Sigmoid)
        x = emitSigmoid(e, x);
      e.storeFloats(ElementType::f32, x, at(scores, column), mask);
    });
    return;
  }
  // The maximum skips NaN; a NaN logit then makes the sum, and so every
  // score, NaN.
  double inf = std::numeric_limits<double>::infinity();
  Value *least = e.splat(-inf, e.lanes);
  Value *largest =
      e.columns(spec.experts, {least},
                [&](Value *column, Value *mask, ArrayRef<Value *> most) {
                  Value *x = e.loadFloats(ElementType::f32, at(logits, column),
                                          e.lanes, mask);
                  if (mask)
                    x = b.CreateSelect(mask, x, least);
                  return Values{e.maxNumber(most[0], x)};
                })[0];
  Value *top = e.splat(e.maxLanes(largest), e.lanes);
  Value *sums =
      e.columns(spec.experts, {e.splat(0.0, e.lanes)},
                [&](Value *column, Value *mask, ArrayRef<Value *> sum) {
                  Value *x = e.loadFloats(ElementType::f32, at(logits, column),
                                          e.lanes, mask);
                  x = emitExp(e, b.CreateFSub(x, top));
                  if (mask)
                    x = b.CreateSelect(mask, x, e.splat(0.0, e.lanes));
                  e.storeFloats(ElementType::f32, x, at(scores, column), mask);
                  return Values{b.CreateFAdd(sum[0], x)};
                })[0];
  Value *total = e.splat(e.sumLanes(sums), e.lanes);
  e.columns(spec.experts, [&](Value *column, Value *mask) {
    Value *x =
        e.loadFloats(ElementType::f32, at(scores, column), e.lanes, mask);
    e.storeFloats(ElementType::f32, b.CreateFDiv(x, total), at(scores, column),
                  mask);
  });
}

void RouteEmitter::emitKeys(Value *bias) {
  IRBuilder<> &b = e.b;
  Type *ints = e.vector(e.i32, e.lanes);
  e.columns(spec.experts, [&](Value *column, Value *mask) {
    Value *x = e.loadFloats(ElementType::f32, e.element(scores, column, 4),
                            e.lanes, mask);
    if (bias)
      x = b.CreateFAdd(x,
                       e.loadFloats(ElementType::f32,
                                    e.element(bias, column, 4), e.lanes, mask));
    // -0 + 0 is 0, so equal zeros get equal bits. A set sign bit turns the
    // order of the others round.
    x = b.CreateFAdd(x, e.splat(0.0, e.lanes));
    Value *bits = b.CreateBitCast(x, ints);
    Value *flip = b.CreateLShr(b.CreateAShr(bits, 31), 1);
    Value *key = b.CreateSelect(b.CreateFCmpUNO(x, x),
                                ConstantInt::getSigned(ints, kNanKey),
                                b.CreateXor(bits, flip));
    Value *to = e.element(keys, column, 4);
    if (mask)
      b.CreateMaskedStore(key, to, Align(4), mask);
    else
      e.store(key, to, 4);
  });
}

void RouteEmitter::emitToken(Value *token, Value *logits, Value *bias,
                             Value *counters, Value *pairExpert,
                             Value *pairWeight) {
  IRBuilder<> &b = e.b;
  Value *row = e.element(logits, token, spec.experts * 4);
  emitScores(row);
  emitKeys(bias);
  bool softmax = spec.renorm == RouteSpec::Renorm::SoftmaxSelected;
  bool sums = spec.renorm == RouteSpec::Renorm::Sum;
  Value *firstPair = e.mul(token, spec.topk);
  auto weightAt = [&](Value *choice) {
    return e.element(pairWeight, b.CreateAdd(firstPair, choice), 4);
  };

  // Weights as chosen, their sum, whether the first was NaN, and the first
  // chosen logit that is a number, for the softmax over the chosen.
  double inf = std::numeric_limits<double>::infinity();
  Value *init[] = {ConstantFP::get(e.f32, 0), b.getFalse(),
                   ConstantFP::get(e.f32, -inf)};
  Values chosen = e.loop(
      e.index(0), e.index(spec.topk), 1, init,
      [&](Value *choice, ArrayRef<Value *> carried) -> Values {
        Values best =
            e.loop(e.index(0), e.index(spec.experts), 1,
                   {b.getInt32(kChosen), e.index(0)},
                   [&](Value *expert, ArrayRef<Value *> best) -> Values {
                     Value *key = e.load(e.i32, e.element(keys, expert, 4));
                     Value *better = b.CreateICmpSGT(key, best[0]);
                     return {b.CreateSelect(better, key, best[0]),
                             b.CreateSelect(better, expert, best[1])};
                   });
        Value *expert = best[1];
        e.store(b.getInt32(kChosen), e.element(keys, expert, 4));
        e.store(b.CreateTrunc(expert, e.i32),
                e.element(pairExpert, b.CreateAdd(firstPair, choice), 4));
        b.CreateAtomicRMW(AtomicRMWInst::Add, e.element(counters, expert, 8),
                          e.index(1), Align(8), AtomicOrdering::Monotonic);
        Value *weight =
            e.load(e.f32, e.element(softmax ? row : scores, expert, 4));
        e.store(weight, weightAt(choice));
        Value *allNan = b.CreateOr(
            carried[1],
            b.CreateAnd(b.CreateICmpEQ(choice, e.index(0)),
                        b.CreateICmpEQ(best[0], b.getInt32(kNanKey))));
        return {b.CreateFAdd(carried[0], weight), allNan,
                e.maxNumber(carried[2], weight)};
      });

  Value *total = chosen[0];
  if (softmax) {
    total =
        e.loop(e.index(0), e.index(spec.topk), 1, {ConstantFP::get(e.f32, 0)},
               [&](Value *choice, ArrayRef<Value *> sum) -> Values {
                 Value *logit = e.load(e.f32, weightAt(choice));
                 Value *shifted = b.CreateFSub(logit, chosen[2]);
                 Value *power = b.CreateExtractElement(
                     emitExp(e, e.splat(shifted, 1)), uint64_t(0));
                 e.store(power, weightAt(choice));
                 return {b.CreateFAdd(sum[0], power)};
               })[0];
  }
  if (sums)
    total =
        b.CreateFAdd(total, ConstantFP::get(e.f32, float(spec.renormEpsilon)));
  e.loop(e.index(0), e.index(spec.topk), 1, [&](Value *choice) {
    Value *weight = e.load(e.f32, weightAt(choice));
    if (softmax || sums)
      weight = b.CreateFDiv(weight, total);
    if (spec.scale != 1)
      weight = b.CreateFMul(weight, ConstantFP::get(e.f32, spec.scale));
    weight = b.CreateSelect(chosen[1], ConstantFP::getNaN(e.f32), weight);
    e.store(weight, weightAt(choice));
  });
}

void cpu::emitRoute(Emitter &e, const RouteSpec &spec, CpuKernel &result) {
  int64_t rowBytes = alignTo(spec.experts * 4, 64);
  RouteEmitter route = {e, spec, e.scratch, e.offset(e.scratch, rowBytes)};
  unsigned next = 1;
  Value *logits = e.buffer(0);
  Value *bias = spec.selectBias ? e.buffer(next++) : nullptr;
  Value *counters = e.buffer(next);
  Value *pairExpert = e.buffer(next + 1);
  Value *pairWeight = e.buffer(next + 2);
  Value *end = e.min(e.mul(e.taskEnd, kTokensPerTask), e.extent(0));
  e.loop(e.mul(e.taskBegin, kTokensPerTask), end, 1, [&](Value *token) {
    route.emitToken(token, logits, bias, counters, pairExpert, pairWeight);
  });
  result.grid = {{.extent = 0, .divisor = kTokensPerTask}};
  result.scratchBytes = 2 * rowBytes;
}
