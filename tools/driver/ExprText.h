//===- ExprText.h - weight expressions as text and as digests -------------===//
#pragma once

#include "ir/core/Module.h"
#include "llvm/ADT/DenseMap.h"

namespace moec {

/// `resample(@layers.0.ffn.up, {count = 192, ...})`: the expression as the
/// printer writes it, shared parts spelled out. Cut after `maxLength`
/// characters, since sharing can make the text exponential.
std::string exprText(const Expr &expr, size_t maxLength = 4000);

/// Digests of expressions: equal where all that decides the numbers is equal,
/// apart from the bytes of the files. A ref is what it refers to, or only its
/// name.
class ExprDigests {
public:
  explicit ExprDigests(bool followRefs = true) : followRefs(followRefs) {}
  /// 32 bytes.
  const std::string &of(const Expr &expr);

private:
  bool followRefs;
  llvm::DenseMap<const Expr *, std::unique_ptr<std::string>> known;
};

/// The source tensors that an expression reads, in order of first use:
/// `file: key`; refs are looked through.
std::vector<std::string> sourcesOf(const Expr &expr);

} // namespace moec
