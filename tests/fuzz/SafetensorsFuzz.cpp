#include "ir/support/Diagnostic.h"
#include "ir/support/Safetensors.h"

#include <cstdlib>

using namespace moec;

/// What is accepted covers the file, each byte once.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  auto header =
      parseSafetensors(llvm::ArrayRef<uint8_t>(bytes, size), size, "fuzz");
  if (!header) {
    if (toText(header.takeError()).find("error: ") == std::string::npos)
      std::abort();
    return 0;
  }
  uint64_t covered = header->dataOffset;
  for (const SafetensorsEntry &entry : header->entries) {
    if (entry.byteOffset < header->dataOffset ||
        entry.byteOffset + entry.byteSize > size)
      std::abort();
    if (header->find(entry.name) != &entry)
      std::abort();
    covered += entry.byteSize;
  }
  if (covered != size)
    std::abort();
  return 0;
}
