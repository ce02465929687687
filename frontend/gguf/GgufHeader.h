//===- GgufHeader.h - the container of GGUF files -------------------------===//
//
// Magic "GGUF", version, tensor count, metadata count; the metadata (key, type
// tag, value); the tensors (name, dimensions innermost first, type tag, offset
// from the data's start); padding; the data. Integers are little-endian,
// strings are a length (8 bytes) and bytes. Versions 2 and 3 are alike.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/ElementType.h"
#include "ir/support/Location.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moec {

/// The type tags of metadata values.
enum class GgufType : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64,
};

llvm::StringRef ggufTypeName(GgufType type);

/// One piece of metadata; the value stays in the file. Everything has been
/// bounds-checked, strings inside arrays too.
struct GgufEntry {
  std::string key;
  GgufType type = GgufType::u8;
  /// Of arrays: the type and number of items.
  GgufType itemType = GgufType::u8;
  uint64_t items = 0;
  /// Where the value, or the first item, starts in the file.
  uint64_t valueOffset = 0;
};

struct GgufTensor {
  std::string name;
  ElementType type = ElementType::f32;
  /// Outermost first.
  std::vector<int64_t> shape;
  /// From the start of the file.
  uint64_t byteOffset = 0;
  uint64_t byteSize = 0;
};

struct GgufHeader {
  uint32_t version = 0;
  uint64_t alignment = 32;
  /// In the order of the file; keys are distinct.
  std::vector<GgufEntry> metadata;
  /// In the order of the file; names are distinct.
  std::vector<GgufTensor> tensors;
  uint64_t dataOffset = 0;

  const GgufEntry *find(llvm::StringRef key) const;
};

/// Decodes and checks a whole file.
llvm::Expected<GgufHeader> parseGguf(llvm::ArrayRef<uint8_t> bytes,
                                     llvm::StringRef path);

/// Reads the checked values of a file's metadata. `bytes` is the whole file.
class GgufValues {
public:
  GgufValues(llvm::ArrayRef<uint8_t> bytes, std::string path)
      : bytes(bytes), path(std::move(path)) {}

  /// A scalar of any integer type, where it fits; an error otherwise.
  llvm::Expected<int64_t> integer(const GgufEntry &entry) const;
  /// A scalar of any numeric type.
  llvm::Expected<double> number(const GgufEntry &entry) const;
  llvm::Expected<bool> boolean(const GgufEntry &entry) const;
  llvm::Expected<llvm::StringRef> string(const GgufEntry &entry) const;
  /// Arrays; numbers of any numeric type are converted.
  llvm::Expected<std::vector<std::string>>
  strings(const GgufEntry &entry) const;
  llvm::Expected<std::vector<double>> numbers(const GgufEntry &entry) const;

  Location locationOf(const GgufEntry &entry) const;

private:
  llvm::ArrayRef<uint8_t> bytes;
  std::string path;
};

/// The tag of `type` in a tensor's record, or nothing where GGUF has none.
std::optional<uint32_t> ggufTensorTag(ElementType type);

} // namespace moec
