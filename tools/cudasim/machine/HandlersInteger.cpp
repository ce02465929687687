//===- HandlersInteger.cpp - integers, bits and predicates ----------------===//
//
// Long because: there is one handler for each op form.
//
//===----------------------------------------------------------------------===//

#include "tools/cudasim/machine/HandlerKit.h"
#include "tools/cudasim/machine/HandlerPicks.h"

namespace cudasim {
namespace {

template <class T> struct Wider;
template <> struct Wider<uint16_t> {
  using type = uint32_t;
};
template <> struct Wider<int16_t> {
  using type = int32_t;
};
template <> struct Wider<uint32_t> {
  using type = uint64_t;
};
template <> struct Wider<int32_t> {
  using type = int64_t;
};
template <> struct Wider<uint64_t> {
  using type = unsigned __int128;
};
template <> struct Wider<int64_t> {
  using type = __int128;
};

template <class T> constexpr bool kSigned = T(-1) < T(0);

template <class T> INLINE T highProduct(T a, T b) {
  using W = typename Wider<T>::type;
  return T(W(W(a) * W(b)) >> (8 * sizeof(T)));
}
/// Wraps; 16-bit operands would be promoted to int and could overflow.
template <class T> INLINE T lowProduct(T a, T b) {
  return T(uint64_t(Bits<T>(a)) * uint64_t(Bits<T>(b)));
}
template <class T> INLINE T wrapAdd(T a, T b) {
  return T(Bits<T>(a) + Bits<T>(b));
}
template <class T> INLINE T wrapSub(T a, T b) {
  return T(Bits<T>(a) - Bits<T>(b));
}
INLINE int32_t saturate32(int64_t v) {
  return v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : int32_t(v);
}

// A quotient by zero has all bits set, as the hardware's code yields; the
// documentation leaves it open.
template <class T> INLINE T quotient(T a, T b) {
  if (b == 0)
    return T(-1);
  if (kSigned<T> && b == T(-1))
    return wrapSub(T(0), a);
  return T(a / b);
}
template <class T> INLINE T remainder(T a, T b) {
  if (b == 0)
    return a;
  if (kSigned<T> && b == T(-1))
    return T(0);
  return T(a % b);
}

struct AddF {
  template <class T> INLINE T at(T a, T b) { return wrapAdd(a, b); }
};
struct SubF {
  template <class T> INLINE T at(T a, T b) { return wrapSub(a, b); }
};
struct MulLoF {
  template <class T> INLINE T at(T a, T b) { return lowProduct(a, b); }
};
struct MulHiF {
  template <class T> INLINE T at(T a, T b) { return highProduct(a, b); }
};
struct DivF {
  template <class T> INLINE T at(T a, T b) { return quotient(a, b); }
};
struct RemF {
  template <class T> INLINE T at(T a, T b) { return remainder(a, b); }
};
struct MinF {
  template <class T> INLINE T at(T a, T b) { return minOf(a, b); }
};
struct MaxF {
  template <class T> INLINE T at(T a, T b) { return maxOf(a, b); }
};
struct AndF {
  template <class T> INLINE T at(T a, T b) { return a & b; }
};
struct OrF {
  template <class T> INLINE T at(T a, T b) { return a | b; }
};
struct XorF {
  template <class T> INLINE T at(T a, T b) { return a ^ b; }
};
struct AddSatF {
  INLINE int32_t at(int32_t a, int32_t b) { return saturate32(int64_t(a) + b); }
};
struct SubSatF {
  INLINE int32_t at(int32_t a, int32_t b) { return saturate32(int64_t(a) - b); }
};
struct MinReluF {
  INLINE int32_t at(int32_t a, int32_t b) { return maxOf(minOf(a, b), 0); }
};
struct MaxReluF {
  INLINE int32_t at(int32_t a, int32_t b) { return maxOf(maxOf(a, b), 0); }
};
template <class F> struct PairsOf {
  template <class T> INLINE uint32_t both(uint32_t a, uint32_t b) {
    uint16_t lo = uint16_t(F::at(T(a), T(b)));
    uint16_t hi = uint16_t(F::at(T(a >> 16), T(b >> 16)));
    return uint32_t(lo) | uint32_t(hi) << 16;
  }
};
struct ReluMin16 {
  INLINE int16_t at(int16_t a, int16_t b) {
    return maxOf<int16_t>(minOf(a, b), 0);
  }
};
struct ReluMax16 {
  INLINE int16_t at(int16_t a, int16_t b) {
    return maxOf<int16_t>(maxOf(a, b), 0);
  }
};

template <class T, class F>
void binary(Warp &warp, const Instr &instr, uint32_t mask) {
  map2<T, T, T>(warp, instr, mask, [](T a, T b) { return F::at(a, b); });
}
template <class T, class F>
void binaryPairs(Warp &warp, const Instr &instr, uint32_t mask) {
  map2<uint32_t, uint32_t, uint32_t>(
      warp, instr, mask, [](uint32_t a, uint32_t b) {
        return PairsOf<F>::template both<T>(a, b);
      });
}

template <class F> Handler byType(Ty type) {
  switch (type) {
  case Ty::U16:
  case Ty::B16:
    return binary<uint16_t, F>;
  case Ty::S16:
    return binary<int16_t, F>;
  case Ty::U32:
  case Ty::B32:
    return binary<uint32_t, F>;
  case Ty::S32:
    return binary<int32_t, F>;
  case Ty::U64:
  case Ty::B64:
    return binary<uint64_t, F>;
  case Ty::S64:
    return binary<int64_t, F>;
  default:
    return nullptr;
  }
}
/// For ops whose result does not depend on the sign.
template <class F> Handler byWidth(Ty type) {
  switch (type) {
  case Ty::U16:
  case Ty::S16:
  case Ty::B16:
    return binary<uint16_t, F>;
  case Ty::U32:
  case Ty::S32:
  case Ty::B32:
    return binary<uint32_t, F>;
  case Ty::U64:
  case Ty::S64:
  case Ty::B64:
    return binary<uint64_t, F>;
  default:
    return nullptr;
  }
}

template <class T, bool Hi>
void mad(Warp &warp, const Instr &instr, uint32_t mask) {
  map3<T, T, T, T>(warp, instr, mask, [](T a, T b, T c) {
    return wrapAdd(Hi ? highProduct(a, b) : lowProduct(a, b), c);
  });
}
void madHiSat(Warp &warp, const Instr &instr, uint32_t mask) {
  map3<int32_t, int32_t, int32_t, int32_t>(
      warp, instr, mask, [](int32_t a, int32_t b, int32_t c) {
        return saturate32(int64_t(highProduct(a, b)) + c);
      });
}
template <class T> void mulWide(Warp &warp, const Instr &instr, uint32_t mask) {
  using W = typename Wider<T>::type;
  map2<W, T, T>(warp, instr, mask, [](T a, T b) { return W(a) * W(b); });
}
template <class T> void madWide(Warp &warp, const Instr &instr, uint32_t mask) {
  using W = typename Wider<T>::type;
  map3<W, T, T, W>(warp, instr, mask,
                   [](T a, T b, W c) { return wrapAdd(W(W(a) * W(b)), c); });
}
template <class T, bool Hi>
void mul24(Warp &warp, const Instr &instr, uint32_t mask) {
  map2<T, T, T>(warp, instr, mask, [](T a, T b) {
    constexpr int drop = 8;
    int64_t x = T(uint32_t(a) << drop) >> drop;
    int64_t y = T(uint32_t(b) << drop) >> drop;
    return T(Hi ? (x * y) >> 16 : x * y);
  });
}
template <class T, bool Hi>
void mad24(Warp &warp, const Instr &instr, uint32_t mask) {
  map3<T, T, T, T>(warp, instr, mask, [](T a, T b, T c) {
    constexpr int drop = 8;
    int64_t x = T(uint32_t(a) << drop) >> drop;
    int64_t y = T(uint32_t(b) << drop) >> drop;
    return wrapAdd(T(Hi ? (x * y) >> 16 : x * y), c);
  });
}
template <class T> void sad(Warp &warp, const Instr &instr, uint32_t mask) {
  map3<T, T, T, T>(warp, instr, mask, [](T a, T b, T c) {
    return wrapAdd(c, a < b ? wrapSub(b, a) : wrapSub(a, b));
  });
}
template <class T>
void absolute(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<T, T>(warp, instr, mask,
             [](T a) { return a < 0 ? wrapSub(T(0), a) : a; });
}
template <class T> void negate(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<T, T>(warp, instr, mask, [](T a) { return wrapSub(T(0), a); });
}

template <class T> void popc(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<uint32_t, T>(warp, instr, mask, [](T a) {
    return uint32_t(sizeof(T) == 8 ? __builtin_popcountll(a)
                                   : __builtin_popcount(uint32_t(a)));
  });
}
template <class T> void clz(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<uint32_t, T>(warp, instr, mask, [](T a) {
    if (a == 0)
      return uint32_t(8 * sizeof(T));
    return uint32_t(sizeof(T) == 8 ? __builtin_clzll(a)
                                   : __builtin_clz(uint32_t(a)));
  });
}
template <class T, bool Shift>
void bfind(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<uint32_t, T>(warp, instr, mask, [](T a) {
    constexpr uint32_t top = 8 * sizeof(T) - 1;
    Bits<T> bits = kSigned<T> && a < T(0) ? ~Bits<T>(a) : Bits<T>(a);
    if (bits == 0)
      return ~uint32_t(0);
    uint32_t zeros = uint32_t(sizeof(T) == 8 ? __builtin_clzll(bits)
                                             : __builtin_clz(uint32_t(bits)));
    return Shift ? zeros : top - zeros;
  });
}
template <class T> void brev(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<T, T>(warp, instr, mask, [](T a) {
    T v = a;
    constexpr T m1 = T(0x5555555555555555ull), m2 = T(0x3333333333333333ull),
                m4 = T(0x0F0F0F0F0F0F0F0Full);
    v = T((v >> 1) & m1) | T((v & m1) << 1);
    v = T((v >> 2) & m2) | T((v & m2) << 2);
    v = T((v >> 4) & m4) | T((v & m4) << 4);
    return T(sizeof(T) == 8 ? T(__builtin_bswap64(v))
                            : T(__builtin_bswap32(uint32_t(v))));
  });
}
template <class T> void bitNot(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<T, T>(warp, instr, mask, [](T a) { return T(~a); });
}
template <class T> void cnot(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<T, T>(warp, instr, mask, [](T a) { return T(a == 0); });
}

template <class T> void shl(Warp &warp, const Instr &instr, uint32_t mask) {
  map2<T, T, uint32_t>(warp, instr, mask, [](T a, uint32_t by) {
    constexpr uint32_t bits = 8 * sizeof(T);
    return by >= bits ? T(0) : T(a << (by & (bits - 1)));
  });
}
template <class T> void shr(Warp &warp, const Instr &instr, uint32_t mask) {
  map2<T, T, uint32_t>(warp, instr, mask, [](T a, uint32_t by) {
    constexpr uint32_t top = 8 * sizeof(T) - 1;
    if (!kSigned<T> && by > top)
      return T(0);
    return T(a >> (by > top ? top : by));
  });
}
template <bool Right, bool Wrap>
void shf(Warp &warp, const Instr &instr, uint32_t mask) {
  map3<uint32_t, uint32_t, uint32_t, uint32_t>(
      warp, instr, mask, [](uint32_t a, uint32_t b, uint32_t by) {
        uint32_t n = Wrap ? by & 31 : (by > 32 ? 32 : by);
        uint64_t both = uint64_t(b) << 32 | a;
        return Right ? uint32_t(both >> n) : uint32_t((both << n) >> 32);
      });
}

template <class T> void bfe(Warp &warp, const Instr &instr, uint32_t mask) {
  map3<T, T, uint32_t, uint32_t>(
      warp, instr, mask, [](T a, uint32_t position, uint32_t length) {
        constexpr uint32_t bits = 8 * sizeof(T);
        uint32_t p = position & 0xFF, n = length & 0xFF;
        using U = Bits<T>;
        if (n == 0)
          return T(0);
        uint32_t signAt = p + n - 1 < bits - 1 ? p + n - 1 : bits - 1;
        bool sign = kSigned<T> && (U(a) >> signAt & 1);
        U fill = sign ? ~U(0) : U(0);
        U value = p >= bits ? fill : U(U(a) >> p);
        // Bits from beyond the top are the sign.
        if (p < bits && p > 0)
          value |= fill << (bits - p);
        if (n < bits)
          value = (value & ((U(1) << n) - 1)) | (fill & ~((U(1) << n) - 1));
        return T(value);
      });
}
template <class T> void bfi(Warp &warp, const Instr &instr, uint32_t mask) {
  const auto *a = sourceLanes<T>(warp, instr.ops[1]);
  const auto *b = sourceLanes<T>(warp, instr.ops[2]);
  const auto *c = sourceLanes<uint32_t>(warp, instr.ops[3]);
  const auto *d = sourceLanes<uint32_t>(warp, instr.ops[4]);
  alignas(64) T r[kLanes];
  LANES {
    constexpr uint32_t bits = 8 * sizeof(T);
    uint32_t p = c[lane] & 0xFF, n = d[lane] & 0xFF;
    T field = n >= bits ? T(~T(0)) : T((T(1) << (n & (bits - 1))) - 1);
    T insert = p >= bits ? T(0) : T(field << (p & (bits - 1)));
    T value = p >= bits ? T(0) : T(a[lane] << (p & (bits - 1)));
    r[lane] = (b[lane] & ~insert) | (value & insert);
  }
  writeLanes(warp, instr.ops[0], r, mask);
}
template <bool Wrap> void bmsk(Warp &warp, const Instr &instr, uint32_t mask) {
  map2<uint32_t, uint32_t, uint32_t>(
      warp, instr, mask, [](uint32_t a, uint32_t b) {
        if (Wrap) {
          uint32_t p = a & 31, n = b & 31;
          return uint32_t(((uint64_t(1) << n) - 1) << p);
        }
        uint32_t p = a > 32 ? 32 : a, n = b > 32 ? 32 : b;
        return uint32_t(((uint64_t(1) << n) - 1) << p);
      });
}
template <bool Wrap, bool IsSigned>
void szext(Warp &warp, const Instr &instr, uint32_t mask) {
  map2<uint32_t, uint32_t, uint32_t>(
      warp, instr, mask, [](uint32_t a, uint32_t b) {
        uint32_t n = Wrap ? b & 31 : b;
        if (n >= 32)
          return a;
        if (n == 0)
          return uint32_t(0);
        uint32_t field = (uint32_t(1) << n) - 1;
        bool sign = IsSigned && (a >> (n - 1) & 1);
        return sign ? a | ~field : a & field;
      });
}

INLINE int32_t byteOf(uint32_t v, int k, bool isSigned) {
  uint8_t b = uint8_t(v >> (8 * k));
  return isSigned ? int8_t(b) : b;
}
template <bool SignedA, bool SignedB>
void dp4a(Warp &warp, const Instr &instr, uint32_t mask) {
  map3<uint32_t, uint32_t, uint32_t, uint32_t>(
      warp, instr, mask, [](uint32_t a, uint32_t b, uint32_t c) {
        for (int k = 0; k < 4; ++k)
          c += uint32_t(byteOf(a, k, SignedA) * byteOf(b, k, SignedB));
        return c;
      });
}
template <bool SignedA, bool SignedB>
void dp2a(Warp &warp, const Instr &instr, uint32_t mask) {
  int first = instr.sub ? 2 : 0; // .hi takes the upper bytes of b
  map3<uint32_t, uint32_t, uint32_t, uint32_t>(
      warp, instr, mask, [first](uint32_t a, uint32_t b, uint32_t c) {
        for (int k = 0; k < 2; ++k) {
          uint16_t half = uint16_t(a >> (16 * k));
          int32_t x = SignedA ? int16_t(half) : int32_t(half);
          c += uint32_t(x * byteOf(b, first + k, SignedB));
        }
        return c;
      });
}

/// The carry bit of each lane is set by .cc forms and read by addc, subc, madc.
template <class T, bool Reads, bool Subtract>
void carryAdd(Warp &warp, const Instr &instr, uint32_t mask) {
  const auto *a = sourceLanes<T>(warp, instr.ops[1]);
  const auto *b = sourceLanes<T>(warp, instr.ops[2]);
  alignas(64) T r[kLanes];
  uint32_t out = 0;
  LANES {
    // Subtraction borrows: carry set means a borrow.
    T in = Reads ? T(warp.carry >> lane & 1) : T(0);
    T x = a[lane], y = b[lane], s;
    bool c;
    if (Subtract) {
      T t = x - y;
      s = t - in;
      c = x < y || t < in;
    } else {
      T t = x + y;
      s = t + in;
      c = t < x || s < t;
    }
    r[lane] = s;
    out |= uint32_t(c) << lane;
  }
  writeLanes(warp, instr.ops[0], r, mask);
  if (instr.sub)
    warp.carry = (warp.carry & ~mask) | (out & mask);
}
template <class T, bool Reads>
void carryMad(Warp &warp, const Instr &instr, uint32_t mask) {
  using U = Bits<T>;
  const auto *a = sourceLanes<U>(warp, instr.ops[1]);
  const auto *b = sourceLanes<U>(warp, instr.ops[2]);
  const auto *c = sourceLanes<U>(warp, instr.ops[3]);
  bool hi = instr.rounding != Rounding::None; // the decoder's mark for .hi
  alignas(64) U r[kLanes];
  uint32_t out = 0;
  LANES {
    U p = hi ? U(highProduct(T(a[lane]), T(b[lane])))
             : U(lowProduct(T(a[lane]), T(b[lane])));
    U in = Reads ? U(warp.carry >> lane & 1) : U(0);
    U t = p + c[lane], s = t + in;
    r[lane] = s;
    out |= uint32_t(t < p || s < t) << lane;
  }
  writeLanes(warp, instr.ops[0], r, mask);
  if (instr.sub)
    warp.carry = (warp.carry & ~mask) | (out & mask);
}

void lop3(Warp &warp, const Instr &instr, uint32_t mask) {
  uint32_t table = uint32_t(instr.imm);
  map3<uint32_t, uint32_t, uint32_t, uint32_t>(
      warp, instr, mask, [table](uint32_t a, uint32_t b, uint32_t c) {
        uint32_t r = 0;
        for (uint32_t k = 0; k < 8; ++k) {
          uint32_t term =
              (k & 4 ? a : ~a) & (k & 2 ? b : ~b) & (k & 1 ? c : ~c);
          r |= table >> k & 1 ? term : 0;
        }
        return r;
      });
}

void prmt(Warp &warp, const Instr &instr, uint32_t mask) {
  map3<uint32_t, uint32_t, uint32_t, uint32_t>(
      warp, instr, mask, [](uint32_t a, uint32_t b, uint32_t select) {
        uint64_t both = uint64_t(b) << 32 | a;
        uint32_t r = 0;
        for (int k = 0; k < 4; ++k) {
          uint32_t s = select >> (4 * k) & 0xF;
          uint32_t byte = uint32_t(both >> (8 * (s & 7))) & 0xFF;
          if (s & 8)
            byte = byte & 0x80 ? 0xFF : 0;
          r |= byte << (8 * k);
        }
        return r;
      });
}
void prmtMode(Warp &warp, const Instr &instr, uint32_t mask) {
  uint8_t mode = instr.sub;
  map3<uint32_t, uint32_t, uint32_t, uint32_t>(
      warp, instr, mask, [mode](uint32_t a, uint32_t b, uint32_t select) {
        uint64_t both = uint64_t(b) << 32 | a;
        int s = int(select & 3);
        uint32_t r = 0;
        for (int k = 0; k < 4; ++k) {
          int from = 0;
          switch (mode) {
          case 1: // f4e
            from = s + k;
            break;
          case 2: // b4e
            from = (s - k) & 7;
            break;
          case 3: // rc8
            from = s;
            break;
          case 4: // ecl
            from = k > s ? k : s;
            break;
          case 5: // ecr
            from = k < s ? k : s;
            break;
          default: // rc16
            from = (s & 1) * 2 + (k & 1);
            break;
          }
          r |= (uint32_t(both >> (8 * from)) & 0xFF) << (8 * k);
        }
        return r;
      });
}

//===--- predicates ---------------------------------------------------------//

void predAnd(Warp &warp, const Instr &instr, uint32_t mask) {
  const uint32_t *p = predicates(warp);
  writePredicate(warp, instr.ops[0], p[instr.ops[1]] & p[instr.ops[2]], mask);
}
void predOr(Warp &warp, const Instr &instr, uint32_t mask) {
  const uint32_t *p = predicates(warp);
  writePredicate(warp, instr.ops[0], p[instr.ops[1]] | p[instr.ops[2]], mask);
}
void predXor(Warp &warp, const Instr &instr, uint32_t mask) {
  const uint32_t *p = predicates(warp);
  writePredicate(warp, instr.ops[0], p[instr.ops[1]] ^ p[instr.ops[2]], mask);
}
void predNot(Warp &warp, const Instr &instr, uint32_t mask) {
  writePredicate(warp, instr.ops[0], ~predicates(warp)[instr.ops[1]], mask);
}
void predMove(Warp &warp, const Instr &instr, uint32_t mask) {
  uint32_t bits = predicates(warp)[instr.ops[1]];
  if (instr.flags & kNegatedPred)
    bits = ~bits;
  writePredicate(warp, instr.ops[0], bits, mask);
}

template <class T, class F>
void compareInto(Warp &warp, const Instr &instr, uint32_t mask) {
  const auto *a = sourceLanes<Lane<T>>(warp, instr.ops[2]);
  const auto *b = sourceLanes<Lane<T>>(warp, instr.ops[3]);
  alignas(64) uint32_t flags[kLanes];
  LANES flags[lane] =
      F::at(fromLane<T>(a[lane]), fromLane<T>(b[lane])) ? 1u : 0u;
  uint32_t bits = packBits(flags), other = ~bits;
  if (instr.sub) {
    uint32_t q = predicates(warp)[instr.ops[4]];
    if (instr.flags & kNegatedPred)
      q = ~q;
    bits = instr.sub == 1 ? bits & q : instr.sub == 2 ? bits | q : bits ^ q;
    other = instr.sub == 1 ? other & q : instr.sub == 2 ? other | q : other ^ q;
  }
  writePredicate(warp, instr.ops[0], bits, mask);
  writePredicate(warp, instr.ops[1], other, mask);
}
struct EqF {
  template <class T> INLINE bool at(T a, T b) { return a == b; }
};
struct NeF {
  template <class T> INLINE bool at(T a, T b) { return a != b; }
};
struct LtF {
  template <class T> INLINE bool at(T a, T b) { return a < b; }
};
struct LeF {
  template <class T> INLINE bool at(T a, T b) { return a <= b; }
};
struct GtF {
  template <class T> INLINE bool at(T a, T b) { return a > b; }
};
struct GeF {
  template <class T> INLINE bool at(T a, T b) { return a >= b; }
};

template <class T> Handler pickCompare(Compare compare) {
  switch (compare) {
  case Compare::EQ:
    return compareInto<T, EqF>;
  case Compare::NE:
    return compareInto<T, NeF>;
  case Compare::LT:
  case Compare::LO:
    return compareInto<T, LtF>;
  case Compare::LE:
  case Compare::LS:
    return compareInto<T, LeF>;
  case Compare::GT:
  case Compare::HI:
    return compareInto<T, GtF>;
  case Compare::GE:
  case Compare::HS:
    return compareInto<T, GeF>;
  default:
    return nullptr;
  }
}
Handler pickSetp(const FormKey &key) {
  // lo, ls, hi, hs compare without sign whatever the type.
  bool plain = key.compare < Compare::LO;
  switch (key.types[0]) {
  case Ty::B16:
  case Ty::U16:
    return pickCompare<uint16_t>(key.compare);
  case Ty::S16:
    return plain ? pickCompare<int16_t>(key.compare)
                 : pickCompare<uint16_t>(key.compare);
  case Ty::B32:
  case Ty::U32:
    return pickCompare<uint32_t>(key.compare);
  case Ty::S32:
    return plain ? pickCompare<int32_t>(key.compare)
                 : pickCompare<uint32_t>(key.compare);
  case Ty::B64:
  case Ty::U64:
    return pickCompare<uint64_t>(key.compare);
  case Ty::S64:
    return plain ? pickCompare<int64_t>(key.compare)
                 : pickCompare<uint64_t>(key.compare);
  default:
    return nullptr;
  }
}

template <class L> void selp(Warp &warp, const Instr &instr, uint32_t mask) {
  const L *a = sourceLanes<L>(warp, instr.ops[1]);
  const L *b = sourceLanes<L>(warp, instr.ops[2]);
  uint32_t q = predicates(warp)[instr.ops[3]];
  if (instr.flags & kNegatedPred)
    q = ~q;
  alignas(64) L r[kLanes];
  LANES r[lane] = q >> lane & 1 ? a[lane] : b[lane];
  writeLanes(warp, instr.ops[0], r, mask);
}
template <class L, bool Float>
void slct(Warp &warp, const Instr &instr, uint32_t mask) {
  const L *a = sourceLanes<L>(warp, instr.ops[1]);
  const L *b = sourceLanes<L>(warp, instr.ops[2]);
  const uint32_t *c = sourceLanes<uint32_t>(warp, instr.ops[3]);
  bool flush = instr.flags & kFtz;
  alignas(64) L r[kLanes];
  LANES {
    bool first;
    if (Float) {
      uint32_t bits = c[lane];
      if (flush && (bits & 0x7F800000) == 0)
        bits &= 0x80000000;
      // Not-a-number selects b; minus zero counts as zero.
      first = bitCast<float>(bits) >= 0.0f;
    } else {
      first = int32_t(c[lane]) >= 0;
    }
    r[lane] = first ? a[lane] : b[lane];
  }
  writeLanes(warp, instr.ops[0], r, mask);
}

template <class L> void move(Warp &warp, const Instr &instr, uint32_t mask) {
  const L *a = sourceLanes<L>(warp, instr.ops[1]);
  writeLanes(warp, instr.ops[0], a, mask);
}
void move16(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<uint16_t, uint16_t>(warp, instr, mask, [](uint16_t a) { return a; });
}

bool wide(Ty type) {
  switch (type) {
  case Ty::B64:
  case Ty::U64:
  case Ty::S64:
  case Ty::F64:
  case Ty::F32x2:
    return true;
  default:
    return false;
  }
}
bool isSignedTy(Ty type) {
  return type == Ty::S8 || type == Ty::S16 || type == Ty::S32 ||
         type == Ty::S64;
}

#define BY_INT(FUNCTION)                                                       \
  switch (t) {                                                                 \
  case Ty::U16:                                                                \
    return FUNCTION<uint16_t>;                                                 \
  case Ty::S16:                                                                \
    return FUNCTION<int16_t>;                                                  \
  case Ty::U32:                                                                \
    return FUNCTION<uint32_t>;                                                 \
  case Ty::S32:                                                                \
    return FUNCTION<int32_t>;                                                  \
  case Ty::U64:                                                                \
    return FUNCTION<uint64_t>;                                                 \
  case Ty::S64:                                                                \
    return FUNCTION<int64_t>;                                                  \
  default:                                                                     \
    return nullptr;                                                            \
  }
#define BY_INT_2(FUNCTION, SECOND)                                             \
  switch (t) {                                                                 \
  case Ty::U16:                                                                \
    return FUNCTION<uint16_t, SECOND>;                                         \
  case Ty::S16:                                                                \
    return FUNCTION<int16_t, SECOND>;                                          \
  case Ty::U32:                                                                \
    return FUNCTION<uint32_t, SECOND>;                                         \
  case Ty::S32:                                                                \
    return FUNCTION<int32_t, SECOND>;                                          \
  case Ty::U64:                                                                \
    return FUNCTION<uint64_t, SECOND>;                                         \
  case Ty::S64:                                                                \
    return FUNCTION<int64_t, SECOND>;                                          \
  default:                                                                     \
    return nullptr;                                                            \
  }

Handler pickMad(Ty t, bool hi) {
  if (hi)
    BY_INT_2(mad, true)
  BY_INT_2(mad, false)
}
Handler pickSad(Ty t){BY_INT(sad)}

Handler pick(const FormKey &key) {
  Ty t = key.types[0];
  bool is64 = wide(t);
  switch (key.op) {
  case Op::Add:
    if (t == Ty::U16x2 || t == Ty::S16x2)
      return binaryPairs<uint16_t, AddF>;
    if (key.sat && t == Ty::S32)
      return binary<int32_t, AddSatF>;
    return byWidth<AddF>(t);
  case Op::Sub:
    if (key.sat && t == Ty::S32)
      return binary<int32_t, SubSatF>;
    return byWidth<SubF>(t);
  case Op::AddCc:
    return is64 ? carryAdd<uint64_t, false, false>
                : carryAdd<uint32_t, false, false>;
  case Op::Addc:
    return is64 ? carryAdd<uint64_t, true, false>
                : carryAdd<uint32_t, true, false>;
  case Op::SubCc:
    return is64 ? carryAdd<uint64_t, false, true>
                : carryAdd<uint32_t, false, true>;
  case Op::Subc:
    return is64 ? carryAdd<uint64_t, true, true>
                : carryAdd<uint32_t, true, true>;
  case Op::MadCc:
    return t == Ty::U32   ? carryMad<uint32_t, false>
           : t == Ty::S32 ? carryMad<int32_t, false>
           : t == Ty::U64 ? carryMad<uint64_t, false>
                          : carryMad<int64_t, false>;
  case Op::Madc:
    return t == Ty::U32   ? carryMad<uint32_t, true>
           : t == Ty::S32 ? carryMad<int32_t, true>
           : t == Ty::U64 ? carryMad<uint64_t, true>
                          : carryMad<int64_t, true>;
  case Op::Mul:
    return key.hi ? byType<MulHiF>(t) : byWidth<MulLoF>(t);
  case Op::MulWide:
    return t == Ty::U16   ? mulWide<uint16_t>
           : t == Ty::S16 ? mulWide<int16_t>
           : t == Ty::U32 ? mulWide<uint32_t>
                          : mulWide<int32_t>;
  case Op::MadWide:
    return t == Ty::U16   ? madWide<uint16_t>
           : t == Ty::S16 ? madWide<int16_t>
           : t == Ty::U32 ? madWide<uint32_t>
                          : madWide<int32_t>;
  case Op::Mad:
    return key.sat ? madHiSat : pickMad(t, key.hi);
  case Op::Mul24:
    if (t == Ty::S32)
      return key.hi ? mul24<int32_t, true> : mul24<int32_t, false>;
    return key.hi ? mul24<uint32_t, true> : mul24<uint32_t, false>;
  case Op::Mad24:
    if (t == Ty::S32)
      return key.hi ? mad24<int32_t, true> : mad24<int32_t, false>;
    return key.hi ? mad24<uint32_t, true> : mad24<uint32_t, false>;
  case Op::Div:
    return byType<DivF>(t);
  case Op::Rem:
    return byType<RemF>(t);
  case Op::Min:
    if (key.relu)
      return t == Ty::S32 ? binary<int32_t, MinReluF>
                          : binaryPairs<int16_t, ReluMin16>;
    if (t == Ty::U16x2)
      return binaryPairs<uint16_t, MinF>;
    if (t == Ty::S16x2)
      return binaryPairs<int16_t, MinF>;
    return byType<MinF>(t);
  case Op::Max:
    if (key.relu)
      return t == Ty::S32 ? binary<int32_t, MaxReluF>
                          : binaryPairs<int16_t, ReluMax16>;
    if (t == Ty::U16x2)
      return binaryPairs<uint16_t, MaxF>;
    if (t == Ty::S16x2)
      return binaryPairs<int16_t, MaxF>;
    return byType<MaxF>(t);
  case Op::Sad:
    return pickSad(t);
  case Op::Abs:
    return t == Ty::S16   ? absolute<int16_t>
           : t == Ty::S32 ? absolute<int32_t>
           : t == Ty::S64 ? absolute<int64_t>
                          : nullptr;
  case Op::Neg:
    return t == Ty::S16   ? negate<int16_t>
           : t == Ty::S32 ? negate<int32_t>
           : t == Ty::S64 ? negate<int64_t>
                          : nullptr;
  case Op::Popc:
    return is64 ? popc<uint64_t> : popc<uint32_t>;
  case Op::Clz:
    return is64 ? clz<uint64_t> : clz<uint32_t>;
  case Op::Bfind:
    if (key.shiftamt)
      return t == Ty::U32   ? bfind<uint32_t, true>
             : t == Ty::S32 ? bfind<int32_t, true>
             : t == Ty::U64 ? bfind<uint64_t, true>
                            : bfind<int64_t, true>;
    return t == Ty::U32   ? bfind<uint32_t, false>
           : t == Ty::S32 ? bfind<int32_t, false>
           : t == Ty::U64 ? bfind<uint64_t, false>
                          : bfind<int64_t, false>;
  case Op::Brev:
    return is64 ? brev<uint64_t> : brev<uint32_t>;
  case Op::Bfe:
    return t == Ty::U32   ? bfe<uint32_t>
           : t == Ty::S32 ? bfe<int32_t>
           : t == Ty::U64 ? bfe<uint64_t>
                          : bfe<int64_t>;
  case Op::Bfi:
    return is64 ? bfi<uint64_t> : bfi<uint32_t>;
  case Op::Bmsk:
    return key.wrap ? bmsk<true> : bmsk<false>;
  case Op::Szext:
    if (key.wrap)
      return isSignedTy(t) ? szext<true, true> : szext<true, false>;
    return isSignedTy(t) ? szext<false, true> : szext<false, false>;
  case Op::Dp4a:
  case Op::Dp2a: {
    bool a = isSignedTy(t), b = isSignedTy(key.types[1]);
    if (key.op == Op::Dp4a)
      return a ? (b ? dp4a<true, true> : dp4a<true, false>)
               : (b ? dp4a<false, true> : dp4a<false, false>);
    return a ? (b ? dp2a<true, true> : dp2a<true, false>)
             : (b ? dp2a<false, true> : dp2a<false, false>);
  }
  case Op::And:
    return t == Ty::Pred ? predAnd : byWidth<AndF>(t);
  case Op::Or:
    return t == Ty::Pred ? predOr : byWidth<OrF>(t);
  case Op::Xor:
    return t == Ty::Pred ? predXor : byWidth<XorF>(t);
  case Op::Not:
    return t == Ty::Pred  ? predNot
           : t == Ty::B16 ? bitNot<uint16_t>
           : is64         ? bitNot<uint64_t>
                          : bitNot<uint32_t>;
  case Op::Cnot:
    return t == Ty::B16 ? cnot<uint16_t>
           : is64       ? cnot<uint64_t>
                        : cnot<uint32_t>;
  case Op::Lop3:
    return lop3;
  case Op::Shl:
    return t == Ty::B16 ? shl<uint16_t> : is64 ? shl<uint64_t> : shl<uint32_t>;
  case Op::Shr:
    switch (t) {
    case Ty::B16:
    case Ty::U16:
      return shr<uint16_t>;
    case Ty::S16:
      return shr<int16_t>;
    case Ty::S32:
      return shr<int32_t>;
    case Ty::S64:
      return shr<int64_t>;
    default:
      return is64 ? shr<uint64_t> : shr<uint32_t>;
    }
  case Op::Shf:
    if (key.right)
      return key.wrap ? shf<true, true> : shf<true, false>;
    return key.wrap ? shf<false, true> : shf<false, false>;
  case Op::Prmt:
    return key.sub ? prmtMode : prmt;
  case Op::Setp:
    return pickSetp(key);
  case Op::Selp:
    return is64 ? selp<uint64_t> : selp<uint32_t>;
  case Op::Slct:
    if (key.types[1] == Ty::F32)
      return is64 ? slct<uint64_t, true> : slct<uint32_t, true>;
    return is64 ? slct<uint64_t, false> : slct<uint32_t, false>;
  case Op::Mov:
    if (t == Ty::Pred)
      return predMove;
    if (t == Ty::B16 || t == Ty::U16 || t == Ty::S16)
      return move16;
    return is64 ? move<uint64_t> : move<uint32_t>;
  default:
    return nullptr;
  }
}

} // namespace

Handler CUDASIM_ISA::pickInteger(const FormKey &key) { return pick(key); }

} // namespace cudasim
