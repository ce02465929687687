#include "runtime/text/Bpe.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>

using namespace moec;

//===----------------------------------------------------------------------===//
// The table of merges
//===----------------------------------------------------------------------===//

void MergeTable::reserve(size_t count) {
  size_t slots = llvm::PowerOf2Ceil(std::max<size_t>(count * 2, 16));
  entries.assign(slots, Entry{0, kNoRank, 0});
  shift = 64 - llvm::Log2_64(slots);
}

void MergeTable::insert(uint32_t left, uint32_t right, uint32_t rank,
                        uint32_t result) {
  uint64_t pair = uint64_t(left) << 32 | right;
  size_t slot = slotOf(pair);
  while (entries[slot].rank != kNoRank && entries[slot].pair != pair)
    slot = (slot + 1) & (entries.size() - 1);
  entries[slot] = {pair, rank, result};
}

const MergeTable::Entry *MergeTable::find(uint32_t left, uint32_t right) const {
  uint64_t pair = uint64_t(left) << 32 | right;
  for (size_t slot = slotOf(pair); entries[slot].rank != kNoRank;
       slot = (slot + 1) & (entries.size() - 1))
    if (entries[slot].pair == pair)
      return &entries[slot];
  return nullptr;
}

//===----------------------------------------------------------------------===//
// Building
//===----------------------------------------------------------------------===//

BpeModel::BpeModel(const TokenizerAsset &asset, const Trie &userDefined)
    : asset(asset), userDefined(userDefined),
      scored(asset.kind == TokenizerKind::ScoreBpe) {
  byteSymbol.fill(kUnknownSymbol);
  asciiSymbol.fill(kUnknownSymbol);
  for (auto [id, piece] : llvm::enumerate(asset.pieces)) {
    // By score, only what the model may put out merges; by rank, the word's
    // text decides, whatever the piece is otherwise used for.
    bool usable = piece.type == PieceType::Normal ||
                  piece.type == PieceType::UserDefined ||
                  piece.type == PieceType::Unused;
    if (asset.kind == TokenizerKind::ByteLevelBpe)
      usable = piece.type == PieceType::Normal;
    else if (!scored)
      usable = true;
    hasUnused |= scored && piece.type == PieceType::Unused;
    if (usable && !piece.text.empty())
      pieceOf.try_emplace(llvm::CachedHashStringRef(piece.text), id);
  }
  if (scored || asset.byteFallback)
    indexBytes();
  indexCharacters();
  if (scored)
    buildScoreTable();
  else
    buildRankTable();
  // How an unused piece was made is remembered across the whole text, and a
  // character that vanishes makes its neighbours adjacent.
  bool everyCharStays =
      asset.unknown >= 0 ||
      (asset.byteFallback && !llvm::is_contained(byteSymbol, kUnknownSymbol));
  everythingBridged |= hasUnused || !everyCharStays;
}

void BpeModel::indexBytes() {
  for (auto [id, piece] : llvm::enumerate(asset.pieces)) {
    int byte = piece.type == PieceType::Byte ? byteOfPiece(piece.text) : -1;
    if (byte >= 0 && byteSymbol[byte] == kUnknownSymbol)
      byteSymbol[byte] = id;
  }
}

void BpeModel::indexCharacters() {
  if (asset.kind == TokenizerKind::ByteLevelBpe) {
    for (unsigned byte = 0; byte < 256; ++byte) {
      char text = char(byte);
      auto piece =
          pieceOf.find(llvm::CachedHashStringRef(llvm::StringRef(&text, 1)));
      if (piece != pieceOf.end())
        byteSymbol[byte] = piece->second;
    }
    return;
  }
  for (const auto &[key, id] : pieceOf) {
    llvm::StringRef text = key.val();
    Utf8Char c = decodeUtf8(text, 0);
    if (c.valid && c.bytes == text.size())
      charSymbol[c.code] = id;
  }
  // A character may join a piece without being one.
  if (scored) {
    uint32_t nextSymbol = asset.pieces.size();
    for (const Piece &piece : asset.pieces)
      for (size_t pos = 0; pos < piece.text.size();) {
        Utf8Char c = decodeUtf8(piece.text, pos);
        pos += c.bytes;
        if (c.valid && charSymbol.try_emplace(c.code, nextSymbol).second)
          ++nextSymbol;
      }
  }
  for (unsigned code = 0; code < 128; ++code) {
    auto symbol = charSymbol.find(code);
    if (symbol != charSymbol.end())
      asciiSymbol[code] = symbol->second;
  }
}

static uint64_t bridgeKey(uint32_t left, uint32_t right) {
  return uint64_t(left) << 32 | right;
}

/// The last character of valid UTF-8.
static uint32_t lastChar(llvm::StringRef text) {
  size_t start = text.size() - 1;
  while (start > 0 && (uint8_t(text[start]) & 0xC0) == 0x80)
    --start;
  return decodeUtf8(text, start).code;
}

void BpeModel::buildRankTable() {
  table.reserve(asset.merges.size());
  // Bytes come in words that are short already.
  everythingBridged = asset.kind == TokenizerKind::ByteLevelBpe;
  for (auto [rank, merge] : llvm::enumerate(asset.merges)) {
    table.insert(merge.left, merge.right, rank, merge.result);
    const Piece &left = asset.pieces[merge.left];
    const Piece &right = asset.pieces[merge.right];
    // Byte pieces and the unknown piece stand for text that is not theirs.
    auto standsForOther = [&](const Piece &piece, uint32_t id) {
      return piece.type == PieceType::Byte || piece.text.empty() ||
             int64_t(id) == asset.unknown || !isUtf8(piece.text);
    };
    if (everythingBridged || standsForOther(left, merge.left) ||
        standsForOther(right, merge.right)) {
      everythingBridged = true;
      continue;
    }
    uint32_t before = lastChar(left.text);
    uint32_t after = decodeUtf8(right.text, 0).code;
    if (before < 128 && after < 128)
      asciiBridges.set(before * 128 + after);
    else
      bridges.insert(bridgeKey(before, after));
  }
}

void BpeModel::addBridges(llvm::StringRef text) {
  Utf8Char previous = decodeUtf8(text, 0);
  for (size_t pos = previous.bytes; pos < text.size();) {
    Utf8Char c = decodeUtf8(text, pos);
    if (previous.code < 128 && c.code < 128)
      asciiBridges.set(previous.code * 128 + c.code);
    else
      bridges.insert(bridgeKey(previous.code, c.code));
    previous = c;
    pos += c.bytes;
  }
}

void BpeModel::buildScoreTable() {
  // Equal scores are equal ranks: position decides between them.
  std::vector<float> scores;
  for (const auto &[key, id] : pieceOf)
    scores.push_back(asset.pieces[id].score);
  llvm::sort(scores, std::greater<float>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  auto rankOf = [&](float score) {
    return uint32_t(std::lower_bound(scores.begin(), scores.end(), score,
                                     std::greater<float>()) -
                    scores.begin());
  };
  auto symbolOf = [&](llvm::StringRef text) -> uint32_t {
    Utf8Char c = decodeUtf8(text, 0);
    if (c.bytes == text.size())
      return symbolOfChar(c.code);
    auto piece = pieceOf.find(llvm::CachedHashStringRef(text));
    return piece == pieceOf.end() ? kUnknownSymbol : piece->second;
  };

  std::vector<MergeTable::Entry> found;
  for (auto [id, piece] : llvm::enumerate(asset.pieces)) {
    llvm::StringRef text = piece.text;
    auto known = pieceOf.find(llvm::CachedHashStringRef(text));
    // Of pieces with equal text the first is the one that is found. Text that
    // is not UTF-8 never occurs.
    if (known == pieceOf.end() || known->second != id || !isUtf8(text))
      continue;
    addBridges(text);
    uint32_t rank = rankOf(piece.score);
    for (size_t cut = decodeUtf8(text, 0).bytes; cut < text.size();
         cut += decodeUtf8(text, cut).bytes) {
      uint32_t left = symbolOf(text.take_front(cut));
      uint32_t right = symbolOf(text.drop_front(cut));
      if (left != kUnknownSymbol && right != kUnknownSymbol)
        found.push_back({bridgeKey(left, right), rank, uint32_t(id)});
    }
  }
  table.reserve(found.size());
  for (const MergeTable::Entry &entry : found)
    table.insert(entry.pair >> 32, uint32_t(entry.pair), entry.rank,
                 entry.result);
}

uint32_t BpeModel::symbolOfChar(uint32_t code) const {
  if (code < 128)
    return asciiSymbol[code];
  auto symbol = charSymbol.find(code);
  return symbol == charSymbol.end() ? kUnknownSymbol : symbol->second;
}

bool BpeModel::bridged(uint32_t left, uint32_t right) const {
  if (left < 128 && right < 128) {
    if (asciiBridges.test(left * 128 + right))
      return true;
  } else if (bridges.contains(bridgeKey(left, right))) {
    return true;
  }
  // Neighbouring unknown characters may fuse.
  return !isPiece(symbolOfChar(left)) && !isPiece(symbolOfChar(right));
}

//===----------------------------------------------------------------------===//
// Encoding
//===----------------------------------------------------------------------===//

void BpeModel::startBytes(llvm::StringRef word, Scratch &scratch) const {
  for (auto [pos, c] : llvm::enumerate(word)) {
    uint32_t id = byteSymbol[uint8_t(c)];
    if (id == kUnknownSymbol) {
      if (asset.unknown < 0)
        continue;
      id = uint32_t(asset.unknown);
    }
    scratch.symbols.push_back({id, uint32_t(pos), 1, 0, 0});
  }
}

/// Hugging Face's order of doing things: an unknown character waits for the
/// next known one, and byte pieces go ahead of one that waits.
void BpeModel::startRanked(llvm::StringRef word, Scratch &scratch) const {
  auto &symbols = scratch.symbols;
  Scratch::Symbol waiting = {kUnknownSymbol, 0, 0, 0, 0};
  auto flush = [&] {
    if (waiting.id != kUnknownSymbol)
      symbols.push_back(waiting);
    waiting.id = kUnknownSymbol;
  };
  for (size_t pos = 0; pos < word.size();) {
    Utf8Char c = decodeUtf8(word, pos);
    uint32_t begin = uint32_t(pos);
    pos += c.bytes;
    uint32_t id = symbolOfChar(c.code);
    if (id != kUnknownSymbol) {
      flush();
      symbols.push_back({id, begin, c.bytes, 0, 0});
      continue;
    }
    llvm::StringRef bytes = word.substr(begin, c.bytes);
    if (asset.byteFallback && llvm::all_of(bytes, [&](char byte) {
          return byteSymbol[uint8_t(byte)] != kUnknownSymbol;
        })) {
      for (auto [index, byte] : llvm::enumerate(bytes))
        symbols.push_back(
            {byteSymbol[uint8_t(byte)], uint32_t(begin + index), 1, 0, 0});
      continue;
    }
    if (asset.unknown < 0)
      continue;
    if (waiting.id != kUnknownSymbol && asset.fuseUnknown) {
      waiting.length += c.bytes;
      continue;
    }
    flush();
    waiting = {uint32_t(asset.unknown), begin, c.bytes, 0, 0};
  }
  flush();
}

void BpeModel::startScored(llvm::StringRef word, Scratch &scratch) const {
  for (size_t pos = 0; pos < word.size();) {
    int32_t id = 0;
    if (size_t length = userDefined.longestPrefix(word.substr(pos), id)) {
      // `previous` of -2 marks what never merges until links are set.
      scratch.symbols.push_back(
          {uint32_t(id), uint32_t(pos), uint32_t(length), -2, 0});
      pos += length;
      continue;
    }
    Utf8Char c = decodeUtf8(word, pos);
    scratch.symbols.push_back(
        {symbolOfChar(c.code), uint32_t(pos), c.bytes, 0, 0});
    pos += c.bytes;
  }
}

const MergeTable::Entry *BpeModel::look(const Scratch::Symbol &left,
                                        const Scratch::Symbol &right,
                                        Scratch &scratch) const {
  if (left.id == kUnknownSymbol || right.id == kUnknownSymbol ||
      left.previous == -2 || right.previous == -2)
    return nullptr;
  const MergeTable::Entry *entry = table.find(left.id, right.id);
  if (entry && hasUnused &&
      asset.pieces[entry->result].type == PieceType::Unused)
    scratch.origin[entry->result] = {left.id, right.id};
  return entry;
}

/// For few symbols a scan for the lowest rank is faster than a heap.
void BpeModel::mergeShort(Scratch &scratch) const {
  auto &symbols = scratch.symbols;
  auto &ranks = scratch.ranks;
  auto &results = scratch.results;
  size_t count = symbols.size();
  ranks.assign(count, MergeTable::kNoRank);
  results.assign(count, 0);
  auto consider = [&](size_t at) {
    const auto *entry = look(symbols[at], symbols[at + 1], scratch);
    ranks[at] = entry ? entry->rank : MergeTable::kNoRank;
    results[at] = entry ? entry->result : 0;
  };
  for (size_t at = 0; at + 1 < count; ++at)
    consider(at);
  for (;;) {
    size_t best = std::min_element(ranks.begin(), ranks.end()) - ranks.begin();
    if (ranks[best] == MergeTable::kNoRank)
      return;
    symbols[best].id = results[best];
    symbols[best].length += symbols[best + 1].length;
    symbols.erase(symbols.begin() + best + 1);
    ranks.erase(ranks.begin() + best + 1);
    results.erase(results.begin() + best + 1);
    ranks[best] = MergeTable::kNoRank;
    if (best > 0)
      consider(best - 1);
    if (best + 1 < symbols.size())
      consider(best);
  }
}

void BpeModel::mergeLong(Scratch &scratch) const {
  auto &symbols = scratch.symbols;
  auto &heap = scratch.heap;
  heap.clear();
  auto later = [](const Scratch::Candidate &a, const Scratch::Candidate &b) {
    return std::pair(a.rank, a.position) > std::pair(b.rank, b.position);
  };
  // The links take the place of the mark.
  std::vector<bool> frozen(symbols.size());
  for (auto [at, symbol] : llvm::enumerate(symbols))
    frozen[at] = symbol.previous == -2;
  for (auto [at, symbol] : llvm::enumerate(symbols)) {
    symbol.previous = int32_t(at) - 1;
    symbol.next = at + 1 < symbols.size() ? int32_t(at) + 1 : -1;
  }
  auto consider = [&](int32_t at, int32_t next) {
    if (at < 0 || next < 0 || frozen[at] || frozen[next])
      return;
    if (const auto *entry = look(symbols[at], symbols[next], scratch)) {
      heap.push_back(
          {entry->rank, at, symbols[at].id, symbols[next].id, entry->result});
      std::push_heap(heap.begin(), heap.end(), later);
    }
  };
  for (int32_t at = 0; at + 1 < int32_t(symbols.size()); ++at)
    consider(at, at + 1);
  while (!heap.empty()) {
    Scratch::Candidate top = heap.front();
    std::pop_heap(heap.begin(), heap.end(), later);
    heap.pop_back();
    Scratch::Symbol &left = symbols[top.position];
    // An entry is stale if one of its symbols has merged since. A length of 0
    // marks a symbol that was taken by its left neighbour.
    if (left.length == 0 || left.id != top.left || left.next < 0 ||
        symbols[left.next].id != top.right)
      continue;
    Scratch::Symbol &right = symbols[left.next];
    left.id = top.result;
    left.length += right.length;
    left.next = right.next;
    right.length = 0;
    if (left.next >= 0)
      symbols[left.next].previous = top.position;
    consider(left.previous, top.position);
    consider(top.position, left.next);
  }
  llvm::erase_if(symbols,
                 [](const auto &symbol) { return symbol.length == 0; });
}

void BpeModel::put(llvm::StringRef word, uint32_t id, uint32_t begin,
                   uint32_t length, Scratch &scratch, std::vector<int32_t> &ids,
                   bool &afterUnknown, unsigned depth) const {
  if (!scored) {
    ids.push_back(int32_t(id));
    return;
  }
  if (isPiece(id) && asset.pieces[id].type == PieceType::Unused &&
      depth < 1000) {
    auto origin = scratch.origin.find(id);
    if (origin != scratch.origin.end()) {
      auto [left, right] = origin->second;
      // Both parts spell the piece's text, so lengths follow from the left's.
      uint32_t leftLength = isPiece(left)
                                ? uint32_t(asset.pieces[left].text.size())
                                : decodeUtf8(word, begin).bytes;
      put(word, left, begin, leftLength, scratch, ids, afterUnknown, depth + 1);
      put(word, right, begin + leftLength, length - leftLength, scratch, ids,
          afterUnknown, depth + 1);
      return;
    }
  }
  if (isPiece(id)) {
    ids.push_back(int32_t(id));
    afterUnknown = false;
    return;
  }
  llvm::StringRef bytes = word.substr(begin, length);
  if (asset.byteFallback && llvm::all_of(bytes, [&](char byte) {
        return byteSymbol[uint8_t(byte)] != kUnknownSymbol;
      })) {
    for (char byte : bytes)
      ids.push_back(int32_t(byteSymbol[uint8_t(byte)]));
    afterUnknown = false;
    return;
  }
  if (asset.unknown >= 0 && !(afterUnknown && asset.fuseUnknown))
    ids.push_back(asset.unknown);
  afterUnknown = true;
}

void BpeModel::encode(llvm::StringRef word, Scratch &scratch,
                      std::vector<int32_t> &ids) const {
  if (asset.ignoreMerges) {
    auto whole = pieceOf.find(llvm::CachedHashStringRef(word));
    if (whole != pieceOf.end()) {
      ids.push_back(int32_t(whole->second));
      return;
    }
  }
  scratch.symbols.clear();
  if (asset.kind == TokenizerKind::ByteLevelBpe)
    startBytes(word, scratch);
  else if (scored)
    startScored(word, scratch);
  else
    startRanked(word, scratch);
  constexpr size_t kShort = 24;
  if (scratch.symbols.size() > kShort)
    mergeLong(scratch);
  else if (scratch.symbols.size() > 1)
    mergeShort(scratch);
  bool afterUnknown = false;
  for (const Scratch::Symbol &symbol : scratch.symbols)
    put(word, symbol.id, symbol.begin, symbol.length, scratch, ids,
        afterUnknown, 0);
  scratch.origin.clear();
}
