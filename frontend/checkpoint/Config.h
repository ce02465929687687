//===- Config.h - settings of a model file, with their places -------------===//
//
// One form for config.json, GGUF's metadata and llama2.c's header: a tree of
// JSON values that know where they stood. `a.b` means member b of member a
// where the file nests, and the key `a.b` where it does not.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/Diagnostic.h"
#include "ir/support/Json.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>

namespace moec {

class Config {
public:
  Config() = default;
  /// The settings of a JSON text whose root is an object.
  explicit Config(std::shared_ptr<const JsonDocument> document)
      : document(std::move(document)) {}
  /// Settings of a binary file; a value's `offset` is its byte in the file.
  Config(std::string path, JsonValue settings)
      : binaryPath(std::move(path)), settings(std::move(settings)) {}

  const JsonValue &root() const {
    return document ? document->root() : settings;
  }
  const std::string &path() const {
    return document ? document->path() : binaryPath;
  }

  /// The text of the settings; empty for a binary file.
  llvm::StringRef text() const {
    return document ? llvm::StringRef(document->text()) : "";
  }

  /// The value of `key`, or null; JSON's null is there.
  const JsonValue *find(llvm::StringRef key) const;
  /// Whether `key` is there and is not JSON's null.
  bool has(llvm::StringRef key) const;

  /// The value of a key, nothing where it is missing or null, an error where
  /// it has another type or is outside the range.
  llvm::Expected<std::optional<int64_t>>
  integer(llvm::StringRef key, int64_t min = 0,
          int64_t max = std::numeric_limits<int32_t>::max()) const;
  llvm::Expected<std::optional<double>> number(llvm::StringRef key) const;
  llvm::Expected<std::optional<bool>> boolean(llvm::StringRef key) const;
  llvm::Expected<std::optional<std::string>> string(llvm::StringRef key) const;

  /// The same for a key that must be there.
  llvm::Expected<int64_t>
  requireInteger(llvm::StringRef key, int64_t min = 1,
                 int64_t max = std::numeric_limits<int32_t>::max()) const;

  Location locationOf(const JsonValue &value) const;
  /// The place of `key`, or the file where it is missing.
  Location locationOf(llvm::StringRef key) const;
  ErrorBuilder errorAt(const JsonValue &value) const;
  ErrorBuilder errorAt(llvm::StringRef key) const;

private:
  std::shared_ptr<const JsonDocument> document;
  std::string binaryPath;
  JsonValue settings;
};

} // namespace moec
