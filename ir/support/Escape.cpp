#include "ir/support/Escape.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/ConvertUTF.h"
#include "llvm/Support/JSON.h"

#include <algorithm>

using namespace moec;

/// Bytes of the character at the start of `text` if it may be shown, else 0.
static size_t shownBytes(llvm::StringRef text) {
  uint8_t first = uint8_t(text[0]);
  if (first < 0x80)
    return (first >= 0x20 && first != 0x7f) || first == '\t' || first == '\n';
  auto *bytes = reinterpret_cast<const llvm::UTF8 *>(text.data());
  size_t size = llvm::getNumBytesForUTF8(first);
  if (size > text.size() || !llvm::isLegalUTF8Sequence(bytes, bytes + size))
    return 0;
  // U+0080 to U+009F are control characters, too.
  bool isControl = first == 0xc2 && uint8_t(text[1]) < 0xa0;
  return isControl ? 0 : size;
}

std::string moec::escapeControls(llvm::StringRef text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    size_t size = shownBytes(text);
    uint8_t first = uint8_t(text[0]);
    if (size)
      result += text.take_front(size);
    else
      result +=
          {'\\', 'x', llvm::hexdigit(first >> 4), llvm::hexdigit(first & 15)};
    text = text.drop_front(std::max<size_t>(size, 1));
  }
  return result;
}

std::string moec::toUtf8(llvm::StringRef text) {
  return llvm::json::isUTF8(text) ? text.str() : llvm::json::fixUTF8(text);
}
