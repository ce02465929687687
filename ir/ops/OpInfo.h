//===- OpInfo.h - what is known of every op -------------------------------===//
//
// An op lands whole, in seven steps: see ir/README.md.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Operation.h"
#include "ir/support/Diagnostic.h"

namespace moec {

struct OpInfo {
  llvm::StringLiteral mnemonic;
  int minOperands, maxOperands, results;
  std::unique_ptr<Attributes> (*makeAttrs)();
  /// Checks the constraints that the op's comment labels.
  llvm::Error (*verify)(const Operation &op);
};

const OpInfo &infoOf(OpKind kind);
std::optional<OpKind> parseOpKind(llvm::StringRef mnemonic);
/// The operand whose buffer result `i` reuses, for ops that update a state.
std::optional<unsigned> inPlaceOperand(const Operation &op, unsigned result);
/// An op without effect beyond its results (every op but the terminators).
bool isPure(const Operation &op);

/// Error about `op`, named by its mnemonic.
ErrorBuilder opError(const Operation &op);

} // namespace moec
