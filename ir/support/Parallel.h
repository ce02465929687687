//===- Parallel.h - loops over threads for tools --------------------------===//
#pragma once

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/Error.h"

#include <cstdint>

namespace moec {

/// Hardware threads that this process may run on, at least 1.
unsigned defaultThreads();

/// Calls `body(i)` for every i in [0, count) on up to `threads` threads. Items
/// are handed out in order, one at a time; results must not depend on which
/// thread runs an item. Stops handing out items after a failure or an
/// interruption, and returns the failure of the lowest index.
llvm::Error parallelFor(uint64_t count, unsigned threads,
                        llvm::function_ref<llvm::Error(uint64_t)> body);

} // namespace moec
