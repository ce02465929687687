#include "runtime/text/AddedTokens.h"

#include "runtime/text/Unicode.h"

using namespace moec;

void AddedTokens::insert(const AddedToken &token, llvm::StringRef pattern) {
  trie.insert(pattern, int32_t(tokens.size()));
  tokens.push_back(&token);
}

static size_t startOfCharBefore(llvm::StringRef text, size_t end) {
  size_t start = end - 1;
  while (start > 0 && (uint8_t(text[start]) & 0xC0) == 0x80)
    --start;
  return start;
}

static bool isAlone(llvm::StringRef text, size_t begin, size_t end) {
  if (begin > 0 &&
      isWordChar(decodeUtf8(text, startOfCharBefore(text, begin)).code))
    return false;
  return end == text.size() || !isWordChar(decodeUtf8(text, end).code);
}

std::vector<AddedTokens::Part> AddedTokens::split(llvm::StringRef text,
                                                  bool parseSpecial) const {
  std::vector<Part> parts;
  size_t taken = 0;
  for (size_t pos = 0; pos < text.size();) {
    int32_t index = 0;
    size_t length = trie.longestPrefix(text.substr(pos), index);
    if (length == 0) {
      ++pos;
      continue;
    }
    const AddedToken &token = *tokens[index];
    size_t begin = pos, end = pos + length;
    pos = end;
    // What does not count is still passed over: nothing inside it matches.
    if (begin < taken || (token.special && !parseSpecial) ||
        (token.singleWord && !isAlone(text, begin, end)))
      continue;
    while (token.lstrip && begin > taken) {
      size_t start = startOfCharBefore(text, begin);
      if (!isUnicodeSpace(decodeUtf8(text, start).code))
        break;
      begin = start;
    }
    while (token.rstrip && end < text.size()) {
      Utf8Char c = decodeUtf8(text, end);
      if (!isUnicodeSpace(c.code))
        break;
      end += c.bytes;
    }
    if (taken < begin)
      parts.push_back({taken, begin, -1});
    parts.push_back({begin, end, token.id});
    taken = end;
  }
  if (taken < text.size())
    parts.push_back({taken, text.size(), -1});
  return parts;
}
