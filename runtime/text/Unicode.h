//===- Unicode.h - characters of UTF-8 text -------------------------------===//
#pragma once

#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <string>

namespace moec {

inline constexpr llvm::StringLiteral kReplacementChar = "\xEF\xBF\xBD";

struct Utf8Char {
  uint32_t code = 0;
  /// 1 where the byte starts no valid character.
  unsigned bytes = 1;
  bool valid = false;
};

/// The character at `pos`, which must be inside `text`.
Utf8Char decodeUtf8(llvm::StringRef text, size_t pos);

void appendUtf8(std::string &out, uint32_t code);

bool isUtf8(llvm::StringRef text);

/// `text` with U+FFFD for every byte that belongs to no valid character, as
/// SentencePiece does it.
std::string replaceBadBytes(llvm::StringRef text);

/// Appends what is complete in `bytes` to `out` and returns how many bytes
/// that took: at most three bytes of a character that may still become whole
/// stay behind unless `final`. Invalid bytes become U+FFFD, one for each
/// longest prefix of a character, as the WHATWG decoder does it.
size_t appendLossyUtf8(std::string &out, llvm::StringRef bytes, bool final);

/// White_Space of Unicode.
bool isUnicodeSpace(uint32_t code);
/// A character of a word as regular expressions have it: letters, marks,
/// decimal digits, connectors, joiners.
bool isWordChar(uint32_t code);

enum class NormalForm { Nfc, Nfd, Nfkc, Nfkd };
/// `text` must be valid UTF-8.
std::string normalizeUnicode(llvm::StringRef text, NormalForm form);
std::string lowercaseUnicode(llvm::StringRef text);

} // namespace moec
