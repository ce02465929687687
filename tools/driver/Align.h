//===- Align.h - which ops of two programs stand for each other -----------===//
//
// Ops are alike where mnemonic, location (the layer a user knows) and weights
// agree. Ops that are alike and rare on both sides are matched first, in order;
// what lies between two matches is matched by a longest common subsequence, and
// once more without the names of weights, which a rewrite may change. So the
// ops between two matches are a rewrite: some were removed, some added.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Module.h"
#include "llvm/ADT/DenseMap.h"

namespace moec {

class Alignment {
public:
  struct Pair {
    const Operation *before, *after;
  };

  Alignment(const Program &before, const Program &after);

  /// In the order of both programs.
  llvm::ArrayRef<Pair> pairs() const { return pairList; }
  /// The op that stands for this one in the other program; null if none does.
  const Operation *after(const Operation *before) const {
    return afterOf.lookup(before);
  }
  const Operation *before(const Operation *after) const {
    return beforeOf.lookup(after);
  }
  /// The value of the second program that stands for one of the first: results
  /// of matched ops and arguments of equal name; null if none does. Weights
  /// stand for themselves.
  Value after(Value before) const;
  /// The same the other way round.
  Value before(Value after) const;

private:
  std::vector<Pair> pairList;
  llvm::DenseMap<const Operation *, const Operation *> afterOf, beforeOf;
  llvm::DenseMap<Value, Value> argumentAfter, argumentBefore;
};

/// Pairs (i, j) with before[i] == after[j], both rising: a longest common
/// subsequence, or where that takes too long a shorter one.
std::vector<std::pair<size_t, size_t>>
alignKeys(llvm::ArrayRef<uint64_t> before, llvm::ArrayRef<uint64_t> after);

/// The layer of an op, from the names of its weights or its location
/// (`layers.3.ffn.up`); -1 if it is of no layer.
int64_t layerOf(const Operation &op);
/// The number in `layers.3.` or `.layers.3.` of a name; -1 without one.
int64_t layerOfName(llvm::StringRef name);

} // namespace moec
