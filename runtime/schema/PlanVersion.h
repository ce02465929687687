//===- PlanVersion.h - the version of the plan format ---------------------===//
#pragma once

#include <cstdint>

namespace moec::plan {

/// The newest major version that is read, and the minor version that is
/// written.
inline constexpr uint16_t kMajor = 1;
inline constexpr uint16_t kMinor = 2;

} // namespace moec::plan
