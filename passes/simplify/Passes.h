//===- Passes.h - clean-up passes -----------------------------------------===//
#pragma once

#include "passes/driver/Pass.h"

namespace moec {

/// One op for several that are equal.
std::unique_ptr<Pass> createCse();
/// Removes ops, weights and states that nobody reads.
std::unique_ptr<Pass> createDce();
/// Brings ops to their canonical form.
std::unique_ptr<Pass> createSimplify();

} // namespace moec
