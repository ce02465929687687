#include "frontend/tokenizer/ImportTokenizer.h"
#include "ir/support/Json.h"
#include "tests/fuzz/TokenizerFuzz.h"

using namespace moec;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  auto document = JsonDocument::parse(asText(bytes, size).str(), "fuzz");
  if (!document) {
    (void)toText(document.takeError());
    return 0;
  }
  useTokenizer(importTokenizerJson(**document));
  return 0;
}
