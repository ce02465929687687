//===- Location.h - where a user finds what a message speaks of ----------===//
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace moec {

/// A place that a user knows: a file with line and column (1-based; 0 means
/// "not known"), a byte offset in a binary file, the name of a tensor or a
/// layer, or several of these together.
struct Location {
  std::string file;
  unsigned line = 0;
  unsigned column = 0;
  /// Byte offset in a binary file; -1 where there is none.
  int64_t byteOffset = -1;
  /// A tensor or layer, such as `model.layers.3.mlp`.
  std::string object;
  /// The file part is the place in the IR text that was parsed: shown in
  /// messages, and not printed as a `loc(...)` of its own.
  bool fromText = false;

  static Location inFile(std::string file) {
    Location loc;
    loc.file = std::move(file);
    return loc;
  }
  static Location atLine(std::string file, unsigned line, unsigned column) {
    Location loc = inFile(std::move(file));
    loc.line = line;
    loc.column = column;
    return loc;
  }
  static Location atByte(std::string file, int64_t byteOffset) {
    Location loc = inFile(std::move(file));
    loc.byteOffset = byteOffset;
    return loc;
  }
  static Location ofObject(std::string object) {
    Location loc;
    loc.object = std::move(object);
    return loc;
  }

  bool isKnown() const { return !file.empty() || !object.empty(); }
  friend bool operator==(const Location &, const Location &) = default;

  /// `file:line:column`, `file: at byte N`, with `: object` behind it where
  /// there is one; empty where nothing is known.
  std::string str() const;
};

} // namespace moec
