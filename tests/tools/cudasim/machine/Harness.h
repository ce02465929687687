//===- Harness.h - a device, a module and its launches, for tests ---------===//
#pragma once

#include "ir/support/Diagnostic.h"
#include "tools/cudasim/machine/Launch.h"

#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace cudasim::test {

/// A module on the first of two small devices.
class Machine {
public:
  /// The error is in `problem` where the module cannot be loaded.
  explicit Machine(const std::string &ptx, bool trackInitialized = false) {
    auto loaded = Program::load(ptx, "test.ptx");
    if (!loaded) {
      problem = moec::toText(loaded.takeError());
      return;
    }
    program = std::shared_ptr<const Program>(std::move(*loaded));
    GlobalMemory::Options options;
    options.deviceBytes = {uint64_t(1) << 30, uint64_t(1) << 30};
    options.trackInitialized = trackInitialized;
    auto created = GlobalMemory::create(options);
    if (!created) {
      problem = moec::toText(created.takeError());
      return;
    }
    memory = std::move(*created);
    auto placed = Instance::create(program, *memory, 0);
    if (!placed)
      problem = moec::toText(placed.takeError());
    else
      instance = std::move(*placed);
  }

  bool good() const { return problem.empty(); }

  template <class T> DevicePtr put(const std::vector<T> &values) {
    DevicePtr at = *memory->allocate(0, values.size() * sizeof(T));
    memory->copy(at, reinterpret_cast<uint64_t>(values.data()),
                 values.size() * sizeof(T));
    return at;
  }
  DevicePtr space(uint64_t bytes) { return *memory->allocate(0, bytes); }
  template <class T> std::vector<T> get(DevicePtr from, size_t count) {
    std::vector<T> values(count);
    memory->copy(reinterpret_cast<uint64_t>(values.data()), from,
                 count * sizeof(T));
    return values;
  }

  template <class... T>
  std::optional<Fault> run(const char *kernel, LaunchConfig config,
                           T... parameters) {
    const KernelInfo *info = program->findKernel(kernel);
    if (!info) {
      Fault missing;
      missing.message = std::string("no kernel ") + kernel;
      return missing;
    }
    std::vector<std::byte> bytes(info->parameterBytes);
    size_t index = 0;
    (memcpy(bytes.data() + info->parameters[index++].offset, &parameters,
            sizeof(parameters)),
     ...);
    return launch(*instance, *info, config, bytes, counters, sink);
  }

  std::string problem;
  std::shared_ptr<const Program> program;
  std::unique_ptr<GlobalMemory> memory;
  std::unique_ptr<Instance> instance;
  Counters *counters = nullptr;
  PrintSink sink;
};

inline LaunchConfig shape(uint32_t grid, uint32_t block) {
  LaunchConfig config;
  config.grid = {grid, 1, 1};
  config.block = {block, 1, 1};
  return config;
}

inline const char *kHeader = ".version 8.7\n.target sm_100\n.address_size 64\n";

} // namespace cudasim::test
