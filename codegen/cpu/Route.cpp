//===- Route.cpp - choosing experts ---------------------------------------===//
//
// Where every token has as many pairs, a task is a block of tokens. Else one
// task takes all tokens, since a token's first pair depends on those before:
// it appends pairs, drops those that overflow a capacity, and fills the rest of
// the buffer with -1. Where experts choose their tokens, keys are made again in
// each round of the ranking rather than kept: a launch has no memory that grows
// with its tokens.
//
//===----------------------------------------------------------------------===//

#include "codegen/cpu/Kernels.h"
#include "codegen/cpu/RouteToken.h"

using namespace llvm;
using namespace moec;
using namespace moec::cpu;
using kernel::RouteSpec;

static constexpr int64_t kTokensPerTask = 16;

namespace {

class RaggedRoute {
public:
  RaggedRoute(Emitter &e, const RouteSpec &spec, RouteToken &token,
              RouteToken::Buffers buffers, Value *offsets, Value *counters)
      : e(e), b(e.b), spec(spec), token(token), buffers(buffers),
        offsets(offsets), counters(counters),
        quota(e, spec.experts,
              e.offset(e.scratch, RouteToken::scratchBytes(spec))) {}

  void emit();
  static bool ranks(const RouteSpec &spec) {
    return spec.select == RouteSpec::Select::ExpertChoice ||
           (spec.capacity != 0 && spec.dropByWeight);
  }

private:
  void forEachToken(function_ref<void(Value *)> body) {
    e.loop(e.index(0), e.extent(0), 1, body);
  }
  void forEachExpert(function_ref<void(Value *)> body) {
    e.loop(e.index(0), e.index(spec.experts), 1, body);
  }
  void rankTokens();
  Value *takeTokens(Value *firstPair);
  Value *limit();
  Value *dropOverflow(Value *pairs);

  Emitter &e;
  IRBuilder<> &b;
  const RouteSpec &spec;
  RouteToken &token;
  RouteToken::Buffers buffers;
  Value *offsets, *counters;
  RouteQuota quota;
};

} // namespace

/// Each expert takes the tokens of its ceil(tokens * k / experts) best keys.
void RaggedRoute::rankTokens() {
  Value *share = e.ceilDiv(e.mul(e.extent(0), spec.topk), spec.experts);
  quota.start(b.CreateTrunc(share, e.i32));
  quota.narrow([&](RouteQuota::Item item) {
    forEachToken([&](Value *number) {
      token.emitScores(number);
      forEachExpert([&](Value *expert) { item(expert, token.keyOf(expert)); });
    });
  });
}

Value *RaggedRoute::takeTokens(Value *firstPair) {
  return e.loop(e.index(0), e.index(spec.experts), 1, {e.index(0)},
                [&](Value *expert, ArrayRef<Value *> count) -> Values {
                  Value *taken = quota.take(expert, token.keyOf(expert));
                  e.ifThen(taken, [&] {
                    token.emitPair(b.CreateAdd(firstPair, count[0]), expert);
                  });
                  return {b.CreateAdd(count[0], b.CreateZExt(taken, e.i64))};
                })[0];
}

/// ceil(tokens * k * capacity / experts), as i32.
Value *RaggedRoute::limit() {
  Value *pairs = b.CreateSIToFP(e.mul(e.extent(0), spec.topk), e.f64);
  Value *most =
      b.CreateFDiv(b.CreateFMul(pairs, ConstantFP::get(e.f64, spec.capacity)),
                   ConstantFP::get(e.f64, double(spec.experts)));
  Value *largest = ConstantFP::get(e.f64, double(INT32_MAX - 1));
  most = b.CreateSelect(b.CreateFCmpOLT(most, largest), most, largest);
  Value *whole = b.CreateFPToSI(most, e.i32);
  Value *rest = b.CreateFCmpOLT(b.CreateSIToFP(whole, e.f64), most);
  return b.CreateAdd(whole, b.CreateZExt(rest, e.i32));
}

/// Moves the pairs that stay to the front; how many they are.
Value *RaggedRoute::dropOverflow(Value *pairs) {
  auto keyOf = [&](Value *pair) -> Value * {
    if (!spec.dropByWeight)
      return nullptr;
    return emitKey(e, e.load(e.f32, e.element(buffers.pairWeight, pair, 4)));
  };
  quota.start(limit());
  if (spec.dropByWeight)
    quota.narrow([&](RouteQuota::Item item) {
      e.loop(e.index(0), pairs, 1, [&](Value *pair) {
        item(e.loadIndex(buffers.pairExpert, pair), keyOf(pair));
      });
    });
  return e.loop(
      e.index(0), e.extent(0), 1, {e.index(0), e.index(0)},
      [&](Value *number, ArrayRef<Value *> at) -> Values {
        Value *nextAt = e.element(offsets, e.add(number, 1), 4);
        Value *end = e.loadIndex(offsets, e.add(number, 1));
        Value *kept = e.loop(
            at[0], end, 1, {at[1]},
            [&](Value *pair, ArrayRef<Value *> kept) -> Values {
              Value *expert = e.loadIndex(buffers.pairExpert, pair);
              Value *stays = quota.take(expert, keyOf(pair));
              // Never behind the pair that is read.
              for (Value *buffer : {buffers.pairExpert, buffers.pairWeight})
                e.store(e.load(e.i32, e.element(buffer, pair, 4)),
                        e.element(buffer, kept[0], 4));
              return {b.CreateAdd(kept[0], b.CreateZExt(stays, e.i64))};
            })[0];
        e.store(b.CreateTrunc(kept, e.i32), nextAt);
        return {end, kept};
      })[1];
}

void RaggedRoute::emit() {
  bool byExpert = spec.select == RouteSpec::Select::ExpertChoice;
  e.ifThen(b.CreateICmpSLT(e.taskBegin, e.taskEnd), [&] {
    if (byExpert)
      rankTokens();
    e.store(b.getInt32(0), offsets);
    Value *pairs =
        e.loop(e.index(0), e.extent(0), 1, {e.index(0)},
               [&](Value *number, ArrayRef<Value *> first) -> Values {
                 token.emitScores(number);
                 Value *count = byExpert ? takeTokens(first[0])
                                         : token.emitChoice(first[0]);
                 token.emitWeights(first[0], count);
                 Value *end = b.CreateAdd(first[0], count);
                 e.store(b.CreateTrunc(end, e.i32),
                         e.element(offsets, e.add(number, 1), 4));
                 return {end};
               })[0];
    if (spec.capacity != 0)
      pairs = dropOverflow(pairs);
    if (counters)
      e.loop(e.index(0), pairs, 1, [&](Value *pair) {
        Value *expert = e.loadIndex(buffers.pairExpert, pair);
        b.CreateAtomicRMW(AtomicRMWInst::Add, e.element(counters, expert, 8),
                          e.index(1), Align(8), AtomicOrdering::Monotonic);
      });
    e.loop(pairs, e.extent(1), 1, [&](Value *pair) {
      e.store(b.getInt32(-1), e.element(buffers.pairExpert, pair, 4));
    });
  });
}

void cpu::emitRoute(Emitter &e, const RouteSpec &spec, CpuKernel &result) {
  RouteToken::Buffers buffers = {};
  unsigned next = 0;
  buffers.logits = e.buffer(next++);
  if (spec.selectBias)
    buffers.bias = e.buffer(next++);
  Value *counters = spec.counts ? e.buffer(next++) : nullptr;
  Value *offsets = spec.ragged() ? e.buffer(next++) : nullptr;
  buffers.pairExpert = e.buffer(next++);
  buffers.pairWeight = e.buffer(next);
  result.scratchBytes = RouteToken::scratchBytes(spec);
  if (spec.ragged()) {
    // Pairs are counted when it is known which of them stay.
    RouteToken token(e, spec, buffers);
    RaggedRoute(e, spec, token, buffers, offsets, counters).emit();
    result.scratchBytes +=
        RouteQuota::scratchBytes(spec.experts, RaggedRoute::ranks(spec));
    return;
  }
  buffers.counters = counters;
  RouteToken token(e, spec, buffers);
  Value *end = e.min(e.mul(e.taskEnd, kTokensPerTask), e.extent(0));
  e.loop(e.mul(e.taskBegin, kTokensPerTask), end, 1, [&](Value *number) {
    Value *firstPair = e.mul(number, spec.topk);
    token.emitScores(number);
    token.emitChoice(firstPair);
    token.emitWeights(firstPair, e.index(spec.topk));
  });
  result.grid = {{.extent = 0, .divisor = kTokensPerTask}};
}
