//===- Kernels.h - one emitter per kind, one file each --------------------===//
#pragma once

#include "codegen/cuda/EmitCuda.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"

namespace moec::cuda {

// Each writes the kernel's text to `os` and fills the rest of `kernel`, whose
// symbol is set. The text starts with the device files it needs.
void emitRaggedGemm(llvm::raw_ostream &os, const kernel::RaggedGemmSpec &,
                    CudaKernel &);
void emitRoute(llvm::raw_ostream &os, const kernel::RouteSpec &, CudaKernel &);
void emitRowwise(llvm::raw_ostream &os, const kernel::RowwiseSpec &,
                 CudaKernel &);

/// The text of codegen/cuda/device/<name>.cuh.
llvm::StringRef deviceText(llvm::StringRef name);

/// `float`, `Bf16`, ...: the type of an element in memory.
llvm::StringRef typeName(ElementType element);
/// `value`, an element in memory, as f32.
std::string toF32(ElementType element, const std::string &value);
/// `value`, an f32, as an element in memory.
std::string fromF32(ElementType element, const std::string &value);
/// activation(value).
std::string activationText(kernel::Activation activation,
                           const std::string &value);
/// An exact literal.
std::string f32Literal(double value);
std::string f64Literal(double value);

} // namespace moec::cuda
