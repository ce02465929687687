//===- Numbers.h - number formats, chance and comparison for references ---===//
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace corpus {

/// A float format by its precision (leading bit included), its smallest normal
/// exponent and its largest finite value; infinities follow unless it has none.
struct Format {
  int precision;
  int minExponent;
  double largest;
};
constexpr Format kBf16 = {8, -126, 3.3895313892515355e38};
constexpr Format kF16 = {11, -14, 65504.0};
constexpr Format kF32 = {24, -126, 3.4028234663852886e38};

enum class Rounding { Nearest, Zero, Up, Down };

/// The value nearest to `value` that the format has, as a double. Exact: a
/// double is the only rounding on the way.
inline double roundTo(double value, const Format &format,
                      Rounding rounding = Rounding::Nearest) {
  if (!std::isfinite(value) || value == 0)
    return value;
  int exponent;
  std::frexp(value, &exponent); // value = f * 2^exponent, 0.5 <= |f| < 1
  exponent = std::max(exponent - 1, format.minExponent);
  int shift = format.precision - 1 - exponent;
  double scaled = std::ldexp(value, shift), whole = 0;
  switch (rounding) {
  case Rounding::Nearest:
    whole = std::nearbyint(scaled);
    break;
  case Rounding::Zero:
    whole = std::trunc(scaled);
    break;
  case Rounding::Up:
    whole = std::ceil(scaled);
    break;
  case Rounding::Down:
    whole = std::floor(scaled);
    break;
  }
  double result = std::ldexp(whole, -shift);
  if (std::fabs(result) <= format.largest)
    return std::copysign(result, value);
  bool stays = rounding == Rounding::Zero ||
               (rounding == Rounding::Down && value > 0) ||
               (rounding == Rounding::Up && value < 0);
  return std::copysign(stays ? format.largest : INFINITY, value);
}

inline uint32_t bitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float floatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float fromBf16(uint16_t bits) { return floatOf(uint32_t(bits) << 16); }
inline uint16_t toBf16(double value) {
  if (std::isnan(value))
    return 0x7fff;
  return uint16_t(bitsOf(float(roundTo(value, kBf16))) >> 16);
}

/// Decodes a small format with `mantissa` explicit bits and this exponent
/// bias; `ieee` formats have infinities and NaNs in the last exponent.
inline double decode(uint32_t bits, int exponentBits, int mantissaBits,
                     int bias, bool ieee) {
  uint32_t mantissa = bits & ((1u << mantissaBits) - 1);
  uint32_t exponent = (bits >> mantissaBits) & ((1u << exponentBits) - 1);
  double sign = bits >> (mantissaBits + exponentBits) & 1 ? -1 : 1;
  uint32_t last = (1u << exponentBits) - 1;
  if (ieee && exponent == last)
    return mantissa ? NAN : sign * INFINITY;
  if (!ieee && exponent == last && mantissa == (1u << mantissaBits) - 1)
    return NAN;
  if (exponent == 0)
    return sign * std::ldexp(double(mantissa), 1 - bias - mantissaBits);
  return sign * std::ldexp(double(mantissa + (1u << mantissaBits)),
                           int(exponent) - bias - mantissaBits);
}
inline double fromF16(uint16_t bits) { return decode(bits, 5, 10, 15, true); }
inline double fromE4m3(uint8_t bits) { return decode(bits, 4, 3, 7, false); }
inline double fromE5m2(uint8_t bits) { return decode(bits, 5, 2, 15, true); }
inline uint16_t toF16(double value) {
  if (std::isnan(value))
    return 0x7fff;
  value = roundTo(value, kF16);
  uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  value = std::fabs(value);
  if (std::isinf(value))
    return sign | 0x7c00;
  if (value < std::ldexp(1.0, -14))
    return sign | uint16_t(std::ldexp(value, 24));
  int exponent;
  double fraction = std::frexp(value, &exponent);
  return sign |
         uint16_t((exponent + 13) << 10) + uint16_t(std::ldexp(fraction, 11));
}

/// SplitMix64: the same numbers on every machine.
class Random {
public:
  explicit Random(uint64_t seed) : state(seed) {}
  uint64_t bits() {
    uint64_t z = (state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  double uniform(double low, double high) {
    return low + (high - low) * double(bits() >> 11) * 0x1p-53;
  }
  uint32_t below(uint32_t limit) { return uint32_t(bits() % limit); }

  std::vector<float> floats(size_t count, double low, double high) {
    std::vector<float> values(count);
    for (float &value : values)
      value = float(uniform(low, high));
    return values;
  }
  std::vector<uint16_t> bf16s(size_t count, double low, double high) {
    std::vector<uint16_t> values(count);
    for (uint16_t &value : values)
      value = toBf16(uniform(low, high));
    return values;
  }

private:
  uint64_t state;
};

/// How far a result may lie from its reference: |got - want| <= absolute +
/// relative * |want|. NaN agrees with NaN.
struct Tolerance {
  double absolute = 0, relative = 0;
};
/// Half a unit in the last place of a bf16 result, and the float arithmetic
/// that came before it, which may move a value over the middle.
constexpr Tolerance kBf16Result = {1e-6, 0x1p-8 + 0x1p-14};

/// One failure for the worst element, not one each.
void expectClose(const std::vector<double> &got,
                 const std::vector<double> &want, Tolerance tolerance,
                 const std::string &what);

inline std::vector<double> widenBf16(const std::vector<uint16_t> &values) {
  return {[&] {
    std::vector<double> wide;
    for (uint16_t value : values)
      wide.push_back(fromBf16(value));
    return wide;
  }()};
}
inline std::vector<double> widen(const std::vector<float> &values) {
  return {values.begin(), values.end()};
}

} // namespace corpus
