//===- EmitCuda.h - kernel specs to CUDA C++ ------------------------------===//
//
// Emitting is a pure function of the spec: one text for sm_80 and later, for
// NVRTC with no headers and no options but the architecture. A kernel takes a
// pointer for each buffer, in the order of KernelSpec.h, then each extent as
// `long long`. The grid is one-dimensional: the product of the factors; every
// kernel is right for any grid of at least one block, unless said otherwise
// beside its emitter.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "codegen/emit/AnySpec.h"
#include "codegen/emit/KernelCode.h"
#include "llvm/ADT/SmallVector.h"

#include <cstdint>
#include <optional>
#include <string>

namespace moec::cuda {

/// A kernel as a plan stores it.
struct CudaKernel {
  std::string symbol;
  /// Defines `symbol` as extern "C".
  std::string source;
  /// None: one block.
  llvm::SmallVector<kernel::GridFactor, 2> grid;
  /// Threads of a block.
  unsigned block = 0;
  /// Above 48 KiB a launch must first raise the function's limit
  /// (CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES).
  uint64_t dynamicSharedBytes = 0;
  unsigned buffers = 0;
  unsigned extents = 0;
  /// Of the weight operand, for GEMM kinds.
  std::optional<kernel::WeightLayout> weight;
};

/// Why `spec` cannot be emitted; nothing if it can.
std::optional<std::string> supports(const kernel::AnySpec &spec);

/// Emits a spec that `supports` accepts.
CudaKernel emitCuda(const kernel::AnySpec &spec);

} // namespace moec::cuda
