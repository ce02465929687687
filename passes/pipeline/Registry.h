//===- Registry.h - the list of passes, for the driver --------------------===//
#pragma once

#include "passes/driver/Pipeline.h"

namespace moec {

/// Every pass of passes/Passes.def.
const PassRegistry &allPasses();

/// The passes from a graph to kernel ops, as a pipeline string that users can
/// read and edit. `weights` and `activations` are element types.
std::string loweringPipeline(ElementType weights, ElementType activations);

} // namespace moec
