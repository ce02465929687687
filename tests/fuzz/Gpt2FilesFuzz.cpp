#include "frontend/tokenizer/ImportTokenizer.h"
#include "ir/support/Json.h"
#include "tests/fuzz/TokenizerFuzz.h"

using namespace moec;

/// vocab.json, then behind a line "----" merges.txt.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  auto [vocabulary, merges] = asText(bytes, size).split("\n----\n");
  auto document = JsonDocument::parse(vocabulary.str(), "vocab.json");
  if (!document) {
    (void)toText(document.takeError());
    return 0;
  }
  useTokenizer(importGpt2Files(**document, merges, "merges.txt"));
  return 0;
}
