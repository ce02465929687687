//===- Errors.h - names and texts of CUresult -----------------------------===//
#pragma once

#include "tools/cudasim/driver/Cuda.h"
#include "llvm/ADT/StringRef.h"

namespace cudasim::driver {

/// Such as CUDA_ERROR_INVALID_VALUE; empty where there is no such value. The
/// data is zero-terminated.
llvm::StringRef errorName(CUresult status);
/// A short description; likewise.
llvm::StringRef errorText(CUresult status);

} // namespace cudasim::driver
