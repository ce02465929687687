// Any bytes as a binary module; see IrTextFuzz.cpp.

#include "tests/fuzz/IrFuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  llvm::StringRef bytes(reinterpret_cast<const char *>(data), size);
  moec::checkModule(moec::readBinary(bytes, "fuzz.moeg"));
  return 0;
}
