//===- RouterRows.h - what is wrong with rows of routers ------------------===//
#pragma once

#include "tools/driver/Clusters.h"

#include <string>

namespace moec {

struct RowNames {
  /// Of the different rows; a number where there are fewer names.
  std::vector<std::string> experts;
  /// Experts that share a row (virtual groups).
  int64_t groups = 1;
  /// What to do, in words.
  std::string remedy;
};

/// Rows of zeros and pairs of rows of one direction, which ties or the lower
/// expert decide: a warning each, with the number of the layers that have it.
std::vector<std::string> warningsOfRows(llvm::ArrayRef<Rows> routers,
                                        const RowNames &names);

} // namespace moec
