//===- PlanValidator.h - what a plan must satisfy -------------------------===//
#pragma once

#include "llvm/Support/Error.h"

#include <string>

namespace moec::plan {
struct Plan;
} // namespace moec::plan

namespace moec::runtime {

/// Checks everything in a plan whose container has been verified; `path` is
/// for messages. See Plan.h.
llvm::Error validatePlan(const plan::Plan &plan, const std::string &path);

} // namespace moec::runtime
