//===- Memory.h - sizes that files ask for, and what is left --------------===//
#pragma once

#include "ir/support/Location.h"
#include "llvm/Support/Error.h"

namespace moec {

/// Bytes of memory that this machine has; all ones where that is not known.
uint64_t physicalMemory();

/// Fails where `count` elements of `elementBytes` need more memory than this
/// machine has: an allocation of such a size ends the process.
llvm::Error checkFitsMemory(uint64_t count, uint64_t elementBytes,
                            const Location &loc = {});

/// From now on an allocation that fails removes temporary files, prints one
/// error and ends the process with code 1. To be called once, by a tool.
void installMemoryHandler();

} // namespace moec
