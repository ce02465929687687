//===- Safetensors.h - the safetensors container --------------------------===//
//
// A file is: the length of the header (8 bytes, little-endian), the header (a
// JSON object: tensor name -> {dtype, shape, data_offsets}, and __metadata__,
// a map of strings), and the data, which the tensors cover without gap or
// overlap. SafetensorsWriter.h writes it.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/ElementType.h"
#include "ir/support/Location.h"
#include "ir/support/MappedFile.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace moec {

/// One tensor of a container.
struct SafetensorsEntry {
  std::string name;
  ElementType type = ElementType::f32;
  std::vector<int64_t> shape;
  /// From the start of the file.
  uint64_t byteOffset = 0;
  uint64_t byteSize = 0;
};

/// The decoded header of a container.
struct SafetensorsHeader {
  /// Sorted by name.
  std::vector<SafetensorsEntry> entries;
  /// The file's __metadata__, sorted by key.
  std::vector<std::pair<std::string, std::string>> metadata;
  /// Where the data starts in the file.
  uint64_t dataOffset = 0;

  /// The tensor `name`, or null.
  const SafetensorsEntry *find(llvm::StringRef name) const;
  std::optional<llvm::StringRef> metadataOf(llvm::StringRef key) const;
};

/// The name that a header gives to `type` ("BF16"), or nothing where the
/// format has none.
std::optional<llvm::StringRef> safetensorsTypeName(ElementType type);

/// Decodes and checks a header. `bytes` is the start of a file of `fileBytes`
/// bytes and holds at least the header; `path` is for messages.
llvm::Expected<SafetensorsHeader>
parseSafetensors(llvm::ArrayRef<uint8_t> bytes, uint64_t fileBytes,
                 llvm::StringRef path);

/// An open container.
class SafetensorsFile {
public:
  static llvm::Expected<SafetensorsFile> open(llvm::StringRef path);

  const std::string &path() const { return mapped->path(); }
  const std::shared_ptr<const MappedFile> &file() const { return mapped; }
  const SafetensorsHeader &header() const { return contents; }
  const SafetensorsEntry *find(llvm::StringRef name) const {
    return contents.find(name);
  }
  /// The bytes of one of this file's entries.
  llvm::ArrayRef<uint8_t> bytes(const SafetensorsEntry &entry) const {
    return mapped->bytes().slice(size_t(entry.byteOffset),
                                 size_t(entry.byteSize));
  }
  Location locationOf(const SafetensorsEntry &entry) const;

private:
  SafetensorsFile(std::shared_ptr<const MappedFile> mapped,
                  SafetensorsHeader contents)
      : mapped(std::move(mapped)), contents(std::move(contents)) {}

  std::shared_ptr<const MappedFile> mapped;
  SafetensorsHeader contents;
};

} // namespace moec
