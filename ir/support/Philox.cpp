#include "ir/support/Philox.h"

#include "ir/support/Hash.h"
#include "llvm/Support/Endian.h"

#include <algorithm>
#include <cassert>
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

//===----------------------------------------------------------------------===//
// Elementary functions
//===----------------------------------------------------------------------===//

// Each function is written once, for one number or for a vector of eight: the
// same IEEE operations in the same order, so that lanes and scalars agree bit
// for bit, whatever the machine has.

// Vectors pass between functions that are always inlined, so no ABI matters.
#pragma clang diagnostic ignored "-Wpsabi"

using U64x8 = uint64_t __attribute__((vector_size(64)));
using F64x8 = double __attribute__((vector_size(64)));

namespace {
struct ScalarLane {
  using Bits = uint64_t;
  using Float = double;
};
struct VectorLane {
  using Bits = U64x8;
  using Float = F64x8;
};
} // namespace

#define MOEC_INLINE [[gnu::always_inline]] static inline

template <typename To, typename From>
MOEC_INLINE To castBits(const From &from) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, from);
}

/// sqrt is correctly rounded by IEEE 754.
MOEC_INLINE double squareRoot(double x) { return __builtin_sqrt(x); }
MOEC_INLINE F64x8 squareRoot(F64x8 x) { return __builtin_elementwise_sqrt(x); }

/// An integer below 2^52 as a double: put behind the exponent of 2^52.
template <typename Lane>
MOEC_INLINE typename Lane::Float smallToDouble(typename Lane::Bits value) {
  return castBits<typename Lane::Float>(value | 0x4330000000000000ull) - 0x1p52;
}

/// The upper 53 bits times 2^-53: high 27 and low 26 bits, each exact.
template <typename Lane>
MOEC_INLINE typename Lane::Float unitOf(typename Lane::Bits bits) {
  typename Lane::Bits top = bits >> 11;
  return smallToDouble<Lane>(top >> 26) * 0x1p-27 +
         smallToDouble<Lane>(top & 0x3ffffffull) * 0x1p-53;
}

/// log x = e log 2 + 2 atanh(s), with x = 2^e m, m in [sqrt 1/2, sqrt 2) and
/// s = (m - 1) / (m + 1), |s| < 0.1716, so that the series may end at s^23.
template <typename Lane>
MOEC_INLINE typename Lane::Float logOf(typename Lane::Float x) {
  using Float = typename Lane::Float;
  using Bits = typename Lane::Bits;
  constexpr uint64_t kSqrtHalf = 0x3fe6a09e667f3bcdull;
  constexpr uint64_t kBias = 1024;
  Bits bits = castBits<Bits>(x);
  Bits biased = (bits - kSqrtHalf + (kBias << 52)) >> 52;
  Float m = castBits<Float>(bits - ((biased - kBias) << 52));
  Float e = smallToDouble<Lane>(biased) - double(kBias);
  Float f = m - 1.0;
  Float s = f / (m + 1.0);
  Float z = s * s;
  Float series = z * (1.0 / 23.0) + (1.0 / 21.0);
  series = series * z + (1.0 / 19.0);
  series = series * z + (1.0 / 17.0);
  series = series * z + (1.0 / 15.0);
  series = series * z + (1.0 / 13.0);
  series = series * z + (1.0 / 11.0);
  series = series * z + (1.0 / 9.0);
  series = series * z + (1.0 / 7.0);
  series = series * z + (1.0 / 5.0);
  series = series * z + (1.0 / 3.0);
  // 2 s = f - s f keeps the low bits of f; log 2 is in two parts, the first
  // with enough trailing zeros that its product with an exponent is exact.
  constexpr double kLn2High = 0x1.62e42fee00000p-1;
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  Float tail = s * (z * series * 2.0 - f);
  return e * kLn2High + (f + (tail + e * kLn2Low));
}

/// cos(2 pi v) = -sin(2 pi y) with y = 1/4 - |v - 1/2|, which is exact and at
/// most 1/4; sine by its series to the term of x^21.
template <typename Lane>
MOEC_INLINE typename Lane::Float cosTurnsOf(typename Lane::Float v) {
  using Float = typename Lane::Float;
  using Bits = typename Lane::Bits;
  Float centred = v - 0.5;
  Float distance =
      castBits<Float>(castBits<Bits>(centred) & 0x7fffffffffffffffull);
  Float x = (0.25 - distance) * 6.28318530717958647693;
  Float z = x * x;
  Float series =
      z * (1.0 / 51090942171709440000.0) - (1.0 / 121645100408832000.0);
  series = series * z + (1.0 / 355687428096000.0);
  series = series * z - (1.0 / 1307674368000.0);
  series = series * z + (1.0 / 6227020800.0);
  series = series * z - (1.0 / 39916800.0);
  series = series * z + (1.0 / 362880.0);
  series = series * z - (1.0 / 5040.0);
  series = series * z + (1.0 / 120.0);
  series = series * z - (1.0 / 6.0);
  return -(x + x * (z * series));
}

template <typename Lane>
MOEC_INLINE typename Lane::Float normalOf(typename Lane::Bits first,
                                          typename Lane::Bits second) {
  typename Lane::Float u = 1.0 - unitOf<Lane>(first);
  typename Lane::Float v = unitOf<Lane>(second);
  return squareRoot(logOf<Lane>(u) * -2.0) * cosTurnsOf<Lane>(v);
}

double moec::portableLog(double x) { return logOf<ScalarLane>(x); }

double moec::portableCosTurns(double turns) {
  return cosTurnsOf<ScalarLane>(turns);
}

double moec::normal(RandomKey key, uint64_t index) {
  auto words = randomWords(key, index);
  return normalOf<ScalarLane>(join(words[0], words[1]),
                              join(words[2], words[3]));
}

//===----------------------------------------------------------------------===//
// Runs of numbers
//===----------------------------------------------------------------------===//

/// The two 64-bit halves of eight blocks; 32-bit words are kept in
/// 64-bit lanes, where their products fit.
MOEC_INLINE void philoxLanes(RandomKey key, const U64x8 &index, U64x8 &low,
                             U64x8 &high) {
  constexpr uint64_t kWord = 0xffffffffull;
  U64x8 c0 = index & kWord, c1 = index >> 32, c2 = {}, c3 = {};
  uint32_t k0 = uint32_t(key.bits), k1 = uint32_t(key.bits >> 32);
  for (unsigned round = 0; round < 10; ++round) {
    U64x8 product0 = c0 * uint64_t(0xD2511F53u);
    U64x8 product1 = c2 * uint64_t(0xCD9E8D57u);
    c0 = (product1 >> 32) ^ c1 ^ uint64_t(k0);
    c1 = product1 & kWord;
    c2 = (product0 >> 32) ^ c3 ^ uint64_t(k1);
    c3 = product0 & kWord;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  low = c1 << 32 | c0;
  high = c3 << 32 | c2;
}

namespace {
/// What is drawn: x * scale + offset, x normal or uniform, for the counters
/// first, first + 1, ..., or for those of a list.
struct Run {
  RandomKey key;
  uint64_t first;
  const uint64_t *indices;
  double offset;
  double scale;
  bool isNormal;
};
} // namespace

MOEC_INLINE void fillRun(const Run &run, llvm::MutableArrayRef<float> out) {
  for (size_t at = 0; at < out.size(); at += 8) {
    size_t length = std::min<size_t>(8, out.size() - at);
    U64x8 index = U64x8{0, 1, 2, 3, 4, 5, 6, 7} + (run.first + at);
    if (run.indices)
      __builtin_memcpy(&index, run.indices + at, length * sizeof(uint64_t));
    U64x8 low, high;
    philoxLanes(run.key, index, low, high);
    F64x8 x = run.isNormal ? normalOf<VectorLane>(low, high)
                           : unitOf<VectorLane>(low);
    F64x8 values = x * run.scale + run.offset;
    for (size_t lane = 0; lane < length; ++lane)
      out[at + lane] = float(values[lane]);
  }
}

#if defined(__x86_64__)
[[gnu::target("avx512f,avx512dq")]] static void
fillAvx512(const Run &run, llvm::MutableArrayRef<float> out) {
  fillRun(run, out);
}
[[gnu::target("avx2")]] static void fillAvx2(const Run &run,
                                             llvm::MutableArrayRef<float> out) {
  fillRun(run, out);
}
#endif

static void fill(const Run &run, llvm::MutableArrayRef<float> out) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq"))
    return fillAvx512(run, out);
  if (__builtin_cpu_supports("avx2"))
    return fillAvx2(run, out);
#endif
  fillRun(run, out);
}

void moec::fillUniform(RandomKey key, uint64_t first, double low, double high,
                       llvm::MutableArrayRef<float> out) {
  fill({key, first, nullptr, low, high - low, /*isNormal=*/false}, out);
}

void moec::fillNormal(RandomKey key, uint64_t first, double mean,
                      double deviation, llvm::MutableArrayRef<float> out) {
  fill({key, first, nullptr, mean, deviation, /*isNormal=*/true}, out);
}

void moec::fillNormalAt(RandomKey key, llvm::ArrayRef<uint64_t> indices,
                        double mean, double deviation,
                        llvm::MutableArrayRef<float> out) {
  assert(indices.size() == out.size() && "a number for each index");
  fill({key, 0, indices.data(), mean, deviation, /*isNormal=*/true}, out);
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
