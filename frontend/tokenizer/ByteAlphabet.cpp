#include "frontend/tokenizer/ByteAlphabet.h"

#include "runtime/text/Unicode.h"

using namespace moec;

static bool isPrintable(unsigned code) {
  return (code >= 0x21 && code <= 0x7E) || (code >= 0xA1 && code <= 0xAC) ||
         (code >= 0xAE && code <= 0xFF);
}

/// By character code, up to the last one that is used; -1 stands for no byte.
static std::array<int16_t, 0x144> makeByteOfChar() {
  std::array<int16_t, 0x144> byteOf;
  byteOf.fill(-1);
  unsigned next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte)
    byteOf[isPrintable(byte) ? byte : next++] = int16_t(byte);
  return byteOf;
}

std::optional<std::string> moec::bytesOfSpelling(llvm::StringRef spelling) {
  static const std::array<int16_t, 0x144> byteOf = makeByteOfChar();
  std::string bytes;
  bytes.reserve(spelling.size());
  for (size_t pos = 0; pos < spelling.size();) {
    Utf8Char c = decodeUtf8(spelling, pos);
    if (!c.valid || c.code >= byteOf.size() || byteOf[c.code] < 0)
      return std::nullopt;
    bytes += char(byteOf[c.code]);
    pos += c.bytes;
  }
  return bytes;
}

std::string moec::spellingOfBytes(llvm::StringRef bytes) {
  std::string spelling;
  for (unsigned char byte : bytes) {
    unsigned code = byte;
    if (!isPrintable(byte)) {
      code = 0x100;
      for (unsigned before = 0; before < byte; ++before)
        code += !isPrintable(before);
    }
    // All codes have one or two bytes in UTF-8.
    if (code < 0x80) {
      spelling += char(code);
    } else {
      spelling += char(0xC0 | code >> 6);
      spelling += char(0x80 | (code & 0x3F));
    }
  }
  return spelling;
}

PreTokenizerStep moec::splitIsolated(llvm::StringRef pattern) {
  PreTokenizerStep step;
  step.kind = PreTokenizerStep::Kind::SplitRegex;
  step.pattern = pattern.str();
  return step;
}

void moec::spellOut(TokenizerAsset &asset) {
  for (Piece &piece : asset.pieces) {
    if (piece.type != PieceType::Normal)
      continue;
    if (auto bytes = bytesOfSpelling(piece.text))
      piece.text = std::move(*bytes);
    else
      piece.type = PieceType::UserDefined;
  }
}
