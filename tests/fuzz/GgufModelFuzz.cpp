#include "frontend/gguf/Gguf.h"
#include "tests/fuzz/ModelFuzz.h"

#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

using namespace moec;

static void readModel(const std::string &path) {
  auto tokenizer = readGgufTokenizer(path);
  if (!tokenizer)
    (void)toText(tokenizer.takeError());
  useCheckpoint(openGguf(path));
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
