//===- Clone.h - copies of ops and programs -------------------------------===//
#pragma once

#include "ir/core/Module.h"

namespace moec {

/// From the values of the original to those of the copy. Weights map to
/// themselves.
using ValueMap = llvm::DenseMap<Value, Value>;

/// Appends a copy of `op` to `block`; operands go through `map`, and the
/// results are added to it.
Operation *cloneOp(const Operation &op, Block &block, ValueMap &map);

/// A copy of `program` under another name; null where the name is taken.
Program *cloneProgram(Module &module, const Program &program, std::string name);

} // namespace moec
