//===- CanonicalWeights.h - a model's weights on their way out ------------===//
#pragma once

#include "ir/core/Module.h"

#include <map>

namespace moec {

/// A weight by its canonical name (frontend/models/WeightMap.h).
struct CanonicalWeight {
  ExprRef expr;
  /// Where the numbers are those of a weight of the module, or of one expert
  /// of a bank: which. Null where they were changed on the way.
  Weight *weight = nullptr;
  int64_t expert = -1;
};

/// The weights of a module under the names that files have rules for: banks
/// are there expert by expert. What a target needs besides is put over them.
class CanonicalWeights {
public:
  explicit CanonicalWeights(const Module &module) : module(module) {}

  /// A null expression where there is no such weight.
  llvm::Expected<CanonicalWeight> find(llvm::StringRef name) const;
  bool has(llvm::StringRef name) const;

  /// Gives `name` another definition.
  void set(std::string name, ExprRef expr) { changed[name] = std::move(expr); }
  /// Defines `name` as zeros.
  llvm::Error setZeros(std::string name, llvm::ArrayRef<int64_t> shape);
  /// Multiplies `name` by a factor.
  llvm::Error scale(const std::string &name, double factor);
  /// Lengthens `axis` of `name` to `size`, with zeros.
  llvm::Error pad(const std::string &name, int64_t axis, int64_t size);

private:
  const Module &module;
  std::map<std::string, ExprRef, std::less<>> changed;
};

/// The constant dimensions of an expression.
std::vector<int64_t> shapeOf(const Expr &expr);

} // namespace moec
