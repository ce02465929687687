//===- FloatKit.h - roundings and formats that C++ has no word for --------===//
//
// For handler files only; see HandlerKit.h. All functions are straight-line,
// so that loops over lanes vectorise.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "tools/cudasim/machine/HandlerKit.h"

namespace cudasim {
namespace {

INLINE uint32_t bitsOfFloat(float v) { return bitCast<uint32_t>(v); }
INLINE float floatOf(uint32_t bits) { return bitCast<float>(bits); }
INLINE bool isNan32(uint32_t bits) { return (bits & 0x7FFFFFFF) > 0x7F800000; }
/// f32 results that are not a number are always this one.
INLINE float canonical(float v) { return v != v ? floatOf(0x7FFFFFFF) : v; }
INLINE double canonical(double v) {
  return v != v ? bitCast<double>(uint64_t(0x7FF8000000000000)) : v;
}
/// Subnormal to zero of the same sign.
INLINE float flush(float v) {
  uint32_t bits = bitsOfFloat(v);
  return floatOf((bits & 0x7F800000) == 0 ? bits & 0x80000000 : bits);
}
/// To [0, 1]; not-a-number becomes 0.
INLINE float clamp01(float v) {
  float r = v > 0.0f ? v : 0.0f;
  return r > 1.0f ? 1.0f : r;
}
INLINE double clamp01(double v) {
  double r = v > 0.0 ? v : 0.0;
  return r > 1.0 ? 1.0 : r;
}

/// `sum` moved to an odd last bit where it is not exact; `rest` has the sign
/// of what is missing. Rounding it once more to fewer bits is then exact.
INLINE double toOdd(double sum, double rest) {
  int64_t bits = bitCast<int64_t>(sum);
  bool away = (rest < 0) == (sum < 0);
  bool adjust = rest != 0 && (bits & 1) == 0 && sum - sum == 0;
  return bitCast<double>(adjust ? (away ? bits + 1 : bits - 1) : bits);
}
/// a + b, with what rounding took in `rest`.
INLINE double twoSum(double a, double b, double &rest) {
  double s = a + b;
  double bb = s - a;
  double r = (a - (s - bb)) + (b - bb);
  rest = s - s == 0 ? r : 0;
  return s;
}
/// Round to odd from double to float.
INLINE float narrowToOdd(double v) {
  float f = float(v);
  int32_t bits = bitCast<int32_t>(f);
  double back = double(f);
  bool inexact = back != v && v - v == 0;
  bool grew = (back < 0 ? -back : back) > (v < 0 ? -v : v);
  bool adjust = inexact && (bits & 1) == 0;
  return floatOf(uint32_t(adjust ? (grew ? bits - 1 : bits + 1) : bits));
}

/// a * b + c rounded once, without hardware for it.
INLINE float softFma(float a, float b, float c) {
  double rest;
  double s = twoSum(double(a) * double(b), double(c), rest);
  return float(toOdd(s, rest));
}
INLINE float fmaNearest(float a, float b, float c) {
#ifdef __FMA__
  return __builtin_fmaf(a, b, c);
#else
  return softFma(a, b, c);
#endif
}

/// The exact value sum + rest, rounded to float in direction `mode`.
INLINE float directed(double sum, double rest, Rounding mode) {
  float f = float(sum);
  double left = sum - double(f);
  // The sign of what the nearest float lacks.
  double miss = left != 0 ? left : rest;
  int32_t bits = bitCast<int32_t>(f);
  bool negative = bits < 0;
  bool finite = sum - sum == 0;
  bool down = mode == Rounding::RM || (mode == Rounding::RZ && !negative);
  bool up = mode == Rounding::RP || (mode == Rounding::RZ && negative);
  bool isZero = (bits & 0x7FFFFFFF) == 0;
  int32_t lower = isZero ? int32_t(0x80000001) : negative ? bits + 1 : bits - 1;
  int32_t upper = isZero ? 1 : negative ? bits - 1 : bits + 1;
  // A zero result of rz stays; a zero has the sign of its value.
  int32_t r = bits;
  if (finite && miss < 0 && down && !(mode == Rounding::RZ && isZero))
    r = lower;
  if (finite && miss > 0 && up && !(mode == Rounding::RZ && isZero))
    r = upper;
  return floatOf(uint32_t(r));
}

//===--- f16 and bf16 -------------------------------------------------------//

INLINE float halfToFloat(uint32_t h) {
  uint32_t magnitude = (h & 0x7FFF) << 13;
  // 2^112 moves the exponent, and makes subnormals normal.
  float f = floatOf(magnitude) * floatOf(0x77800000);
  uint32_t bits = bitsOfFloat(f);
  if ((h & 0x7C00) == 0x7C00)
    bits = 0x7F800000 | magnitude;
  return floatOf(bits | (h & 0x8000) << 16);
}
/// To nearest even.
INLINE uint32_t floatToHalf(float v) {
  uint32_t bits = bitsOfFloat(v);
  uint32_t sign = bits >> 16 & 0x8000, a = bits & 0x7FFFFFFF;
  // Adding one half moves a subnormal's bits to the low end.
  uint32_t tiny = bitsOfFloat(floatOf(a) + 0.5f) - 0x3F000000;
  uint32_t usual = (a + 0xFFF + ((a >> 13) & 1) - (uint32_t(112) << 23)) >> 13;
  uint32_t r = a < 0x38800000 ? tiny : usual;
  r = a >= 0x47800000 ? 0x7C00 : r;
  r = r > 0x7C00 ? 0x7C00 : r;
  return a > 0x7F800000 ? 0x7FFF : r | sign;
}
INLINE float bfloatToFloat(uint32_t b) { return floatOf(b << 16); }
INLINE uint32_t floatToBfloat(float v) {
  uint32_t bits = bitsOfFloat(v);
  uint32_t r = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  return isNan32(bits) ? 0x7FFF : r;
}
/// Towards zero.
INLINE uint32_t floatToBfloatRz(float v) {
  uint32_t bits = bitsOfFloat(v);
  return isNan32(bits) ? 0x7FFF : bits >> 16;
}
INLINE uint32_t floatToHalfRz(float v) {
  uint32_t bits = bitsOfFloat(v);
  uint32_t near = floatToHalf(v);
  float back = halfToFloat(near);
  uint32_t a = bits & 0x7FFFFFFF;
  // A nearest value beyond the float is one step too far from zero.
  bool beyond = (bitsOfFloat(back) & 0x7FFFFFFF) > a && a <= 0x7F800000;
  return a > 0x7F800000 ? 0x7FFF : beyond ? near - 1 : near;
}

/// In direction `mode`: the value towards zero, then one step away from it
/// where that is the direction and something was lost.
INLINE uint32_t stepAway(uint32_t towardsZero, float back, float v,
                         Rounding mode) {
  bool away =
      mode == Rounding::RP ? back < v : mode == Rounding::RM && back > v;
  return towardsZero + away;
}

struct Half {
  INLINE float toFloat(uint32_t bits) { return halfToFloat(bits); }
  INLINE uint32_t nearest(float v) { return floatToHalf(v); }
  INLINE uint32_t towardsZero(float v) { return floatToHalfRz(v); }
  INLINE uint32_t round(float v, Rounding mode) {
    if (mode < Rounding::RZ || mode > Rounding::RP)
      return floatToHalf(v);
    uint32_t zero = floatToHalfRz(v);
    return stepAway(zero, halfToFloat(zero), v, mode);
  }
  static constexpr uint32_t kExponent = 0x7C00, kOne = 0x3C00;
};
struct Bfloat {
  INLINE float toFloat(uint32_t bits) { return bfloatToFloat(bits); }
  INLINE uint32_t nearest(float v) { return floatToBfloat(v); }
  INLINE uint32_t towardsZero(float v) { return floatToBfloatRz(v); }
  INLINE uint32_t round(float v, Rounding mode) {
    if (mode < Rounding::RZ || mode > Rounding::RP)
      return floatToBfloat(v);
    uint32_t zero = floatToBfloatRz(v);
    return stepAway(zero, bfloatToFloat(zero), v, mode);
  }
  static constexpr uint32_t kExponent = 0x7F80, kOne = 0x3F80;
};

/// a * b + c in format H, rounded once.
template <class H> INLINE uint32_t fma16(uint32_t a, uint32_t b, uint32_t c) {
  double rest;
  double s = twoSum(double(H::toFloat(a)) * double(H::toFloat(b)),
                    double(H::toFloat(c)), rest);
  return H::nearest(narrowToOdd(toOdd(s, rest)));
}

} // namespace
} // namespace cudasim
