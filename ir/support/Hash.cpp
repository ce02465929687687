#include "ir/support/Hash.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/Endian.h"

#include <algorithm>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

using namespace moec;
using namespace llvm::support;

//===----------------------------------------------------------------------===//
// Blocks
//===----------------------------------------------------------------------===//

/// The first 32 bits of the fractional parts of the cube roots of the first 64
/// primes.
alignas(16) static constexpr uint32_t kRoundConstants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
    0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
    0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static void compressPortable(std::array<uint32_t, 8> &state,
                             const uint8_t *blocks, size_t count) {
  using llvm::rotr;
  for (; count > 0; --count, blocks += 64) {
    uint32_t w[64];
    for (unsigned t = 0; t < 16; ++t)
      w[t] = endian::read32be(blocks + 4 * t);
    for (unsigned t = 16; t < 64; ++t) {
      uint32_t low = w[t - 15], high = w[t - 2];
      uint32_t sigma0 = rotr(low, 7) ^ rotr(low, 18) ^ (low >> 3);
      uint32_t sigma1 = rotr(high, 17) ^ rotr(high, 19) ^ (high >> 10);
      w[t] = w[t - 16] + sigma0 + w[t - 7] + sigma1;
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (unsigned t = 0; t < 64; ++t) {
      uint32_t sum1 = rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25);
      uint32_t choice = (e & f) ^ (~e & g);
      uint32_t first = h + sum1 + choice + kRoundConstants[t] + w[t];
      uint32_t sum0 = rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22);
      uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
      h = g;
      g = f;
      f = e;
      e = d + first;
      d = c;
      c = b;
      b = a;
      a = first + sum0 + majority;
    }
    const uint32_t done[8] = {a, b, c, d, e, f, g, h};
    for (unsigned i = 0; i < 8; ++i)
      state[i] += done[i];
  }
}

#if defined(__x86_64__)
/// The instructions keep the state as (a, b, e, f) and (c, d, g, h), highest
/// lane first, and do two rounds at a time.
[[gnu::target("sha,sse4.1")]] static void
compressShaNi(std::array<uint32_t, 8> &state, const uint8_t *blocks,
              size_t count) {
  auto *stored = reinterpret_cast<__m128i *>(state.data());
  const __m128i bigEndian =
      _mm_set_epi64x(0x0c0d0e0f08090a0bll, 0x0405060700010203ll);
  __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(stored), 0xB1);
  __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(stored + 1), 0x1B);
  __m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
  __m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xF0);
  for (; count > 0; --count, blocks += 64) {
    __m128i abefBefore = abef, cdghBefore = cdgh;
    __m128i w[4];
    for (unsigned i = 0; i < 4; ++i)
      w[i] = _mm_shuffle_epi8(
          _mm_loadu_si128(reinterpret_cast<const __m128i *>(blocks) + i),
          bigEndian);
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < 16; ++i) {
      __m128i constants = _mm_load_si128(
          reinterpret_cast<const __m128i *>(kRoundConstants) + i);
      __m128i sum = _mm_add_epi32(w[i % 4], constants);
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0E));
      if (i >= 12)
        continue;
      // The four words that come sixteen after these.
      __m128i w1 = w[(i + 1) % 4], w2 = w[(i + 2) % 4], w3 = w[(i + 3) % 4];
      __m128i next = _mm_add_epi32(_mm_sha256msg1_epu32(w[i % 4], w1),
                                   _mm_alignr_epi8(w3, w2, 4));
      w[i % 4] = _mm_sha256msg2_epu32(next, w3);
    }
    abef = _mm_add_epi32(abef, abefBefore);
    cdgh = _mm_add_epi32(cdgh, cdghBefore);
  }
  __m128i feba = _mm_shuffle_epi32(abef, 0x1B);
  __m128i dchg = _mm_shuffle_epi32(cdgh, 0xB1);
  _mm_storeu_si128(stored, _mm_blend_epi16(feba, dchg, 0xF0));
  _mm_storeu_si128(stored + 1, _mm_alignr_epi8(dchg, feba, 8));
}

static bool hasShaNi() {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 19)))
    return false; // SSE4.1
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 29));
}
#endif

static void compress(std::array<uint32_t, 8> &state, const uint8_t *blocks,
                     size_t count) {
#if defined(__x86_64__)
  static const bool isFast = hasShaNi();
  if (isFast)
    return compressShaNi(state, blocks, count);
#endif
  compressPortable(state, blocks, count);
}

//===----------------------------------------------------------------------===//
// Streams
//===----------------------------------------------------------------------===//

/// The same of the square roots of the first eight primes.
Sha256::Sha256()
    : state{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
            0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19} {}

void Sha256::update(llvm::ArrayRef<uint8_t> bytes) {
  size_t held = totalBytes % 64;
  totalBytes += bytes.size();
  if (held) {
    size_t taken = std::min<size_t>(64 - held, bytes.size());
    std::copy_n(bytes.begin(), taken, pending.begin() + held);
    bytes = bytes.drop_front(taken);
    if (held + taken < 64)
      return;
    compress(state, pending.data(), 1);
  }
  compress(state, bytes.data(), bytes.size() / 64);
  llvm::ArrayRef<uint8_t> rest = bytes.take_back(bytes.size() % 64);
  std::copy(rest.begin(), rest.end(), pending.begin());
}

void Sha256::update(llvm::StringRef text) {
  update(llvm::arrayRefFromStringRef(text));
}

void Sha256::updateU64(uint64_t value) {
  std::array<uint8_t, 8> bytes;
  endian::write64le(bytes.data(), value);
  update(llvm::ArrayRef<uint8_t>(bytes));
}

void Sha256::updateSized(llvm::StringRef text) {
  updateU64(text.size());
  update(text);
}

Digest Sha256::finish() {
  uint64_t bits = totalBytes * 8;
  static constexpr std::array<uint8_t, 64> kPadding = {0x80};
  // One bit, zeros, and the length in the last 8 bytes of a block.
  size_t held = totalBytes % 64;
  update(llvm::ArrayRef<uint8_t>(kPadding).take_front(held < 56 ? 56 - held
                                                                : 120 - held));
  std::array<uint8_t, 8> length;
  endian::write64be(length.data(), bits);
  update(llvm::ArrayRef<uint8_t>(length));
  Digest digest;
  for (size_t i = 0; i < state.size(); ++i)
    endian::write32be(digest.data() + 4 * i, state[i]);
  return digest;
}

Digest moec::sha256(llvm::ArrayRef<uint8_t> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

Digest moec::sha256(llvm::StringRef text) {
  return sha256(llvm::arrayRefFromStringRef(text));
}

std::string moec::toHex(llvm::ArrayRef<uint8_t> bytes) {
  return llvm::toHex(bytes, /*LowerCase=*/true);
}

std::optional<Digest> moec::parseDigest(llvm::StringRef hex) {
  Digest digest;
  if (hex.size() != 2 * digest.size())
    return std::nullopt;
  for (size_t i = 0; i < digest.size(); ++i) {
    unsigned high = llvm::hexDigitValue(hex[2 * i]);
    unsigned low = llvm::hexDigitValue(hex[2 * i + 1]);
    if (high > 15 || low > 15)
      return std::nullopt;
    digest[i] = uint8_t(high << 4 | low);
  }
  return digest;
}
