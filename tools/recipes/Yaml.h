//===- Yaml.h - a YAML file as a tree whose parts know their places -------===//
//
// Parsed by LLVM; of YAML, what settings need: maps with plain keys, lists and
// scalars. Aliases, tags and several documents in a file are errors, and so is
// a key that a map has twice.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/Diagnostic.h"
#include "llvm/ADT/StringRef.h"

#include <string>
#include <vector>

namespace moec {

struct YamlEntry;

struct YamlNode {
  enum class Kind { null, scalar, list, map };
  Kind kind = Kind::null;
  /// Scalars: the text, and whether it stood in quotes or in a block.
  std::string text;
  bool quoted = false;
  std::vector<YamlNode> items;
  /// In the order of the file.
  std::vector<YamlEntry> entries;
  Location loc;
  /// The line that `loc` names.
  std::string line;

  static YamlNode scalar(std::string text, Location loc, std::string line);

  bool isMap() const { return kind == Kind::map; }
  bool isList() const { return kind == Kind::list; }
  bool isScalar() const { return kind == Kind::scalar; }
  /// The value of a map's key, or null.
  const YamlNode *find(llvm::StringRef key) const;
  YamlNode *find(llvm::StringRef key);
  /// "a map", "a list", "'text'", "nothing".
  std::string describe() const;
  ErrorBuilder error() const { return moec::error(loc).withSource(line); }
};

struct YamlEntry {
  std::string key;
  /// Of the key.
  Location loc;
  std::string line;
  YamlNode value;

  ErrorBuilder error() const { return moec::error(loc).withSource(line); }
};

/// `file` names the text in messages.
llvm::Expected<YamlNode> parseYaml(llvm::StringRef text, llvm::StringRef file);

/// The nearest of `known` to `name`, or nothing where none is near.
std::optional<llvm::StringRef> nearest(llvm::StringRef name,
                                       llvm::ArrayRef<llvm::StringRef> known);
/// ` (did you mean 'experts'?)`, or ` (there are a, b, c)`.
std::string suggestion(llvm::StringRef name,
                       llvm::ArrayRef<llvm::StringRef> known);

} // namespace moec
