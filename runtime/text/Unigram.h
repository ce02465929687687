//===- Unigram.h - the likeliest path of pieces through a text ------------===//
#pragma once

#include "runtime/text/TokenizerAsset.h"
#include "runtime/text/Trie.h"

#include <array>
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
  float leastScore = 0, bestScore = 0;
};

} // namespace moec
