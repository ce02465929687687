#include "runtime/cpu/Transpose.h"

#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace moec;

/// Rows [firstRow, rows) and units [firstUnit, units), one by one.
static void transposeScalar(llvm::ArrayRef<const uint8_t *> rows,
                            uint64_t firstRow, uint64_t firstUnit,
                            uint64_t units, unsigned unitBytes, uint8_t *out) {
  for (uint64_t unit = firstUnit; unit < units; ++unit)
    for (uint64_t row = firstRow; row < rows.size(); ++row)
      std::memcpy(out + (unit * rows.size() + row) * unitBytes,
                  rows[row] + unit * unitBytes, unitBytes);
}

#if defined(__x86_64__)
/// 8 rows of 8 units of 4 bytes: three rounds of interleaving, in 4-byte,
/// 8-byte and 16-byte steps.
__attribute__((target("avx2"))) static void
transposeWords8x8(const uint8_t *const *rows, uint64_t offset, uint8_t *out,
                  uint64_t stride) {
  __m256i r[8], t[8];
  for (int i = 0; i < 8; ++i)
    r[i] =
        _mm256_loadu_si256(reinterpret_cast<const __m256i *>(rows[i] + offset));
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    __m256i low = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
    __m256i high = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(out + i * stride), low);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(out + (i + 4) * stride),
                        high);
  }
}

/// 8 rows of 8 units of 2 bytes, the same way, with what every x86-64 has.
static void transposeHalves8x8(const uint8_t *const *rows, uint64_t offset,
                               uint8_t *out, uint64_t stride) {
  __m128i r[8], t[8];
  for (int i = 0; i < 8; ++i)
    r[i] = _mm_loadu_si128(reinterpret_cast<const __m128i *>(rows[i] + offset));
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm_unpacklo_epi16(r[i], r[i + 1]);
    t[i + 1] = _mm_unpackhi_epi16(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm_unpacklo_epi32(t[i], t[i + 2]);
    r[i + 1] = _mm_unpackhi_epi32(t[i], t[i + 2]);
    r[i + 2] = _mm_unpacklo_epi32(t[i + 1], t[i + 3]);
    r[i + 3] = _mm_unpackhi_epi32(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    __m128i first = _mm_unpacklo_epi64(r[i], r[i + 4]);
    __m128i second = _mm_unpackhi_epi64(r[i], r[i + 4]);
    uint8_t *to = out + 2 * i * stride;
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to), first);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to + stride), second);
  }
}

/// Whole squares of 8 by 8 units; the rest one by one.
template <typename Square>
static void transposeSquares(llvm::ArrayRef<const uint8_t *> rows,
                             uint64_t units, unsigned unitBytes, uint8_t *out,
                             Square square) {
  uint64_t stride = rows.size() * unitBytes;
  uint64_t wholeRows = rows.size() / 8 * 8, wholeUnits = units / 8 * 8;
  for (uint64_t unit = 0; unit < wholeUnits; unit += 8)
    for (uint64_t row = 0; row < wholeRows; row += 8)
      square(rows.data() + row, unit * unitBytes,
             out + unit * stride + row * unitBytes, stride);
  if (wholeRows < rows.size())
    transposeScalar(rows, wholeRows, 0, wholeUnits, unitBytes, out);
  transposeScalar(rows, 0, wholeUnits, units, unitBytes, out);
}
#endif

void runtime::transposeUnits(llvm::ArrayRef<const uint8_t *> rows,
                             uint64_t units, unsigned unitBytes, uint8_t *out) {
#if defined(__x86_64__)
  if (unitBytes == 2)
    return transposeSquares(rows, units, unitBytes, out, transposeHalves8x8);
  if (unitBytes == 4 && __builtin_cpu_supports("avx2"))
    return transposeSquares(rows, units, unitBytes, out, transposeWords8x8);
#endif
  transposeScalar(rows, 0, 0, units, unitBytes, out);
}
