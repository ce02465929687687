//===- KernelOps.h - what one launch computes -----------------------------===//
//
//   %y = kernel.gemm(%x, @up) {...} {
//     ^(%a: tensor<...>, %w: tensor<...>):
//     %0 = linear %a, %w : tensor<...>
//     %1 = activation %0 {fn = silu} : tensor<...>
//     yield %1
//   } : tensor<...>
//
// The body is ordinary graph ops over whole tensors and is the meaning: the
// interpreter runs it. The kind says which emitter turns it into code
// (codegen/emit/KernelSpec.h); it never says how, no tile and no grid.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Operation.h"

namespace moec {

enum class RaggedForm : unsigned { grouped, direct };
inline llvm::ArrayRef<llvm::StringRef> enumNames(RaggedForm) {
  static const llvm::StringRef names[] = {"grouped", "direct"};
  return names;
}

///   (C1) the body has an argument per operand, of its type and state
///   (C2) the body ends in a yield of the result types
///   (C3) the body holds no kernel op
struct KernelAttrs final : AttrsOf<KernelAttrs> {
  /// kernel.ragged_gemm only. grouped: two further operands, the results of
  /// moe.dispatch, order the work and are not read by the body; direct: a small
  /// batch, nothing is sorted.
  RaggedForm form = RaggedForm::grouped;
  template <typename V> void fields(V &v) { v.field("form", form); }
};

inline bool isKernel(OpKind kind) {
  return kind >= OpKind::KernelAttention && kind <= OpKind::KernelRowwise;
}
inline bool isKernel(const Operation &op) { return isKernel(op.kind()); }

} // namespace moec
