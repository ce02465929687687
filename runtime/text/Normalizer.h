//===- Normalizer.h - rewrites of the text before it is split -------------===//
#pragma once

#include "runtime/text/Regex.h"
#include "runtime/text/TokenizerAsset.h"

#include <optional>
#include <vector>

namespace moec {

class Trie;

/// Runs an asset's normalizer steps.
class Normalizer {
public:
  /// `userDefined` holds the pieces that SentencePiece leaves as they are; it
  /// must outlive the normalizer.
  static llvm::Expected<Normalizer> create(const TokenizerAsset &asset,
                                           const Trie &userDefined,
                                           llvm::StringRef name);

  /// `text` must be valid UTF-8.
  llvm::Expected<std::string> run(llvm::StringRef text) const;

  bool isIdentity() const { return steps.empty(); }

private:
  /// A SentencePiece character map: a double-array trie whose values are
  /// offsets of null-terminated replacements.
  struct CharsMap {
    std::vector<uint32_t> units;
    std::string replacements;

    static llvm::Expected<CharsMap> read(llvm::StringRef blob,
                                         llvm::StringRef name);
    /// The longest key that `text` starts with, or 0, and what replaces it.
    size_t longestPrefix(llvm::StringRef text,
                         llvm::StringRef &replacement) const;
  };
  struct Step {
    NormalizerStep spec;
    std::optional<Regex> regex;
    CharsMap charsMap;
  };

  llvm::Expected<std::string> runStep(const Step &step, llvm::StringRef text,
                                      size_t limitBytes) const;
  llvm::Expected<std::string> sentencePiece(const Step &step,
                                            llvm::StringRef text,
                                            size_t limitBytes) const;
  /// One character or longer unit of `text`, normalised, and its bytes.
  std::pair<llvm::StringRef, size_t> nextUnit(const Step &step,
                                              llvm::StringRef text) const;

  std::vector<Step> steps;
  const Trie *userDefined = nullptr;
};

} // namespace moec
