//===- Compile.h - bitcode to object code ---------------------------------===//
#pragma once

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace moec::jit {

/// Compiles a module for the host's architecture with exactly `features`.
/// Floating-point operations are neither contracted nor reordered.
llvm::Expected<llvm::SmallVector<char, 0>> compile(llvm::StringRef bitcode,
                                                   llvm::StringRef features);

} // namespace moec::jit
