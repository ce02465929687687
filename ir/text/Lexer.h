//===- Lexer.h - the tokens of IR text ------------------------------------===//
#pragma once

#include "ir/support/Diagnostic.h"
#include "llvm/ADT/StringRef.h"

namespace moec {

enum class TokenKind {
  end,
  /// What is no token; Lexer::problem says why.
  invalid,
  /// `module`, `moe.route`, `f32`.
  identifier,
  /// `%name`: a value. The name may be quoted.
  value,
  /// `@name`: a weight, a state, a file, a program. The name may be quoted.
  symbol,
  /// `#12`: a shared expression.
  shared,
  integer,
  real,
  string,
  /// One of { } ( ) [ ] < > , : = ^ * + - and -> <= ...
  punctuation
};

struct Token {
  TokenKind kind = TokenKind::end;
  /// As written, with sigil and quotes; points into the text.
  llvm::StringRef spelling;
  unsigned line = 1, column = 1;

  bool is(TokenKind other) const { return kind == other; }
  /// Punctuation or an identifier that is spelled so.
  bool is(llvm::StringRef text) const {
    return (kind == TokenKind::punctuation || kind == TokenKind::identifier) &&
           spelling == text;
  }
  /// The name behind a sigil, or the contents of a string.
  std::string name() const;
};

/// Cuts text into tokens. Comments run from `//` to the end of the line.
class Lexer {
public:
  /// `start` bytes of the first line are shown in messages and not read.
  Lexer(llvm::StringRef text, llvm::StringRef file, size_t start = 0);

  /// The next token; `invalid` where the text is none.
  Token next();
  /// Why the last invalid token is none.
  const std::string &problem() const { return problemText; }

  Location locationOf(const Token &token) const;
  /// An error with the source line that the token stands in.
  ErrorBuilder errorAt(const Token &token) const;
  llvm::Error withSource(llvm::Error err) const;

private:
  void skipBlanks();
  /// Consumes a string that starts at `at`; false where it is none.
  bool skipString();
  Token finish(TokenKind kind, size_t start, unsigned startColumn);
  Token invalid(size_t start, unsigned startColumn, std::string problem);
  unsigned columnOf(size_t position) const { return position - lineStart + 1; }

  llvm::StringRef text;
  std::string file;
  size_t at = 0;
  size_t lineStart = 0;
  unsigned line = 1;
  std::string problemText;
};

/// Line `line` (1-based) of `text`, for a message; empty where it is too long
/// to be shown or `column` is behind what can be shown.
std::string shownLine(llvm::StringRef text, unsigned line, unsigned column);

/// Adds the source line to a Diagnostic that speaks of `file`, whose contents
/// are `text`.
llvm::Error attachSource(llvm::Error err, llvm::StringRef file,
                         llvm::StringRef text);

/// A name as the text form writes it: bare if it looks like one, else quoted.
std::string bareOrQuoted(llvm::StringRef name);
/// A name behind a sigil: digits may come first there.
std::string sigilName(llvm::StringRef name);
/// A name that can be written bare: [A-Za-z_][A-Za-z0-9_.]*.
bool isBareName(llvm::StringRef name);

} // namespace moec
