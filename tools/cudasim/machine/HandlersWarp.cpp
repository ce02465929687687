//===- HandlersWarp.cpp - shuffles, votes and matrices --------------------===//
//
// The interpreter has gathered the lanes that the op waits for: `mask` holds
// exactly those that share one member mask.
//
// Long because: there is one handler for each op form.
//
//===----------------------------------------------------------------------===//

#include "tools/cudasim/machine/FloatKit.h"
#include "tools/cudasim/machine/HandlerPicks.h"

namespace cudasim {
namespace {

template <int Mode> // 0 up, 1 down, 2 bfly, 3 idx
void shuffle(Warp &warp, const Instr &instr, uint32_t mask) {
  const uint32_t *a = sourceLanes<uint32_t>(warp, instr.ops[2]);
  const uint32_t *b = sourceLanes<uint32_t>(warp, instr.ops[3]);
  const uint32_t *c = sourceLanes<uint32_t>(warp, instr.ops[4]);
  alignas(64) uint32_t r[kLanes], inRange[kLanes];
  uint32_t outside = 0;
  LANES {
    uint32_t by = b[lane] & 31, clamp = c[lane] & 31;
    uint32_t segment = c[lane] >> 8 & 31, self = uint32_t(lane);
    int32_t bound = int32_t((self & segment) | (clamp & ~segment));
    int32_t from;
    bool in;
    if (Mode == 0) {
      from = int32_t(self) - int32_t(by);
      in = from >= bound;
    } else {
      from = Mode == 1   ? int32_t(self + by)
             : Mode == 2 ? int32_t(self ^ by)
                         : int32_t((self & segment) | (by & ~segment));
      in = from <= bound;
    }
    uint32_t source = in ? uint32_t(from) & 31 : self;
    outside |= uint32_t(!(mask >> source & 1)) << lane;
    r[lane] = a[source];
    inRange[lane] = in;
  }
  if (warp.launch->checkSync && (outside & mask)) {
    faultWarp(warp, outside & mask, 719,
              "shfl.sync reads from a lane that takes no part in it");
    return;
  }
  writeLanes(warp, instr.ops[0], r, mask);
  writePredicate(warp, instr.ops[1], packBits(inRange), mask);
}

INLINE uint32_t votePredicate(Warp &warp, const Instr &instr) {
  uint32_t p = predicates(warp)[instr.ops[1]];
  return instr.flags & kNegatedPred ? ~p : p;
}
template <int Mode> // 0 all, 1 any, 2 uni
void vote(Warp &warp, const Instr &instr, uint32_t mask) {
  uint32_t p = votePredicate(warp, instr) & mask;
  bool r = Mode == 0 ? p == mask : Mode == 1 ? p != 0 : p == 0 || p == mask;
  writePredicate(warp, instr.ops[0], r ? kAllLanes : 0, mask);
}
INLINE void writeUniform(Warp &warp, Ref ref, uint32_t value, uint32_t mask) {
  alignas(64) uint32_t r[kLanes];
  LANES r[lane] = value;
  writeLanes(warp, ref, r, mask);
}
void ballot(Warp &warp, const Instr &instr, uint32_t mask) {
  writeUniform(warp, instr.ops[0], votePredicate(warp, instr) & mask, mask);
}

template <class L, bool All>
void matchLanes(Warp &warp, const Instr &instr, uint32_t mask) {
  const L *a = sourceLanes<L>(warp, instr.ops[2]);
  alignas(64) uint32_t r[kLanes];
  bool all = true;
  LANES {
    uint32_t same = 0;
    for (int other = 0; other < kLanes; ++other)
      same |= uint32_t(a[other] == a[lane]) << other;
    r[lane] = same & mask;
    all &= !(mask >> lane & 1) || r[lane] == mask;
  }
  if (All) {
    LANES r[lane] = all ? mask : 0;
    writePredicate(warp, instr.ops[1], all ? kAllLanes : 0, mask);
  }
  writeLanes(warp, instr.ops[0], r, mask);
}

template <int Mode> // 0 add, 1 and, 2 or, 3 xor, 4 minu, 5 maxu, 6 mins, 7 maxs
void redux(Warp &warp, const Instr &instr, uint32_t mask) {
  const uint32_t *a = sourceLanes<uint32_t>(warp, instr.ops[1]);
  bool first = true;
  uint32_t r = 0;
  LANES {
    if (!(mask >> lane & 1))
      continue;
    uint32_t v = a[lane];
    if (first)
      r = v;
    else if (Mode == 0)
      r += v;
    else if (Mode == 1)
      r &= v;
    else if (Mode == 2)
      r |= v;
    else if (Mode == 3)
      r ^= v;
    else if (Mode == 4)
      r = minOf(r, v);
    else if (Mode == 5)
      r = maxOf(r, v);
    else if (Mode == 6)
      r = uint32_t(minOf(int32_t(r), int32_t(v)));
    else
      r = uint32_t(maxOf(int32_t(r), int32_t(v)));
    first = false;
  }
  writeUniform(warp, instr.ops[0], r, mask);
}
/// sub: bit 0 max, bit 1 abs, bit 2 NaN wins.
void reduxFloat(Warp &warp, const Instr &instr, uint32_t mask) {
  const uint32_t *a = sourceLanes<uint32_t>(warp, instr.ops[1]);
  bool max = instr.sub & 1, absolute = instr.sub & 2, nanWins = instr.sub & 4;
  bool any = false, sawNan = false;
  float r = 0;
  LANES {
    if (!(mask >> lane & 1))
      continue;
    float v = floatOf(absolute ? a[lane] & 0x7FFFFFFF : a[lane]);
    if (v != v) {
      sawNan = true;
      continue;
    }
    // Minus zero is less than zero.
    bool less =
        v < r || (v == r && (bitsOfFloat(v) >> 31) && !(bitsOfFloat(r) >> 31));
    bool more =
        v > r || (v == r && !(bitsOfFloat(v) >> 31) && (bitsOfFloat(r) >> 31));
    if (!any || (max ? more : less))
      r = v;
    any = true;
  }
  uint32_t bits = !any || (sawNan && nanWins) ? 0x7FFFFFFF : bitsOfFloat(r);
  writeUniform(warp, instr.ops[0], bits, mask);
}
void activemask(Warp &warp, const Instr &instr, uint32_t mask) {
  writeUniform(warp, instr.ops[0], mask, mask);
}
void elect(Warp &warp, const Instr &instr, uint32_t mask) {
  if (!mask)
    return;
  uint32_t leader = uint32_t(__builtin_ctz(mask));
  writeUniform(warp, instr.ops[0], leader, mask);
  writePredicate(warp, instr.ops[1], uint32_t(1) << leader, mask);
}

//===--- ldmatrix, stmatrix, movmatrix --------------------------------------//

/// Host addresses of the rows, from the first 8 * count lanes.
INLINE bool rowAddresses(Warp &warp, const Instr &instr, AccessKind kind,
                         uint64_t *host) {
  int rows = 8 * instr.count;
  uint32_t giving = rows == 32 ? kAllLanes : (uint32_t(1) << rows) - 1;
  alignas(64) uint64_t addresses[kLanes];
  uint64_t offset = instr.imm;
  if (instr.flags & kAddress64) {
    const uint64_t *a = sourceLanes<uint64_t>(warp, instr.ops[6]);
    LANES addresses[lane] = a[lane] + offset;
  } else {
    const uint32_t *a = sourceLanes<uint32_t>(warp, instr.ops[6]);
    LANES addresses[lane] = uint32_t(a[lane] + uint32_t(offset));
  }
  uint64_t bad = 0, limit = uint64_t(warp.sharedBytes) - 16;
  LANES if (lane < rows) bad |=
      uint64_t(addresses[lane] > limit) | (addresses[lane] & 15);
  MemorySpace found = instr.space;
  if (found == MemorySpace::Shared && bad == 0 && warp.sharedBytes >= 16) {
    uint64_t base = reinterpret_cast<uint64_t>(warp.shared);
    LANES host[lane] = base + addresses[lane];
  } else if (!resolveAddresses(warp, instr, giving, addresses, 16, kind, host,
                               found)) {
    return false;
  }
  if (found != MemorySpace::Shared) {
    faultWarp(warp, giving, 717,
              "the rows of a matrix must lie in shared memory");
    return false;
  }
  if (warp.launch->observed) {
    Access access{kind, found, giving, 16, addresses};
    return observeAccess(warp, instr, access);
  }
  return true;
}

template <bool Trans>
void loadMatrix(Warp &warp, const Instr &instr, uint32_t mask) {
  alignas(64) uint64_t host[kLanes];
  if (!rowAddresses(warp, instr, AccessKind::Load, host))
    return;
  for (int m = 0; m < instr.count; ++m) {
    alignas(64) uint32_t r[kLanes];
    if (!Trans) {
      for (int row = 0; row < 8; ++row)
        __builtin_memcpy(r + 4 * row,
                         reinterpret_cast<const void *>(host[8 * m + row]), 16);
    } else {
      uint16_t t[8][8];
      for (int row = 0; row < 8; ++row)
        __builtin_memcpy(t[row],
                         reinterpret_cast<const void *>(host[8 * m + row]), 16);
      LANES {
        int column = lane >> 2, row = 2 * (lane & 3);
        r[lane] = uint32_t(t[row][column]) | uint32_t(t[row + 1][column]) << 16;
      }
    }
    writeLanes(warp, instr.ops[m], r, mask);
  }
}
template <bool Trans>
void storeMatrix(Warp &warp, const Instr &instr, uint32_t) {
  alignas(64) uint64_t host[kLanes];
  if (!rowAddresses(warp, instr, AccessKind::Store, host))
    return;
  for (int m = 0; m < instr.count; ++m) {
    const uint32_t *a = sourceLanes<uint32_t>(warp, instr.ops[m]);
    for (int row = 0; row < 8; ++row) {
      uint16_t line[8];
      for (int column = 0; column < 8; ++column) {
        int r = Trans ? column : row, c = Trans ? row : column;
        line[column] = uint16_t(a[4 * r + c / 2] >> (16 * (c & 1)));
      }
      __builtin_memcpy(reinterpret_cast<void *>(host[8 * m + row]), line, 16);
    }
  }
}
void moveMatrix(Warp &warp, const Instr &instr, uint32_t mask) {
  const uint32_t *a = sourceLanes<uint32_t>(warp, instr.ops[1]);
  alignas(64) uint32_t r[kLanes];
  LANES {
    // Result row lane/4, columns 2q and 2q+1, are the source's column.
    int row = lane >> 2, column = 2 * (lane & 3);
    auto at = [&](int i, int j) {
      return a[4 * i + j / 2] >> (16 * (j & 1)) & 0xFFFF;
    };
    r[lane] = at(column, row) | at(column + 1, row) << 16;
  }
  writeLanes(warp, instr.ops[0], r, mask);
}

//===--- mma ----------------------------------------------------------------//
//
// Every shape has 16 rows and 8 columns. A register of A holds E elements of
// row lane/4 (or of that row + 8), at k = 4*E*h + E*(lane%4) + 0..E-1; h counts
// the pairs of registers. B likewise by column. The accumulators hold columns
// 2*(lane%4) and the next. So for one k, a lane needs the A element of its own
// quad's lane q, and the B elements repeat from quad to quad.

typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));

template <int Q, class V> INLINE V quadLane(V v) {
  return __builtin_shufflevector(v, v, Q, Q, Q, Q, 4 + Q, 4 + Q, 4 + Q, 4 + Q,
                                 8 + Q, 8 + Q, 8 + Q, 8 + Q, 12 + Q, 12 + Q,
                                 12 + Q, 12 + Q);
}
INLINE Floats multiplyAdd(Floats a, Floats b, Floats c) {
  // Products of these formats are exact, so fused or not is the same.
#if defined(__FMA__) && defined(__clang__)
  return __builtin_elementwise_fma(a, b, c);
#else
  return a * b + c;
#endif
}
INLINE Ints multiplyAdd(Ints a, Ints b, Ints c) { return a * b + c; }

template <class V> struct ElementOf;
template <> struct ElementOf<Floats> {
  using type = float;
};
template <> struct ElementOf<Ints> {
  using type = int32_t;
};

/// A: [2*H][E][32], B: [H][E][32], sums: c0..c3, each of 32 lanes.
template <class V, int E, int H>
INLINE void multiply(const typename ElementOf<V>::type (*a)[E][kLanes],
                     const typename ElementOf<V>::type (*b)[E][kLanes],
                     typename ElementOf<V>::type (*sums)[kLanes]) {
  using T = typename ElementOf<V>::type;
  V acc[4][2];
  __builtin_memcpy(acc, sums, sizeof(acc));
  for (int h = 0; h < H; ++h) {
    for (int j = 0; j < E; ++j) {
      // B of this h and j: [q][even, odd][column / 2], each repeated for the
      // four quads of a vector.
      alignas(64) T bt[4][2][4];
      for (int n = 0; n < 8; ++n)
        for (int q = 0; q < 4; ++q)
          bt[q][n & 1][n >> 1] = b[h][j][4 * n + q];
      V low[2], high[2];
      __builtin_memcpy(low, a[2 * h][j], sizeof(low));
      __builtin_memcpy(high, a[2 * h + 1][j], sizeof(high));
      auto step = [&](int q, V l0, V l1, V h0,
                      V h1) __attribute__((always_inline)) {
        V even, odd;
        T *e = reinterpret_cast<T *>(&even), *o = reinterpret_cast<T *>(&odd);
        for (int i = 0; i < 16; ++i) {
          e[i] = bt[q][0][i & 3];
          o[i] = bt[q][1][i & 3];
        }
        acc[0][0] = multiplyAdd(l0, even, acc[0][0]);
        acc[0][1] = multiplyAdd(l1, even, acc[0][1]);
        acc[1][0] = multiplyAdd(l0, odd, acc[1][0]);
        acc[1][1] = multiplyAdd(l1, odd, acc[1][1]);
        acc[2][0] = multiplyAdd(h0, even, acc[2][0]);
        acc[2][1] = multiplyAdd(h1, even, acc[2][1]);
        acc[3][0] = multiplyAdd(h0, odd, acc[3][0]);
        acc[3][1] = multiplyAdd(h1, odd, acc[3][1]);
      };
      step(0, quadLane<0>(low[0]), quadLane<0>(low[1]), quadLane<0>(high[0]),
           quadLane<0>(high[1]));
      step(1, quadLane<1>(low[0]), quadLane<1>(low[1]), quadLane<1>(high[0]),
           quadLane<1>(high[1]));
      step(2, quadLane<2>(low[0]), quadLane<2>(low[1]), quadLane<2>(high[0]),
           quadLane<2>(high[1]));
      step(3, quadLane<3>(low[0]), quadLane<3>(low[1]), quadLane<3>(high[0]),
           quadLane<3>(high[1]));
    }
  }
  __builtin_memcpy(sums, acc, sizeof(acc));
}

/// An 8-bit float with `Mantissa` bits of mantissa as f32. e4m3 has no
/// infinity and one not-a-number, e5m2 is the upper byte of an f16.
template <bool E4> INLINE float fromFp8(uint32_t v) {
  if (!E4)
    return halfToFloat((v & 0xFF) << 8);
  uint32_t magnitude = v & 0x7F;
  // 2^120 moves the exponent from bias 7 to bias 127.
  float f = floatOf(magnitude << 20) * floatOf(0x7B800000);
  uint32_t bits = bitsOfFloat(f);
  if (magnitude == 0x7F)
    bits = 0x7FFFFFFF;
  return floatOf(bits | (v & 0x80) << 24);
}

enum class Mat { F16, BF16, TF32, E4M3, E5M2, S8, U8 };

template <Mat M, class T, int E>
INLINE void expand(const uint32_t *from, T (*to)[kLanes]) {
  if (M == Mat::F16) {
    LANES to[0][lane] = T(halfToFloat(from[lane] & 0xFFFF));
    LANES to[1 % E][lane] = T(halfToFloat(from[lane] >> 16));
  } else if (M == Mat::BF16) {
    LANES to[0][lane] = T(floatOf(from[lane] << 16));
    LANES to[1 % E][lane] = T(floatOf(from[lane] & 0xFFFF0000));
  } else if (M == Mat::TF32) {
    LANES to[0][lane] = T(floatOf(from[lane] & 0xFFFFE000));
  } else {
    for (int j = 0; j < E; ++j)
      LANES {
        uint32_t byte = from[lane] >> (8 * j) & 0xFF;
        to[j][lane] = M == Mat::E4M3   ? T(fromFp8<true>(byte))
                      : M == Mat::E5M2 ? T(fromFp8<false>(byte))
                      : M == Mat::S8   ? T(int8_t(byte))
                                       : T(byte);
      }
  }
}

/// extra: D, A, B, C registers. D and C have 4 f32 or s32 registers, or 2 of
/// packed f16.
template <Mat A, Mat B, int E, int H, bool HalfD, bool HalfC>
void mmaFloat(Warp &warp, const Instr &instr, uint32_t mask) {
  const Ref *extra = warp.launch->extra + instr.target;
  const Ref *d = extra, *a = d + (HalfD ? 2 : 4), *b = a + 2 * H, *c = b + H;
  alignas(64) float av[2 * H][E][kLanes], bv[H][E][kLanes], sums[4][kLanes];
  for (int i = 0; i < 2 * H; ++i)
    expand<A, float, E>(sourceLanes<uint32_t>(warp, a[i]), av[i]);
  for (int i = 0; i < H; ++i)
    expand<B, float, E>(sourceLanes<uint32_t>(warp, b[i]), bv[i]);
  for (int i = 0; i < (HalfC ? 2 : 4); ++i) {
    const uint32_t *from = sourceLanes<uint32_t>(warp, c[i]);
    if (HalfC) {
      LANES sums[2 * i][lane] = halfToFloat(from[lane] & 0xFFFF);
      LANES sums[(2 * i + 1) & 3][lane] = halfToFloat(from[lane] >> 16);
    } else {
      LANES sums[i][lane] = floatOf(from[lane]);
    }
  }
  multiply<Floats, E, H>(av, bv, sums);
  for (int i = 0; i < (HalfD ? 2 : 4); ++i) {
    alignas(64) uint32_t r[kLanes];
    if (HalfD)
      LANES r[lane] = floatToHalf(sums[2 * i][lane]) |
                      floatToHalf(sums[(2 * i + 1) & 3][lane]) << 16;
    else
      LANES r[lane] = bitsOfFloat(canonical(sums[i][lane]));
    writeLanes(warp, d[i], r, mask);
  }
}
template <Mat A, Mat B, int H>
void mmaInt(Warp &warp, const Instr &instr, uint32_t mask) {
  const Ref *extra = warp.launch->extra + instr.target;
  const Ref *d = extra, *a = d + 4, *b = a + 2 * H, *c = b + H;
  alignas(64) int32_t av[2 * H][4][kLanes], bv[H][4][kLanes], sums[4][kLanes];
  for (int i = 0; i < 2 * H; ++i)
    expand<A, int32_t, 4>(sourceLanes<uint32_t>(warp, a[i]), av[i]);
  for (int i = 0; i < H; ++i)
    expand<B, int32_t, 4>(sourceLanes<uint32_t>(warp, b[i]), bv[i]);
  __builtin_memset(sums, 0, sizeof(sums));
  multiply<Ints, 4, H>(av, bv, sums);
  bool clamp = instr.sub;
  // All of C is read before any of D is written: they may share registers.
  alignas(64) uint32_t results[4][kLanes];
  for (int i = 0; i < 4; ++i) {
    const uint32_t *from = sourceLanes<uint32_t>(warp, c[i]);
    uint32_t *r = results[i];
    LANES {
      int64_t exact = int64_t(sums[i][lane]) + int32_t(from[lane]);
      int64_t held = exact > INT32_MAX   ? INT32_MAX
                     : exact < INT32_MIN ? INT32_MIN
                                         : exact;
      r[lane] = uint32_t(clamp ? held : exact);
    }
  }
  for (int i = 0; i < 4; ++i)
    writeLanes(warp, d[i], results[i], mask);
}

template <Mat A, Mat B, int E, int H>
Handler accumulators(const FormKey &key, bool halfs) {
  if (!halfs)
    return mmaFloat<A, B, E, H, false, false>;
  bool d = key.types[0] == Ty::F16, c = key.types[3] == Ty::F16;
  if (d)
    return c ? mmaFloat<A, B, E, H, true, true>
             : mmaFloat<A, B, E, H, true, false>;
  return c ? mmaFloat<A, B, E, H, false, true>
           : mmaFloat<A, B, E, H, false, false>;
}
template <int H> Handler pickFp8(const FormKey &key) {
  bool a = key.types[1] == Ty::E4M3, b = key.types[2] == Ty::E4M3;
  bool halfs = key.types[0] == Ty::F16 || key.types[3] == Ty::F16;
  if (a)
    return b ? accumulators<Mat::E4M3, Mat::E4M3, 4, H>(key, halfs)
             : accumulators<Mat::E4M3, Mat::E5M2, 4, H>(key, halfs);
  return b ? accumulators<Mat::E5M2, Mat::E4M3, 4, H>(key, halfs)
           : accumulators<Mat::E5M2, Mat::E5M2, 4, H>(key, halfs);
}
template <int H> Handler pickInt8(const FormKey &key) {
  bool a = key.types[1] == Ty::S8, b = key.types[2] == Ty::S8;
  if (a)
    return b ? mmaInt<Mat::S8, Mat::S8, H> : mmaInt<Mat::S8, Mat::U8, H>;
  return b ? mmaInt<Mat::U8, Mat::S8, H> : mmaInt<Mat::U8, Mat::U8, H>;
}

/// key.count is k.
Handler pickMma(const FormKey &key) {
  switch (key.types[1]) {
  case Ty::BF16:
    return key.count == 8 ? mmaFloat<Mat::BF16, Mat::BF16, 2, 1, false, false>
                          : mmaFloat<Mat::BF16, Mat::BF16, 2, 2, false, false>;
  case Ty::F16:
    return key.count == 8 ? accumulators<Mat::F16, Mat::F16, 2, 1>(key, true)
                          : accumulators<Mat::F16, Mat::F16, 2, 2>(key, true);
  case Ty::TF32:
    return key.count == 4 ? mmaFloat<Mat::TF32, Mat::TF32, 1, 1, false, false>
                          : mmaFloat<Mat::TF32, Mat::TF32, 1, 2, false, false>;
  case Ty::E4M3:
  case Ty::E5M2:
    return key.count == 16 ? pickFp8<1>(key) : pickFp8<2>(key);
  case Ty::S8:
  case Ty::U8:
    return key.count == 16 ? pickInt8<1>(key) : pickInt8<2>(key);
  default:
    return nullptr;
  }
}

Handler pickRedux(const FormKey &key) {
  if (key.types[0] == Ty::F32)
    return reduxFloat;
  bool isSigned = key.types[0] == Ty::S32;
  switch (key.sub) {
  case 0:
    return redux<0>;
  case 1:
    return redux<1>;
  case 2:
    return redux<2>;
  case 3:
    return redux<3>;
  case 4:
    return isSigned ? redux<6> : redux<4>;
  default:
    return isSigned ? redux<7> : redux<5>;
  }
}

Handler pick(const FormKey &key) {
  switch (key.op) {
  case Op::Shfl:
    return key.sub == 0   ? shuffle<0>
           : key.sub == 1 ? shuffle<1>
           : key.sub == 2 ? shuffle<2>
                          : shuffle<3>;
  case Op::Vote:
    return key.sub == 0   ? vote<0>
           : key.sub == 1 ? vote<1>
           : key.sub == 2 ? vote<2>
                          : ballot;
  case Op::Match: {
    bool wide = key.types[0] == Ty::B64;
    if (key.sub)
      return wide ? matchLanes<uint64_t, true> : matchLanes<uint32_t, true>;
    return wide ? matchLanes<uint64_t, false> : matchLanes<uint32_t, false>;
  }
  case Op::Redux:
    return pickRedux(key);
  case Op::Activemask:
    return activemask;
  case Op::Elect:
    return elect;
  case Op::Ldmatrix:
    return key.trans ? loadMatrix<true> : loadMatrix<false>;
  case Op::Stmatrix:
    return key.trans ? storeMatrix<true> : storeMatrix<false>;
  case Op::Movmatrix:
    return moveMatrix;
  case Op::Mma:
    return pickMma(key);
  default:
    return nullptr;
  }
}

} // namespace

Handler CUDASIM_ISA::pickWarp(const FormKey &key) { return pick(key); }

} // namespace cudasim
