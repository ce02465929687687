//===- HandlersFloat.cpp - floating-point arithmetic ----------------------===//
//
// Directed roundings of f64 are in HandlersScalar.cpp: they are rare and need
// the processor's rounding mode.
//
// Long because: there is one handler for each op form.
//
//===----------------------------------------------------------------------===//

#include "tools/cudasim/machine/FloatKit.h"
#include "tools/cudasim/machine/HandlerPicks.h"

namespace cudasim {
namespace {

//===--- f32, to nearest ----------------------------------------------------//

struct FAdd {
  template <class T> INLINE T at(T a, T b) { return a + b; }
};
struct FSub {
  template <class T> INLINE T at(T a, T b) { return a - b; }
};
struct FMul {
  template <class T> INLINE T at(T a, T b) { return a * b; }
};
struct FDiv {
  template <class T> INLINE T at(T a, T b) { return a / b; }
};

template <bool Ftz, bool Sat> INLINE float finish(float v) {
  if (Ftz)
    v = flush(v);
  return Sat ? clamp01(v) : canonical(v);
}
template <bool Ftz> INLINE float enter(float v) { return Ftz ? flush(v) : v; }

template <class F, bool Ftz, bool Sat>
void binary32(Warp &warp, const Instr &instr, uint32_t mask) {
  map2<float, float, float>(warp, instr, mask, [](float a, float b) {
    return finish<Ftz, Sat>(F::at(enter<Ftz>(a), enter<Ftz>(b)));
  });
}
template <bool Ftz, bool Sat>
void fma32(Warp &warp, const Instr &instr, uint32_t mask) {
  map3<float, float, float, float>(
      warp, instr, mask, [](float a, float b, float c) {
        return finish<Ftz, Sat>(
            fmaNearest(enter<Ftz>(a), enter<Ftz>(b), enter<Ftz>(c)));
      });
}
/// A contracted mul and add or sub. sub: bit 0 negates the product, bit 1 the
/// addend.
void fma32Signed(Warp &warp, const Instr &instr, uint32_t mask) {
  uint32_t product = instr.sub & 1 ? 0x80000000 : 0;
  uint32_t addend = instr.sub & 2 ? 0x80000000 : 0;
  bool ftz = instr.flags & kFtz, sat = instr.flags & kSat;
  map3<float, float, float, float>(
      warp, instr, mask, [=](float a, float b, float c) {
        a = floatOf(bitsOfFloat(ftz ? flush(a) : a) ^ product);
        c = floatOf(bitsOfFloat(ftz ? flush(c) : c) ^ addend);
        float r = fmaNearest(a, ftz ? flush(b) : b, c);
        r = ftz ? flush(r) : r;
        return sat ? clamp01(r) : canonical(r);
      });
}
template <class F>
void binary64(Warp &warp, const Instr &instr, uint32_t mask) {
  map2<double, double, double>(warp, instr, mask, [](double a, double b) {
    return canonical(F::at(a, b));
  });
}
void fma64(Warp &warp, const Instr &instr, uint32_t mask) {
  map3<double, double, double, double>(
      warp, instr, mask, [](double a, double b, double c) {
        return canonical(__builtin_fma(a, b, c));
      });
}

//===--- f32, directed ------------------------------------------------------//

INLINE float finishFlags(float v, uint8_t flags) {
  if (flags & kFtz)
    v = flush(v);
  return flags & kSat ? clamp01(v) : canonical(v);
}
INLINE float enterFlags(float v, uint8_t flags) {
  return flags & kFtz ? flush(v) : v;
}

/// x - x is -0 in direction rm, and +0 in all others.
INLINE float exactZero(float r, double sum, double rest, bool oppositeSigns,
                       Rounding mode) {
  return sum == 0 && rest == 0 && oppositeSigns && mode == Rounding::RM ? -0.0f
                                                                        : r;
}
INLINE bool differ(double a, double b) {
  return (bitCast<int64_t>(a) ^ bitCast<int64_t>(b)) < 0;
}
INLINE float fmaDirected(float a, float b, float c, Rounding mode) {
  double rest, product = double(a) * double(b);
  double sum = twoSum(product, double(c), rest);
  float r = directed(sum, rest, mode);
  return exactZero(r, sum, rest, differ(product, c), mode);
}
INLINE float addDirected(float a, float b, Rounding mode) {
  double rest;
  double sum = twoSum(double(a), double(b), rest);
  float r = directed(sum, rest, mode);
  return exactZero(r, sum, rest, differ(a, b), mode);
}

template <int Kind> // 0 add, 1 sub, 2 mul, 3 div
void binaryDirected(Warp &warp, const Instr &instr, uint32_t mask) {
  uint8_t flags = instr.flags;
  Rounding mode = instr.rounding;
  map2<float, float, float>(warp, instr, mask, [flags, mode](float x, float y) {
    float a = enterFlags(x, flags), b = enterFlags(y, flags), r;
    if (Kind == 0)
      r = addDirected(a, b, mode);
    else if (Kind == 1)
      r = addDirected(a, -b, mode);
    else if (Kind == 2)
      r = directed(double(a) * double(b), 0, mode);
    else {
      // The remainder of the double quotient is exact, and says on which
      // side the true quotient lies.
      double q = double(a) / double(b);
      double rest = -(q * double(b) - double(a));
      double high = double(float(q));
      // Only the sign counts: of a - q*b against b.
      double exact = (double(a) - high * double(b)) - (q - high) * b;
      rest = q - q == 0 && b != 0 ? (b < 0 ? -exact : exact) : 0;
      r = directed(q, rest, mode);
    }
    return finishFlags(r, flags);
  });
}
void fmaDirected32(Warp &warp, const Instr &instr, uint32_t mask) {
  uint8_t flags = instr.flags;
  Rounding mode = instr.rounding;
  map3<float, float, float, float>(
      warp, instr, mask, [flags, mode](float a, float b, float c) {
        return finishFlags(fmaDirected(enterFlags(a, flags),
                                       enterFlags(b, flags),
                                       enterFlags(c, flags), mode),
                           flags);
      });
}
void sqrtDirected(Warp &warp, const Instr &instr, uint32_t mask) {
  uint8_t flags = instr.flags;
  Rounding mode = instr.rounding;
  map1<float, float>(warp, instr, mask, [flags, mode](float x) {
    double a = double(enterFlags(x, flags));
    double q = __builtin_sqrt(a);
    double high = double(float(q));
    // a - q*q, with q split so that both products are exact.
    double low = q - high;
    double exact = ((a - high * high) - 2 * high * low) - low * low;
    return finishFlags(directed(q, q - q == 0 ? exact : 0, mode), flags);
  });
}

//===--- f32x2 --------------------------------------------------------------//

template <int Kind>
void pairs32(Warp &warp, const Instr &instr, uint32_t mask) {
  uint8_t flags = instr.flags;
  Rounding mode = instr.rounding;
  bool nearest = mode == Rounding::RN || mode == Rounding::None;
  auto one = [flags, mode, nearest](uint32_t x, uint32_t y, uint32_t z) {
    float a = enterFlags(floatOf(x), flags), b = enterFlags(floatOf(y), flags),
          c = enterFlags(floatOf(z), flags), r;
    if (Kind == 0)
      r = nearest ? a + b : addDirected(a, b, mode);
    else if (Kind == 1)
      r = nearest ? a - b : addDirected(a, -b, mode);
    else if (Kind == 2)
      r = nearest ? a * b : directed(double(a) * double(b), 0, mode);
    else
      r = nearest ? fmaNearest(a, b, c) : fmaDirected(a, b, c, mode);
    return bitsOfFloat(finishFlags(r, flags));
  };
  const uint64_t *a = sourceLanes<uint64_t>(warp, instr.ops[1]);
  const uint64_t *b = sourceLanes<uint64_t>(warp, instr.ops[2]);
  const uint64_t *c = Kind == 3 ? sourceLanes<uint64_t>(warp, instr.ops[3]) : a;
  alignas(64) uint64_t r[kLanes];
  LANES r[lane] =
      uint64_t(one(uint32_t(a[lane]), uint32_t(b[lane]), uint32_t(c[lane]))) |
      uint64_t(one(uint32_t(a[lane] >> 32), uint32_t(b[lane] >> 32),
                   uint32_t(c[lane] >> 32)))
          << 32;
  writeLanes(warp, instr.ops[0], r, mask);
}

//===--- f16, bf16 and their pairs ------------------------------------------//

template <class H> INLINE uint32_t flush16(uint32_t v) {
  return (v & H::kExponent) == 0 ? v & 0x8000 : v;
}
template <class H> INLINE bool isNan16(uint32_t v) {
  return (v & 0x7FFF) > H::kExponent;
}
template <class H> INLINE uint32_t finish16(uint32_t v, const Instr &instr) {
  if (instr.flags & kFtz)
    v = flush16<H>(v);
  if (instr.flags & kSat) {
    v = isNan16<H>(v) || (v & 0x8000) ? 0 : v;
    v = v > H::kOne ? H::kOne : v;
  }
  if (instr.sub) // relu
    v = (v & 0x8000) && !isNan16<H>(v) ? 0 : v;
  return v;
}
template <class H> INLINE uint32_t enter16(uint32_t v, const Instr &instr) {
  return instr.flags & kFtz ? flush16<H>(v) : v;
}

template <class H, int Kind> // 0 add, 1 sub, 2 mul, 3 fma
INLINE uint32_t arith16(uint32_t a, uint32_t b, uint32_t c,
                        const Instr &instr) {
  a = enter16<H>(a, instr);
  b = enter16<H>(b, instr);
  uint32_t r;
  if (Kind == 0)
    r = fma16<H>(a, H::kOne, b);
  else if (Kind == 1)
    r = fma16<H>(b, H::kOne | 0x8000, a);
  else if (Kind == 2)
    r = fma16<H>(a, b, ((a ^ b) & 0x8000));
  else
    r = fma16<H>(a, b, enter16<H>(c, instr));
  return finish16<H>(r, instr);
}

template <class H, int Kind, bool Pair>
void half(Warp &warp, const Instr &instr, uint32_t mask) {
  const uint32_t *a = sourceLanes<uint32_t>(warp, instr.ops[1]);
  const uint32_t *b = sourceLanes<uint32_t>(warp, instr.ops[2]);
  const uint32_t *c = Kind == 3 ? sourceLanes<uint32_t>(warp, instr.ops[3]) : a;
  const Instr copy = instr;
  alignas(64) uint32_t r[kLanes];
  LANES {
    uint32_t v = arith16<H, Kind>(a[lane] & 0xFFFF, b[lane] & 0xFFFF,
                                  c[lane] & 0xFFFF, copy);
    if (Pair)
      v |= arith16<H, Kind>(a[lane] >> 16, b[lane] >> 16, c[lane] >> 16, copy)
           << 16;
    r[lane] = v;
  }
  writeLanes(warp, instr.ops[0], r, mask);
}

/// add.f32.f16 and friends: a 16-bit operand with an f32 one.
template <class H, int Kind>
void mixed(Warp &warp, const Instr &instr, uint32_t mask) {
  const uint32_t *a = sourceLanes<uint32_t>(warp, instr.ops[1]);
  const uint32_t *b = sourceLanes<uint32_t>(warp, instr.ops[2]);
  const uint32_t *c = Kind == 3 ? sourceLanes<uint32_t>(warp, instr.ops[3]) : b;
  Rounding mode = instr.rounding;
  bool nearest = mode == Rounding::RN || mode == Rounding::None;
  uint8_t flags = instr.flags;
  alignas(64) uint32_t r[kLanes];
  LANES {
    float x = H::toFloat(a[lane] & 0xFFFF), y = 1.0f, z = floatOf(c[lane]);
    if (Kind == 3)
      y = H::toFloat(b[lane] & 0xFFFF);
    if (Kind == 1)
      z = -z;
    float v = nearest ? fmaNearest(x, y, z) : fmaDirected(x, y, z, mode);
    r[lane] = bitsOfFloat(finishFlags(v, flags));
  }
  writeLanes(warp, instr.ops[0], r, mask);
}

//===--- minimum, maximum, sign ---------------------------------------------//

/// Bits of the lesser (or greater); -0 is less than +0. Not-a-number loses,
/// unless `nan` is asked for.
template <class U, bool Max>
INLINE U extremum(U a, U b, U exponent, U sign, U canonicalNan, bool nan,
                  bool xorsign) {
  U magnitude = U(~sign);
  U resultSign = U((a ^ b) & sign);
  if (xorsign) {
    a &= magnitude;
    b &= magnitude;
  }
  bool nanA = (a & magnitude) > exponent, nanB = (b & magnitude) > exponent;
  // Order of sign and magnitude as an order of integers.
  U orderA = a & sign ? U(~a) : U(a | sign);
  U orderB = b & sign ? U(~b) : U(b | sign);
  bool takeB = Max ? orderB > orderA : orderB < orderA;
  U r = takeB ? b : a;
  r = nanA ? b : nanB ? a : r;
  if (xorsign)
    r = U(r | resultSign);
  bool bad = (nanA && nanB) || (nan && (nanA || nanB));
  return bad ? canonicalNan : r;
}

template <bool Max>
void extremum32(Warp &warp, const Instr &instr, uint32_t mask) {
  bool nan = instr.sub & 1, xorsign = instr.sub & 2;
  uint8_t flags = instr.flags;
  map2<uint32_t, uint32_t, uint32_t>(
      warp, instr, mask, [=](uint32_t x, uint32_t y) {
        uint32_t a = bitsOfFloat(enterFlags(floatOf(x), flags));
        uint32_t b = bitsOfFloat(enterFlags(floatOf(y), flags));
        return extremum<uint32_t, Max>(a, b, 0x7F800000u, 0x80000000u,
                                       0x7FFFFFFFu, nan, xorsign);
      });
}
template <bool Max>
void extremum3(Warp &warp, const Instr &instr, uint32_t mask) {
  bool nan = instr.sub & 1, absolute = instr.sub & 4;
  uint8_t flags = instr.flags;
  map3<uint32_t, uint32_t, uint32_t, uint32_t>(
      warp, instr, mask, [=](uint32_t x, uint32_t y, uint32_t z) {
        uint32_t keep = absolute ? 0x7FFFFFFFu : ~0u;
        uint32_t a = bitsOfFloat(enterFlags(floatOf(x & keep), flags));
        uint32_t b = bitsOfFloat(enterFlags(floatOf(y & keep), flags));
        uint32_t c = bitsOfFloat(enterFlags(floatOf(z & keep), flags));
        uint32_t ab = extremum<uint32_t, Max>(a, b, 0x7F800000u, 0x80000000u,
                                              0x7FFFFFFFu, nan, false);
        return extremum<uint32_t, Max>(ab, c, 0x7F800000u, 0x80000000u,
                                       0x7FFFFFFFu, nan, false);
      });
}
template <bool Max>
void extremum64(Warp &warp, const Instr &instr, uint32_t mask) {
  map2<uint64_t, uint64_t, uint64_t>(
      warp, instr, mask, [](uint64_t a, uint64_t b) {
        return extremum<uint64_t, Max>(
            a, b, uint64_t(0x7FF0000000000000), uint64_t(1) << 63,
            uint64_t(0x7FF8000000000000), false, false);
      });
}
template <class H, bool Max, bool Pair>
void extremum16(Warp &warp, const Instr &instr, uint32_t mask) {
  bool nan = instr.sub & 1, xorsign = instr.sub & 2;
  bool ftz = instr.flags & kFtz;
  auto one = [=](uint32_t x, uint32_t y) {
    uint16_t a = uint16_t(ftz ? flush16<H>(x & 0xFFFF) : x);
    uint16_t b = uint16_t(ftz ? flush16<H>(y & 0xFFFF) : y);
    return uint32_t(extremum<uint16_t, Max>(a, b, uint16_t(H::kExponent),
                                            uint16_t(0x8000), uint16_t(0x7FFF),
                                            nan, xorsign));
  };
  map2<uint32_t, uint32_t, uint32_t>(
      warp, instr, mask, [=](uint32_t a, uint32_t b) {
        uint32_t r = one(a, b);
        return Pair ? r | one(a >> 16, b >> 16) << 16 : r;
      });
}

/// abs and neg only touch the sign bits; .ftz flushes first.
void signs(Warp &warp, const Instr &instr, uint32_t mask) {
  uint32_t keep = uint32_t(instr.imm), flip = uint32_t(instr.imm >> 32);
  bool ftz32 = (instr.flags & kFtz) && instr.sub == 0;
  bool ftz16 = (instr.flags & kFtz) && instr.sub == 1;
  map1<uint32_t, uint32_t>(warp, instr, mask, [=](uint32_t a) {
    if (ftz32)
      a = bitsOfFloat(flush(floatOf(a)));
    if (ftz16)
      a = flush16<Half>(a & 0xFFFF) | flush16<Half>(a >> 16) << 16;
    return (a & keep) ^ flip;
  });
}
template <bool Negate>
void signs64(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<uint64_t, uint64_t>(warp, instr, mask, [](uint64_t a) {
    constexpr uint64_t top = uint64_t(1) << 63;
    return Negate ? a ^ top : a & ~top;
  });
}
template <class U>
void copysignBits(Warp &warp, const Instr &instr, uint32_t mask) {
  map2<U, U, U>(warp, instr, mask, [](U a, U b) {
    constexpr U top = U(1) << (8 * sizeof(U) - 1);
    return U((a & top) | (b & ~top));
  });
}

//===--- division, roots and approximations ---------------------------------//

template <class T>
void sqrtNearest(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<T, T>(warp, instr, mask, [](T a) {
    return canonical(T(sizeof(T) == 4 ? __builtin_sqrtf(float(a))
                                      : __builtin_sqrt(double(a))));
  });
}

/// Runs f on each lane, flushes as asked and perturbs where that mode is on.
template <class F>
INLINE void approximate(Warp &warp, const Instr &instr, uint32_t mask,
                        float ulps, F f) {
  const uint32_t *a = sourceLanes<uint32_t>(warp, instr.ops[1]);
  alignas(64) uint32_t r[kLanes];
  uint8_t flags = instr.flags;
  LANES r[lane] =
      bitsOfFloat(finishFlags(f(enterFlags(floatOf(a[lane]), flags)), flags));
  if (warp.launch->perturb)
    LANES r[lane] = bitsOfFloat(perturbed(warp, floatOf(r[lane]), ulps));
  writeLanes(warp, instr.ops[0], r, mask);
}

INLINE double exp2Core(double x) {
  // 2^x by a Taylor series around the nearest integer; |f| <= 1/2, and the
  // first dropped term is below 2^-53.
  x = x > -1100 ? (x < 1100 ? x : 1100) : -1100; // also where not a number
  double n = __builtin_rint(x);
  double t = (x - n) * 0.693147180559945309417;
  double p = 1.0 / 6227020800.0;
  p = p * t + 1.0 / 479001600.0;
  p = p * t + 1.0 / 39916800.0;
  p = p * t + 1.0 / 3628800.0;
  p = p * t + 1.0 / 362880.0;
  p = p * t + 1.0 / 40320.0;
  p = p * t + 1.0 / 5040.0;
  p = p * t + 1.0 / 720.0;
  p = p * t + 1.0 / 120.0;
  p = p * t + 1.0 / 24.0;
  p = p * t + 1.0 / 6.0;
  p = p * t + 0.5;
  p = p * t + 1.0;
  p = p * t + 1.0;
  // In two steps, so that the factors stay normal numbers.
  int64_t e = int64_t(int32_t(n));
  int64_t half = e / 2;
  double s1 = bitCast<double>((half + 1023) << 52);
  double s2 = bitCast<double>((e - half + 1023) << 52);
  return p * s1 * s2;
}
INLINE float exp2Float(float x) {
  double r = exp2Core(double(x));
  return x != x ? x : float(r);
}
INLINE double log2Core(double x) {
  // x = m * 2^e with m around 1, log m by the series of artanh.
  uint64_t bits = bitCast<uint64_t>(x);
  int64_t e = int64_t(bits - 0x3FE6A09E667F3BCD) >> 52; // sqrt(1/2)
  double m = bitCast<double>(bits - (uint64_t(e) << 52));
  double t = (m - 1) / (m + 1), u = t * t;
  double p = 1.0 / 21;
  p = p * u + 1.0 / 19;
  p = p * u + 1.0 / 17;
  p = p * u + 1.0 / 15;
  p = p * u + 1.0 / 13;
  p = p * u + 1.0 / 11;
  p = p * u + 1.0 / 9;
  p = p * u + 1.0 / 7;
  p = p * u + 1.0 / 5;
  p = p * u + 1.0 / 3;
  p = p * u + 1.0;
  return double(int32_t(e)) + 2 * t * p * 1.44269504088896340736;
}
INLINE float log2Float(float x) {
  double r = log2Core(double(x));
  float f = float(r);
  uint32_t bits = bitsOfFloat(x);
  f = (bits & 0x7FFFFFFF) == 0 ? -floatOf(0x7F800000) : f;
  f = bits == 0x7F800000 ? floatOf(0x7F800000) : f;
  bool bad = x != x || (int32_t(bits) < 0 && (bits & 0x7FFFFFFF) != 0);
  return bad ? floatOf(0x7FFFFFFF) : f;
}

/// Sine (Shift 0) or cosine (Shift 1). The argument is reduced in double, so
/// the result is good to float for |x| up to 2^27; beyond, hardware promises
/// nothing and neither does this.
template <int Shift> INLINE float sinFloat(float v) {
  double x = double(v);
  double k = __builtin_rint(x * 0.63661977236758134308);
  double r = x - k * 1.57079632673412561417;
  r = r - k * 6.07710050630396597660e-11;
  r = r - k * 2.02226624879595063154e-21;
  double u = r * r;
  double s = 1.0 / 6227020800.0;
  s = s * u - 1.0 / 39916800.0;
  s = s * u + 1.0 / 362880.0;
  s = s * u - 1.0 / 5040.0;
  s = s * u + 1.0 / 120.0;
  s = s * u - 1.0 / 6.0;
  s = r + r * u * s;
  double c = -1.0 / 87178291200.0;
  c = c * u + 1.0 / 479001600.0;
  c = c * u - 1.0 / 3628800.0;
  c = c * u + 1.0 / 40320.0;
  c = c * u - 1.0 / 720.0;
  c = c * u + 1.0 / 24.0;
  c = c * u - 0.5;
  c = 1.0 + u * c;
  double bounded = k >= -1e9 && k <= 1e9 ? k : 0;
  int32_t quadrant = int32_t(bounded) + Shift;
  double value = quadrant & 1 ? c : s;
  value = quadrant & 2 ? -value : value;
  value = value > 1 ? 1 : value < -1 ? -1 : value;
  // The sum above loses the sign of zero.
  if (Shift == 0)
    value = x == 0 ? x : value;
  return x - x == 0 ? float(value) : floatOf(0x7FFFFFFF);
}
INLINE float tanhFloat(float v) {
  double x = double(v);
  double a = x < 0 ? -x : x;
  a = a > 20 ? 20 : a;
  double e = exp2Core(a * 2.88539008177792681472);
  double r = a < 1e-4 ? a - a * a * a / 3 : 1 - 2 / (e + 1);
  r = x < 0 ? -r : r;
  return v != v ? v : float(bitsOfFloat(v) << 1 ? r : x);
}

void ex2(Warp &warp, const Instr &instr, uint32_t mask) {
  approximate(warp, instr, mask, 2, [](float x) { return exp2Float(x); });
}
void lg2(Warp &warp, const Instr &instr, uint32_t mask) {
  approximate(warp, instr, mask, 1, [](float x) { return log2Float(x); });
}
void sine(Warp &warp, const Instr &instr, uint32_t mask) {
  approximate(warp, instr, mask, 4, [](float x) { return sinFloat<0>(x); });
}
void cosine(Warp &warp, const Instr &instr, uint32_t mask) {
  approximate(warp, instr, mask, 4, [](float x) { return sinFloat<1>(x); });
}
void tanh32(Warp &warp, const Instr &instr, uint32_t mask) {
  approximate(warp, instr, mask, 4096, [](float x) { return tanhFloat(x); });
}
void rcp(Warp &warp, const Instr &instr, uint32_t mask) {
  approximate(warp, instr, mask, 1, [](float x) { return 1.0f / x; });
}
void rsqrt(Warp &warp, const Instr &instr, uint32_t mask) {
  approximate(warp, instr, mask, 2,
              [](float x) { return float(1.0 / __builtin_sqrt(double(x))); });
}
void sqrtApprox(Warp &warp, const Instr &instr, uint32_t mask) {
  approximate(warp, instr, mask, 1, [](float x) { return __builtin_sqrtf(x); });
}
template <bool Full>
void divApprox(Warp &warp, const Instr &instr, uint32_t mask) {
  const uint32_t *a = sourceLanes<uint32_t>(warp, instr.ops[1]);
  const uint32_t *b = sourceLanes<uint32_t>(warp, instr.ops[2]);
  uint8_t flags = instr.flags;
  alignas(64) uint32_t r[kLanes];
  LANES {
    float x = enterFlags(floatOf(a[lane]), flags);
    float y = enterFlags(floatOf(b[lane]), flags);
    float q = x / y;
    // Beyond 2^126 the reciprocal that the hardware multiplies with is 0.
    float magnitude = y < 0 ? -y : y;
    bool lost = !Full && magnitude > 0x1p126f && magnitude - magnitude == 0;
    float zero = x * (y < 0 ? -0.0f : 0.0f);
    r[lane] = bitsOfFloat(finishFlags(lost ? zero : q, flags));
  }
  if (warp.launch->perturb)
    LANES r[lane] = bitsOfFloat(perturbed(warp, floatOf(r[lane]), 2));
  writeLanes(warp, instr.ops[0], r, mask);
}
/// Only the upper 32 bits of argument and result count, as documented.
template <bool Root>
void approx64(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<double, double>(warp, instr, mask, [](double x) {
    uint64_t bits = bitCast<uint64_t>(x) & ~uint64_t(0xFFFFFFFF);
    if ((bits & 0x7FF0000000000000) == 0)
      bits &= uint64_t(1) << 63;
    double v = bitCast<double>(bits);
    double r = canonical(Root ? 1.0 / __builtin_sqrt(v) : 1.0 / v);
    uint64_t out = bitCast<uint64_t>(r) & ~uint64_t(0xFFFFFFFF);
    if ((out & 0x7FF0000000000000) == 0)
      out &= uint64_t(1) << 63;
    return bitCast<double>(out);
  });
}

/// Without .ftz the f64 form is accurate to the last place.
void rsqrt64(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<double, double>(warp, instr, mask, [](double x) {
    return canonical(1.0 / __builtin_sqrt(x));
  });
}

template <class H, bool Pair, int Kind> // 0 ex2, 1 tanh
void approx16(Warp &warp, const Instr &instr, uint32_t mask) {
  bool ftz = instr.flags & kFtz;
  auto one = [ftz](uint32_t v) {
    float x = H::toFloat(ftz ? flush16<H>(v) : v);
    uint32_t r = H::nearest(Kind == 0 ? exp2Float(x) : tanhFloat(x));
    return ftz ? flush16<H>(r) : r;
  };
  map1<uint32_t, uint32_t>(warp, instr, mask, [&](uint32_t a) {
    uint32_t r = one(a & 0xFFFF);
    return Pair ? r | one(a >> 16) << 16 : r;
  });
}

//===--- comparison ---------------------------------------------------------//

INLINE bool compareValues(double a, double b, Compare how) {
  bool unordered = a != a || b != b;
  switch (how) {
  case Compare::EQ:
    return a == b;
  case Compare::NE:
    return !unordered && a != b;
  case Compare::LT:
    return a < b;
  case Compare::LE:
    return a <= b;
  case Compare::GT:
    return a > b;
  case Compare::GE:
    return a >= b;
  case Compare::EQU:
    return unordered || a == b;
  case Compare::NEU:
    return unordered || a != b;
  case Compare::LTU:
    return !(a >= b);
  case Compare::LEU:
    return !(a > b);
  case Compare::GTU:
    return !(a <= b);
  case Compare::GEU:
    return !(a < b);
  case Compare::NUM:
    return !unordered;
  default:
    return unordered;
  }
}

INLINE uint32_t combineBits(uint32_t bits, uint32_t q, uint8_t how) {
  return how == 0 ? bits : how == 1 ? bits & q : how == 2 ? bits | q : bits ^ q;
}
INLINE uint32_t thirdPredicate(Warp &warp, const Instr &instr) {
  if (!instr.sub)
    return 0;
  uint32_t q = predicates(warp)[instr.ops[4]];
  return instr.flags & kNegatedPred ? ~q : q;
}

template <Compare How>
void setp32(Warp &warp, const Instr &instr, uint32_t mask) {
  const uint32_t *a = sourceLanes<uint32_t>(warp, instr.ops[2]);
  const uint32_t *b = sourceLanes<uint32_t>(warp, instr.ops[3]);
  uint8_t flags = instr.flags & kFtz;
  alignas(64) uint32_t out[kLanes];
  LANES {
    float x = enterFlags(floatOf(a[lane]), flags);
    float y = enterFlags(floatOf(b[lane]), flags);
    bool r;
    if (How == Compare::EQ)
      r = x == y;
    else if (How == Compare::NE)
      r = x < y || x > y;
    else if (How == Compare::LT)
      r = x < y;
    else if (How == Compare::LE)
      r = x <= y;
    else if (How == Compare::GT)
      r = x > y;
    else if (How == Compare::GE)
      r = x >= y;
    else if (How == Compare::EQU)
      r = !(x < y || x > y);
    else if (How == Compare::NEU)
      r = x != y;
    else if (How == Compare::LTU)
      r = !(x >= y);
    else if (How == Compare::LEU)
      r = !(x > y);
    else if (How == Compare::GTU)
      r = !(x <= y);
    else if (How == Compare::GEU)
      r = !(x < y);
    else if (How == Compare::NUM)
      r = x == x && y == y;
    else
      r = x != x || y != y;
    out[lane] = r;
  }
  uint32_t bits = packBits(out), q = thirdPredicate(warp, instr);
  writePredicate(warp, instr.ops[0], combineBits(bits, q, instr.sub), mask);
  writePredicate(warp, instr.ops[1], combineBits(~bits, q, instr.sub), mask);
}
/// f64 and 16-bit formats: Kind 0 f64, 1 f16, 2 bf16; Dual compares both
/// halves into the two predicates.
template <int Kind, bool Dual>
void setpOther(Warp &warp, const Instr &instr, uint32_t mask) {
  Compare how = Compare(uint8_t(instr.imm));
  bool ftz = instr.flags & kFtz;
  uint32_t low = 0, high = 0;
  auto value = [ftz](uint32_t v) {
    if (Kind == 1)
      return double(halfToFloat(ftz ? flush16<Half>(v) : v));
    return double(bfloatToFloat(v));
  };
  if (Kind == 0) {
    const uint64_t *a = sourceLanes<uint64_t>(warp, instr.ops[2]);
    const uint64_t *b = sourceLanes<uint64_t>(warp, instr.ops[3]);
    LANES low |= uint32_t(compareValues(bitCast<double>(a[lane]),
                                        bitCast<double>(b[lane]), how))
                 << lane;
  } else {
    const uint32_t *a = sourceLanes<uint32_t>(warp, instr.ops[2]);
    const uint32_t *b = sourceLanes<uint32_t>(warp, instr.ops[3]);
    LANES {
      low |= uint32_t(compareValues(value(a[lane] & 0xFFFF),
                                    value(b[lane] & 0xFFFF), how))
             << lane;
      if (Dual)
        high |= uint32_t(compareValues(value(a[lane] >> 16),
                                       value(b[lane] >> 16), how))
                << lane;
    }
  }
  if (!Dual)
    high = ~low;
  uint32_t q = thirdPredicate(warp, instr);
  writePredicate(warp, instr.ops[0], combineBits(low, q, instr.sub), mask);
  writePredicate(warp, instr.ops[1], combineBits(high, q, instr.sub), mask);
}

Handler pickSetp32(Compare how) {
  switch (how) {
  case Compare::EQ:
    return setp32<Compare::EQ>;
  case Compare::NE:
    return setp32<Compare::NE>;
  case Compare::LT:
    return setp32<Compare::LT>;
  case Compare::LE:
    return setp32<Compare::LE>;
  case Compare::GT:
    return setp32<Compare::GT>;
  case Compare::GE:
    return setp32<Compare::GE>;
  case Compare::EQU:
    return setp32<Compare::EQU>;
  case Compare::NEU:
    return setp32<Compare::NEU>;
  case Compare::LTU:
    return setp32<Compare::LTU>;
  case Compare::LEU:
    return setp32<Compare::LEU>;
  case Compare::GTU:
    return setp32<Compare::GTU>;
  case Compare::GEU:
    return setp32<Compare::GEU>;
  case Compare::NUM:
    return setp32<Compare::NUM>;
  case Compare::NAN_:
    return setp32<Compare::NAN_>;
  default:
    return nullptr;
  }
}

//===--- choosing -----------------------------------------------------------//

template <class F> Handler nearest32(const FormKey &key) {
  if (key.ftz)
    return key.sat ? binary32<F, true, true> : binary32<F, true, false>;
  return key.sat ? binary32<F, false, true> : binary32<F, false, false>;
}

template <int Kind, class F> Handler pickBinary(const FormKey &key) {
  bool nearest = key.rounding == Rounding::None || key.rounding == Rounding::RN;
  if (key.typeCount == 2) {
    bool isHalf = key.types[1] == Ty::F16;
    if (Kind == 2)
      return nullptr;
    return isHalf ? mixed<Half, Kind> : mixed<Bfloat, Kind>;
  }
  switch (key.types[0]) {
  case Ty::F32:
    return nearest ? nearest32<F>(key) : binaryDirected<Kind>;
  case Ty::F64:
    return nearest ? binary64<F> : nullptr;
  case Ty::F32x2:
    return pairs32<Kind>;
  case Ty::F16:
    return half<Half, Kind, false>;
  case Ty::F16x2:
    return half<Half, Kind, true>;
  case Ty::BF16:
    return half<Bfloat, Kind, false>;
  case Ty::BF16x2:
    return half<Bfloat, Kind, true>;
  default:
    return nullptr;
  }
}
Handler pickFma(const FormKey &key) {
  bool nearest = key.rounding == Rounding::RN;
  if (key.typeCount == 2)
    return key.types[1] == Ty::F16 ? mixed<Half, 3> : mixed<Bfloat, 3>;
  switch (key.types[0]) {
  case Ty::F32:
    if (!nearest)
      return fmaDirected32;
    if (key.sub)
      return fma32Signed;
    if (key.ftz)
      return key.sat ? fma32<true, true> : fma32<true, false>;
    return key.sat ? fma32<false, true> : fma32<false, false>;
  case Ty::F64:
    return nearest ? fma64 : nullptr;
  case Ty::F32x2:
    return pairs32<3>;
  case Ty::F16:
    return half<Half, 3, false>;
  case Ty::F16x2:
    return half<Half, 3, true>;
  case Ty::BF16:
    return half<Bfloat, 3, false>;
  case Ty::BF16x2:
    return half<Bfloat, 3, true>;
  default:
    return nullptr;
  }
}
template <bool Max> Handler pickExtremum(Ty type) {
  switch (type) {
  case Ty::F32:
    return extremum32<Max>;
  case Ty::F64:
    return extremum64<Max>;
  case Ty::F16:
    return extremum16<Half, Max, false>;
  case Ty::F16x2:
    return extremum16<Half, Max, true>;
  case Ty::BF16:
    return extremum16<Bfloat, Max, false>;
  case Ty::BF16x2:
    return extremum16<Bfloat, Max, true>;
  default:
    return nullptr;
  }
}
template <int Kind> Handler pickApprox16(Ty type) {
  switch (type) {
  case Ty::F16:
    return approx16<Half, false, Kind>;
  case Ty::F16x2:
    return approx16<Half, true, Kind>;
  case Ty::BF16:
    return approx16<Bfloat, false, Kind>;
  case Ty::BF16x2:
    return approx16<Bfloat, true, Kind>;
  default:
    return nullptr;
  }
}

Handler pick(const FormKey &key) {
  Ty type = key.types[0];
  bool nearest = key.rounding == Rounding::None || key.rounding == Rounding::RN;
  switch (key.op) {
  case Op::Add:
    return pickBinary<0, FAdd>(key);
  case Op::Sub:
    return pickBinary<1, FSub>(key);
  case Op::Mul:
    return pickBinary<2, FMul>(key);
  case Op::Fma:
    return pickFma(key);
  case Op::Div:
    if (type == Ty::F64)
      return nearest ? binary64<FDiv> : nullptr;
    if (type != Ty::F32)
      return nullptr;
    return nearest ? nearest32<FDiv>(key) : binaryDirected<3>;
  case Op::DivApprox:
    return key.full ? divApprox<true> : divApprox<false>;
  case Op::Sqrt:
    if (type == Ty::F64)
      return nearest ? sqrtNearest<double> : nullptr;
    return nearest && !key.ftz ? sqrtNearest<float>
           : nearest           ? sqrtApprox
                               : sqrtDirected;
  case Op::Min:
    return pickExtremum<false>(type);
  case Op::Max:
    return pickExtremum<true>(type);
  case Op::Min3:
    return extremum3<false>;
  case Op::Max3:
    return extremum3<true>;
  case Op::Abs:
    return type == Ty::F64 ? signs64<false> : signs;
  case Op::Neg:
    return type == Ty::F64 ? signs64<true> : signs;
  case Op::Copysign:
    return type == Ty::F64 ? copysignBits<uint64_t> : copysignBits<uint32_t>;
  case Op::RcpApprox:
    return type == Ty::F64 ? approx64<false> : rcp;
  case Op::RsqrtApprox:
    if (type != Ty::F64)
      return rsqrt;
    return key.ftz ? approx64<true> : rsqrt64;
  case Op::SqrtApprox:
    return sqrtApprox;
  case Op::SinApprox:
    return sine;
  case Op::CosApprox:
    return cosine;
  case Op::Lg2Approx:
    return lg2;
  case Op::Ex2Approx:
    return type == Ty::F32 ? ex2 : pickApprox16<0>(type);
  case Op::TanhApprox:
    return type == Ty::F32 ? tanh32 : pickApprox16<1>(type);
  case Op::Setp:
    switch (type) {
    case Ty::F32:
      return pickSetp32(key.compare);
    case Ty::F64:
      return setpOther<0, false>;
    case Ty::F16:
      return setpOther<1, false>;
    case Ty::F16x2:
      return setpOther<1, true>;
    case Ty::BF16:
      return setpOther<2, false>;
    case Ty::BF16x2:
      return setpOther<2, true>;
    default:
      return nullptr;
    }
  default:
    return nullptr;
  }
}

} // namespace

Handler CUDASIM_ISA::pickFloat(const FormKey &key) { return pick(key); }

} // namespace cudasim
