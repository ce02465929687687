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

} // namespace
