//===- Hash.h - SHA-256 of bytes ------------------------------------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>

namespace moec {

/// A SHA-256 digest.
using Digest = std::array<uint8_t, 32>;

/// SHA-256 (FIPS 180-4) of a stream of bytes, with the processor's own
/// instructions where it has them: weights by the gigabyte pass through here.
class Sha256 {
public:
  Sha256();
  void update(llvm::ArrayRef<uint8_t> bytes);
  void update(llvm::StringRef text);
  /// Appends the 8 bytes of `value`, little-endian.
  void updateU64(uint64_t value);
  /// Appends the length (8 bytes, little-endian) and the bytes of `text`, so
  /// that a sequence of strings has one encoding.
  void updateSized(llvm::StringRef text);
  /// The digest of all bytes so far; nothing may follow.
  Digest finish();

private:
  std::array<uint32_t, 8> state;
  /// Bytes that wait for a block of 64.
  std::array<uint8_t, 64> pending;
  uint64_t totalBytes = 0;
};

Digest sha256(llvm::ArrayRef<uint8_t> bytes);
Digest sha256(llvm::StringRef text);

/// Called with bytes done and bytes in all.
using ProgressFn = llvm::function_ref<void(uint64_t, uint64_t)>;

/// Lower-case hexadecimal.
std::string toHex(llvm::ArrayRef<uint8_t> bytes);
/// 64 hexadecimal digits, or nothing.
std::optional<Digest> parseDigest(llvm::StringRef hex);

} // namespace moec
