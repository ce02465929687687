#include "runtime/text/Normalizer.h"

#include "ir/support/Diagnostic.h"
#include "runtime/text/Trie.h"
#include "runtime/text/Unicode.h"
#include "llvm/Support/Endian.h"

using namespace moec;

using Kind = NormalizerStep::Kind;

static constexpr llvm::StringLiteral kSpaceMark = "\xE2\x96\x81";

/// No normalizer in use makes a text longer than this, and replacements of a
/// hostile file could fill the memory.
static size_t limitOf(llvm::StringRef text) {
  return text.size() * 64 + (1 << 16);
}

static llvm::Error tooLong(size_t limitBytes) {
  return error() << "expected the tokenizer's normalizer to give at most "
                 << limitBytes << " bytes for this text, got more";
}

static llvm::Expected<std::string> replaceAll(llvm::StringRef text,
                                              llvm::StringRef from,
                                              llvm::StringRef to,
                                              size_t limitBytes) {
  std::string out;
  out.reserve(text.size());
  for (;;) {
    size_t found = text.find(from);
    out += text.substr(0, found);
    if (found == llvm::StringRef::npos)
      return out;
    out += to;
    if (out.size() > limitBytes)
      return tooLong(limitBytes);
    text = text.substr(found + from.size());
  }
}

static llvm::Expected<std::string> replaceMatches(llvm::StringRef text,
                                                  const Regex &regex,
                                                  llvm::StringRef to,
                                                  size_t limitBytes) {
  std::string out;
  Regex::Matcher matcher(regex, text);
  size_t pos = 0, begin = 0, end = 0;
  for (;;) {
    MOEC_ASSIGN(bool found, matcher.next(begin, end));
    if (!found)
      break;
    out += text.slice(pos, begin);
    out += to;
    if (out.size() > limitBytes)
      return tooLong(limitBytes);
    pos = end;
  }
  out += text.substr(pos);
  return out;
}

static llvm::StringRef stripLeft(llvm::StringRef text) {
  while (!text.empty()) {
    Utf8Char c = decodeUtf8(text, 0);
    if (!isUnicodeSpace(c.code))
      break;
    text = text.drop_front(c.bytes);
  }
  return text;
}

static llvm::StringRef stripRight(llvm::StringRef text) {
  while (!text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && (uint8_t(text[start]) & 0xC0) == 0x80)
      --start;
    if (!isUnicodeSpace(decodeUtf8(text, start).code))
      break;
    text = text.take_front(start);
  }
  return text;
}

llvm::Expected<Normalizer> Normalizer::create(const TokenizerAsset &asset,
                                              const Trie &userDefined,
                                              llvm::StringRef name) {
  Normalizer normalizer;
  normalizer.userDefined = &userDefined;
  for (const NormalizerStep &spec : asset.normalizer) {
    Step step;
    step.spec = spec;
    bool replaces =
        spec.kind == Kind::ReplaceLiteral || spec.kind == Kind::ReplaceRegex;
    if (replaces && spec.pattern.empty())
      return error(Location::inFile(name.str()))
             << "expected a normalizer's replacement to look for something, "
                "got an empty pattern";
    if (spec.kind == Kind::ReplaceRegex) {
      MOEC_ASSIGN(step.regex, Regex::compile(spec.pattern, name));
    }
    if (spec.kind == Kind::SentencePiece && !spec.pattern.empty()) {
      MOEC_ASSIGN(step.charsMap, CharsMap::read(spec.pattern, name));
    }
    normalizer.steps.push_back(std::move(step));
  }
  return normalizer;
}

llvm::Expected<std::string> Normalizer::run(llvm::StringRef input) const {
  std::string text = input.str();
  size_t limitBytes = limitOf(input);
  for (const Step &step : steps) {
    MOEC_ASSIGN(text, runStep(step, text, limitBytes));
    if (text.size() > limitBytes)
      return tooLong(limitBytes);
  }
  // A hostile character map may cut characters apart.
  return isUtf8(text) ? text : replaceBadBytes(text);
}

llvm::Expected<std::string> Normalizer::runStep(const Step &step,
                                                llvm::StringRef text,
                                                size_t limitBytes) const {
  const NormalizerStep &spec = step.spec;
  switch (spec.kind) {
  case Kind::Nfc:
    return normalizeUnicode(text, NormalForm::Nfc);
  case Kind::Nfd:
    return normalizeUnicode(text, NormalForm::Nfd);
  case Kind::Nfkc:
    return normalizeUnicode(text, NormalForm::Nfkc);
  case Kind::Nfkd:
    return normalizeUnicode(text, NormalForm::Nfkd);
  case Kind::Lowercase:
    return lowercaseUnicode(text);
  case Kind::Prepend:
    return text.empty() ? std::string() : spec.text + text.str();
  case Kind::ReplaceLiteral:
    return replaceAll(text, spec.pattern, spec.text, limitBytes);
  case Kind::ReplaceRegex:
    return replaceMatches(text, *step.regex, spec.text, limitBytes);
  case Kind::StripLeft:
    return stripLeft(text).str();
  case Kind::StripRight:
    return stripRight(text).str();
  case Kind::SentencePiece:
    return sentencePiece(step, text, limitBytes);
  }
  llvm_unreachable("checked when the asset was read");
}

llvm::Expected<Normalizer::CharsMap>
Normalizer::CharsMap::read(llvm::StringRef blob, llvm::StringRef name) {
  auto fail = [&] {
    return error(Location::inFile(name.str()))
           << "expected a SentencePiece character map, got one whose ";
  };
  if (blob.size() < 4)
    return fail() << "size is " << blob.size() << " bytes";
  uint32_t trieBytes = llvm::support::endian::read32le(blob.data());
  if (trieBytes > blob.size() - 4 || trieBytes % 4 != 0 || trieBytes == 0)
    return fail() << "trie has " << trieBytes << " of " << blob.size() - 4
                  << " bytes";
  CharsMap map;
  map.units.resize(trieBytes / 4);
  for (size_t i = 0; i < map.units.size(); ++i)
    map.units[i] = llvm::support::endian::read32le(blob.data() + 4 + 4 * i);
  map.replacements = blob.substr(4 + trieBytes).str();
  return map;
}

/// A unit of the trie holds, from the low bit: the byte that leads to it (8
/// bits, with bit 31 set it is a value), "has a value" (bit 8), and an offset
/// to its children (bits 10 to 30, shifted by 8 more where bit 9 is set). The
/// file is not trusted: a step out of the array ends the search.
size_t Normalizer::CharsMap::longestPrefix(llvm::StringRef text,
                                           llvm::StringRef &replacement) const {
  auto offset = [](uint32_t unit) -> uint32_t {
    return (unit >> 10) << ((unit & (1u << 9)) >> 6);
  };
  size_t length = 0;
  if (units.empty())
    return 0;
  uint32_t pos = offset(units[0]);
  for (size_t read = 0; read < text.size(); ++read) {
    pos ^= uint8_t(text[read]);
    if (pos >= units.size())
      break;
    uint32_t unit = units[pos];
    if ((unit & (1u << 31 | 0xFF)) != uint8_t(text[read]))
      break;
    pos ^= offset(unit);
    if (unit >> 8 & 1) {
      if (pos >= units.size())
        break;
      uint32_t value = units[pos] & ~(1u << 31);
      if (value >= replacements.size())
        break;
      replacement = llvm::StringRef(replacements).substr(value);
      replacement = replacement.take_until([](char c) { return c == 0; });
      length = read + 1;
    }
  }
  return length;
}

std::pair<llvm::StringRef, size_t>
Normalizer::nextUnit(const Step &step, llvm::StringRef text) const {
  int32_t id = 0;
  if (size_t length = userDefined->longestPrefix(text, id))
    return {text.take_front(length), length};
  llvm::StringRef replacement;
  if (size_t length = step.charsMap.longestPrefix(text, replacement))
    return {replacement, length};
  size_t length = decodeUtf8(text, 0).bytes;
  return {text.take_front(length), length};
}

llvm::Expected<std::string> Normalizer::sentencePiece(const Step &step,
                                                      llvm::StringRef text,
                                                      size_t limitBytes) const {
  uint8_t flags = step.spec.flags;
  bool removeExtra = flags & kRemoveExtraSpaces;
  llvm::StringRef space = flags & kEscapeSpaces ? kSpaceMark : " ";
  if (removeExtra)
    while (!text.empty()) {
      auto [unit, length] = nextUnit(step, text);
      if (unit != " ")
        break;
      text = text.drop_front(length);
    }
  std::string out;
  if (text.empty())
    return out;
  out.reserve(text.size() + text.size() / 4);
  bool asSuffix = flags & kSpaceAsSuffix;
  if (!asSuffix && (flags & kAddDummyPrefix))
    out += space;
  bool afterSpace = removeExtra;
  while (!text.empty()) {
    auto [unit, length] = nextUnit(step, text);
    text = text.drop_front(length);
    while (afterSpace && unit.consume_front(" ")) {
    }
    for (char c : unit) {
      if (c == ' ')
        out += space;
      else
        out += c;
    }
    if (out.size() > limitBytes)
      return tooLong(limitBytes);
    if (!unit.empty())
      afterSpace = unit.ends_with(" ");
    if (!removeExtra)
      afterSpace = false;
  }
  if (removeExtra)
    while (llvm::StringRef(out).ends_with(space))
      out.resize(out.size() - space.size());
  if (asSuffix && (flags & kAddDummyPrefix))
    out += space;
  return out;
}
