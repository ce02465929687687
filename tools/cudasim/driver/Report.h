//===- Report.h - counters of a whole run ---------------------------------===//
#pragma once

#include "tools/cudasim/machine/Counters.h"
#include "llvm/ADT/ArrayRef.h"

namespace cudasim::driver {

/// Adds a launch to the sum of its kernel.
void accumulate(Counters &sum, const Counters &one);

/// A JSON array, an object a kernel.
void printCounterJson(llvm::raw_ostream &os, llvm::ArrayRef<Counters> all);
/// For people.
void printCounterTable(llvm::raw_ostream &os, llvm::ArrayRef<Counters> all);

} // namespace cudasim::driver
