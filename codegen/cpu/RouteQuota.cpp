//===- RouteQuota.cpp - the best items of each expert ---------------------===//
//
// A radix selection: four rounds count, for each expert, the items that share
// the digits found so far by their next eight bits, from the top.
//
//===----------------------------------------------------------------------===//

#include "codegen/cpu/RouteToken.h"
#include "llvm/Support/MathExtras.h"

using namespace llvm;
using namespace moec;
using namespace moec::cpu;

static constexpr int64_t kBins = 256;

RouteQuota::RouteQuota(Emitter &e, int64_t experts, Value *scratch)
    : e(e), experts(experts), least(scratch) {
  int64_t rowBytes = alignTo(experts * 4, 64);
  left = e.offset(scratch, rowBytes);
  bins = e.offset(scratch, 2 * rowBytes);
}

int64_t RouteQuota::scratchBytes(int64_t experts, bool ranks) {
  return 2 * alignTo(experts * 4, 64) + (ranks ? experts * kBins * 4 : 0);
}

/// The key as an unsigned number of the same order.
Value *RouteQuota::ordered(Value *key) {
  return e.b.CreateXor(key, e.b.getInt32(0x80000000u));
}

void RouteQuota::start(Value *share) {
  e.loop(e.index(0), e.index(experts), 1, [&](Value *expert) {
    e.store(e.b.getInt32(0), e.element(least, expert, 4));
    e.store(share, e.element(left, expert, 4));
  });
}

void RouteQuota::narrow(function_ref<void(Item)> forEach) {
  IRBuilder<> &b = e.b;
  e.loop(e.index(0), e.index(4), 1, [&](Value *round) {
    Value *shift = b.CreateSub(e.index(24), e.mul(round, 8));
    Value *above = e.add(shift, 8);
    e.loop(e.index(0), e.index(experts * kBins), 1, [&](Value *bin) {
      e.store(b.getInt32(0), e.element(bins, bin, 4));
    });
    forEach([&](Value *expert, Value *key) {
      // In 64 bits, so that the first round may shift everything out.
      Value *wide = b.CreateZExt(ordered(key), e.i64);
      Value *found =
          b.CreateZExt(e.load(e.i32, e.element(least, expert, 4)), e.i64);
      Value *shares =
          b.CreateICmpEQ(b.CreateLShr(wide, above), b.CreateLShr(found, above));
      Value *digit = b.CreateAnd(b.CreateLShr(wide, shift), kBins - 1);
      Value *bin = e.element(bins, b.CreateAdd(e.mul(expert, kBins), digit), 4);
      e.store(b.CreateAdd(e.load(e.i32, bin), b.CreateZExt(shares, e.i32)),
              bin);
    });
    e.loop(e.index(0), e.index(experts), 1, [&](Value *expert) {
      auto count = [&](Value *digit) {
        return e.load(
            e.i32,
            e.element(bins, b.CreateAdd(e.mul(expert, kBins), digit), 4));
      };
      Value *leftAt = e.element(left, expert, 4);
      Values digit = e.whileLoop(
          {e.index(kBins - 1), e.load(e.i32, leftAt)},
          [&](ArrayRef<Value *> at) {
            return b.CreateAnd(b.CreateICmpSGT(at[0], e.index(0)),
                               b.CreateICmpSLT(count(at[0]), at[1]));
          },
          [&](ArrayRef<Value *> at) -> Values {
            return {e.add(at[0], -1), b.CreateSub(at[1], count(at[0]))};
          });
      e.store(digit[1], leftAt);
      Value *leastAt = e.element(least, expert, 4);
      Value *bits = b.CreateTrunc(b.CreateShl(digit[0], shift), e.i32);
      e.store(b.CreateOr(e.load(e.i32, leastAt), bits), leastAt);
    });
  });
}

Value *RouteQuota::take(Value *expert, Value *key) {
  IRBuilder<> &b = e.b;
  Value *leftAt = e.element(left, expert, 4);
  Value *room = e.load(e.i32, leftAt);
  Value *equal = b.CreateICmpSGT(room, b.getInt32(0));
  Value *above = b.getFalse();
  if (key) {
    Value *limit = e.load(e.i32, e.element(least, expert, 4));
    above = b.CreateICmpUGT(ordered(key), limit);
    equal = b.CreateAnd(equal, b.CreateICmpEQ(ordered(key), limit));
  }
  e.store(b.CreateSub(room, b.CreateZExt(equal, e.i32)), leftAt);
  return b.CreateOr(above, equal);
}
