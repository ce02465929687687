//===- CudaCompiler.h - NVRTC, and specs to give it -----------------------===//
#pragma once

#include "codegen/cuda/EmitCuda.h"
#include "llvm/ADT/StringRef.h"

#include <string>

namespace moec::test {

/// $CUDA_HOME, or where the toolkit installs itself.
std::string cudaHome();
bool hasNvrtc();
/// The PTX of a kernel; fails the test with NVRTC's log.
std::string toPtx(const cuda::CudaKernel &kernel, llvm::StringRef architecture);

/// Two rows added, stored and normed.
kernel::RowwiseSpec normSpec(ElementType element, int64_t width,
                             kernel::RowOp::Kind kind);
/// Query and key normed and rotated by head; then every elementwise operation.
kernel::RowwiseSpec fusedSpec(bool interleaved);
/// Parts of heads, clamped and turned, joined: each its own, and one for all.
kernel::RowwiseSpec latentSpec();

} // namespace moec::test
