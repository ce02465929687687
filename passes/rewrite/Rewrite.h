//===- Rewrite.h - local rules, applied until none fires ------------------===//
//
//   static bool dropScaleByOne(Operation &op, Rewriter &rewriter) {
//     if (op.attrs<ScaleAttrs>().factor != 1 || ...)
//       return false;
//     rewriter.replace(op, op.operand(0));
//     return true;
//   }
//
// A rule looks at one op, its root, and either leaves everything as it is and
// returns false, or makes the code no worse and returns true. Rules must not
// undo each other.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Builder.h"
#include "llvm/ADT/SetVector.h"

#include <vector>

namespace moec {

/// What rules change code with; keeps the worklist.
class Rewriter {
public:
  /// A builder before `op`, with its location.
  Builder before(Operation &op) const;
  /// Gives the readers of `op`, which has one result, `value` of the same type
  /// instead, and erases it together with what only it read.
  void replace(Operation &op, Value value);
  /// Says that `op` was changed in place, or is new.
  void changed(Operation &op) { worklist.insert(&op); }

private:
  friend class RewriteDriver;
  void erase(Operation &op);
  void forget(Operation &op);
  llvm::SetVector<Operation *> worklist;
};

struct RewriteRule {
  OpKind root;
  /// What statistics call it.
  llvm::StringLiteral name;
  bool (*apply)(Operation &op, Rewriter &rewriter);
};

/// Applies `rules`, those of one root in order, to every op of the program and
/// of kernel bodies until none fires. `onFired` hears the name of each rule
/// that did.
void rewrite(Program &program, llvm::ArrayRef<RewriteRule> rules,
             llvm::function_ref<void(llvm::StringRef)> onFired);

} // namespace moec
