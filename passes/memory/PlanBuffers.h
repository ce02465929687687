//===- PlanBuffers.h - where in the arena each value lives ----------------===//
//
// Sizes are polynomials in the launch symbols, so offsets are too. Buffers with
// the same monomials (say, all that grow with `tokens`) share slots when their
// lives do not overlap; slots of different monomials never share, since which
// is larger is known only at launch.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Dim.h"

namespace moec {

struct LiveBuffer {
  Polynomial bytes;
  /// The launches that first and last touch it.
  unsigned first, last;
};

struct BufferPlan {
  /// Per buffer; multiples of 64 for all symbol values.
  std::vector<Polynomial> offsets;
  Polynomial arenaBytes;
  /// Sum of all buffers, as if none shared: what the plan saves is measured
  /// against it.
  Polynomial unsharedBytes;
};

BufferPlan planBuffers(llvm::ArrayRef<LiveBuffer> buffers);

} // namespace moec
