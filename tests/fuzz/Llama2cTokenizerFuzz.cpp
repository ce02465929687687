#include "frontend/tokenizer/ImportTokenizer.h"
#include "tests/fuzz/TokenizerFuzz.h"

using namespace moec;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  useTokenizer(importLlama2cTokenizer(asText(bytes, size), "fuzz"));
  return 0;
}
