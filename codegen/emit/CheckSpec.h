//===- CheckSpec.h - whether a spec holds together ------------------------===//
#pragma once

#include "codegen/emit/AnySpec.h"

#include <optional>
#include <string>

namespace moec::kernel {

/// What is wrong with `spec` on every target: sizes out of range, operations
/// that read what is not there, element types that no kernel converts. Nothing
/// if it is right. `convertsF16`: the target loads and stores f16 where it is
/// neither a weight nor read by a row-wise kernel.
std::optional<std::string> checkSpec(const AnySpec &spec, bool convertsF16);

} // namespace moec::kernel
