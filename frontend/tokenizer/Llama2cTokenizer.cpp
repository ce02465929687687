#include "frontend/tokenizer/ImportTokenizer.h"
#include "ir/support/Diagnostic.h"
#include "runtime/text/Unicode.h"
#include "llvm/Support/Endian.h"

#include <cmath>

using namespace moec;

// The file: the longest piece's length, then for each piece a float32 score,
// an int32 length and the bytes. It has no types: the first three pieces are
// unknown, begin and end, the next 256 are bytes, and U+2581 became a space.

static std::string markSpaces(llvm::StringRef text) {
  std::string marked;
  for (char c : text) {
    if (c == ' ')
      marked += "\xE2\x96\x81";
    else
      marked += c;
  }
  return marked;
}

static llvm::Error readPieces(llvm::StringRef bytes, llvm::StringRef name,
                              TokenizerAsset &asset) {
  constexpr uint32_t kMaxLength = 1 << 16;
  auto fail = [&](size_t at) {
    return error(Location::atByte(name.str(), int64_t(at)));
  };
  auto word = [&](size_t at) {
    return llvm::support::endian::read32le(bytes.data() + at);
  };
  if (bytes.size() < 4)
    return fail(0) << "expected the 4 bytes of the longest piece's length, "
                      "got a file of "
                   << bytes.size();
  uint32_t longest = word(0);
  if (longest == 0 || longest > kMaxLength)
    return fail(0) << "expected the longest piece to have 1 to " << kMaxLength
                   << " bytes, got " << longest;
  for (size_t pos = 4; pos < bytes.size();) {
    if (bytes.size() - pos < 8)
      return fail(pos) << "expected the 8 bytes of piece "
                       << asset.pieces.size() << "'s score and length, got "
                       << bytes.size() - pos;
    float score = llvm::bit_cast<float>(word(pos));
    uint32_t length = word(pos + 4);
    if (!std::isfinite(score))
      return fail(pos) << "expected piece " << asset.pieces.size()
                       << " to have a finite score, got " << score;
    if (length > longest || length > bytes.size() - pos - 8)
      return fail(pos + 4) << "expected piece " << asset.pieces.size()
                           << " to have at most "
                           << std::min<size_t>(longest, bytes.size() - pos - 8)
                           << " bytes, got " << length;
    if (asset.pieces.size() == kMaxVocabulary)
      return fail(pos) << "expected at most " << kMaxVocabulary << " pieces";
    Piece piece;
    piece.text = markSpaces(bytes.substr(pos + 8, length));
    piece.score = score;
    asset.pieces.push_back(std::move(piece));
    pos += 8 + length;
  }
  return llvm::Error::success();
}

llvm::Expected<TokenizerAsset>
moec::importLlama2cTokenizer(llvm::StringRef bytes, llvm::StringRef name) {
  constexpr size_t kFirstByte = 3, kFirstNormal = kFirstByte + 256;
  TokenizerAsset asset;
  asset.kind = TokenizerKind::ScoreBpe;
  MOEC_TRY(readPieces(bytes, name, asset));
  Location loc = Location::inFile(name.str());
  if (asset.pieces.size() <= kFirstNormal)
    return error(loc) << "expected more than " << kFirstNormal
                      << " pieces (unknown, begin, end, and 256 bytes), got "
                      << asset.pieces.size();
  asset.pieces[0] = {"<unk>", 0, PieceType::Unknown};
  asset.pieces[1] = {"<s>", 0, PieceType::Control};
  asset.pieces[2] = {"</s>", 0, PieceType::Control};
  for (unsigned byte = 0; byte < 256; ++byte) {
    Piece &piece = asset.pieces[kFirstByte + byte];
    if (byteOfPiece(piece.text) != int(byte))
      return error(loc) << "expected piece " << kFirstByte + byte
                        << " to be the byte " << byte << ", spelled '<0x..>', "
                        << "got '" << piece.text << "'";
    piece.type = PieceType::Byte;
  }
  for (Piece &piece : llvm::drop_begin(asset.pieces, kFirstNormal))
    if (piece.text.empty())
      piece.type = PieceType::Unused;

  asset.byteFallback = true;
  asset.fuseUnknown = true;
  asset.unknown = 0;
  asset.bos = 1;
  asset.eos = 2;
  // llama2.c's generator stops at either.
  asset.stopIds = {2, 1};
  asset.prefixIds = {1};
  for (int32_t id : {1, 2}) {
    AddedToken token;
    token.id = id;
    token.content = asset.pieces[id].text;
    token.special = true;
    asset.added.push_back(std::move(token));
  }
  NormalizerStep spaces;
  spaces.kind = NormalizerStep::Kind::SentencePiece;
  spaces.flags = kAddDummyPrefix | kEscapeSpaces;
  asset.normalizer.push_back(spaces);
  asset.decoder.byteFallback = true;
  asset.decoder.replace.push_back({"\xE2\x96\x81", " "});
  asset.decoder.stripStart = " ";
  asset.decoder.stripCount = 1;
  MOEC_TRY(checkAsset(asset, name));
  return asset;
}
