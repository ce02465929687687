//===- Statistics.h - mean and deviation with one set of bits -------------===//
//
// A sequence is cut into leaves of kLeafElements, aligned at its start. A leaf
// gives (count, mean, sum of squared differences from the mean) in double; the
// leaves are merged pairwise in a tree whose shape depends on their number
// only: equal powers of two first, then the remaining ones from the last to
// the first. So the bits depend on neither chunks nor threads.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <vector>

namespace moec {

/// Count, mean and centred second moment of a set of numbers.
struct Moments {
  uint64_t count = 0;
  double mean = 0;
  /// Sum of (x - mean)^2.
  double squares = 0;

  /// Standard deviation: over count - 1 where `unbiased`, else over count; 0
  /// where there are too few numbers.
  double deviation(bool unbiased) const;

  /// The moments of two sets together.
  static Moments merge(const Moments &left, const Moments &right);
};

inline constexpr uint64_t kLeafElements = 4096;

/// The moments of one leaf of at most kLeafElements numbers.
Moments leafMoments(llvm::ArrayRef<float> leaf);

/// Merges leaves, given in order, in the fixed tree.
class MomentsTree {
public:
  void addLeaf(const Moments &leaf);
  Moments result() const;

private:
  /// Subtrees of 2^level leaves, for each set bit of `leaves`, widest first.
  std::vector<Moments> pending;
  uint64_t leaves = 0;
};

/// Takes numbers in order, in chunks of any size.
class MomentsStream {
public:
  void add(llvm::ArrayRef<float> chunk);
  Moments result() const;

private:
  MomentsTree tree;
  std::vector<float> partial;
};

/// The moments of `count` numbers that `read(first, out)` delivers by range,
/// on `threads` threads; the same bits as MomentsStream.
llvm::Expected<Moments>
computeMoments(uint64_t count, unsigned threads,
               llvm::function_ref<llvm::Error(uint64_t first,
                                              llvm::MutableArrayRef<float>)>
                   read);
/// The same for numbers in memory.
Moments computeMoments(llvm::ArrayRef<float> numbers);

} // namespace moec
