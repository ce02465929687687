//===- Verify.h - the verify function of every op -------------------------===//
#pragma once

#include "ir/ops/OpInfo.h"

namespace moec::verify {
#define OP(Name, ...) llvm::Error check##Name(const Operation &op);
#include "ir/ops/Ops.def"

// Checks that several ops share; `what` names the operand in the message.
llvm::Error isFloatTensor(const Operation &op, Value value,
                          llvm::StringRef what);
llvm::Error hasRank(const Operation &op, Value value, llvm::StringRef what,
                    unsigned rank);
llvm::Error hasShape(const Operation &op, Value value, llvm::StringRef what,
                     llvm::ArrayRef<Dim> shape);
/// An i32 tensor of this shape.
llvm::Error isIndex(const Operation &op, Value value, llvm::StringRef what,
                    llvm::ArrayRef<Dim> shape);
} // namespace moec::verify
