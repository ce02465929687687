#include "ir/support/Statistics.h"

#include "ir/support/Parallel.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

using namespace moec;

double Moments::deviation(bool unbiased) const {
  uint64_t divisor = unbiased && count ? count - 1 : count;
  return divisor ? std::sqrt(squares / double(divisor)) : 0.0;
}

Moments Moments::merge(const Moments &left, const Moments &right) {
  if (!left.count)
    return right;
  if (!right.count)
    return left;
  Moments both;
  both.count = left.count + right.count;
  double delta = right.mean - left.mean;
  double share = double(right.count) / double(both.count);
  both.mean = left.mean + delta * share;
  both.squares =
      left.squares + right.squares + delta * delta * double(left.count) * share;
  return both;
}

/// Eight interleaved partial sums, added pairwise at the end: a fixed order
/// that vector units can follow.
template <typename Term>
static double laneSum(llvm::ArrayRef<float> leaf, Term term) {
  std::array<double, 8> lanes = {};
  size_t whole = leaf.size() / 8 * 8;
  for (size_t i = 0; i < whole; i += 8)
    for (size_t lane = 0; lane < 8; ++lane)
      lanes[lane] += term(double(leaf[i + lane]));
  for (size_t i = whole; i < leaf.size(); ++i)
    lanes[i - whole] += term(double(leaf[i]));
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
         ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

Moments moec::leafMoments(llvm::ArrayRef<float> leaf) {
  assert(leaf.size() <= kLeafElements && "a leaf has a fixed size");
  Moments moments;
  if (leaf.empty())
    return moments;
  moments.count = leaf.size();
  double sum = laneSum(leaf, [](double x) { return x; });
  double mean = sum / double(leaf.size());
  moments.mean = mean;
  moments.squares =
      laneSum(leaf, [mean](double x) { return (x - mean) * (x - mean); });
  return moments;
}

void MomentsTree::addLeaf(const Moments &leaf) {
  Moments carry = leaf;
  // As a binary counter: each trailing set bit is a subtree of equal width.
  for (uint64_t bits = leaves; bits & 1; bits >>= 1) {
    carry = Moments::merge(pending.back(), carry);
    pending.pop_back();
  }
  pending.push_back(carry);
  ++leaves;
}

Moments MomentsTree::result() const {
  Moments all;
  for (size_t i = pending.size(); i-- > 0;)
    all = Moments::merge(pending[i], all);
  return all;
}

void MomentsStream::add(llvm::ArrayRef<float> chunk) {
  while (!chunk.empty()) {
    if (partial.empty() && chunk.size() >= kLeafElements) {
      tree.addLeaf(leafMoments(chunk.take_front(kLeafElements)));
      chunk = chunk.drop_front(kLeafElements);
      continue;
    }
    size_t taken =
        std::min<size_t>(kLeafElements - partial.size(), chunk.size());
    partial.insert(partial.end(), chunk.begin(), chunk.begin() + taken);
    chunk = chunk.drop_front(taken);
    if (partial.size() == kLeafElements) {
      tree.addLeaf(leafMoments(partial));
      partial.clear();
    }
  }
}

Moments MomentsStream::result() const {
  MomentsTree whole = tree;
  if (!partial.empty())
    whole.addLeaf(leafMoments(partial));
  return whole.result();
}

llvm::Expected<Moments> moec::computeMoments(
    uint64_t count, unsigned threads,
    llvm::function_ref<llvm::Error(uint64_t first,
                                   llvm::MutableArrayRef<float>)>
        read) {
  // A part is many leaves, so that threads seldom meet.
  constexpr uint64_t kPartLeaves = 64;
  uint64_t leaves = (count + kLeafElements - 1) / kLeafElements;
  std::vector<Moments> byLeaf(leaves);
  auto part = [&](uint64_t index) -> llvm::Error {
    uint64_t firstLeaf = index * kPartLeaves;
    uint64_t first = firstLeaf * kLeafElements;
    uint64_t length = std::min(count - first, kPartLeaves * kLeafElements);
    std::vector<float> values(length);
    if (llvm::Error err = read(first, values))
      return err;
    for (uint64_t at = 0, leaf = firstLeaf; at < length;
         at += kLeafElements, ++leaf)
      byLeaf[leaf] = leafMoments(llvm::ArrayRef<float>(values).slice(
          at, std::min(kLeafElements, length - at)));
    return llvm::Error::success();
  };
  uint64_t parts = (leaves + kPartLeaves - 1) / kPartLeaves;
  if (llvm::Error err = parallelFor(parts, threads, part))
    return err;
  MomentsTree tree;
  for (const Moments &leaf : byLeaf)
    tree.addLeaf(leaf);
  return tree.result();
}

Moments moec::computeMoments(llvm::ArrayRef<float> numbers) {
  MomentsStream stream;
  stream.add(numbers);
  return stream.result();
}
