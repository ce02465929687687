#include "frontend/gguf/Gguf.h"
#include "frontend/models/ModelConfig.h"
#include "frontend/models/WeightMap.h"
#include "ir/support/Diagnostic.h"

#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

using namespace moec;

static void readModel(const std::string &path) {
  auto tokenizer = readGgufTokenizer(path);
  if (!tokenizer)
    (void)toText(tokenizer.takeError());
  auto checkpoint = openGguf(path);
  if (!checkpoint) {
    (void)toText(checkpoint.takeError());
    return;
  }
  auto result = readModelConfig(*checkpoint);
  if (!result) {
    (void)toText(result.takeError());
    return;
  }
  auto map =
      WeightMap::create(*checkpoint, result->config, RotaryLayout::halfSplit);
  if (!map) {
    (void)toText(map.takeError());
    return;
  }
  // Steps lead to the promised shape for every weight.
  for (const WeightEntry &entry : map->entries())
    if (map->readF32(*checkpoint, entry).size() != *elementCount(entry.shape))
      std::abort();
}

/// The whole way from a file's bytes to weights, through a file in memory.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  int descriptor = ::memfd_create("fuzz", MFD_CLOEXEC);
  if (descriptor < 0 ||
      ::write(descriptor, bytes, size) != static_cast<ssize_t>(size))
    std::abort();
  readModel("/proc/self/fd/" + std::to_string(descriptor));
  ::close(descriptor);
  return 0;
}
