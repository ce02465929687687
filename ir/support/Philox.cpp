#include "ir/support/Philox.h"

#include "ir/support/Hash.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/Endian.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

using namespace moec;

std::array<uint32_t, 4> moec::philox4x32(std::array<uint32_t, 4> counter,
                                         std::array<uint32_t, 2> key) {
  for (unsigned round = 0; round < 10; ++round) {
    uint64_t first = uint64_t(0xD2511F53u) * counter[0];
    uint64_t second = uint64_t(0xCD9E8D57u) * counter[2];
    counter = {uint32_t(second >> 32) ^ counter[1] ^ key[0], uint32_t(second),
               uint32_t(first >> 32) ^ counter[3] ^ key[1], uint32_t(first)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

RandomKey RandomKey::of(uint64_t seed, llvm::StringRef purpose,
                        llvm::StringRef weight, int64_t expert,
                        llvm::StringRef matrix) {
  Sha256 hash;
  hash.update(llvm::StringRef("moec-philox-1\0", 14));
  hash.updateU64(seed);
  hash.updateSized(purpose);
  hash.updateSized(weight);
  hash.updateU64(uint64_t(expert));
  hash.updateSized(matrix);
  return {llvm::support::endian::read64le(hash.finish().data())};
}

std::array<uint32_t, 4> moec::randomWords(RandomKey key, uint64_t index) {
  return philox4x32({uint32_t(index), uint32_t(index >> 32), 0, 0},
                    {uint32_t(key.bits), uint32_t(key.bits >> 32)});
}

static uint64_t join(uint32_t low, uint32_t high) {
  return uint64_t(high) << 32 | low;
}

static double toUnit(uint64_t bits) { return double(bits >> 11) * 0x1p-53; }

uint64_t moec::randomBits(RandomKey key, uint64_t index) {
  auto words = randomWords(key, index);
  return join(words[0], words[1]);
}

double moec::uniform(RandomKey key, uint64_t index) {
  return toUnit(randomBits(key, index));
}

uint64_t moec::uniformInt(RandomKey key, uint64_t index, uint64_t bound) {
  assert(bound > 0 && "an empty range has no element");
  __extension__ using Wide = unsigned __int128;
  return uint64_t((Wide(randomBits(key, index)) * bound) >> 64);
}

double moec::portableLog(double x) {
  // x = 2^e * m with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s) with
  // s = (m - 1) / (m + 1), |s| < 0.1716, so the series ends at s^23.
  uint64_t bits = llvm::bit_cast<uint64_t>(x);
  int64_t exponent = int64_t(bits >> 52) - 1023;
  double m = llvm::bit_cast<double>((bits & 0xfffffffffffffull) |
                                    0x3ff0000000000000ull);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    exponent += 1;
  }
  double f = m - 1.0;
  double s = f / (m + 1.0);
  double z = s * s;
  double series = 1.0 / 23.0;
  for (int odd = 21; odd >= 3; odd -= 2)
    series = series * z + 1.0 / double(odd);
  // 2 atanh(s) = 2s + 2s*z*series, and 2s = f - s*f keeps the low bits of f.
  double tail = s * (2.0 * z * series - f);
  double e = double(exponent);
  // log 2 in two parts; the first has enough trailing zeros that its product
  // with an exponent is exact.
  constexpr double kLn2High = 0x1.62e42fee00000p-1;
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  return e * kLn2High + (f + (tail + e * kLn2Low));
}

/// sin(pi/4 * t) and cos(pi/4 * t) by Taylor's series, |t| <= 1.
static double sinEighth(double t) {
  double x = t * 0.78539816339744830962;
  double z = x * x;
  double series = 1.0;
  for (int n = 18; n >= 2; n -= 2)
    series = 1.0 - series * z / double(n * (n + 1));
  return x * series;
}
static double cosEighth(double t) {
  double x = t * 0.78539816339744830962;
  double z = x * x;
  double series = 1.0;
  for (int n = 19; n >= 1; n -= 2)
    series = 1.0 - series * z / double(n * (n + 1));
  return series;
}

double moec::portableCosTurns(double turns) {
  // Exact reduction: eighths of a turn are multiples of a power of two.
  double eighths = turns * 8.0;
  int octant = int(eighths);
  double rest = eighths - double(octant);
  switch (octant) {
  case 0:
    return cosEighth(rest);
  case 1:
    return sinEighth(1.0 - rest);
  case 2:
    return -sinEighth(rest);
  case 3:
    return -cosEighth(1.0 - rest);
  case 4:
    return -cosEighth(rest);
  case 5:
    return -sinEighth(1.0 - rest);
  case 6:
    return sinEighth(rest);
  default:
    return cosEighth(1.0 - rest);
  }
}

double moec::normal(RandomKey key, uint64_t index) {
  auto words = randomWords(key, index);
  double u = 1.0 - toUnit(join(words[0], words[1]));
  double v = toUnit(join(words[2], words[3]));
  // IEEE 754 fixes every bit of a square root; log 1 is exactly 0.
  return std::sqrt(-2.0 * portableLog(u)) * portableCosTurns(v);
}

void moec::fillUniform(RandomKey key, uint64_t first, double low, double high,
                       llvm::MutableArrayRef<float> out) {
  double width = high - low;
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = float(low + width * uniform(key, first + i));
}

void moec::fillNormal(RandomKey key, uint64_t first, double mean,
                      double deviation, llvm::MutableArrayRef<float> out) {
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = float(mean + deviation * normal(key, first + i));
}

static std::vector<std::pair<uint64_t, uint64_t>>
rankedIndices(RandomKey key, uint64_t count) {
  std::vector<std::pair<uint64_t, uint64_t>> ranked(count);
  for (uint64_t index = 0; index < count; ++index)
    ranked[index] = {randomBits(key, index), index};
  return ranked;
}

std::vector<uint64_t> moec::permutation(RandomKey key, uint64_t count) {
  auto ranked = rankedIndices(key, count);
  std::sort(ranked.begin(), ranked.end());
  std::vector<uint64_t> order(count);
  for (uint64_t i = 0; i < count; ++i)
    order[i] = ranked[i].second;
  return order;
}

std::vector<uint64_t> moec::chooseIndices(RandomKey key, uint64_t count,
                                          uint64_t chosen) {
  assert(chosen <= count && "cannot choose more than there are");
  auto ranked = rankedIndices(key, count);
  if (chosen < count)
    std::nth_element(ranked.begin(), ranked.begin() + int64_t(chosen),
                     ranked.end());
  std::vector<uint64_t> indices(chosen);
  for (uint64_t i = 0; i < chosen; ++i)
    indices[i] = ranked[i].second;
  std::sort(indices.begin(), indices.end());
  return indices;
}
