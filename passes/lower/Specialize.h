//===- Specialize.h - names that passes of this folder share --------------===//
#pragma once

namespace moec {

/// The copy of `step` for small batches, whose experts need no sorting.
inline constexpr char kSmallBatchProgram[] = "decode";

} // namespace moec
