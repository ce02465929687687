// Any bytes as IR text. What is accepted round-trips in both forms, before and
// after the clean-up passes.

#include "tests/fuzz/IrFuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  llvm::StringRef text(reinterpret_cast<const char *>(data), size);
  moec::checkModule(moec::parseModule(text, "fuzz.moe"));
  return 0;
}
