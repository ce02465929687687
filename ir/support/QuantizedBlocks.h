//===- QuantizedBlocks.h - tensors' bytes to f32 and back -----------------===//
//
// Block layouts (little-endian, d and m are f16, `q` packed integers):
//
//   q8_0  32: d, 32 x i8                             x = d * q
//   q4_0  32: d, 16 bytes of nibbles                 x = d * (q - 8)
//   q4_1  32: d, m, 16 bytes                         x = d * q + m
//   q5_0  32: d, 32 high bits, 16 bytes              x = d * (q - 16)
//   q5_1  32: d, m, 32 high bits, 16 bytes           x = d * q + m
//   q4_k 256: d, m, 8 x (6-bit scale, 6-bit min), 128 bytes
//   q5_k 256: as q4_k with 32 bytes of high bits before the nibbles
//   q6_k 256: 128 low nibbles, 64 x 2 high bits, 16 x i8 scales, d
//
// Arithmetic is f32, an operation at a time, in the order that GGUF's
// reference uses, so results are equal to its reference bit for bit.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/ElementType.h"
#include "llvm/ADT/ArrayRef.h"

namespace moec {

/// Decodes whole blocks (or plain elements) of `type` to f32. `source` holds
/// exactly `byteSize(type, out.size())` bytes. f64 rounds to nearest; integers
/// convert as by a cast.
void decodeToF32(ElementType type, llvm::ArrayRef<uint8_t> source,
                 llvm::MutableArrayRef<float> out);

/// Decodes elements [first, first + out.size()) of a tensor whose bytes are
/// `source`; `first` may lie inside a block.
void decodeRangeToF32(ElementType type, llvm::ArrayRef<uint8_t> source,
                      uint64_t first, llvm::MutableArrayRef<float> out);

/// Whether `encodeFromF32` can write `type`: f32, bf16, f16, f64 and q8_0.
bool canEncodeFromF32(ElementType type);

/// Encodes whole blocks; `out` holds exactly `byteSize(type, source.size())`
/// bytes. q8_0: d = max|x| / 127 in f32, q = x * (1 / d) to nearest, halves
/// away from zero, d stored as f16.
void encodeFromF32(ElementType type, llvm::ArrayRef<float> source,
                   llvm::MutableArrayRef<uint8_t> out);

} // namespace moec
