#include "runtime/text/Unicode.h"

#include <cstdlib>
#include <cstring>
#include <utf8proc.h>

using namespace moec;

Utf8Char moec::decodeUtf8(llvm::StringRef text, size_t pos) {
  auto byte = [&](size_t at) -> unsigned {
    return at < text.size() ? uint8_t(text[at]) : 0u;
  };
  auto continues = [&](size_t at) { return (byte(at) & 0xC0) == 0x80; };
  unsigned lead = byte(pos);
  if (lead < 0x80)
    return {lead, 1, true};
  if (lead >= 0xC2 && lead <= 0xDF && continues(pos + 1))
    return {(lead & 0x1F) << 6 | (byte(pos + 1) & 0x3F), 2, true};
  if ((lead & 0xF0) == 0xE0 && continues(pos + 1) && continues(pos + 2)) {
    uint32_t code = (lead & 0x0F) << 12 | (byte(pos + 1) & 0x3F) << 6 |
                    (byte(pos + 2) & 0x3F);
    // Neither overlong nor half of a surrogate pair.
    if (code >= 0x800 && (code < 0xD800 || code > 0xDFFF))
      return {code, 3, true};
  }
  if ((lead & 0xF8) == 0xF0 && continues(pos + 1) && continues(pos + 2) &&
      continues(pos + 3)) {
    uint32_t code = (lead & 0x07) << 18 | (byte(pos + 1) & 0x3F) << 12 |
                    (byte(pos + 2) & 0x3F) << 6 | (byte(pos + 3) & 0x3F);
    if (code >= 0x10000 && code <= 0x10FFFF)
      return {code, 4, true};
  }
  return {lead, 1, false};
}

void moec::appendUtf8(std::string &out, uint32_t code) {
  if (code < 0x80) {
    out += char(code);
  } else if (code < 0x800) {
    out += char(0xC0 | code >> 6);
    out += char(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += char(0xE0 | code >> 12);
    out += char(0x80 | (code >> 6 & 0x3F));
    out += char(0x80 | (code & 0x3F));
  } else {
    out += char(0xF0 | code >> 18);
    out += char(0x80 | (code >> 12 & 0x3F));
    out += char(0x80 | (code >> 6 & 0x3F));
    out += char(0x80 | (code & 0x3F));
  }
}

/// The first position at or after `pos` that starts no valid character.
static size_t skipValid(llvm::StringRef text, size_t pos) {
  while (pos < text.size()) {
    uint64_t word;
    if (pos + sizeof(word) <= text.size()) {
      std::memcpy(&word, text.data() + pos, sizeof(word));
      if (!(word & 0x8080808080808080ull)) {
        pos += sizeof(word);
        continue;
      }
    }
    Utf8Char c = decodeUtf8(text, pos);
    if (!c.valid)
      return pos;
    pos += c.bytes;
  }
  return pos;
}

bool moec::isUtf8(llvm::StringRef text) {
  return skipValid(text, 0) == text.size();
}

std::string moec::replaceBadBytes(llvm::StringRef text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    size_t bad = skipValid(text, pos);
    out += text.slice(pos, bad);
    if (bad < text.size())
      out += kReplacementChar;
    pos = bad + 1;
  }
  return out;
}

/// How many bytes at `pos`, where no valid character starts, are a prefix of
/// one; at least 1.
static size_t prefixOfChar(llvm::StringRef text, size_t pos) {
  uint8_t lead = uint8_t(text[pos]);
  size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                  : lead >= 0xE0 && lead <= 0xEF ? 3
                  : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                 : 1;
  // The second byte's range depends on the first, the others' do not.
  uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  size_t got = 1;
  while (got < length && pos + got < text.size()) {
    uint8_t next = uint8_t(text[pos + got]);
    if (next < low || next > high)
      break;
    low = 0x80, high = 0xBF;
    ++got;
  }
  return got;
}

size_t moec::appendLossyUtf8(std::string &out, llvm::StringRef bytes,
                             bool final) {
  size_t pos = 0;
  while (pos < bytes.size()) {
    size_t bad = skipValid(bytes, pos);
    out += bytes.slice(pos, bad);
    pos = bad;
    if (pos == bytes.size())
      break;
    size_t length = prefixOfChar(bytes, pos);
    // A lone byte that can start no character is bad whatever follows.
    bool mayGrow = pos + length == bytes.size() &&
                   uint8_t(bytes[pos]) >= 0xC2 && uint8_t(bytes[pos]) <= 0xF4;
    if (mayGrow && !final)
      break;
    out += kReplacementChar;
    pos += length;
  }
  return pos;
}

bool moec::isUnicodeSpace(uint32_t code) {
  return (code >= 9 && code <= 13) || code == 0x20 || code == 0x85 ||
         code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
         code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

bool moec::isWordChar(uint32_t code) {
  // Joiners, and letters in circles and squares, which are symbols.
  if (code == 0x200C || code == 0x200D || (code >= 0x24B6 && code <= 0x24E9) ||
      (code >= 0x1F130 && code <= 0x1F149) ||
      (code >= 0x1F150 && code <= 0x1F169) ||
      (code >= 0x1F170 && code <= 0x1F189))
    return true;
  switch (utf8proc_category(utf8proc_int32_t(code))) {
  case UTF8PROC_CATEGORY_LU:
  case UTF8PROC_CATEGORY_LL:
  case UTF8PROC_CATEGORY_LT:
  case UTF8PROC_CATEGORY_LM:
  case UTF8PROC_CATEGORY_LO:
  case UTF8PROC_CATEGORY_MN:
  case UTF8PROC_CATEGORY_MC:
  case UTF8PROC_CATEGORY_ME:
  case UTF8PROC_CATEGORY_ND:
  case UTF8PROC_CATEGORY_NL:
  case UTF8PROC_CATEGORY_PC:
    return true;
  default:
    return false;
  }
}

std::string moec::normalizeUnicode(llvm::StringRef text, NormalForm form) {
  int options = UTF8PROC_STABLE;
  if (form == NormalForm::Nfc || form == NormalForm::Nfkc)
    options |= UTF8PROC_COMPOSE;
  else
    options |= UTF8PROC_DECOMPOSE;
  if (form == NormalForm::Nfkc || form == NormalForm::Nfkd)
    options |= UTF8PROC_COMPAT;
  // No character below U+0300 is changed by NFC, nor below U+0080 by any form.
  uint8_t firstChanged = form == NormalForm::Nfc ? 0xCC : 0x80;
  size_t plain = 0;
  while (plain < text.size() && uint8_t(text[plain]) < firstChanged)
    ++plain;
  if (plain == text.size())
    return text.str();

  utf8proc_uint8_t *mapped = nullptr;
  utf8proc_ssize_t length = utf8proc_map(
      reinterpret_cast<const utf8proc_uint8_t *>(text.data()),
      utf8proc_ssize_t(text.size()), &mapped, utf8proc_option_t(options));
  // The text is valid UTF-8, so only memory can fail; then it stays as it is.
  if (length < 0)
    return text.str();
  std::string out(reinterpret_cast<char *>(mapped), size_t(length));
  std::free(mapped);
  return out;
}

std::string moec::lowercaseUnicode(llvm::StringRef text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    Utf8Char c = decodeUtf8(text, pos);
    pos += c.bytes;
    // The one character whose lower case is two: a dotted capital I.
    if (c.code == 0x130)
      out += "i\xCC\x87";
    else
      appendUtf8(out, uint32_t(utf8proc_tolower(utf8proc_int32_t(c.code))));
  }
  return out;
}
