//===- HandlerKit.h - loops over lanes ------------------------------------===//
//
// For handler files only, each of which is compiled once for every instruction
// set with CUDASIM_ISA naming it. Everything here has internal linkage, so that
// no two instruction sets share a function.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "tools/cudasim/machine/Core.h"

#define LANES for (int lane = 0; lane < kLanes; ++lane)
#define INLINE static inline __attribute__((always_inline))

namespace cudasim {
namespace {

template <int Bytes> struct LaneType;
template <> struct LaneType<1> {
  using type = uint32_t;
};
template <> struct LaneType<2> {
  using type = uint32_t;
};
template <> struct LaneType<4> {
  using type = uint32_t;
};
template <> struct LaneType<8> {
  using type = uint64_t;
};
/// How a register holds a T, as bits.
template <class T> using Lane = typename LaneType<sizeof(T)>::type;

template <int Bytes> struct BitsType;
template <> struct BitsType<1> {
  using type = uint8_t;
};
template <> struct BitsType<2> {
  using type = uint16_t;
};
template <> struct BitsType<4> {
  using type = uint32_t;
};
template <> struct BitsType<8> {
  using type = uint64_t;
};
template <class T> using Bits = typename BitsType<sizeof(T)>::type;

template <class To, class From> INLINE To bitCast(From from) {
  return __builtin_bit_cast(To, from);
}

INLINE uint32_t *predicates(Warp &warp) {
  return reinterpret_cast<uint32_t *>(warp.bases[0]);
}

template <class L> INLINE const L *sourceLanes(const Warp &warp, Ref ref) {
  return reinterpret_cast<const L *>(warp.bases[ref & 1] + (ref & ~Ref(1)));
}
template <class L> INLINE L *resultLanes(Warp &warp, Ref ref) {
  return reinterpret_cast<L *>(warp.bases[0] + ref);
}

/// The T in a lane.
template <class T, class L> INLINE T fromLane(L lane) {
  return bitCast<T>(static_cast<Bits<T>>(lane));
}
template <class T> INLINE Lane<T> toLane(T value) {
  return static_cast<Lane<T>>(bitCast<Bits<T>>(value));
}

template <class L>
INLINE void writeLanes(Warp &warp, Ref ref, const L *values, uint32_t mask) {
  if (ref == kSink)
    return;
  L *to = resultLanes<L>(warp, ref);
  if (mask == kAllLanes) {
    LANES to[lane] = values[lane];
    return;
  }
  LANES to[lane] = (mask >> lane) & 1 ? values[lane] : to[lane];
}

INLINE void writePredicate(Warp &warp, Ref ref, uint32_t bits, uint32_t mask) {
  if (ref == kSink)
    return;
  uint32_t &word = predicates(warp)[ref];
  word = (word & ~mask) | (bits & mask);
}

/// Bit `lane` of the result is flags[lane] & 1.
INLINE uint32_t packBits(const uint32_t *flags) {
  uint32_t bits = 0;
  LANES bits |= (flags[lane] & 1) << lane;
  return bits;
}

template <class R, class A, class F>
INLINE void map1(Warp &warp, const Instr &instr, uint32_t mask, F f) {
  const auto *a = sourceLanes<Lane<A>>(warp, instr.ops[1]);
  alignas(64) Lane<R> r[kLanes];
  LANES r[lane] = toLane<R>(f(fromLane<A>(a[lane])));
  writeLanes(warp, instr.ops[0], r, mask);
}

template <class R, class A, class B, class F>
INLINE void map2(Warp &warp, const Instr &instr, uint32_t mask, F f) {
  const auto *a = sourceLanes<Lane<A>>(warp, instr.ops[1]);
  const auto *b = sourceLanes<Lane<B>>(warp, instr.ops[2]);
  alignas(64) Lane<R> r[kLanes];
  LANES r[lane] = toLane<R>(f(fromLane<A>(a[lane]), fromLane<B>(b[lane])));
  writeLanes(warp, instr.ops[0], r, mask);
}

template <class R, class A, class B, class C, class F>
INLINE void map3(Warp &warp, const Instr &instr, uint32_t mask, F f) {
  const auto *a = sourceLanes<Lane<A>>(warp, instr.ops[1]);
  const auto *b = sourceLanes<Lane<B>>(warp, instr.ops[2]);
  const auto *c = sourceLanes<Lane<C>>(warp, instr.ops[3]);
  alignas(64) Lane<R> r[kLanes];
  LANES r[lane] = toLane<R>(
      f(fromLane<A>(a[lane]), fromLane<B>(b[lane]), fromLane<C>(c[lane])));
  writeLanes(warp, instr.ops[0], r, mask);
}

template <class T> INLINE T minOf(T a, T b) { return b < a ? b : a; }
template <class T> INLINE T maxOf(T a, T b) { return a < b ? b : a; }

} // namespace
} // namespace cudasim
