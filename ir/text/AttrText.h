//===- AttrText.h - attributes read from text -----------------------------===//
#pragma once

#include "ir/core/Attribute.h"
#include "ir/text/Lexer.h"

#include <memory>
#include <optional>

namespace moec {

/// A token stream with one token of lookahead, and what every rule of the
/// grammar needs.
class TokenStream {
public:
  /// `start` bytes of the first line are shown in messages and not read.
  TokenStream(llvm::StringRef text, llvm::StringRef file, size_t start = 0)
      : lexer(text, file, start), current(lexer.next()) {}

  const Token &peek() const { return current; }
  /// The token behind the current one.
  Token peekBehind() const { return Lexer(lexer).next(); }
  Token take() {
    Token token = current;
    current = lexer.next();
    return token;
  }
  bool takeIf(llvm::StringRef text) {
    if (!current.is(text))
      return false;
    take();
    return true;
  }
  /// Consumes punctuation or a word; the error says what stands there instead.
  llvm::Error expect(llvm::StringRef text);
  llvm::Expected<Token> expect(TokenKind kind, llvm::StringRef what);
  /// A signed 64-bit number.
  llvm::Expected<int64_t> expectInteger(llvm::StringRef what);

  /// "expected `what`, found ..." at the current token, or what is wrong with
  /// the token itself.
  ErrorBuilder unexpected(llvm::StringRef what) const;
  ErrorBuilder errorAt(const Token &token) const {
    return lexer.errorAt(token);
  }
  /// Adds the source line to an error that another part made of a location.
  llvm::Error withSource(llvm::Error err) const {
    return lexer.withSource(std::move(err));
  }
  Location locationOf(const Token &token) const {
    return lexer.locationOf(token);
  }

private:
  Lexer lexer;
  Token current;
};

/// Parses `{name = value, ...}` into a struct, starting at its brace. Fields
/// that are not named keep their value.
llvm::Error parseAttributes(TokenStream &tokens, Attributes &attrs);

} // namespace moec
