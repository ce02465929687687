//===- Formats.h - 8-bit floats as bits -----------------------------------===//
#pragma once

#include <cmath>
#include <cstdint>

namespace cudasim::fakes {

/// A small float format: sign, exponent, mantissa.
struct SmallFloat {
  int mantissaBits;
  int bias;
  /// The largest finite value; conversions saturate to it.
  float largest;
  /// All exponent bits set mean infinity and NaN, as in IEEE 754; otherwise
  /// only the pattern of all ones is NaN and there is no infinity.
  bool isIeee;
};

inline constexpr SmallFloat kE4m3 = {3, 7, 448.0f, false};
inline constexpr SmallFloat kE5m2 = {2, 15, 57344.0f, true};

inline float smallToF32(const SmallFloat &format, uint8_t bits) {
  int magnitude = bits & 0x7f;
  float sign = bits & 0x80 ? -1.0f : 1.0f;
  int exponent = magnitude >> format.mantissaBits;
  int mantissa = magnitude & ((1 << format.mantissaBits) - 1);
  int lastExponent = 0x7f >> format.mantissaBits;
  if (format.isIeee && exponent == lastExponent)
    return mantissa ? NAN : sign * INFINITY;
  if (!format.isIeee && magnitude == 0x7f)
    return NAN;
  if (exponent == 0)
    return sign *
           std::ldexp(float(mantissa), 1 - format.bias - format.mantissaBits);
  return sign * std::ldexp(float(mantissa + (1 << format.mantissaBits)),
                           exponent - format.bias - format.mantissaBits);
}

/// Rounds to nearest, ties to even; too large becomes the largest.
inline uint8_t f32ToSmall(const SmallFloat &format, float value) {
  uint8_t sign = std::signbit(value) ? 0x80 : 0;
  if (std::isnan(value))
    return uint8_t(sign | 0x7f);
  float magnitude = std::fabs(value);
  if (magnitude >= format.largest)
    magnitude = format.largest;
  int exponent = magnitude == 0 ? 0 : std::ilogb(magnitude);
  if (exponent < 1 - format.bias)
    exponent = 1 - format.bias;
  // In units of the last place, which ties-to-even rounding makes whole; a
  // carry moves into the exponent by itself.
  float units = std::ldexp(magnitude, format.mantissaBits - exponent);
  int whole = int(std::nearbyint(units));
  int field = ((exponent + format.bias - 1) << format.mantissaBits) + whole;
  return uint8_t(sign | field);
}

} // namespace cudasim::fakes
