//===- Forms.h - which op form an instruction has -------------------------===//
#pragma once

#include "tools/cudasim/ptx/Module.h"
#include "tools/cudasim/ptx/Ops.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <string>
#include <vector>

namespace cudasim::ptx {

llvm::StringRef nameOf(Op op);

/// A row of OpForms.def.
struct FormRow {
  Op op;
  llvm::StringRef pattern, operands;
};
llvm::ArrayRef<FormRow> formRows();

/// All spellings that a pattern stands for.
std::vector<std::string> spellings(llvm::StringRef pattern);

/// An instruction's op, its modifiers in order and the types among them.
struct Form {
  const FormRow *row = nullptr;
  Op op;
  llvm::ArrayRef<llvm::StringRef> words; ///< without the mnemonic
  llvm::SmallVector<llvm::StringRef, 4> types;

  bool has(llvm::StringRef word) const {
    return llvm::find(words, word) != words.end();
  }
  /// The first of the words that is present; empty where none is.
  llvm::StringRef
  oneOf(std::initializer_list<llvm::StringRef> candidates) const {
    for (llvm::StringRef candidate : candidates)
      if (has(candidate))
        return candidate;
    return {};
  }
  llvm::StringRef firstType() const { return types.front(); }
  llvm::StringRef lastType() const { return types.back(); }
};

/// True for the words that name the type of an operand: `f32`, `e4m3x2`.
bool isTypeWord(llvm::StringRef word);

/// The form of `words` (mnemonic and modifiers) with that many operands; its
/// row is null where the table has none.
Form findForm(llvm::ArrayRef<llvm::StringRef> words, size_t operandCount);

} // namespace cudasim::ptx
