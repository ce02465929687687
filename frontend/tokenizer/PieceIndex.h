//===- PieceIndex.h - ids of pieces by text, and merges from it -----------===//
#pragma once

#include "ir/support/Diagnostic.h"
#include "runtime/text/TokenizerAsset.h"
#include "llvm/ADT/CachedHashString.h"
#include "llvm/ADT/DenseMap.h"

namespace moec {

/// Ids by text, while a vocabulary is being imported; the texts must not move.
class PieceIndex {
public:
  explicit PieceIndex(llvm::ArrayRef<Piece> pieces);

  /// -1 where there is no such piece.
  int32_t find(llvm::StringRef text) const;

  /// The merge of two pieces given by text; `fail` starts an error.
  llvm::Expected<Merge> merge(llvm::StringRef left, llvm::StringRef right,
                              llvm::function_ref<ErrorBuilder()> fail) const;
  /// The same from "left right".
  llvm::Expected<Merge> merge(llvm::StringRef line,
                              llvm::function_ref<ErrorBuilder()> fail) const;

private:
  llvm::DenseMap<llvm::CachedHashStringRef, int32_t> ids;
};

} // namespace moec
