//===- Unigram.h - the likeliest path of pieces through a text ------------===//
#pragma once

#include "runtime/text/TokenizerAsset.h"
#include "runtime/text/Trie.h"

#include <array>
#include <limits>
#include <vector>

namespace moec {

/// SentencePiece's unigram model; const use is safe from many threads.
class UnigramModel {
public:
  /// `asset` must outlive the model.
  explicit UnigramModel(const TokenizerAsset &asset);

  /// Appends the ids of `text`, which is valid UTF-8.
  void encode(llvm::StringRef text, std::vector<int32_t> &ids) const;

private:
  const TokenizerAsset &asset;
  Trie pieces;
  std::array<int32_t, 256> byteId;
  /// Of the normal pieces. The library's best is never below the smallest
  /// positive number, which is what makes user-defined pieces win: scores are
  /// logarithms.
  float leastScore = std::numeric_limits<float>::max();
  float bestScore = std::numeric_limits<float>::min();
};

} // namespace moec
