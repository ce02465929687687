//===- Lexer.h - PTX text to tokens ---------------------------------------===//
#pragma once

#include "ir/support/Diagnostic.h"

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <string>
#include <vector>

namespace cudasim::ptx {

enum class TokenKind : uint8_t {
  Word,    ///< an identifier: `add`, `%r1`, `$L__BB0_1`, `_`
  DotWord, ///< `.f32`, `.shared::cta`, `.1d`: the text is without the dot
  Integer, ///< `value` has the bits
  Float32, ///< `0f3F800000`: `value` has the bits
  Float64, ///< `0d...` or decimal: `value` has the bits of the double
  String,  ///< the text is without the quotes
  Punct,   ///< one character
  End,
};

struct Token {
  TokenKind kind = TokenKind::End;
  bool isUnsigned = false; ///< an integer with suffix U
  llvm::StringRef text;
  uint32_t line = 1, offset = 0;
  uint64_t value = 0;

  bool is(char punct) const {
    return kind == TokenKind::Punct && text[0] == punct;
  }
  bool isDot(llvm::StringRef word) const {
    return kind == TokenKind::DotWord && text == word;
  }
  bool isWord(llvm::StringRef word) const {
    return kind == TokenKind::Word && text == word;
  }
};

/// A module's text and the name that errors call it by.
struct Source {
  std::string name;
  std::string text;

  moec::Location at(uint32_t line, uint32_t offset) const;
  /// The line (1-based) without its end.
  llvm::StringRef lineText(uint32_t line, uint32_t offset) const;
  /// An error at a token, with the line's text.
  moec::ErrorBuilder error(const Token &token) const {
    return error(token.line, token.offset);
  }
  moec::ErrorBuilder error(uint32_t line, uint32_t offset) const;
};

/// All tokens of the text, End last. Comments are dropped.
llvm::Expected<std::vector<Token>> lex(const Source &source);

} // namespace cudasim::ptx
