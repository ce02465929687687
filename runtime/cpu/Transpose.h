//===- Transpose.h - rows of units to units of rows -----------------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>

namespace moec::runtime {

/// out[unit][row] = rows[row][unit] for units of `unitBytes` bytes.
void transposeUnits(llvm::ArrayRef<const uint8_t *> rows, uint64_t units,
                    unsigned unitBytes, uint8_t *out);

} // namespace moec::runtime
