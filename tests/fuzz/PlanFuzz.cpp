// Any bytes as a plan. What the loader accepts is also bound and run, on a
// device that knows its own memory: every address that a launch gets must lie
// in it, whole.

#include "ir/support/Diagnostic.h"
#include "runtime/program/Executor.h"
#include "runtime/program/Polynomial.h"
#include "runtime/program/WeightProvider.h"
#include "runtime/schema/plan_generated.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

using namespace moec;
using namespace moec::runtime;

namespace {

constexpr uint64_t kMaxBytes = 1 << 22;

/// Consumes an error, as a tool would print it.
void ignore(llvm::Error err) { toText(std::move(err)); }

class FakeBuffer final : public Buffer {
public:
  FakeBuffer(uint8_t *memory, uint64_t bytes,
             std::map<uintptr_t, uint64_t> &all)
      : Buffer(DevicePtr(reinterpret_cast<uintptr_t>(memory)), bytes),
        memory(memory), all(all) {
    all[uintptr_t(start)] = bytes;
  }
  ~FakeBuffer() override {
    all.erase(uintptr_t(start));
    std::free(memory);
  }

private:
  uint8_t *memory;
  std::map<uintptr_t, uint64_t> &all;
};

class FakeStream final : public Stream {
public:
  explicit FakeStream(const std::map<uintptr_t, uint64_t> &all) : all(all) {}

  llvm::Error launch(const Executable &,
                     const LaunchRequest &request) override {
    for (DevicePtr address : request.buffers)
      check(address, 0);
    if (request.tasks < 0)
      std::abort();
    return llvm::Error::success();
  }
  llvm::Error copyToDevice(DevicePtr target,
                           llvm::ArrayRef<uint8_t> source) override {
    check(target, source.size());
    if (!source.empty())
      std::memcpy(reinterpret_cast<void *>(target), source.data(),
                  source.size());
    return llvm::Error::success();
  }
  llvm::Error copyToHost(llvm::MutableArrayRef<uint8_t> target,
                         DevicePtr source) override {
    check(source, target.size());
    if (!target.empty())
      std::memcpy(target.data(), reinterpret_cast<void *>(source),
                  target.size());
    return llvm::Error::success();
  }
  llvm::Error fillZero(DevicePtr target, uint64_t bytes) override {
    check(target, bytes);
    return llvm::Error::success();
  }
  llvm::Error record(Event &) override { return llvm::Error::success(); }
  llvm::Error wait(const Event &) override { return llvm::Error::success(); }
  llvm::Error synchronize() override { return llvm::Error::success(); }

private:
  /// Ends the process unless the range lies in one buffer.
  void check(DevicePtr address, uint64_t bytes) const {
    auto after = all.upper_bound(uintptr_t(address));
    if (after == all.begin())
      std::abort();
    auto [start, size] = *std::prev(after);
    uint64_t offset = uintptr_t(address) - start;
    if (offset > size || bytes > size - offset)
      std::abort();
  }

  const std::map<uintptr_t, uint64_t> &all;
};

class FakeDevice final : public Device {
public:
  llvm::StringRef name() const override { return "fake"; }
  unsigned parallelism() const override { return 1; }
  llvm::Error supports(const plan::Variant &) const override {
    return llvm::Error::success();
  }
  llvm::Expected<std::unique_ptr<Buffer>> allocate(uint64_t bytes) override {
    if (bytes > kMaxBytes)
      return error() << "cannot allocate " << bytes << " bytes";
    auto *memory = static_cast<uint8_t *>(std::calloc(bytes + 1, 1));
    return std::make_unique<FakeBuffer>(memory, bytes, all);
  }
  llvm::Expected<std::unique_ptr<Stream>> createStream() override {
    return std::make_unique<FakeStream>(all);
  }
  llvm::Expected<std::unique_ptr<Event>> createEvent() override {
    return error() << "no events";
  }
  llvm::Expected<std::unique_ptr<Executable>>
  load(const plan::Variant &) override {
    return std::make_unique<Executable>();
  }
  llvm::Expected<std::unique_ptr<Buffer>>
  loadWeight(const WeightLayout &,
             llvm::ArrayRef<HostTensor> weights) override {
    return allocate(weights[0].bytes.size());
  }

private:
  std::map<uintptr_t, uint64_t> all;
};

/// Zeros in the size that the plan states.
class FakeWeights final : public WeightProvider {
public:
  llvm::Expected<HostTensor> get(const runtime::Plan &plan,
                                 unsigned index) override {
    const plan::TensorType &type = *plan->weights()->Get(index)->type();
    std::optional<uint64_t> bytes = bytesOf(type, {});
    if (!bytes || *bytes > kMaxBytes)
      return error() << "a weight is too large";
    auto owned = std::make_shared<std::vector<uint8_t>>(*bytes);
    return HostTensor{*owned, ElementType(type.element()), {}, owned};
  }
  llvm::Expected<HostBytes> getPacked(const runtime::Plan &,
                                      const plan::PackedRange &range) override {
    if (range.bytes() > kMaxBytes)
      return error() << "a weight is too large";
    auto owned = std::make_shared<std::vector<uint8_t>>(range.bytes());
    return HostBytes{*owned, owned};
  }
};

void runPrograms(Executor &executor, llvm::ArrayRef<int64_t> symbols) {
  const runtime::Plan &plan = executor.plan();
  unsigned signatures = plan->signatures() ? plan->signatures()->size() : 0;
  for (unsigned s = 0; s < signatures; ++s) {
    const plan::Signature &signature = *plan->signatures()->Get(s);
    std::vector<std::vector<uint8_t>> storage;
    bool fits = true;
    auto add = [&](const auto *values) {
      for (unsigned i = 0; values && i < values->size(); ++i) {
        std::optional<uint64_t> bytes =
            bytesOf(*values->Get(i)->type(), symbols);
        fits &= bytes && *bytes <= kMaxBytes;
        storage.emplace_back(fits ? *bytes : 0);
      }
      return storage.size();
    };
    size_t inputCount = add(signature.inputs());
    add(signature.outputs());
    std::vector<llvm::ArrayRef<uint8_t>> inputs(
        storage.begin(), storage.begin() + long(inputCount));
    std::vector<llvm::MutableArrayRef<uint8_t>> outputs(
        storage.begin() + long(inputCount), storage.end());
    if (fits)
      ignore(executor.run({s, symbols, inputs, outputs}));
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto plan = runtime::Plan::fromBytes({data, data + size}, "fuzz.moep");
  if (!plan) {
    ignore(plan.takeError());
    return 0;
  }
  auto device = std::make_shared<FakeDevice>();
  FakeWeights weights;
  const plan::Plan &root = (*plan)->root();
  for (unsigned v = 0; root.variants() && v < root.variants()->size(); ++v) {
    auto loaded = LoadedPlan::load(*plan, device, v, weights);
    if (!loaded) {
      ignore(loaded.takeError());
      continue;
    }
    // Small values, the largest, and none.
    for (int64_t value : {int64_t(1), int64_t(3), INT64_MAX, int64_t(0)}) {
      std::vector<int64_t> symbols;
      for (int64_t maximum : (*plan)->symbolMaxima())
        symbols.push_back(std::min(maximum, value));
      auto executor = Executor::create(*loaded, symbols);
      if (!executor) {
        ignore(executor.takeError());
        continue;
      }
      (*executor)->setCheckNan(true);
      runPrograms(**executor, symbols);
    }
  }
  return 0;
}
