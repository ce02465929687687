#include "runtime/text/Unigram.h"

#include "runtime/text/Unicode.h"
#include "llvm/ADT/STLExtras.h"

#include <algorithm>

using namespace moec;

/// What an unknown character costs beyond the least likely piece.
static constexpr float kUnknownPenalty = 10.0f;

UnigramModel::UnigramModel(const TokenizerAsset &asset) : asset(asset) {
  byteId.fill(-1);
  for (auto [id, piece] : llvm::enumerate(asset.pieces)) {
    switch (piece.type) {
    case PieceType::Normal:
      leastScore = std::min(leastScore, piece.score);
      bestScore = std::max(bestScore, piece.score);
      [[fallthrough]];
    case PieceType::UserDefined:
      pieces.insert(piece.text, int32_t(id));
      break;
    case PieceType::Byte:
      byteId[byteOfPiece(piece.text)] = int32_t(id);
      break;
    default:
      break;
    }
  }
}

void UnigramModel::encode(llvm::StringRef text,
                          std::vector<int32_t> &ids) const {
  // The best way to end a piece at each byte. Sums are rounded to float after
  // each step, as the library does it, so that near ties fall alike.
  struct Node {
    int32_t id = -1;
    float score = 0;
    int64_t begin = -1;
  };
  std::vector<Node> best(text.size() + 1);
  const float unknownScore = leastScore - kUnknownPenalty;
  auto offer = [&](size_t end, double score, int32_t id, size_t begin) {
    Node &node = best[end];
    if (node.begin < 0 || score > node.score)
      node = {id, float(score), int64_t(begin)};
  };
  for (size_t begin = 0; begin < text.size();) {
    size_t charBytes = decodeUtf8(text, begin).bytes;
    float here = best[begin].score;
    bool coversChar = false;
    pieces.forEachPrefix(text.substr(begin), [&](size_t length, int32_t id) {
      const Piece &piece = asset.pieces[id];
      // A user-defined piece is worth more than any way around it.
      double score = piece.type == PieceType::UserDefined
                         ? double(float(length) * bestScore) - 0.1
                         : double(piece.score);
      offer(begin + length, score + here, id, begin);
      coversChar |= length == charBytes;
    });
    if (!coversChar)
      offer(begin + charBytes, double(unknownScore + here), -1, begin);
    begin += charBytes;
  }

  struct Span {
    int32_t id;
    size_t begin, end;
  };
  std::vector<Span> path;
  for (size_t end = text.size(); end > 0;) {
    path.push_back({best[end].id, size_t(best[end].begin), end});
    end = size_t(best[end].begin);
  }
  bool afterUnknown = false;
  for (const Span &span : llvm::reverse(path)) {
    if (span.id >= 0) {
      ids.push_back(span.id);
      afterUnknown = false;
      continue;
    }
    llvm::StringRef bytes = text.slice(span.begin, span.end);
    if (asset.byteFallback && llvm::all_of(bytes, [&](char byte) {
          return byteId[uint8_t(byte)] >= 0;
        })) {
      for (char byte : bytes)
        ids.push_back(byteId[uint8_t(byte)]);
      afterUnknown = false;
      continue;
    }
    if (asset.unknown >= 0 && !(afterUnknown && asset.fuseUnknown))
      ids.push_back(asset.unknown);
    afterUnknown = true;
  }
}
