#include "ir/support/Json.h"

#include "ir/support/MappedFile.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/ConvertUTF.h"
#include "llvm/Support/JSON.h"

#include <algorithm>
#include <charconv>
#include <cmath>

using namespace moec;

/// Deeper than any file that models come with; the parser recurses.
static constexpr unsigned kMaxDepth = 128;
/// A value takes more memory than its text; this bounds it below 1 GiB.
static constexpr uint64_t kMaxValues = 4'000'000;

const JsonValue *JsonValue::find(llvm::StringRef key) const {
  for (const JsonMember &member : members)
    if (member.key == key)
      return &member.value;
  return nullptr;
}

std::string JsonValue::describe() const {
  switch (kind) {
  case Kind::null:
    return "null";
  case Kind::boolean:
    return boolean ? "true" : "false";
  case Kind::number: {
    if (isInteger)
      return std::to_string(integer);
    char buffer[32];
    auto end = std::to_chars(buffer, buffer + sizeof(buffer), number);
    return std::string(buffer, end.ptr);
  }
  case Kind::string:
    return "the string '" + string.substr(0, 80) + "'";
  case Kind::array:
    return "an array of " + std::to_string(items.size());
  case Kind::object:
    return "an object";
  }
  return "nothing";
}

namespace {
class Parser {
public:
  explicit Parser(const JsonDocument &document)
      : document(document), text(document.text()) {}

  llvm::Error parse(JsonValue &out) {
    skipSpace();
    if (llvm::Error err = parseValue(out, 0))
      return err;
    skipSpace();
    if (at != text.size())
      return fail("expected the end of the JSON text");
    return llvm::Error::success();
  }

private:
  /// An error here; says what stands here instead.
  llvm::Error fail(const llvm::Twine &expected) {
    if (at >= text.size())
      return document.errorAt(text.size())
             << expected.str() << ", found the end of the text";
    std::string found(1, text[at]);
    if (!llvm::isPrint(text[at]))
      found = {'b',
               'y',
               't',
               'e',
               ' ',
               '0',
               'x',
               llvm::hexdigit(uint8_t(text[at]) >> 4, /*LowerCase=*/true),
               llvm::hexdigit(text[at] & 15, /*LowerCase=*/true)};
    else
      found = "'" + found + "'";
    return document.errorAt(at) << expected.str() << ", found " << found;
  }

  void skipSpace() {
    while (at < text.size() && (text[at] == ' ' || text[at] == '\n' ||
                                text[at] == '\r' || text[at] == '\t'))
      ++at;
  }
  bool take(char c) {
    if (at >= text.size() || text[at] != c)
      return false;
    ++at;
    return true;
  }
  bool takeWord(llvm::StringRef word) {
    if (!text.substr(at).starts_with(word))
      return false;
    at += word.size();
    return true;
  }

  llvm::Error parseValue(JsonValue &out, unsigned depth) {
    out.offset = at;
    if (depth > kMaxDepth)
      return document.errorAt(at)
             << "expected at most " << kMaxDepth << " nested levels";
    if (++values > kMaxValues)
      return document.errorAt(at)
             << "expected at most " << kMaxValues << " JSON values";
    if (at >= text.size())
      return fail("expected a value");
    switch (text[at]) {
    case '{':
      return parseObject(out, depth);
    case '[':
      return parseArray(out, depth);
    case '"':
      out.kind = JsonValue::Kind::string;
      return parseString(out.string);
    case 't':
    case 'f':
      out.kind = JsonValue::Kind::boolean;
      out.boolean = text[at] == 't';
      if (takeWord("true") || takeWord("false"))
        return llvm::Error::success();
      return fail("expected a value");
    case 'n':
      if (takeWord("null"))
        return llvm::Error::success();
      return fail("expected a value");
    default:
      return parseNumber(out);
    }
  }

  llvm::Error parseObject(JsonValue &out, unsigned depth) {
    out.kind = JsonValue::Kind::object;
    llvm::StringSet<> keys;
    ++at;
    skipSpace();
    if (take('}'))
      return llvm::Error::success();
    for (;;) {
      JsonMember member;
      member.keyOffset = at;
      if (at >= text.size() || text[at] != '"')
        return fail("expected a key in quotes");
      if (llvm::Error err = parseString(member.key))
        return err;
      if (!keys.insert(member.key).second)
        return document.errorAt(member.keyOffset)
               << "the key '" << member.key << "' occurs twice";
      skipSpace();
      if (!take(':'))
        return fail("expected ':'");
      skipSpace();
      if (llvm::Error err = parseValue(member.value, depth + 1))
        return err;
      out.members.push_back(std::move(member));
      skipSpace();
      if (take('}'))
        return llvm::Error::success();
      if (!take(','))
        return fail("expected ',' or '}'");
      skipSpace();
    }
  }

  llvm::Error parseArray(JsonValue &out, unsigned depth) {
    out.kind = JsonValue::Kind::array;
    ++at;
    skipSpace();
    if (take(']'))
      return llvm::Error::success();
    for (;;) {
      JsonValue item;
      if (llvm::Error err = parseValue(item, depth + 1))
        return err;
      out.items.push_back(std::move(item));
      skipSpace();
      if (take(']'))
        return llvm::Error::success();
      if (!take(','))
        return fail("expected ',' or ']'");
      skipSpace();
    }
  }

  llvm::Error parseNumber(JsonValue &out) {
    out.kind = JsonValue::Kind::number;
    size_t start = at;
    auto digits = [&] {
      size_t first = at;
      while (at < text.size() && llvm::isDigit(text[at]))
        ++at;
      return at > first;
    };
    take('-');
    size_t firstDigit = at;
    if (!digits()) {
      at = start;
      return fail("expected a value");
    }
    if (text[firstDigit] == '0' && at > firstDigit + 1)
      return document.errorAt(start)
             << "expected a number without leading zeros";
    bool isWhole = true;
    if (take('.')) {
      isWhole = false;
      if (!digits())
        return fail("expected a digit after '.'");
    }
    if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
      isWhole = false;
      ++at;
      if (!take('+'))
        take('-');
      if (!digits())
        return fail("expected a digit in the exponent");
    }
    const char *first = text.data() + start, *last = text.data() + at;
    if (isWhole && std::from_chars(first, last, out.integer).ec == std::errc())
      out.isInteger = true;
    auto result = std::from_chars(first, last, out.number);
    // Too small is 0; too large is no number that a file may mean.
    if (result.ec == std::errc::result_out_of_range) {
      if (!isSmall(llvm::StringRef(first, size_t(last - first))))
        return document.errorAt(start) << "the number is out of range";
      out.number = 0;
    }
    return llvm::Error::success();
  }

  /// Whether an out-of-range number is too small, not too large: it has a
  /// negative exponent, or only zeros before its point.
  static bool isSmall(llvm::StringRef number) {
    size_t exponent = number.find_first_of("eE");
    if (exponent != llvm::StringRef::npos)
      return number.substr(exponent + 1).starts_with("-");
    number.consume_front("-");
    return number.starts_with("0.");
  }

  llvm::Error parseString(std::string &out) {
    size_t start = at++;
    for (;;) {
      size_t run = at;
      while (at < text.size() && text[at] != '"' && text[at] != '\\' &&
             uint8_t(text[at]) >= 0x20)
        ++at;
      out.append(text.data() + run, at - run);
      if (at >= text.size())
        return document.errorAt(start) << "the string has no closing quote";
      if (take('"'))
        return llvm::Error::success();
      if (!take('\\'))
        return fail("expected control characters in strings to be escaped");
      if (llvm::Error err = parseEscape(out))
        return err;
    }
  }

  llvm::Error parseEscape(std::string &out) {
    if (at >= text.size())
      return fail("expected an escape");
    static constexpr llvm::StringLiteral kNames = "\"\\/bfnrt";
    static constexpr llvm::StringLiteral kValues = "\"\\/\b\f\n\r\t";
    char name = text[at];
    if (size_t index = kNames.find(name); index != llvm::StringRef::npos) {
      ++at;
      out += kValues[index];
      return llvm::Error::success();
    }
    if (name != 'u')
      return fail("expected one of \"\\/bfnrtu after '\\'");
    uint32_t unit;
    if (llvm::Error err = parseUnit(unit))
      return err;
    uint32_t codepoint = unit;
    if (unit >= 0xD800 && unit < 0xDC00 && text.substr(at).starts_with("\\u")) {
      ++at;
      uint32_t low;
      if (llvm::Error err = parseUnit(low))
        return err;
      if (low < 0xDC00 || low > 0xDFFF)
        return document.errorAt(at - 6)
               << "expected the second half of a surrogate pair";
      codepoint = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    } else if (unit >= 0xD800 && unit < 0xE000) {
      return document.errorAt(at - 6)
             << "half of a surrogate pair stands alone";
    }
    char buffer[UNI_MAX_UTF8_BYTES_PER_CODE_POINT];
    char *end = buffer;
    llvm::ConvertCodePointToUTF8(codepoint, end);
    out.append(buffer, size_t(end - buffer));
    return llvm::Error::success();
  }

  /// At the 'u' of \uXXXX.
  llvm::Error parseUnit(uint32_t &unit) {
    ++at;
    unit = 0;
    for (unsigned i = 0; i < 4; ++i, ++at) {
      if (at >= text.size() || llvm::hexDigitValue(text[at]) > 15)
        return fail("expected four hexadecimal digits after '\\u'");
      unit = unit << 4 | llvm::hexDigitValue(text[at]);
    }
    return llvm::Error::success();
  }

  const JsonDocument &document;
  llvm::StringRef text;
  size_t at = 0;
  uint64_t values = 0;
};
} // namespace

llvm::Expected<std::shared_ptr<const JsonDocument>>
JsonDocument::parse(std::string text, llvm::StringRef path,
                    std::optional<uint64_t> byteBase) {
  std::shared_ptr<JsonDocument> document(
      new JsonDocument(std::move(text), path.str(), byteBase));
  size_t badByte = 0;
  if (!llvm::json::isUTF8(document->source, &badByte))
    return document->errorAt(badByte)
           << "expected UTF-8, found byte 0x"
           << llvm::utohexstr(uint8_t(document->source[badByte]), true, 2);
  if (llvm::Error err = Parser(*document).parse(document->rootValue))
    return err;
  return std::shared_ptr<const JsonDocument>(std::move(document));
}

llvm::Expected<std::shared_ptr<const JsonDocument>>
JsonDocument::load(llvm::StringRef path, uint64_t maxBytes) {
  auto file = MappedFile::open(path);
  if (!file)
    return file.takeError();
  if ((*file)->size() > maxBytes)
    return error(Location::inFile(path.str()))
           << "expected a JSON file of at most " << maxBytes << " bytes, found "
           << (*file)->size();
  return parse(llvm::toStringRef((*file)->bytes()).str(), path);
}

Location JsonDocument::locate(uint64_t offset) const {
  if (byteBase)
    return Location::atByte(filePath, int64_t(*byteBase + offset));
  llvm::StringRef before = llvm::StringRef(source).take_front(offset);
  size_t lineStart = before.rfind('\n');
  lineStart = lineStart == llvm::StringRef::npos ? 0 : lineStart + 1;
  return Location::atLine(filePath, unsigned(before.count('\n') + 1),
                          unsigned(offset - lineStart + 1));
}

ErrorBuilder JsonDocument::errorAt(uint64_t offset) const {
  if (byteBase)
    return error(locate(offset));
  llvm::StringRef before = llvm::StringRef(source).take_front(offset);
  size_t lineStart = before.rfind('\n');
  lineStart = lineStart == llvm::StringRef::npos ? 0 : lineStart + 1;
  llvm::StringRef line = llvm::StringRef(source).substr(lineStart);
  line = line.take_until([](char c) { return c == '\n' || c == '\r'; });
  ErrorBuilder builder = error(locate(offset));
  // A file without line breaks would flood the screen.
  if (line.size() > 200)
    return builder;
  return std::move(builder).withSource(line.str());
}
