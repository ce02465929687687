//===- PreTokenizer.h - text into the words that merges stay inside -------===//
#pragma once

#include "runtime/text/Regex.h"
#include "runtime/text/TokenizerAsset.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/StringSaver.h"

#include <optional>
#include <vector>

namespace moec {

/// Runs an asset's pre-tokenizer steps.
class PreTokenizer {
public:
  static llvm::Expected<PreTokenizer> create(const TokenizerAsset &asset,
                                             llvm::StringRef name);

  /// Calls `word` for every word of `text`, which is valid UTF-8. Words are
  /// views into `text` or into `saver`. `atStart` says that the text stands at
  /// the beginning of what the caller was given.
  llvm::Error run(llvm::StringRef text, bool atStart, llvm::StringSaver &saver,
                  llvm::function_ref<void(llvm::StringRef)> word) const;

private:
  struct Step {
    PreTokenizerStep spec;
    std::optional<Regex> regex;
  };
  struct Part {
    size_t begin, end;
    bool isMatch;
  };

  llvm::Error runFrom(size_t step, llvm::StringRef text, bool atStart,
                      llvm::StringSaver &saver,
                      llvm::function_ref<void(llvm::StringRef)> word) const;
  llvm::Error split(size_t step, llvm::StringRef text, bool atStart,
                    llvm::StringSaver &saver,
                    llvm::function_ref<void(llvm::StringRef)> word) const;

  std::vector<Step> steps;
};

} // namespace moec
