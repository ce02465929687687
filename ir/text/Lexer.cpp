#include "ir/text/Lexer.h"

#include "ir/core/Attribute.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace moec;

static bool isNameChar(char c) {
  return llvm::isAlnum(c) || c == '_' || c == '.';
}

bool moec::isBareName(llvm::StringRef name) {
  return !name.empty() && (llvm::isAlpha(name[0]) || name[0] == '_') &&
         llvm::all_of(name, isNameChar);
}

std::string moec::bareOrQuoted(llvm::StringRef name) {
  return isBareName(name) ? name.str() : quote(name);
}

std::string moec::sigilName(llvm::StringRef name) {
  return !name.empty() && llvm::all_of(name, isNameChar) ? name.str()
                                                         : quote(name);
}

/// Undoes `quote`; the lexer has checked the escapes.
static std::string unquote(llvm::StringRef quoted) {
  llvm::StringRef body = quoted.drop_front().drop_back();
  std::string result;
  result.reserve(body.size());
  for (size_t i = 0; i < body.size(); ++i) {
    if (body[i] != '\\') {
      result += body[i];
      continue;
    }
    char escape = body[++i];
    if (escape == 'n')
      result += '\n';
    else if (escape == 't')
      result += '\t';
    else if (escape == 'x') {
      result += char(llvm::hexFromNibbles(body[i + 1], body[i + 2]));
      i += 2;
    } else
      result += escape;
  }
  return result;
}

std::string Token::name() const {
  llvm::StringRef body = spelling;
  if (kind == TokenKind::value || kind == TokenKind::symbol)
    body = body.drop_front();
  return body.starts_with("\"") ? unquote(body) : body.str();
}

Lexer::Lexer(llvm::StringRef text, llvm::StringRef file, size_t start)
    : text(text), file(file.str()), at(start) {}

void Lexer::skipBlanks() {
  while (at < text.size()) {
    char c = text[at];
    if (c == '\n') {
      lineStart = ++at;
      ++line;
    } else if (c == ' ' || c == '\t' || c == '\r')
      ++at;
    else if (text.substr(at).starts_with("//"))
      at = std::min(text.find('\n', at), text.size());
    else
      return;
  }
}

bool Lexer::skipString() {
  for (++at; at < text.size() && text[at] != '\n'; ++at) {
    if (text[at] == '"') {
      ++at;
      return true;
    }
    if (text[at] != '\\')
      continue;
    char escape = at + 1 < text.size() ? text[at + 1] : '\n';
    bool hex = escape == 'x' && at + 3 < text.size() &&
               llvm::isHexDigit(text[at + 2]) && llvm::isHexDigit(text[at + 3]);
    if (!hex && !llvm::is_contained({'"', '\\', 'n', 't'}, escape)) {
      problemText = "unknown escape in a string, expected one of \\\" \\\\ \\n "
                    "\\t \\xNN";
      return false;
    }
    at += hex ? 3 : 1;
  }
  problemText = "a string has no closing quote on its line";
  return false;
}

Token Lexer::finish(TokenKind kind, size_t start, unsigned startColumn) {
  return {kind, text.slice(start, at), line, startColumn};
}

Token Lexer::invalid(size_t start, unsigned startColumn, std::string problem) {
  problemText = std::move(problem);
  return finish(TokenKind::invalid, start, startColumn);
}

Token Lexer::next() {
  skipBlanks();
  size_t start = at;
  unsigned column = columnOf(start);
  if (at == text.size())
    return finish(TokenKind::end, start, column);
  char c = text[at];

  if (llvm::isAlpha(c) || c == '_') {
    while (at < text.size() && isNameChar(text[at]))
      ++at;
    return finish(TokenKind::identifier, start, column);
  }
  if (c == '"')
    return finish(skipString() ? TokenKind::string : TokenKind::invalid, start,
                  column);
  if (c == '%' || c == '@') {
    ++at;
    TokenKind kind = c == '%' ? TokenKind::value : TokenKind::symbol;
    if (at < text.size() && text[at] == '"')
      return finish(skipString() ? kind : TokenKind::invalid, start, column);
    while (at < text.size() && isNameChar(text[at]))
      ++at;
    if (at == start + 1)
      return invalid(start, column,
                     std::string("a name is missing behind '") + c + "'");
    return finish(kind, start, column);
  }
  if (c == '#') {
    for (++at; at < text.size() && llvm::isDigit(text[at]);)
      ++at;
    if (at == start + 1)
      return invalid(start, column, "a number is missing behind '#'");
    return finish(TokenKind::shared, start, column);
  }
  bool negative = c == '-' && at + 1 < text.size() &&
                  (llvm::isDigit(text[at + 1]) || text[at + 1] == 'i');
  if (llvm::isDigit(c) || negative) {
    // "-inf" is the one number that starts with a letter.
    if (negative && text[at + 1] == 'i') {
      if (text.substr(at, 4) != "-inf")
        return ++at, finish(TokenKind::punctuation, start, column);
      at += 4;
      return finish(TokenKind::real, start, column);
    }
    ++at;
    bool real = false;
    while (at < text.size()) {
      bool exponentSign = (text[at] == '-' || text[at] == '+') &&
                          (text[at - 1] == 'e' || text[at - 1] == 'E') && real;
      if (text[at] == '.' || text[at] == 'e' || text[at] == 'E')
        real = true;
      else if (!llvm::isDigit(text[at]) && !exponentSign)
        break;
      ++at;
    }
    return finish(real ? TokenKind::real : TokenKind::integer, start, column);
  }
  for (llvm::StringRef longer : {"...", "->", "<="})
    if (text.substr(at).starts_with(longer)) {
      at += longer.size();
      return finish(TokenKind::punctuation, start, column);
    }
  ++at;
  if (llvm::StringRef("{}()[]<>,:=^*+-").contains(c))
    return finish(TokenKind::punctuation, start, column);
  // A byte that is no part of the language may be half of a character.
  return invalid(start, column,
                 "unexpected character " + quote(text.slice(start, at)));
}

Location Lexer::locationOf(const Token &token) const {
  Location loc = Location::atLine(file, token.line, token.column);
  loc.fromText = true;
  return loc;
}

ErrorBuilder Lexer::errorAt(const Token &token) const {
  return error(locationOf(token))
      .withSource(shownLine(text, token.line, token.column));
}

llvm::Error Lexer::withSource(llvm::Error err) const {
  return attachSource(std::move(err), file, text);
}

std::string moec::shownLine(llvm::StringRef text, unsigned line,
                            unsigned column) {
  constexpr unsigned kWidest = 240;
  for (unsigned i = 1; i < line; ++i) {
    size_t end = text.find('\n');
    if (end == llvm::StringRef::npos)
      return "";
    text = text.drop_front(end + 1);
  }
  if (column > kWidest)
    return "";
  return text.substr(0, text.find('\n')).rtrim('\r').take_front(kWidest).str();
}

llvm::Error moec::attachSource(llvm::Error err, llvm::StringRef file,
                               llvm::StringRef text) {
  return llvm::handleErrors(
      std::move(err), [&](std::unique_ptr<Diagnostic> diag) -> llvm::Error {
        if (diag->sourceLine.empty() && diag->loc.line &&
            diag->loc.file == file)
          diag->sourceLine = shownLine(text, diag->loc.line, diag->loc.column);
        return llvm::Error(std::move(diag));
      });
}
