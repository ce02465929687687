//===- BindKernel.h - from a kernel op to its spec and buffers ------------===//
#pragma once

#include "codegen/emit/AnySpec.h"
#include "ir/core/Operation.h"
#include "ir/support/Diagnostic.h"

namespace moec {

/// A kernel op, reduced to what an emitter and a launch need.
struct BoundKernel {
  kernel::AnySpec spec;
  /// What each buffer of the spec is bound to; two values (gate, up) for
  /// weights in gated panels. A result that is a version of a state has no
  /// buffer of its own: it is its operand's.
  std::vector<llvm::SmallVector<Value, 2>> buffers;
  /// Elements of each buffer in memory; weights are converted when loaded.
  std::vector<ElementType> elements;
  /// The buffer that holds packed weights, if any.
  std::optional<unsigned> weightBuffer;
  std::vector<Polynomial> extents;
};

/// Reads the body of a kernel op. An op that passes/lower formed always binds;
/// another body gets an error that says what the emitters expect.
llvm::Expected<BoundKernel> bindKernel(const Operation &op);

} // namespace moec
