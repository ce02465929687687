#include "passes/analysis/Liveness.h"

using namespace moec;

Liveness::Liveness(const Program &program) {
  const Block &block = program.body();
  auto define = [&](Value value, unsigned position) {
    ranges[value] = {position, position};
    order.push_back(value);
  };
  for (unsigned i = 0; i < block.numArguments(); ++i)
    define(block.argument(i), 0);
  for (const Operation &op : block.ops()) {
    unsigned position = positions.size();
    positions[&op] = position;
    for (Value operand : op.operands())
      if (!operand.weight())
        ranges[operand].last = position;
    for (Value result : op.results())
      define(result, position);
  }
}

llvm::SmallVector<Value> Liveness::liveAt(unsigned position) const {
  llvm::SmallVector<Value> live;
  for (Value value : order) {
    Range range = rangeOf(value);
    if (range.first <= position && position <= range.last)
      live.push_back(value);
  }
  return live;
}
