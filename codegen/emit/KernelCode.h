//===- KernelCode.h - what the emitters of all targets return -------------===//
#pragma once

#include "ir/support/ElementType.h"

#include <cstdint>

namespace moec::kernel {

/// One factor of the number of tasks (CUDA: of thread blocks):
/// ceil(extent / divisor), where the extent is a launch extent by index or,
/// for `extent` < 0, the number `constant`.
struct GridFactor {
  int extent = -1;
  int64_t constant = 1;
  int64_t divisor = 1;
};

/// How a kernel wants its weight in memory: plan.fbs, `panels` and
/// `gated_panels`; a panel of 0 stands for `row_major`.
struct WeightLayout {
  bool gated = false;
  ElementType element = ElementType::f32;
  unsigned panel = 0;
  unsigned group = 0;

  friend bool operator==(const WeightLayout &, const WeightLayout &) = default;
};

} // namespace moec::kernel
