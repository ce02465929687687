//===- CheckOptions.h - options that contradict one another ---------------===//
#pragma once

#include "passes/upcycle/UpcycleOptions.h"

namespace moec {

/// An error for options that no model can be upcycled with.
llvm::Error checkOptions(const UpcycleOptions &options);

} // namespace moec
