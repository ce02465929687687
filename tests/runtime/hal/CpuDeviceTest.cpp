#include "runtime/cpu/CpuDevice.h"

#include "tests/runtime/hal/DeviceConformance.h"

using namespace moec;
using namespace moec::runtime;

namespace {

llvm::Expected<std::shared_ptr<Device>> makeCpu(unsigned threads) {
  CpuOptions options;
  options.threads = threads;
  options.pinThreads = false;
  options.jitLibrary = MOEC_TEST_JIT;
  options.cache = CacheOptions{CacheMode::off, ""};
  MOEC_ASSIGN(std::shared_ptr<Device> device, CpuDevice::create(options));
  return device;
}

INSTANTIATE_TEST_SUITE_P(
    Cpu, DeviceConformance,
    testing::Values(
        DeviceCase{"one_thread", [] { return makeCpu(1); }, toy::makePlan},
        DeviceCase{"three_threads", [] { return makeCpu(3); }, toy::makePlan}),
    [](const auto &info) { return info.param.name; });

TEST(CpuDevice, RefusesAbsurdOptions) {
  CpuOptions options;
  options.threads = 5000;
  auto device = CpuDevice::create(options);
  ASSERT_FALSE(bool(device));
  EXPECT_EQ(toText(device.takeError()),
            "error: expects at most 1024 threads, got 5000");
}

/// A device that has nothing of its own for weights that are packed already.
class CopyingDevice final : public Device {
public:
  explicit CopyingDevice(std::shared_ptr<Device> cpu) : cpu(std::move(cpu)) {}
  llvm::StringRef name() const override { return "copying"; }
  unsigned parallelism() const override { return cpu->parallelism(); }
  llvm::Error supports(const plan::Variant &variant) const override {
    return cpu->supports(variant);
  }
  llvm::Expected<std::unique_ptr<Buffer>> allocate(uint64_t bytes) override {
    return cpu->allocate(bytes);
  }
  llvm::Expected<std::unique_ptr<Stream>> createStream() override {
    return cpu->createStream();
  }
  llvm::Expected<std::unique_ptr<Event>> createEvent() override {
    return cpu->createEvent();
  }
  llvm::Expected<std::unique_ptr<Executable>>
  load(const plan::Variant &variant) override {
    return cpu->load(variant);
  }
  llvm::Expected<std::unique_ptr<Buffer>>
  loadWeight(const WeightLayout &layout,
             llvm::ArrayRef<HostTensor> weights) override {
    return cpu->loadWeight(layout, weights);
  }

private:
  std::shared_ptr<Device> cpu;
};

INSTANTIATE_TEST_SUITE_P(Defaults, DeviceConformance,
                         testing::Values(DeviceCase{
                             "copying",
                             []() -> llvm::Expected<std::shared_ptr<Device>> {
                               MOEC_ASSIGN(std::shared_ptr<Device> cpu,
                                           makeCpu(1));
                               return std::make_shared<CopyingDevice>(
                                   std::move(cpu));
                             },
                             toy::makePlan}),
                         [](const auto &info) { return info.param.name; });

} // namespace
