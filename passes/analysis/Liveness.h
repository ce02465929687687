//===- Liveness.h - from where to where a value is needed -----------------===//
#pragma once

#include "ir/core/Module.h"
#include "llvm/ADT/DenseMap.h"

namespace moec {

/// Live ranges of the values of one program, in positions of its ops: 0 is the
/// first. Bodies of kernel ops are part of their op. Stays right until the
/// program changes.
class Liveness {
public:
  explicit Liveness(const Program &program);

  struct Range {
    /// Where the value is made; an argument is made at 0.
    unsigned first = 0;
    /// Where it is read last, `first` if it is never read.
    unsigned last = 0;
    bool overlaps(Range other) const {
      return first <= other.last && other.first <= last;
    }
  };

  Range rangeOf(Value value) const { return ranges.lookup(value); }
  unsigned positionOf(const Operation &op) const {
    return positions.lookup(&op);
  }
  unsigned numPositions() const { return positions.size(); }
  /// Whether `op` is the last to read `value`.
  bool diesAt(Value value, const Operation &op) const {
    return rangeOf(value).last == positionOf(op);
  }
  /// Values that are live at a position, in order of definition. Weights are
  /// live everywhere and not listed.
  llvm::SmallVector<Value> liveAt(unsigned position) const;

private:
  llvm::DenseMap<const Operation *, unsigned> positions;
  llvm::DenseMap<Value, Range> ranges;
  std::vector<Value> order;
};

} // namespace moec
