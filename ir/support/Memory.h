//===- Memory.h - sizes that files ask for
//---------------------------------===//
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

} // namespace moec
