//===- ByteAlphabet.h - GPT-2's characters for bytes ----------------------===//
#pragma once

#include "runtime/text/TokenizerAsset.h"

#include <optional>

namespace moec {

/// The bytes that a byte-level piece spells: printable Latin-1 characters
/// stand for themselves, U+0100 and on for the other bytes in order. Nothing
/// if one of its characters stands for no byte.
std::optional<std::string> bytesOfSpelling(llvm::StringRef spelling);

/// The reverse: how a byte-level vocabulary spells bytes.
std::string spellingOfBytes(llvm::StringRef bytes);

/// GPT-2's expression for words.
inline constexpr llvm::StringLiteral kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// A step that keeps the matches of `pattern` and what lies between as words.
PreTokenizerStep splitIsolated(llvm::StringRef pattern);

/// Turns the spelled pieces of a byte-level vocabulary into raw bytes. A piece
/// that is no spelling keeps its text and takes no part in merging; control
/// pieces keep theirs too.
void spellOut(TokenizerAsset &asset);

} // namespace moec
