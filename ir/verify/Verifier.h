//===- Verifier.h - what every module must satisfy ------------------------===//
//
// A verified module can be printed, interpreted, compiled and passed to any
// pass. Beside the constraints that each op labels (ir/ops), it satisfies:
//
//   - operands are defined before they are read, in the same block; weights
//     are declared before expressions refer to them;
//   - a program ends in `return`, with an operand for each named result, and
//     the body of a kernel op ends in `yield`; both stand nowhere else;
//   - a program takes a state at most once; its versions form one chain of
//     in-place writes, nothing reads a version that was written over, and the
//     last version is returned;
//   - a ragged dimension has one `moe.route` that defines it, and is no
//     dimension of an argument;
//   - sizes fit in 62 bits where symbols have their maxima.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "llvm/Support/Error.h"

namespace moec {

class Module;

/// The first violation, located at the op or weight, or success.
llvm::Error verify(const Module &module);

} // namespace moec
