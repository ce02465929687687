//===- CpuDevice.h - this machine's processors as a device ----------------===//
#pragma once

#include "runtime/cpu/CpuMemory.h"
#include "runtime/cpu/ObjectCache.h"
#include "runtime/hal/Device.h"

#include <memory>
#include <string>

namespace moec::runtime {

class ThreadPool;

struct CpuOptions {
  /// 0: one for each processor that the process may use.
  unsigned threads = 0;
  /// Keeps each worker thread on one processor.
  bool pinThreads = true;
  /// The JIT plug-in; empty: where JitLibrary::open looks.
  std::string jitLibrary;
  /// Where object code is kept; none: as the environment says.
  std::optional<CacheOptions> cache;
};

/// What loading a variant's code took; for reports and tests.
struct CodeStatistics {
  unsigned cacheHits = 0;
  unsigned compiled = 0;
  double seconds = 0;
  /// Why the cache could not be written; empty if it could.
  std::string cacheProblem;
};

/// The `cpu` backend. One program at a time: its streams share the threads.
class CpuDevice : public Device {
public:
  static llvm::Expected<std::unique_ptr<CpuDevice>>
  create(CpuOptions options = {});
  ~CpuDevice() override;

  llvm::StringRef name() const override { return "cpu"; }
  unsigned parallelism() const override;
  llvm::Error supports(const plan::Variant &variant) const override;
  llvm::Expected<std::unique_ptr<Buffer>> allocate(uint64_t bytes) override;
  llvm::Expected<std::unique_ptr<Stream>> createStream() override;
  llvm::Expected<std::unique_ptr<Event>> createEvent() override;
  llvm::Expected<std::unique_ptr<Executable>>
  load(const plan::Variant &variant) override;
  llvm::Expected<std::unique_ptr<Buffer>>
  loadWeight(const WeightLayout &layout,
             llvm::ArrayRef<HostTensor> weights) override;
  llvm::Expected<std::unique_ptr<Buffer>>
  adoptWeight(const HostBytes &packed) override;

  ThreadPool &threadPool() { return *pool; }
  /// Of the last `load`.
  const CodeStatistics &codeStatistics() const { return statistics; }

private:
  CpuDevice(CpuOptions options, CacheOptions cache);

  CpuOptions options;
  ObjectCache cache;
  std::unique_ptr<ThreadPool> pool;
  CpuMemoryPool weightMemory;
  CodeStatistics statistics;
};

} // namespace moec::runtime
