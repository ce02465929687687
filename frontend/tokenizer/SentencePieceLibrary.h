//===- SentencePieceLibrary.h - the library behind a wall -----------------===//
//
// The library may throw; its one user here is built with exceptions and turns
// them into errors.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <string>
#include <vector>

namespace moec {

/// What the library says of a model.
struct SentencePieceVocabulary {
  struct Entry {
    std::string text;
    float score = 0;
    bool isUnknown = false, isControl = false, isUnused = false, isByte = false;
  };
  std::vector<Entry> pieces;
  int32_t bos = -1, eos = -1, unknown = -1, pad = -1;
};

/// Loads a model from its bytes.
llvm::Expected<SentencePieceVocabulary>
loadWithSentencePiece(llvm::StringRef bytes, llvm::StringRef name);

/// Encodes with the library itself; for comparison.
llvm::Expected<std::vector<int32_t>>
encodeWithSentencePiece(llvm::StringRef model, llvm::StringRef text);

} // namespace moec
