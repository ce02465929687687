//===- AddedTokens.h - tokens found in the text before the model ----------===//
#pragma once

#include "runtime/text/TokenizerAsset.h"
#include "runtime/text/Trie.h"

#include <vector>

namespace moec {

/// Cuts a text at the tokens it spells; Hugging Face's rules: leftmost, then
/// longest, then the token's own conditions.
class AddedTokens {
public:
  struct Part {
    size_t begin, end;
    /// -1 for text between tokens.
    int32_t id;
  };

  /// `pattern` is what to look for; `token` must outlive this.
  void insert(const AddedToken &token, llvm::StringRef pattern);
  bool empty() const { return trie.empty(); }

  /// Cuts `text`; without `parseSpecial` special tokens are plain text.
  std::vector<Part> split(llvm::StringRef text, bool parseSpecial) const;

private:
  Trie trie;
  std::vector<const AddedToken *> tokens;
};

} // namespace moec
