//===- PackedWeightValidator.h - what packed weights must satisfy ---------===//
#pragma once

#include "llvm/Support/Error.h"

#include <string>

namespace moec::plan {
struct PackedWeight;
struct Plan;
} // namespace moec::plan

namespace moec::runtime {

/// Parts of `validatePlan`. `path` and `object` are for messages.
llvm::Error validateWeightFiles(const plan::Plan &plan,
                                const std::string &path);
/// The plan's weights and weight files have been checked.
llvm::Error validatePackedWeight(const plan::Plan &plan,
                                 const plan::PackedWeight &packed,
                                 const std::string &path,
                                 const std::string &object);

} // namespace moec::runtime
