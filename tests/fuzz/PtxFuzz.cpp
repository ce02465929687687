//===- PtxFuzz.cpp - hostile PTX ------------------------------------------===//
//
// Any text either fails to load with a located error, or its kernels run,
// fault or use up a small budget.
//
//===----------------------------------------------------------------------===//

#include "ir/support/Diagnostic.h"
#include "tools/cudasim/machine/Launch.h"

#include <cstdlib>
#include <cstring>

using namespace cudasim;

static GlobalMemory &memory() {
  static std::unique_ptr<GlobalMemory> instance = [] {
    GlobalMemory::Options options;
    options.deviceBytes = {uint64_t(64) << 20};
    options.trackInitialized = true;
    // One small device can always be reserved.
    return llvm::cantFail(GlobalMemory::create(options));
  }();
  return *instance;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  llvm::StringRef text(reinterpret_cast<const char *>(bytes), size);
  auto loaded = Program::load(text, "fuzz");
  if (!loaded) {
    if (moec::toText(loaded.takeError()).compare(0, 4, "fuzz") != 0)
      std::abort(); // an error without a place
    return 0;
  }
  std::shared_ptr<const Program> program(std::move(*loaded));
  auto instance = Instance::create(program, memory(), 0);
  if (!instance) {
    (void)moec::toText(instance.takeError());
    return 0;
  }
  std::optional<DevicePtr> space = memory().allocate(0, 4096);
  for (const KernelInfo &kernel : program->kernels()) {
    // Parameters that are addresses, small numbers when read as 32 bits.
    std::vector<std::byte> parameters(kernel.parameterBytes);
    for (size_t i = 0; i + 8 <= parameters.size(); i += 8)
      memcpy(parameters.data() + i, &*space, 8);
    LaunchConfig config;
    config.grid = {2, 1, 1};
    config.block = {48, 1, 1};
    config.instructionBudget = 20'000;
    config.scheduleSeed = size % 3;
    if (size % 2)
      config.checks = Checks::all();
    if (auto fault = launch(**instance, kernel, config, parameters))
      if (fault->str().empty())
        std::abort();
  }
  memory().free(*space);
  return 0;
}
