#include "runtime/cpu/CpuDevice.h"

#include "ir/support/Diagnostic.h"
#include "runtime/cpu/CpuExecutable.h"
#include "runtime/cpu/CpuMemory.h"
#include "runtime/cpu/HostFeatures.h"
#include "runtime/cpu/Pack.h"
#include "runtime/cpu/ThreadPool.h"
#include "runtime/schema/plan_generated.h"
#include "llvm/ADT/StringExtras.h"

#include <cassert>
#include <chrono>
#include <cstring>

using namespace moec;
using namespace moec::runtime;

namespace {

/// All work is done when a call returns, so there is nothing to wait for.
class CpuEvent final : public Event {
public:
  llvm::Error synchronize() override { return llvm::Error::success(); }
};

class CpuStream final : public Stream {
public:
  explicit CpuStream(ThreadPool &pool) : pool(pool) {}

  llvm::Error launch(const Executable &executable,
                     const LaunchRequest &request) override {
    const auto &code = static_cast<const CpuExecutable &>(executable);
    const CpuKernel &kernel = code.kernels()[request.kernel];
    assert(request.buffers.size() == kernel.buffers &&
           request.extents.size() == kernel.extents && "checked by the plan");
    // A job holds the number of a task in 32 bits.
    if (request.tasks >= ThreadPool::kMaxTasks)
      return error() << "kernel '" << kernel.name << "' has " << request.tasks
                     << " tasks, at most " << ThreadPool::kMaxTasks - 1
                     << " are allowed";
    addresses.clear();
    for (DevicePtr address : request.buffers)
      addresses.push_back(hostAddress(address));
    pool.expect(hostAddress(request.soon), request.soonBytes);
    pool.parallelFor(request.tasks,
                     [&](unsigned thread, int64_t begin, int64_t end) {
                       kernel.function(addresses.data(), request.extents.data(),
                                       begin, end, code.scratchOf(thread));
                     });
    return llvm::Error::success();
  }

  llvm::Error copyToDevice(DevicePtr target,
                           llvm::ArrayRef<uint8_t> source) override {
    if (!source.empty())
      std::memcpy(hostAddress(target), source.data(), source.size());
    return llvm::Error::success();
  }
  llvm::Error copyToHost(llvm::MutableArrayRef<uint8_t> target,
                         DevicePtr source) override {
    if (!target.empty())
      std::memcpy(target.data(), hostAddress(source), target.size());
    return llvm::Error::success();
  }
  llvm::Error fillZero(DevicePtr target, uint64_t bytes) override {
    if (bytes)
      std::memset(hostAddress(target), 0, bytes);
    return llvm::Error::success();
  }
  llvm::Error record(Event &) override { return llvm::Error::success(); }
  llvm::Error wait(const Event &) override { return llvm::Error::success(); }
  llvm::Error synchronize() override { return llvm::Error::success(); }

private:
  ThreadPool &pool;
  llvm::SmallVector<void *, 16> addresses;
};

} // namespace

CpuDevice::CpuDevice(CpuOptions options, CacheOptions cacheOptions)
    : options(std::move(options)), cache(std::move(cacheOptions)),
      pool(std::make_unique<ThreadPool>(this->options.threads,
                                        this->options.pinThreads)) {}
CpuDevice::~CpuDevice() = default;

llvm::Expected<std::unique_ptr<CpuDevice>>
CpuDevice::create(CpuOptions options) {
  constexpr unsigned kMaxThreads = 1024;
  if (options.threads > kMaxThreads)
    return error() << "expects at most " << kMaxThreads << " threads, got "
                   << options.threads;
  CacheOptions cache;
  if (options.cache) {
    cache = *options.cache;
  } else {
    MOEC_ASSIGN(cache, cacheOptionsFromEnvironment());
  }
  return std::unique_ptr<CpuDevice>(
      new CpuDevice(std::move(options), std::move(cache)));
}

unsigned CpuDevice::parallelism() const { return pool->threads(); }

/// `cpu-x86` in `cpu-x86-avx2`; what variants for this machine begin with.
static llvm::StringRef variantPrefix() {
#if defined(__x86_64__)
  return "cpu-x86";
#elif defined(__aarch64__)
  return "cpu-aarch64";
#else
  return "cpu-unknown";
#endif
}

llvm::Error CpuDevice::supports(const plan::Variant &variant) const {
  llvm::StringRef name(variant.name()->data(), variant.name()->size());
  if (name != "cpu-generic" && name != variantPrefix() &&
      !name.starts_with((variantPrefix() + "-").str()))
    return error() << "variant '" << name << "' is for another kind of device, "
                   << "this one runs '" << variantPrefix() << "-...'";
  std::vector<llvm::StringRef> wanted;
  if (variant.features())
    for (const flatbuffers::String *feature : *variant.features())
      wanted.push_back({feature->data(), feature->size()});
  std::vector<std::string> missing = missingFeatures(wanted);
  if (missing.empty())
    return llvm::Error::success();
  return error() << "variant '" << name << "' needs "
                 << llvm::join(missing, ", ")
                 << ", which this processor or system lacks";
}

llvm::Expected<std::unique_ptr<Buffer>> CpuDevice::allocate(uint64_t bytes) {
  return allocateCpuBuffer(bytes);
}

llvm::Expected<std::unique_ptr<Stream>> CpuDevice::createStream() {
  return std::make_unique<CpuStream>(*pool);
}

llvm::Expected<std::unique_ptr<Event>> CpuDevice::createEvent() {
  return std::make_unique<CpuEvent>();
}

llvm::Expected<std::unique_ptr<Executable>>
CpuDevice::load(const plan::Variant &variant) {
  auto start = std::chrono::steady_clock::now();
  statistics = {};
  MOEC_ASSIGN(JitLibrary jit, JitLibrary::open(options.jitLibrary));
  MOEC_ASSIGN(
      std::unique_ptr<CpuExecutable> executable,
      CpuExecutable::load(variant, jit, cache, pool->threads(), statistics));
  statistics.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  return executable;
}

llvm::Expected<std::unique_ptr<Buffer>>
CpuDevice::loadWeight(const WeightLayout &layout,
                      llvm::ArrayRef<HostTensor> weights) {
  if (weights.size() == 1 && isPackedAlready(layout, weights[0]))
    return adoptCpuMemory(weights[0].bytes, weights[0].owner);
  std::optional<uint64_t> bytes =
      weights.empty() ? std::nullopt : packedBytes(layout, weights[0].shape);
  if (!bytes)
    return error() << "a weight's packed size exceeds 64 bits";
  MOEC_ASSIGN(std::unique_ptr<Buffer> buffer, weightMemory.allocate(*bytes));
  MOEC_TRY(packWeight(
      layout, weights,
      {static_cast<uint8_t *>(hostAddress(buffer->address())), size_t(*bytes)},
      *pool));
  return buffer;
}

llvm::Expected<std::unique_ptr<Buffer>>
CpuDevice::adoptWeight(const HostBytes &packed) {
  return adoptCpuMemory(packed.bytes, packed.owner);
}
