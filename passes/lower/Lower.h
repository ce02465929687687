//===- Lower.h - from graph ops to kernel ops -----------------------------===//
#pragma once

#include "ir/core/Module.h"
#include "ir/kernel/KernelOps.h"
#include "ir/support/Diagnostic.h"

#include <functional>

namespace moec {

/// Says why something was not fused; the text names what stood in the way.
using RemarkFn =
    std::function<void(const Operation &op, llvm::StringRef reason)>;

/// ffn and moe.experts become linears, activation and mul.
llvm::Error expandFfn(Program &program);

/// Every op becomes part of a kernel op; see FormKernels.cpp.
llvm::Error formKernels(Module &module, Program &program, RaggedForm form,
                        const RemarkFn &remark = nullptr);

struct ConvertTypesOptions final : AttrsOf<ConvertTypesOptions> {
  /// Element type of the matrices of linears and experts, embedding included.
  ElementType weights = ElementType::f32;
  /// Of what goes into them, and of the KV cache.
  ElementType activations = ElementType::f32;
  template <typename V> void fields(V &v) {
    v.field("weights", weights);
    v.field("activations", activations);
  }
};

/// Stores matrices and inputs of matrix products in narrower types. Routers,
/// norms, biases and the residual stream stay f32.
llvm::Error convertTypes(Module &module, const ConvertTypesOptions &options);

/// q, k and v of one attention become one linear over joined weights.
llvm::Error fuseQkv(Module &module, Program &program,
                    const RemarkFn &remark = nullptr);

} // namespace moec
