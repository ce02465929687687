#include "tools/driver/Align.h"

#include "llvm/ADT/Hashing.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace moec;

using Keys = llvm::ArrayRef<uint64_t>;
using KeyPairs = std::vector<std::pair<size_t, size_t>>;

/// Cells of the largest table that is filled, 64 MiB of them.
static constexpr size_t kMaxCells = size_t(1) << 24;

namespace {
class KeyAligner {
public:
  KeyAligner(Keys before, Keys after) : before(before), after(after) {}

  KeyPairs run() {
    align(0, before.size(), 0, after.size());
    return std::move(pairs);
  }

private:
  void align(size_t i, size_t iEnd, size_t j, size_t jEnd);
  KeyPairs anchors(size_t i, size_t iEnd, size_t j, size_t jEnd) const;
  void table(size_t i, size_t iEnd, size_t j, size_t jEnd);

  Keys before, after;
  KeyPairs pairs;
};
} // namespace

/// Keys that occur once on both sides: the longest run of them in one order.
KeyPairs KeyAligner::anchors(size_t i, size_t iEnd, size_t j,
                             size_t jEnd) const {
  struct Places {
    size_t count[2] = {0, 0}, at[2] = {0, 0};
  };
  llvm::DenseMap<uint64_t, Places> places;
  auto collect = [&](unsigned side, Keys keys, size_t from, size_t to) {
    for (size_t at = from; at < to; ++at) {
      Places &place = places[keys[at]];
      ++place.count[side];
      place.at[side] = at;
    }
  };
  collect(0, before, i, iEnd);
  collect(1, after, j, jEnd);
  // Candidates by place before; a longest rising run of places after, by
  // patience: tails[n] ends the best run of length n + 1.
  std::vector<std::pair<size_t, size_t>> candidates;
  for (size_t at = i; at < iEnd; ++at) {
    const Places &place = places.find(before[at])->second;
    if (place.count[0] == 1 && place.count[1] == 1)
      candidates.emplace_back(at, place.at[1]);
  }
  std::vector<size_t> tails, previous(candidates.size());
  for (size_t c = 0; c < candidates.size(); ++c) {
    auto at = llvm::partition_point(tails, [&](size_t tail) {
      return candidates[tail].second < candidates[c].second;
    });
    previous[c] = at == tails.begin() ? SIZE_MAX : *std::prev(at);
    if (at == tails.end())
      tails.push_back(c);
    else
      *at = c;
  }
  KeyPairs chosen;
  for (size_t c = tails.empty() ? SIZE_MAX : tails.back(); c != SIZE_MAX;
       c = previous[c])
    chosen.push_back(candidates[c]);
  std::reverse(chosen.begin(), chosen.end());
  return chosen;
}

/// Longest common subsequence, with the lengths of all suffixes.
void KeyAligner::table(size_t i, size_t iEnd, size_t j, size_t jEnd) {
  size_t rows = iEnd - i, columns = jEnd - j;
  if (!rows || !columns || rows > kMaxCells / columns)
    return;
  size_t width = columns + 1;
  std::vector<uint32_t> length((rows + 1) * width);
  for (size_t r = rows; r-- > 0;)
    for (size_t c = columns; c-- > 0;)
      length[r * width + c] = before[i + r] == after[j + c]
                                  ? length[(r + 1) * width + c + 1] + 1
                                  : std::max(length[(r + 1) * width + c],
                                             length[r * width + c + 1]);
  for (size_t r = 0, c = 0; r < rows && c < columns;) {
    if (before[i + r] == after[j + c])
      pairs.emplace_back(i + r++, j + c++);
    else if (length[(r + 1) * width + c] >= length[r * width + c + 1])
      ++r;
    else
      ++c;
  }
}

void KeyAligner::align(size_t i, size_t iEnd, size_t j, size_t jEnd) {
  while (i < iEnd && j < jEnd && before[i] == after[j])
    pairs.emplace_back(i++, j++);
  size_t tail = 0;
  while (i < iEnd && j < jEnd && before[iEnd - 1] == after[jEnd - 1])
    --iEnd, --jEnd, ++tail;
  KeyPairs fixed = anchors(i, iEnd, j, jEnd);
  for (auto [left, right] : fixed) {
    // Between two anchors no key is unique any more, or the table finds it.
    table(i, left, j, right);
    pairs.emplace_back(left, right);
    i = left + 1;
    j = right + 1;
  }
  table(i, iEnd, j, jEnd);
  for (size_t at = 0; at < tail; ++at)
    pairs.emplace_back(iEnd + at, jEnd + at);
}

KeyPairs moec::alignKeys(Keys before, Keys after) {
  return KeyAligner(before, after).run();
}

int64_t moec::layerOfName(llvm::StringRef name) {
  size_t at = name.find("layers.");
  while (at != llvm::StringRef::npos) {
    int64_t layer;
    llvm::StringRef digits = name.drop_front(at + 7).take_while(llvm::isDigit);
    if ((at == 0 || name[at - 1] == '.') && !digits.getAsInteger(10, layer))
      return layer;
    at = name.find("layers.", at + 1);
  }
  return -1;
}

int64_t moec::layerOf(const Operation &op) {
  for (Value operand : op.operands())
    if (const Weight *weight = operand.weight())
      if (int64_t layer = layerOfName(weight->name); layer >= 0)
        return layer;
  return layerOfName(op.loc().object);
}

static uint64_t keyOf(const Operation &op, bool withWeights) {
  llvm::hash_code key =
      llvm::hash_combine(unsigned(op.kind()), llvm::StringRef(op.loc().object));
  if (withWeights)
    for (Value operand : op.operands())
      if (const Weight *weight = operand.weight())
        key = llvm::hash_combine(key, llvm::StringRef(weight->name));
  return uint64_t(size_t(key)) >> 1; // Clear of DenseMap's own keys.
}

static std::vector<uint64_t> keysOf(llvm::ArrayRef<const Operation *> ops,
                                    bool withWeights) {
  std::vector<uint64_t> keys;
  for (const Operation *op : ops)
    keys.push_back(keyOf(*op, withWeights));
  return keys;
}

Alignment::Alignment(const Program &before, const Program &after) {
  std::vector<const Operation *> left, right;
  for (const Operation &op : before.body().ops())
    left.push_back(&op);
  for (const Operation &op : after.body().ops())
    right.push_back(&op);
  KeyPairs sure = alignKeys(keysOf(left, true), keysOf(right, true));
  // The gaps between matches, once more without the names of weights.
  size_t i = 0, j = 0;
  sure.emplace_back(left.size(), right.size());
  for (auto [iEnd, jEnd] : sure) {
    auto gapLeft = llvm::ArrayRef(left).slice(i, iEnd - i);
    auto gapRight = llvm::ArrayRef(right).slice(j, jEnd - j);
    for (auto [a, b] :
         alignKeys(keysOf(gapLeft, false), keysOf(gapRight, false)))
      pairList.push_back({gapLeft[a], gapRight[b]});
    if (iEnd < left.size())
      pairList.push_back({left[iEnd], right[jEnd]});
    i = iEnd + 1;
    j = jEnd + 1;
  }
  for (Pair pair : pairList) {
    afterOf[pair.before] = pair.after;
    beforeOf[pair.after] = pair.before;
  }
  for (unsigned a = 0; a < before.body().numArguments(); ++a) {
    Value argument = before.body().argument(a);
    if (Value other = after.argument(argument.hint())) {
      argumentAfter[argument] = other;
      argumentBefore[other] = argument;
    }
  }
}

/// The value at the same place of the other op.
static Value resultLike(Value value, const Operation *other) {
  return other && value.index() < other->numResults()
             ? other->result(value.index())
             : Value();
}

Value Alignment::after(Value value) const {
  if (value.weight())
    return value;
  if (const Operation *op = value.definingOp())
    return resultLike(value, after(op));
  return argumentAfter.lookup(value);
}

Value Alignment::before(Value value) const {
  if (value.weight())
    return value;
  if (const Operation *op = value.definingOp())
    return resultLike(value, before(op));
  return argumentBefore.lookup(value);
}
