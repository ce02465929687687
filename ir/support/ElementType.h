//===- ElementType.h - what a tensor's bytes mean -------------------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/bit.h"

#include <cstdint>
#include <optional>

namespace moec {

/// The type of one element. GGUF's block-quantised types store a block of
/// elements as one packed record; see `blockElements` and `blockBytes`.
enum class ElementType : uint8_t {
  f32,
  bf16,
  f16,
  f64,
  i8,
  u8,
  i32,
  i64,
  boolean,
  q8_0,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q4_k,
  q5_k,
  q6_k,
};

inline constexpr unsigned kElementTypes = 17;

/// The name as the IR writes it: `f32`, `q4_0`, `bool`.
llvm::StringRef elementTypeName(ElementType type);
/// The inverse of `elementTypeName`; nothing for an unknown name.
std::optional<ElementType> parseElementType(llvm::StringRef name);

/// Elements in one block: 1 for plain types, 32 or 256 for quantised ones.
unsigned blockElements(ElementType type);
/// Bytes of one block.
unsigned blockBytes(ElementType type);

inline bool isBlockQuantized(ElementType type) {
  return type >= ElementType::q8_0;
}
/// A plain floating-point type.
inline bool isFloat(ElementType type) { return type <= ElementType::f64; }
inline bool isInteger(ElementType type) {
  return type >= ElementType::i8 && type <= ElementType::i64;
}

/// Bytes of `elements` elements; nothing if that overflows, or if it is no
/// whole number of blocks.
std::optional<uint64_t> byteSize(ElementType type, uint64_t elements);

/// Products and sums of untrusted sizes; nothing on overflow.
inline std::optional<uint64_t> checkedMul(uint64_t a, uint64_t b) {
  uint64_t result;
  if (__builtin_mul_overflow(a, b, &result))
    return std::nullopt;
  return result;
}
inline std::optional<uint64_t> checkedAdd(uint64_t a, uint64_t b) {
  uint64_t result;
  if (__builtin_add_overflow(a, b, &result))
    return std::nullopt;
  return result;
}
/// The number of elements of a shape; nothing if a dimension is negative or
/// the product does not fit in 63 bits.
std::optional<uint64_t> elementCount(llvm::ArrayRef<int64_t> shape);

/// Conversions round to nearest, ties to even; NaN becomes a quiet NaN that
/// keeps its sign and upper payload bits; overflow becomes infinity.
inline float bf16ToF32(uint16_t bits) {
  return llvm::bit_cast<float>(uint32_t(bits) << 16);
}
inline uint16_t f32ToBf16(float value) {
  uint32_t bits = llvm::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u)
    return uint16_t((bits >> 16) | 0x40u);
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float f16ToF32(uint16_t half) {
  uint32_t sign = uint32_t(half & 0x8000u) << 16;
  uint32_t exponent = (half >> 10) & 0x1fu;
  uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0x1fu) {
    // The quiet bit makes a signalling NaN quiet; infinity has no mantissa.
    uint32_t quiet = mantissa ? 0x400000u : 0u;
    return llvm::bit_cast<float>(sign | 0x7f800000u | quiet | mantissa << 13);
  }
  if (exponent)
    return llvm::bit_cast<float>(sign | (exponent + 112u) << 23 |
                                 mantissa << 13);
  // Subnormal: mantissa * 2^-24 is exact in f32.
  float magnitude = float(mantissa) * 0x1p-24f;
  return llvm::bit_cast<float>(sign | llvm::bit_cast<uint32_t>(magnitude));
}
inline uint16_t f32ToF16(float value) {
  uint32_t bits = llvm::bit_cast<uint32_t>(value);
  uint16_t sign = uint16_t((bits >> 16) & 0x8000u);
  uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u)
    return uint16_t(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  // 65520 is half way between the largest f16 and the next power of two.
  if (magnitude >= 0x477ff000u)
    return uint16_t(sign | 0x7c00u);
  if (magnitude >= 0x38800000u) {
    uint32_t rounded =
        magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23);
    return uint16_t(sign | (rounded >> 13));
  }
  // Below half of the smallest subnormal everything rounds to zero.
  if (magnitude < 0x33000000u)
    return sign;
  // Subnormal result: shift the full mantissa right and round to even.
  uint32_t shift = 126u - (magnitude >> 23);
  uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
  uint32_t kept = mantissa >> shift;
  uint32_t rest = mantissa & ((1u << shift) - 1u);
  uint32_t half = 1u << (shift - 1u);
  if (rest > half || (rest == half && (kept & 1u)))
    ++kept;
  return uint16_t(sign | kept);
}

} // namespace moec
