//===- Json.h - JSON that remembers where each value stood ----------------===//
//
// For untrusted files whose errors must name a place. Refuses what is no JSON
// (RFC 8259), duplicate keys, invalid UTF-8 and deep nesting. Writing is
// llvm::json's business.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/Diagnostic.h"
#include "ir/support/Location.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace moec {

struct JsonMember;

/// One value. Which fields count depends on `kind`.
struct JsonValue {
  enum class Kind : uint8_t { null, boolean, number, string, array, object };

  Kind kind = Kind::null;
  bool boolean = false;
  /// A number that was written without fraction and exponent and fits.
  bool isInteger = false;
  int64_t integer = 0;
  double number = 0;
  /// Where the value starts in the text.
  uint64_t offset = 0;
  std::string string;
  std::vector<JsonValue> items;
  /// In the order of the text; keys are distinct.
  std::vector<JsonMember> members;

  bool isNull() const { return kind == Kind::null; }
  bool isObject() const { return kind == Kind::object; }
  bool isArray() const { return kind == Kind::array; }
  bool isString() const { return kind == Kind::string; }
  bool isNumber() const { return kind == Kind::number; }
  bool isBoolean() const { return kind == Kind::boolean; }

  /// The member `key`, or null. Linear in the number of members.
  const JsonValue *find(llvm::StringRef key) const;
  /// "an object", "the string 'x'", "3": for messages that say what was found.
  std::string describe() const;
};

struct JsonMember {
  std::string key;
  /// Where the key's opening quote stands.
  uint64_t keyOffset = 0;
  JsonValue value;
};

/// A parsed text.
class JsonDocument {
public:
  /// `path` is for messages only. Where the text is a part of a binary file
  /// that starts at `byteBase`, messages give byte offsets in that file
  /// instead of lines.
  static llvm::Expected<std::shared_ptr<const JsonDocument>>
  parse(std::string text, llvm::StringRef path,
        std::optional<uint64_t> byteBase = std::nullopt);
  /// Reads and parses a file of at most `maxBytes`.
  static llvm::Expected<std::shared_ptr<const JsonDocument>>
  load(llvm::StringRef path, uint64_t maxBytes = 64 << 20);

  const JsonValue &root() const { return rootValue; }
  const std::string &path() const { return filePath; }
  const std::string &text() const { return source; }

  Location locate(uint64_t offset) const;
  Location locate(const JsonValue &value) const { return locate(value.offset); }
  /// Starts an error at a place in the text, with its line and a caret.
  ErrorBuilder errorAt(uint64_t offset) const;
  ErrorBuilder errorAt(const JsonValue &value) const {
    return errorAt(value.offset);
  }

private:
  JsonDocument(std::string text, std::string path,
               std::optional<uint64_t> byteBase)
      : source(std::move(text)), filePath(std::move(path)), byteBase(byteBase) {
  }

  std::string source;
  std::string filePath;
  std::optional<uint64_t> byteBase;
  JsonValue rootValue;
};

} // namespace moec
