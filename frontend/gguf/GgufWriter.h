//===- GgufWriter.h - GGUF files out --------------------------------------===//
#pragma once

#include "frontend/gguf/GgufHeader.h"
#include "ir/support/AtomicFile.h"
#include "ir/support/ElementType.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moec {

/// Collects metadata and tensors, then writes a file of version 3. Keys and
/// names must be distinct.
class GgufWriter {
public:
  void addU32(llvm::StringRef key, uint32_t value);
  void addU64(llvm::StringRef key, uint64_t value);
  void addI32(llvm::StringRef key, int32_t value);
  void addF32(llvm::StringRef key, float value);
  void addBool(llvm::StringRef key, bool value);
  void addString(llvm::StringRef key, llvm::StringRef value);
  void addStrings(llvm::StringRef key, llvm::ArrayRef<std::string> values);
  void addF32s(llvm::StringRef key, llvm::ArrayRef<float> values);
  void addI32s(llvm::StringRef key, llvm::ArrayRef<int32_t> values);

  /// `shape` is outermost first. Returns the tensor's index. The type must
  /// have a tag and rows a whole number of blocks.
  size_t addTensor(llvm::StringRef name, ElementType type,
                   llvm::ArrayRef<int64_t> shape);

  /// Everything before the data, padded to its alignment.
  std::string header() const;
  uint64_t fileBytes() const;
  /// From the start of the file.
  uint64_t byteOffset(size_t tensor) const;
  /// From the end of the header.
  uint64_t dataOffset(size_t tensor) const { return tensors[tensor].offset; }
  uint64_t byteSize(size_t tensor) const { return tensors[tensor].bytes; }

  /// Writes the file, `data[i]` being tensor i's bytes.
  llvm::Error write(llvm::StringRef path,
                    llvm::ArrayRef<llvm::ArrayRef<uint8_t>> data) const;

private:
  struct Tensor {
    std::string name;
    uint32_t tag = 0;
    std::vector<int64_t> shape;
    /// From the start of the data.
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };

  void addKey(llvm::StringRef key, GgufType type);
  void addArray(llvm::StringRef key, GgufType itemType, uint64_t items);

  /// Encoded metadata.
  std::string metadata;
  uint64_t entries = 0;
  std::vector<Tensor> tensors;
};

} // namespace moec
