//===- AnySpec.h - any kernel spec, its text and its name -----------------===//
#pragma once

#include "codegen/emit/KernelSpec.h"

#include <string>
#include <variant>

namespace moec::kernel {

using AnySpec = std::variant<RowwiseSpec, GemmSpec, RaggedGemmSpec,
                             KvAppendSpec, AttentionSpec, RouteSpec,
                             DispatchSpec, CombineSpec, GateHeadsSpec>;

/// Every field of `spec` in one line of text: equal for equal specs, different
/// for different ones.
std::string describe(const AnySpec &spec);

/// A symbol name: the kind and a hash of `describe`, so equal specs share one
/// kernel, on every machine.
std::string name(const AnySpec &spec);

/// How many buffers a launch of `spec` binds, and how many extents it passes,
/// counted from the comments of KernelSpec.h.
unsigned bufferCount(const AnySpec &spec);
unsigned extentCount(const AnySpec &spec);

} // namespace moec::kernel
