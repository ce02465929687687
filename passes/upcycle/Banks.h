//===- Banks.h - the experts of a bank, one by one ------------------------===//
#pragma once

#include "ir/core/Module.h"

namespace moec {

/// Slice `expert` of a bank [experts, ...] without its first dimension: the
/// very expression that the bank stacks, where it stacks.
llvm::Expected<ExprRef> expertOf(const Weight &bank, int64_t expert);

/// The mean of all, in the bank's element type.
llvm::Expected<ExprRef> meanExpert(const Weight &bank);

} // namespace moec
