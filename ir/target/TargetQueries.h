//===- TargetQueries.h - what passes may ask of a target ------------------===//
//
// Passes know no target; tools hand them one through PassContext. Code
// generation implements the queries (codegen/package/CpuTarget.h).
//
// Passes decide what a kernel computes, so support is all that they ask about.
// Layouts of weights, workspace and configurations follow from a kernel, its
// target and the device's limits without any choice of theirs: the plan's
// writer asks the emitters for them.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/ElementType.h"

#include <optional>
#include <string>

namespace moec {

class Operation;

class TargetQueries {
public:
  virtual ~TargetQueries() = default;

  /// What stands in the way of compiling a kernel op as it is, in the words of
  /// an error; nothing where it can be compiled, which then cannot fail.
  virtual std::optional<std::string>
  unsupported(const Operation &kernel) const = 0;

  /// Whether products multiply activations of one type by weights of another,
  /// and rows of such weights can be looked up. Asked before there are kernel
  /// ops.
  virtual bool takesWeights(ElementType weights,
                            ElementType activations) const = 0;
};

} // namespace moec
