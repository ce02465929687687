#include "ir/text/AttrText.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <charconv>

using namespace moec;

static std::string describe(const Token &token) {
  if (token.is(TokenKind::end))
    return "the end of the text";
  // Long strings (base64) would drown the message.
  llvm::StringRef shown = token.spelling.take_front(40);
  return ("'" + shown + (shown.size() < token.spelling.size() ? "...'" : "'"))
      .str();
}

ErrorBuilder TokenStream::unexpected(llvm::StringRef what) const {
  if (current.is(TokenKind::invalid))
    return lexer.errorAt(current) << lexer.problem();
  return lexer.errorAt(current)
         << "expected " << what << ", found " << describe(current);
}

llvm::Error TokenStream::expect(llvm::StringRef text) {
  if (!takeIf(text))
    return unexpected(("'" + text + "'").str());
  return llvm::Error::success();
}

llvm::Expected<Token> TokenStream::expect(TokenKind kind,
                                          llvm::StringRef what) {
  if (!current.is(kind))
    return unexpected(what);
  return take();
}

static std::optional<int64_t> toInteger(llvm::StringRef text) {
  int64_t value;
  auto [end, code] = std::from_chars(text.begin(), text.end(), value);
  if (code != std::errc() || end != text.end())
    return std::nullopt;
  return value;
}

llvm::Expected<int64_t> TokenStream::expectInteger(llvm::StringRef what) {
  MOEC_ASSIGN(Token token, expect(TokenKind::integer, what));
  if (auto value = toInteger(token.spelling))
    return *value;
  return errorAt(token) << "number " << token.spelling.take_front(40)
                        << " does not fit in 64 bits";
}

namespace {
/// One `name = value`: a token, or the tokens of a list.
struct ParsedField {
  Token name;
  Token first;
  std::vector<Token> values;
  bool isList = false;
  bool taken = false;
};

/// Gives each field of a struct what was written for it.
class FieldReader final : public AttrVisitor {
public:
  FieldReader(TokenStream &tokens, std::vector<ParsedField> &parsed)
      : tokens(tokens), parsed(parsed) {}

  llvm::Error takeError() {
    for (const ParsedField &field : parsed)
      if (!field.taken)
        return tokens.errorAt(field.name)
               << "no attribute '" << field.name.spelling << "' here; "
               << (known.empty() ? "there is none"
                                 : "there are " + llvm::join(known, ", "));
    if (bad)
      return tokens.errorAt(*bad)
             << "expected " << expectation << ", found " << describe(*bad);
    return llvm::Error::success();
  }

  void field(llvm::StringRef name, int64_t &value) override {
    if (const ParsedField *own = scalar(name, "an integer"))
      integer(own->first, value);
  }
  void field(llvm::StringRef name, double &value) override {
    if (const ParsedField *own = scalar(name, "a number"))
      number(own->first, value);
  }
  void field(llvm::StringRef name, bool &value) override {
    const ParsedField *own = scalar(name, "true or false");
    if (!own)
      return;
    if (!own->first.is("true") && !own->first.is("false"))
      return wrong(own->first, "true or false");
    value = own->first.is("true");
  }
  void field(llvm::StringRef name, std::string &value) override {
    const ParsedField *own = scalar(name, "a string");
    if (!own)
      return;
    if (!own->first.is(TokenKind::string) &&
        !own->first.is(TokenKind::identifier))
      return wrong(own->first, "a string");
    value = own->first.name();
  }
  void field(llvm::StringRef name, ElementType &value) override {
    const ParsedField *own = scalar(name, "an element type");
    if (!own)
      return;
    auto element = parseElementType(own->first.spelling);
    if (!element)
      return wrong(own->first, "an element type");
    value = *element;
  }
  void field(llvm::StringRef name, std::vector<int64_t> &value) override {
    list(name, value, "integers",
         [&](const Token &token, int64_t &item) { integer(token, item); });
  }
  void field(llvm::StringRef name, std::vector<double> &value) override {
    list(name, value, "numbers",
         [&](const Token &token, double &item) { number(token, item); });
  }
  void enumField(llvm::StringRef name, unsigned &value,
                 llvm::ArrayRef<llvm::StringRef> names) override {
    std::string expected = "one of " + llvm::join(names, ", ");
    const ParsedField *own = scalar(name, expected);
    if (!own)
      return;
    auto at = llvm::find(names, own->first.spelling);
    if (at == names.end() || !own->first.is(TokenKind::identifier))
      return wrong(own->first, expected);
    value = at - names.begin();
  }

private:
  ParsedField *find(llvm::StringRef name) {
    known.push_back(("'" + name + "'").str());
    auto at = llvm::find_if(
        parsed, [&](auto &field) { return field.name.spelling == name; });
    if (at == parsed.end())
      return nullptr;
    at->taken = true;
    return &*at;
  }
  const ParsedField *scalar(llvm::StringRef name, llvm::StringRef expected) {
    ParsedField *own = find(name);
    if (own && own->isList) {
      wrong(own->first, expected);
      return nullptr;
    }
    return own;
  }
  template <typename T, typename F>
  void list(llvm::StringRef name, std::vector<T> &value,
            llvm::StringRef expected, F read) {
    ParsedField *own = find(name);
    if (!own)
      return;
    if (!own->isList)
      return wrong(own->first, ("a list of " + expected).str());
    value.assign(own->values.size(), T());
    for (auto [token, item] : llvm::zip_equal(own->values, value))
      read(token, item);
  }
  void integer(const Token &token, int64_t &value) {
    if (!token.is(TokenKind::integer))
      return wrong(token, "an integer");
    if (auto read = toInteger(token.spelling))
      value = *read;
    else
      wrong(token, "an integer of 64 bits");
  }
  void number(const Token &token, double &value) {
    if (token.is("nan")) {
      value = std::numeric_limits<double>::quiet_NaN();
      return;
    }
    bool numeric = token.is(TokenKind::integer) || token.is(TokenKind::real);
    if (!numeric && !token.is("inf"))
      return wrong(token, "a number");
    auto [end, code] =
        std::from_chars(token.spelling.begin(), token.spelling.end(), value);
    // A number out of range is left alone by from_chars.
    if (code != std::errc() || end != token.spelling.end())
      wrong(token, "a number in the range of a double");
  }
  /// Keeps the first error.
  void wrong(const Token &token, llvm::StringRef expected) {
    if (bad)
      return;
    bad = token;
    expectation = expected.str();
  }

  TokenStream &tokens;
  std::vector<ParsedField> &parsed;
  std::vector<std::string> known;
  std::optional<Token> bad;
  std::string expectation;
};
} // namespace

static bool isScalar(const Token &token) {
  return token.is(TokenKind::identifier) || token.is(TokenKind::integer) ||
         token.is(TokenKind::real) || token.is(TokenKind::string);
}

static llvm::Error parseField(TokenStream &tokens, ParsedField &field) {
  MOEC_ASSIGN(field.name,
              tokens.expect(TokenKind::identifier, "the name of an attribute"));
  MOEC_TRY(tokens.expect("="));
  field.first = tokens.peek();
  if (!tokens.takeIf("[")) {
    if (!isScalar(field.first))
      return tokens.unexpected("the value of an attribute");
    tokens.take();
    return llvm::Error::success();
  }
  field.isList = true;
  if (tokens.takeIf("]"))
    return llvm::Error::success();
  do {
    if (!isScalar(tokens.peek()))
      return tokens.unexpected("an element of a list");
    field.values.push_back(tokens.take());
  } while (tokens.takeIf(","));
  return tokens.expect("]");
}

llvm::Error moec::parseAttributes(TokenStream &tokens, Attributes &attrs) {
  std::vector<ParsedField> parsed;
  MOEC_TRY(tokens.expect("{"));
  if (!tokens.takeIf("}")) {
    do {
      ParsedField field;
      MOEC_TRY(parseField(tokens, field));
      for (const ParsedField &other : parsed)
        if (other.name.spelling == field.name.spelling)
          return tokens.errorAt(field.name)
                 << "attribute '" << field.name.spelling << "' is given twice";
      // More fields than any struct has need no quadratic search.
      if (parsed.size() == 100)
        return tokens.errorAt(field.name) << "more than 100 attributes";
      parsed.push_back(std::move(field));
    } while (tokens.takeIf(","));
    MOEC_TRY(tokens.expect("}"));
  }
  FieldReader reader(tokens, parsed);
  attrs.visit(reader);
  return reader.takeError();
}
