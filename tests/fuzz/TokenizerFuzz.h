//===- TokenizerFuzz.h - what every imported tokenizer must stand ---------===//
#pragma once

#include "ir/support/Diagnostic.h"
#include "runtime/text/Tokenizer.h"

#include <cstdlib>

namespace moec {

/// Drops an error, or puts the asset to use: it is stored and read back, and
/// what it makes of a text decodes alike in one piece and in many.
inline void useTokenizer(llvm::Expected<TokenizerAsset> asset) {
  if (!asset) {
    (void)toText(asset.takeError());
    return;
  }
  auto read = deserializeTokenizer(serialize(*asset), "stored");
  if (!read || !(*read == *asset))
    std::abort();
  auto tokenizer = Tokenizer::create(std::move(*asset), "fuzz");
  if (!tokenizer) {
    (void)toText(tokenizer.takeError());
    return;
  }
  auto ids = (*tokenizer)
                 ->encode("ab ba  the\n\xE2\x96\x81 42 \xC3\xA9\xFF<s>"
                          "abababababababababababababababababab");
  if (!ids) {
    (void)toText(ids.takeError());
    return;
  }
  for (int32_t id : *ids)
    if (id < 0 || size_t(id) >= (*tokenizer)->vocabularySize())
      std::abort();
  StreamDecoder stream(**tokenizer);
  std::string text;
  for (int32_t id : *ids)
    text += stream.push(id);
  if (text + stream.finish() != (*tokenizer)->decode(*ids))
    std::abort();
}

inline llvm::StringRef asText(const uint8_t *bytes, size_t size) {
  return llvm::StringRef(reinterpret_cast<const char *>(bytes), size);
}

} // namespace moec
