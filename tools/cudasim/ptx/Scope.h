//===- Scope.h - names of one function body while it is parsed ------------===//
//
// Scopes nest, as inline assembly leaves them: registers, variables and labels
// belong to the innermost braces around them. A label may be used before it is
// defined, in its own scope or in one further in.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "tools/cudasim/ptx/Module.h"

#include "llvm/ADT/StringMap.h"

#include <optional>
#include <vector>

namespace cudasim::ptx {

class ScopeStack {
public:
  static constexpr size_t kMaxDepth = 64;
  static constexpr size_t kMaxRegisters = 1 << 20;

  explicit ScopeStack(Function &function) : function(function) { push(); }

  size_t depth() const { return scopes.size(); }
  void push() { scopes.emplace_back(); }
  /// Closes the innermost scope. Uses of labels that it does not define go to
  /// the scope around it.
  void pop();

  /// Declares one register; false where the name is taken in this scope.
  bool declareRegister(llvm::StringRef name, Type type);
  /// `%r<100>` declares %r0 to %r99.
  bool declareRange(llvm::StringRef prefix, uint32_t count, Type type);
  bool declareVariable(llvm::StringRef name, uint32_t index);
  /// The label's index; nothing where this scope defines it already.
  std::optional<uint32_t> defineLabel(llvm::StringRef name, uint32_t at);

  /// kNone where no scope declares the name (or a function would have more
  /// registers than kMaxRegisters).
  uint32_t findRegister(llvm::StringRef name);
  uint32_t findVariable(llvm::StringRef name) const;

  /// A use of a label, to be resolved when scopes close. `instruction` and
  /// `operand` say where the index goes.
  struct LabelUse {
    llvm::StringRef name;
    uint32_t instruction, operand;
    uint32_t line, offset;
  };
  void useLabel(LabelUse use) { scopes.back().uses.push_back(use); }
  /// After the last pop: uses that nobody defines.
  const std::vector<LabelUse> &unresolved() const { return leftover; }

private:
  struct Range {
    uint32_t count;
    Type type;
  };
  struct Scope {
    llvm::StringMap<uint32_t> registers, variables, labels;
    llvm::StringMap<Range> ranges;
    std::vector<LabelUse> uses;
  };

  Function &function;
  std::vector<Scope> scopes;
  std::vector<LabelUse> leftover;
};

} // namespace cudasim::ptx
