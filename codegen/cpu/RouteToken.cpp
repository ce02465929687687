//===- RouteToken.cpp - scores, choice and weights of a token -------------===//
//
// Scans pick the first largest key, so ties go to the lower expert.
//
//===----------------------------------------------------------------------===//

#include "codegen/cpu/RouteToken.h"
#include "codegen/cpu/VectorMath.h"
#include "llvm/IR/Intrinsics.h"
#include "llvm/Support/MathExtras.h"

#include <limits>

using namespace llvm;
using namespace moec;
using namespace moec::cpu;
using kernel::RouteSpec;
using Select = RouteSpec::Select;

static constexpr double kInf = std::numeric_limits<double>::infinity();

static int64_t rowBytes(const RouteSpec &spec) {
  return alignTo(spec.experts * 4, 64);
}

/// The key of a constant that is a number.
static int32_t keyOfConstant(float number) {
  auto bits = bit_cast<int32_t>(number + 0.0f);
  return bits < 0 ? bits ^ INT32_MAX : bits;
}

Value *cpu::emitKey(Emitter &e, Value *numbers) {
  IRBuilder<> &b = e.b;
  Type *ints = numbers->getType()->getWithNewType(e.i32);
  // -0 + 0 is 0, so equal zeros get equal bits. A set sign bit turns the order
  // of the others round.
  numbers = b.CreateFAdd(numbers, ConstantFP::get(numbers->getType(), 0));
  Value *bits = b.CreateBitCast(numbers, ints);
  Value *flip = b.CreateLShr(b.CreateAShr(bits, 31), 1);
  return b.CreateSelect(b.CreateFCmpUNO(numbers, numbers),
                        ConstantInt::getSigned(ints, kNanKey),
                        b.CreateXor(bits, flip));
}

Value *cpu::emitFromKey(Emitter &e, Value *key) {
  IRBuilder<> &b = e.b;
  Value *flip = b.CreateLShr(b.CreateAShr(key, 31), 1);
  Value *number = b.CreateBitCast(b.CreateXor(key, flip), e.f32);
  return b.CreateSelect(b.CreateICmpEQ(key, b.getInt32(kNanKey)),
                        ConstantFP::getNaN(e.f32), number);
}

RouteToken::RouteToken(Emitter &e, const RouteSpec &spec,
                       const Buffers &buffers)
    : e(e), spec(spec), buffers(buffers) {
  int64_t bytes = rowBytes(spec);
  scores = e.scratch;
  keys = e.offset(e.scratch, bytes);
  normalized = e.offset(e.scratch, 2 * bytes);
  spareKeys = e.offset(e.scratch, 3 * bytes);
  groupKeys = e.offset(e.scratch, 4 * bytes);
}

int64_t RouteToken::scratchBytes(const RouteSpec &spec) {
  return 5 * rowBytes(spec);
}

//===- Scores and keys ----------------------------------------------------===//

/// Sets `logits`: the token's row, or what norm and scale make of it.
void RouteToken::emitLogits(Value *raw) {
  IRBuilder<> &b = e.b;
  logits = raw;
  if (!spec.zscore && spec.logitScale == 1)
    return;
  auto load = [&](Value *column, Value *mask) {
    return e.loadFloats(ElementType::f32, at(raw, column), e.lanes, mask);
  };
  Value *zero = e.splat(0.0, e.lanes), *one = e.splat(1.0, e.lanes);
  Value *mean = nullptr, *deviation = nullptr, *spreads = nullptr;
  if (spec.zscore) {
    Value *count = ConstantFP::get(e.f32, double(spec.experts));
    Value *first = e.splat(e.load(e.f32, raw), e.lanes);
    Values sums = e.columns(
        spec.experts, {zero, zero},
        [&](Value *column, Value *mask, ArrayRef<Value *> sum) -> Values {
          Value *x = load(column, mask); // 0 where masked
          Value *differs = b.CreateFCmpUNE(x, first);
          if (mask)
            differs = b.CreateAnd(differs, mask);
          return {b.CreateFAdd(sum[0], x),
                  b.CreateFAdd(sum[1], b.CreateSelect(differs, one, zero))};
        });
    mean = e.splat(b.CreateFDiv(e.sumLanes(sums[0]), count), e.lanes);
    Value *squares = e.columns(
        spec.experts, {zero},
        [&](Value *column, Value *mask, ArrayRef<Value *> sum) -> Values {
          Value *x = b.CreateFSub(load(column, mask), mean);
          x = b.CreateFMul(x, x);
          if (mask)
            x = b.CreateSelect(mask, x, zero);
          return {b.CreateFAdd(sum[0], x)};
        })[0];
    Value *root = b.CreateUnaryIntrinsic(
        Intrinsic::sqrt, b.CreateFDiv(e.sumLanes(squares), count));
    deviation = e.splat(root, e.lanes);
    // Equal numbers become 0, though their mean may be rounded.
    spreads = b.CreateAnd(
        b.CreateFCmpOGT(e.sumLanes(sums[1]), ConstantFP::get(e.f32, 0)),
        b.CreateFCmpUNE(root, ConstantFP::get(e.f32, 0)));
  }
  e.columns(spec.experts, [&](Value *column, Value *mask) {
    Value *x = load(column, mask);
    if (spec.zscore) {
      x = b.CreateFDiv(b.CreateFSub(x, mean), deviation);
      x = b.CreateSelect(spreads, x, zero);
    }
    if (spec.logitScale != 1)
      x = b.CreateFMul(x, e.splat(spec.logitScale, e.lanes));
    e.storeFloats(ElementType::f32, x, at(normalized, column), mask);
  });
  logits = normalized;
}

void RouteToken::emitSoftmax() {
  IRBuilder<> &b = e.b;
  auto load = [&](Value *base, Value *column, Value *mask) {
    return e.loadFloats(ElementType::f32, at(base, column), e.lanes, mask);
  };
  // The maximum skips NaN; a NaN logit then makes the sum, and so every
  // score, NaN.
  Value *least = e.splat(-kInf, e.lanes), *zero = e.splat(0.0, e.lanes);
  Value *largest =
      e.columns(spec.experts, {least},
                [&](Value *column, Value *mask, ArrayRef<Value *> most) {
                  Value *x = load(logits, column, mask);
                  if (mask)
                    x = b.CreateSelect(mask, x, least);
                  return Values{e.maxNumber(most[0], x)};
                })[0];
  Value *top = e.splat(e.maxLanes(largest), e.lanes);
  Value *sums =
      e.columns(spec.experts, {zero},
                [&](Value *column, Value *mask, ArrayRef<Value *> sum) {
                  Value *x = load(logits, column, mask);
                  x = emitExp(e, b.CreateFSub(x, top));
                  if (mask)
                    x = b.CreateSelect(mask, x, zero);
                  e.storeFloats(ElementType::f32, x, at(scores, column), mask);
                  return Values{b.CreateFAdd(sum[0], x)};
                })[0];
  Value *total = e.splat(e.sumLanes(sums), e.lanes);
  e.columns(spec.experts, [&](Value *column, Value *mask) {
    e.storeFloats(ElementType::f32,
                  b.CreateFDiv(load(scores, column, mask), total),
                  at(scores, column), mask);
  });
}

void RouteToken::emitScores(Value *token) {
  IRBuilder<> &b = e.b;
  emitLogits(e.element(buffers.logits, token, spec.experts * 4));
  using Score = RouteSpec::Score;
  if (spec.score == Score::Softmax)
    emitSoftmax();
  Type *ints = e.vector(e.i32, e.lanes);
  Value *none = ConstantInt::getSigned(ints, kChosenKey);
  Value *best = e.columns(
      spec.experts, {none},
      [&](Value *column, Value *mask, ArrayRef<Value *> most) -> Values {
        Value *from = spec.score == Score::Softmax ? scores : logits;
        Value *x =
            e.loadFloats(ElementType::f32, at(from, column), e.lanes, mask);
        if (spec.score == Score::Sigmoid)
          x = emitSigmoid(e, x);
        if (spec.score == Score::Relu) // NaN stays
          x = b.CreateSelect(b.CreateFCmpOLE(x, e.splat(0.0, e.lanes)),
                             e.splat(0.0, e.lanes), x);
        if (spec.score != Score::Softmax)
          e.storeFloats(ElementType::f32, x, at(scores, column), mask);
        if (buffers.bias)
          x = b.CreateFAdd(x, e.loadFloats(ElementType::f32,
                                           at(buffers.bias, column), e.lanes,
                                           mask));
        Value *key = emitKey(e, x);
        if (mask) {
          b.CreateMaskedStore(key, at(keys, column), Align(4), mask);
          key = b.CreateSelect(mask, key, none);
        } else {
          e.store(key, at(keys, column), 4);
        }
        return {b.CreateSelect(b.CreateICmpSGT(key, most[0]), key, most[0])};
      })[0];
  allNan = b.CreateICmpEQ(b.CreateIntMaxReduce(best, /*IsSigned=*/true),
                          b.getInt32(kNanKey));
  if (spec.groups > 1)
    e.ifThen(b.CreateNot(allNan), [&] { emitGroups(); });
}

Value *RouteToken::keyOf(Value *expert) {
  return e.load(e.i32, at(keys, expert));
}

/// The largest of `keys[begin .. end)`, and the first place where it stands.
std::pair<Value *, Value *> RouteToken::emitBest(Value *keys, Value *begin,
                                                 Value *end) {
  Values best = e.loop(begin, end, 1, {e.b.getInt32(kChosenKey), begin},
                       [&](Value *place, ArrayRef<Value *> best) -> Values {
                         Value *key = e.load(e.i32, at(keys, place));
                         Value *better = e.b.CreateICmpSGT(key, best[0]);
                         return {e.b.CreateSelect(better, key, best[0]),
                                 e.b.CreateSelect(better, place, best[1])};
                       });
  return {best[0], best[1]};
}

void RouteToken::emitGroups() {
  IRBuilder<> &b = e.b;
  int64_t size = spec.experts / spec.groups;
  Value *chosen = b.getInt32(kChosenKey);
  e.loop(e.index(0), e.index(spec.experts), 1,
         [&](Value *expert) { e.store(keyOf(expert), at(spareKeys, expert)); });
  e.loop(e.index(0), e.index(spec.groups), 1, [&](Value *group) {
    Value *begin = e.mul(group, size);
    Value *sum = e.loop(e.index(0), e.index(std::min(spec.groupSummed, size)),
                        1, {ConstantFP::get(e.f32, 0)},
                        [&](Value *, ArrayRef<Value *> sum) -> Values {
                          auto [key, expert] =
                              emitBest(spareKeys, begin, e.add(begin, size));
                          e.store(chosen, at(spareKeys, expert));
                          return {b.CreateFAdd(sum[0], emitFromKey(e, key))};
                        })[0];
    e.store(emitKey(e, sum), at(groupKeys, group));
  });
  e.loop(e.index(0), e.index(spec.topGroups), 1, [&](Value *) {
    auto [key, group] = emitBest(groupKeys, e.index(0), e.index(spec.groups));
    e.store(chosen, at(groupKeys, group));
  });
  Value *masked = b.getInt32(keyOfConstant(spec.maskZero ? 0 : -kInf));
  e.loop(e.index(0), e.index(spec.groups), 1, [&](Value *group) {
    Value *kept = b.CreateICmpEQ(e.load(e.i32, at(groupKeys, group)), chosen);
    Value *begin = e.mul(group, size);
    e.ifThen(b.CreateNot(kept), [&] {
      e.loop(begin, e.add(begin, size), 1,
             [&](Value *expert) { e.store(masked, at(keys, expert)); });
    });
  });
}

//===- Choice and weights -------------------------------------------------===//

/// The softmax of `expert` over the logits close to it, without chosen ones.
Value *RouteToken::emitMixerWeight(Value *expert) {
  IRBuilder<> &b = e.b;
  Value *logit = e.load(e.f32, at(logits, expert));
  Value *best = e.splat(logit, e.lanes), *zero = e.splat(0.0, e.lanes);
  Value *most = e.splat(double(float(2 * spec.threshold)), e.lanes);
  Type *ints = e.vector(e.i32, e.lanes);
  Value *sums = e.columns(
      spec.experts, {zero},
      [&](Value *column, Value *mask, ArrayRef<Value *> sum) -> Values {
        Value *x =
            e.loadFloats(ElementType::f32, at(logits, column), e.lanes, mask);
        Value *size = b.CreateUnaryIntrinsic(Intrinsic::fabs, x);
        size = b.CreateSelect(b.CreateFCmpOLT(size, best), best, size);
        Value *distance = b.CreateFDiv(b.CreateFSub(best, x), size);
        Value *close = b.CreateOr(b.CreateFCmpOEQ(x, best),
                                  b.CreateFCmpOLE(distance, most));
        Value *key = e.loadRaw(e.i32, at(keys, column), e.lanes, mask);
        close = b.CreateAnd(close, b.CreateICmpNE(key, ConstantInt::getSigned(
                                                           ints, kChosenKey)));
        if (mask)
          close = b.CreateAnd(close, mask);
        Value *power = emitExp(e, b.CreateFSub(x, best));
        return {b.CreateFAdd(sum[0], b.CreateSelect(close, power, zero))};
      })[0];
  // 1, or NaN of a logit that is no finite number.
  Value *own = emitExp(e, e.splat(b.CreateFSub(logit, logit), 1));
  return b.CreateFDiv(b.CreateExtractElement(own, uint64_t(0)),
                      e.sumLanes(sums));
}

void RouteToken::emitPair(Value *pair, Value *expert) {
  bool softmax = spec.renorm == RouteSpec::Renorm::SoftmaxSelected;
  e.store(e.b.CreateTrunc(expert, e.i32),
          e.element(buffers.pairExpert, pair, 4));
  e.store(e.load(e.f32, at(softmax ? logits : scores, expert)),
          e.element(buffers.pairWeight, pair, 4));
}

Value *RouteToken::emitChoice(Value *firstPair) {
  IRBuilder<> &b = e.b;
  Value *first = e.index(0), *experts = e.index(spec.experts);
  auto body = [&](ArrayRef<Value *> state) -> Values {
    Value *count = state[0], *sum = state[1], *take = b.getTrue();
    Value *pair = b.CreateAdd(firstPair, count), *expert = count;
    if (spec.select != Select::All) {
      auto [key, best] = emitBest(keys, first, experts);
      expert = best;
      if (spec.select == Select::Threshold)
        take = b.CreateOr(
            allNan, b.CreateICmpSGT(
                        key, b.getInt32(keyOfConstant(float(spec.threshold)))));
    }
    // Behind the last pair is room for one more.
    emitPair(pair, expert);
    if (spec.select == Select::SparseMixer)
      e.store(emitMixerWeight(expert), e.element(buffers.pairWeight, pair, 4));
    e.store(b.getInt32(kChosenKey), at(keys, expert));
    if (buffers.counters)
      b.CreateAtomicRMW(
          AtomicRMWInst::Add, e.element(buffers.counters, expert, 8),
          b.CreateZExt(take, e.i64), Align(8), AtomicOrdering::Monotonic);
    Value *done = b.CreateNot(take);
    if (spec.select == Select::TopP) {
      sum = b.CreateFAdd(sum, e.load(e.f32, at(scores, expert)));
      done =
          b.CreateFCmpOGE(sum, ConstantFP::get(e.f32, float(spec.threshold)));
    }
    return {b.CreateAdd(count, b.CreateZExt(take, e.i64)), sum, done};
  };
  return e.whileLoop(
      {first, ConstantFP::get(e.f32, 0), b.getFalse()},
      [&](ArrayRef<Value *> state) {
        return b.CreateAnd(b.CreateICmpSLT(state[0], e.index(spec.topk)),
                           b.CreateNot(state[2]));
      },
      body)[0];
}

void RouteToken::emitWeights(Value *firstPair, Value *count) {
  IRBuilder<> &b = e.b;
  bool softmax = spec.renorm == RouteSpec::Renorm::SoftmaxSelected &&
                 spec.select != Select::SparseMixer;
  bool sums = spec.renorm == RouteSpec::Renorm::Sum;
  auto weightAt = [&](Value *choice) {
    return e.element(buffers.pairWeight, b.CreateAdd(firstPair, choice), 4);
  };
  Value *zero = ConstantFP::get(e.f32, 0), *total = nullptr;
  if (softmax) {
    Value *top =
        e.loop(e.index(0), count, 1, {ConstantFP::get(e.f32, -kInf)},
               [&](Value *choice, ArrayRef<Value *> top) -> Values {
                 return {e.maxNumber(top[0], e.load(e.f32, weightAt(choice)))};
               })[0];
    total = e.loop(e.index(0), count, 1, {zero},
                   [&](Value *choice, ArrayRef<Value *> sum) -> Values {
                     Value *logit = e.load(e.f32, weightAt(choice));
                     Value *shifted = b.CreateFSub(logit, top);
                     Value *power = b.CreateExtractElement(
                         emitExp(e, e.splat(shifted, 1)), uint64_t(0));
                     e.store(power, weightAt(choice));
                     return {b.CreateFAdd(sum[0], power)};
                   })[0];
  } else if (sums) {
    total = e.loop(e.index(0), count, 1, {zero},
                   [&](Value *choice, ArrayRef<Value *> sum) -> Values {
                     Value *weight = e.load(e.f32, weightAt(choice));
                     return {b.CreateFAdd(sum[0], weight)};
                   })[0];
    total =
        b.CreateFAdd(total, ConstantFP::get(e.f32, float(spec.renormEpsilon)));
    Value *minimum = ConstantFP::get(e.f32, float(spec.renormMinimum));
    if (spec.renormMinimum != 0) // NaN stays
      total = b.CreateSelect(b.CreateFCmpOLT(total, minimum), minimum, total);
  }
  bool keepsNan = spec.select != Select::ExpertChoice;
  e.loop(e.index(0), count, 1, [&](Value *choice) {
    Value *weight = e.load(e.f32, weightAt(choice));
    if (total)
      weight = b.CreateFDiv(weight, total);
    if (spec.scale != 1)
      weight = b.CreateFMul(weight, ConstantFP::get(e.f32, spec.scale));
    if (keepsNan)
      weight = b.CreateSelect(allNan, ConstantFP::getNaN(e.f32), weight);
    e.store(weight, weightAt(choice));
  });
}
