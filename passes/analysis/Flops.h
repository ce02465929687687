//===- Flops.h - what a model costs ---------------------------------------===//
#pragma once

#include "ir/core/Module.h"

namespace moec {

/// The cost of a program. Operations are those of matrix products and
/// attention, a multiplication and an addition counting two; what is linear in
/// the width of a row is left out, as is usual.
struct ModelCost {
  /// Floating-point operations for one token, in a sequence whose cache holds
  /// `context` tokens.
  double flopsPerToken = 0;
  /// Elements of the weights that the program reads; each weight once.
  uint64_t parameters = 0;
  /// Without those of experts that a token does not choose.
  uint64_t activeParameters = 0;
  /// Bytes of the weights, as the program reads them.
  uint64_t weightBytes = 0;
  uint64_t activeWeightBytes = 0;
};

/// Every dimension that the host knows counts 1, a ragged one its bound.
ModelCost costOf(const Program &program, int64_t context);

} // namespace moec
