//===- Lexer.cpp - PTX text to tokens -------------------------------------===//

#include "tools/cudasim/ptx/Lexer.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/bit.h"

#include <cstdlib>

using namespace cudasim::ptx;
using llvm::StringRef;

moec::Location Source::at(uint32_t line, uint32_t offset) const {
  size_t start = StringRef(text).substr(0, offset).rfind('\n');
  uint32_t lineStart = start == StringRef::npos ? 0 : uint32_t(start) + 1;
  return moec::Location::atLine(name, line, offset - lineStart + 1);
}

StringRef Source::lineText(uint32_t line, uint32_t offset) const {
  StringRef all(text);
  size_t start = all.substr(0, offset).rfind('\n');
  start = start == StringRef::npos ? 0 : start + 1;
  return all.substr(start).take_until(
      [](char c) { return c == '\n' || c == '\r' || c == '\0'; });
}

moec::ErrorBuilder Source::error(uint32_t line, uint32_t offset) const {
  return moec::error(at(line, offset))
      .operator<<("")
      .withSource(lineText(line, offset).take_front(200).str());
}

namespace {

bool isWordStart(char c) {
  return llvm::isAlpha(c) || c == '_' || c == '$' || c == '%';
}
bool isWordPart(char c) { return llvm::isAlnum(c) || c == '_' || c == '$'; }

class Lexer {
public:
  explicit Lexer(const Source &source) : source(source), text(source.text) {}

  llvm::Expected<std::vector<Token>> run() {
    // Offsets are 32 bits wide.
    if (text.size() > (size_t(1) << 30))
      return moec::error(moec::Location::inFile(source.name))
             << "module of " << text.size() << " bytes, at most " << (1u << 30)
             << " are taken";
    tokens.reserve(text.size() / 4 + 16);
    while (true) {
      MOEC_TRY(skipSpace());
      start = at;
      if (at >= text.size())
        break;
      MOEC_TRY(lexOne());
    }
    push(TokenKind::End, {});
    return std::move(tokens);
  }

private:
  char peek(size_t ahead = 0) const {
    return at + ahead < text.size() ? text[at + ahead] : '\0';
  }

  Token &push(TokenKind kind, StringRef spelling, uint64_t value = 0) {
    Token token;
    token.kind = kind;
    token.text = spelling;
    token.line = line;
    token.offset = uint32_t(start);
    token.value = value;
    tokens.push_back(token);
    return tokens.back();
  }

  moec::ErrorBuilder fail() const { return source.error(line, start); }

  llvm::Error skipSpace() {
    while (at < text.size()) {
      char c = text[at];
      if (c == '\n') {
        ++line;
        ++at;
      } else if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v') {
        ++at;
      } else if (c == '\0' &&
                 text.find_first_not_of('\0', at) == StringRef::npos) {
        at = text.size(); // images are often passed with their terminator
      } else if (c == '/' && peek(1) == '/') {
        while (at < text.size() && text[at] != '\n')
          ++at;
      } else if (c == '/' && peek(1) == '*') {
        start = at;
        size_t end = text.find("*/", at + 2);
        if (end == StringRef::npos)
          return fail() << "expected '*/' before the end of the module";
        line += text.slice(at, end).count('\n');
        at = end + 2;
      } else {
        break;
      }
    }
    return llvm::Error::success();
  }

  llvm::Error lexOne() {
    char c = peek();
    if (isWordStart(c)) {
      ++at;
      while (isWordPart(peek()))
        ++at;
      push(TokenKind::Word, text.slice(start, at));
      return llvm::Error::success();
    }
    if (c == '.' && isWordPart(peek(1)) && !decimalFollowsDot())
      return lexDotWord();
    if (llvm::isDigit(c) || c == '.')
      return lexNumber();
    if (c == '"') {
      size_t end = at + 1;
      while (end < text.size() && text[end] != '"' && text[end] != '\n')
        end += text[end] == '\\' ? 2 : 1;
      if (end >= text.size() || text[end] != '"')
        return fail() << "expected '\"' before the end of the line";
      push(TokenKind::String, text.slice(at + 1, end));
      at = end + 1;
      return llvm::Error::success();
    }
    if (StringRef("{}()[]<>,;:+-*/%&|^~!=@?#").contains(c)) {
      push(TokenKind::Punct, text.substr(at, 1));
      ++at;
      return llvm::Error::success();
    }
    return fail() << "expected PTX, found the byte 0x"
                  << llvm::utohexstr(uint8_t(c));
  }

  /// `.5` is a number, `.1d` and `.16x256b` are words.
  bool decimalFollowsDot() const {
    size_t i = at + 1;
    while (i < text.size() && llvm::isDigit(text[i]))
      ++i;
    bool digits = i > at + 1;
    return digits && (i >= text.size() || !isWordPart(text[i]));
  }

  llvm::Error lexDotWord() {
    ++at;
    while (isWordPart(peek()) ||
           (peek() == ':' && peek(1) == ':' && isWordPart(peek(2)))) {
      at += peek() == ':' ? 2 : 1;
    }
    push(TokenKind::DotWord, text.slice(start + 1, at));
    return llvm::Error::success();
  }

  llvm::Error lexNumber() {
    char kind = llvm::toLower(peek(1));
    if (peek() == '0' && (kind == 'f' || kind == 'd')) {
      unsigned digits = kind == 'f' ? 8 : 16;
      StringRef hex = text.substr(at + 2, digits);
      uint64_t bits = 0;
      if (hex.size() != digits || hex.getAsInteger(16, bits) ||
          isWordPart(peek(2 + digits)))
        return fail() << "expected " << digits << " hexadecimal digits after '0"
                      << text.substr(at + 1, 1) << "'";
      at += 2 + digits;
      push(kind == 'f' ? TokenKind::Float32 : TokenKind::Float64,
           text.slice(start, at), bits);
      return llvm::Error::success();
    }
    size_t end = at;
    while (end < text.size() && llvm::isDigit(text[end]))
      ++end;
    bool isHex = peek() == '0' && (kind == 'x' || kind == 'b');
    if (!isHex && end < text.size() &&
        (text[end] == '.' || text[end] == 'e' || text[end] == 'E'))
      return lexDecimal(end);

    unsigned radix = 10;
    size_t digitsAt = at;
    if (isHex) {
      radix = kind == 'x' ? 16 : 2;
      digitsAt = at + 2;
    } else if (peek() == '0' && llvm::isDigit(peek(1))) {
      radix = 8;
      digitsAt = at + 1;
    }
    end = digitsAt;
    while (end < text.size() && llvm::isHexDigit(text[end]) &&
           (radix == 16 || llvm::isDigit(text[end])))
      ++end;
    uint64_t value = 0;
    if (text.slice(digitsAt, end).getAsInteger(radix, value))
      return fail() << "expected an integer of at most 64 bits, found '"
                    << text.slice(at, end).take_front(40) << "'";
    bool isUnsigned = end < text.size() && text[end] == 'U';
    if (isUnsigned)
      ++end;
    if (end < text.size() && isWordPart(text[end]))
      return fail() << "expected an integer, found '"
                    << text.slice(at, end + 1).take_front(40) << "'";
    at = end;
    push(TokenKind::Integer, text.slice(start, at), value).isUnsigned =
        isUnsigned;
    return llvm::Error::success();
  }

  llvm::Error lexDecimal(size_t end) {
    if (end < text.size() && text[end] == '.')
      ++end;
    while (end < text.size() && llvm::isDigit(text[end]))
      ++end;
    if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
      ++end;
      if (end < text.size() && (text[end] == '+' || text[end] == '-'))
        ++end;
      while (end < text.size() && llvm::isDigit(text[end]))
        ++end;
    }
    double number = 0;
    StringRef spelling = text.slice(at, end);
    if (spelling.size() > 400 || spelling.getAsDouble(number))
      return fail() << "expected a number, found '" << spelling.take_front(40)
                    << "'";
    at = end;
    push(TokenKind::Float64, spelling, llvm::bit_cast<uint64_t>(number));
    return llvm::Error::success();
  }

  const Source &source;
  StringRef text;
  size_t at = 0, start = 0;
  uint32_t line = 1;
  std::vector<Token> tokens;
};

} // namespace

llvm::Expected<std::vector<Token>> cudasim::ptx::lex(const Source &source) {
  return Lexer(source).run();
}
