//===- Bpe.h - byte pair encoding of words --------------------------------===//
//
// One engine serves merges by rank and merges by score. A score model is
// turned into pairs of pieces when it is built, where equal scores get equal
// ranks; in both, the lowest rank merges first and the leftmost of equals.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/text/TokenizerAsset.h"
#include "runtime/text/Trie.h"
#include "llvm/ADT/CachedHashString.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"

#include <array>
#include <bitset>
#include <vector>

namespace moec {

/// Pairs of pieces that merge.
class MergeTable {
public:
  struct Entry {
    uint64_t pair;
    uint32_t rank;
    uint32_t result;
  };
  static constexpr uint32_t kNoRank = UINT32_MAX;

  /// Makes room for `count` pairs and drops what was there.
  void reserve(size_t count);
  /// A pair that is there already gets the new rank, as in Hugging Face's.
  void insert(uint32_t left, uint32_t right, uint32_t rank, uint32_t result);
  const Entry *find(uint32_t left, uint32_t right) const;

private:
  size_t slotOf(uint64_t pair) const {
    return size_t((pair * 0x9E3779B97F4A7C15ull) >> shift);
  }
  /// Open addressing; at most half full. A free entry has rank kNoRank.
  std::vector<Entry> entries;
  unsigned shift = 64;
};

/// Encodes words; const use is safe from many threads.
class BpeModel {
public:
  /// Memory that one thread reuses from word to word.
  struct Scratch {
    struct Symbol {
      uint32_t id;
      uint32_t begin, length;
      int32_t previous, next;
    };
    struct Candidate {
      uint32_t rank;
      int32_t position;
      uint32_t left, right, result;
    };
    std::vector<Symbol> symbols;
    std::vector<uint32_t> ranks;
    std::vector<uint32_t> results;
    std::vector<Candidate> heap;
    /// How a piece of type Unused last came to be; it is taken apart again.
    llvm::DenseMap<uint32_t, std::pair<uint32_t, uint32_t>> origin;
  };

  /// `asset` and `userDefined` must outlive the model.
  BpeModel(const TokenizerAsset &asset, const Trie &userDefined);

  /// Appends the ids of `word`, which is valid UTF-8.
  void encode(llvm::StringRef word, Scratch &scratch,
              std::vector<int32_t> &ids) const;

  /// Calls `part` for parts of `word` that no merge joins, so that encoding
  /// them one by one gives the ids of the whole.
  template <typename Part>
  void forEachIndependentPart(llvm::StringRef word, Part part) const;

private:
  /// A character that may be a symbol, by its code; `id` is a piece or, above
  /// the vocabulary, a character that only occurs inside pieces.
  static constexpr uint32_t kUnknownSymbol = UINT32_MAX;

  void indexBytes();
  void indexCharacters();
  void buildRankTable();
  void buildScoreTable();
  void addBridges(llvm::StringRef text);
  bool bridged(uint32_t left, uint32_t right) const;
  uint32_t symbolOfChar(uint32_t code) const;
  bool isPiece(uint32_t id) const { return id < asset.pieces.size(); }

  void startBytes(llvm::StringRef word, Scratch &scratch) const;
  void startRanked(llvm::StringRef word, Scratch &scratch) const;
  void startScored(llvm::StringRef word, Scratch &scratch) const;
  const MergeTable::Entry *look(const Scratch::Symbol &left,
                                const Scratch::Symbol &right,
                                Scratch &scratch) const;
  void mergeShort(Scratch &scratch) const;
  void mergeLong(Scratch &scratch) const;
  void put(llvm::StringRef word, uint32_t id, uint32_t begin, uint32_t length,
           Scratch &scratch, std::vector<int32_t> &ids, bool &afterUnknown,
           unsigned depth) const;

  const TokenizerAsset &asset;
  const Trie &userDefined;
  bool scored;
  bool hasUnused = false;
  MergeTable table;
  /// By text: the pieces that words and characters may become.
  llvm::DenseMap<llvm::CachedHashStringRef, uint32_t> pieceOf;
  std::array<uint32_t, 256> byteSymbol;
  std::array<uint32_t, 128> asciiSymbol;
  llvm::DenseMap<uint32_t, uint32_t> charSymbol;
  /// Pairs of characters that stand on the two sides of some merge.
  bool everythingBridged = false;
  std::bitset<128 * 128> asciiBridges;
  llvm::DenseSet<uint64_t> bridges;
};

} // namespace moec

#include "runtime/text/Unicode.h"

template <typename Part>
void moec::BpeModel::forEachIndependentPart(llvm::StringRef word,
                                            Part part) const {
  if (everythingBridged || word.empty()) {
    part(word);
    return;
  }
  Utf8Char previous = decodeUtf8(word, 0);
  size_t begin = 0;
  for (size_t pos = previous.bytes; pos < word.size();) {
    Utf8Char c = decodeUtf8(word, pos);
    if (!bridged(previous.code, c.code)) {
      part(word.slice(begin, pos));
      begin = pos;
    }
    previous = c;
    pos += c.bytes;
  }
  part(word.substr(begin));
}
