//===- Fixture.h - a context and the test kernels -------------------------===//
#pragma once

#include "tests/tools/cudasim/driver/Kernels.h"
#include "gtest/gtest.h"

#include <cuda.h>

#include <vector>

/// For readable failures: CUDA_ERROR_INVALID_VALUE, not 1.
inline void PrintTo(CUresult status, std::ostream *os) {
  const char *name = nullptr;
  cuGetErrorName(status, &name);
  *os << (name ? name : "unknown") << " (" << int(status) << ")";
}

#define OK(CALL) ASSERT_EQ(CALL, CUDA_SUCCESS)

namespace cudasim::test {

/// The primary context of device 0 is current, and fresh for each test.
class DriverTest : public testing::Test {
protected:
  void SetUp() override {
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxReset(0));
    OK(cuDevicePrimaryCtxRetain(&ctx, 0));
    OK(cuCtxSetCurrent(ctx));
  }
  void TearDown() override {
    cuCtxSetCurrent(nullptr);
    int devices = 0;
    cuDeviceGetCount(&devices);
    for (int i = 0; i != devices; ++i)
      cuDevicePrimaryCtxReset(i);
  }

  CUfunction function(const char *name) {
    if (!module)
      EXPECT_EQ(cuModuleLoadData(&module, kKernels), CUDA_SUCCESS);
    CUfunction found = nullptr;
    EXPECT_EQ(cuModuleGetFunction(&found, module, name), CUDA_SUCCESS);
    return found;
  }

  /// Words of device memory, each `value`.
  CUdeviceptr words(size_t count, unsigned value = 0) {
    CUdeviceptr address = 0;
    EXPECT_EQ(cuMemAlloc(&address, count * 4), CUDA_SUCCESS);
    EXPECT_EQ(cuMemsetD32(address, value, count), CUDA_SUCCESS);
    return address;
  }
  std::vector<unsigned> read(CUdeviceptr address, size_t count) {
    std::vector<unsigned> values(count, 0xdeadbeef);
    EXPECT_EQ(cuMemcpyDtoH(values.data(), address, count * 4), CUDA_SUCCESS);
    return values;
  }
  unsigned readOne(CUdeviceptr address) { return read(address, 1)[0]; }

  CUresult fill(CUstream stream, CUdeviceptr address, unsigned value,
                unsigned count) {
    void *params[] = {&address, &value, &count};
    return cuLaunchKernel(function("fill"), (count + 63) / 64, 1, 1, 64, 1, 1,
                          0, stream, params, nullptr);
  }
  /// p = p * times + plus
  CUresult step(CUstream stream, CUdeviceptr address, unsigned times,
                unsigned plus, unsigned count = 1) {
    void *params[] = {&address, &times, &plus, &count};
    return cuLaunchKernel(function("step"), (count + 63) / 64, 1, 1, 64, 1, 1,
                          0, stream, params, nullptr);
  }
  CUstream stream(unsigned flags = CU_STREAM_NON_BLOCKING) {
    CUstream made = nullptr;
    EXPECT_EQ(cuStreamCreate(&made, flags), CUDA_SUCCESS);
    return made;
  }
  CUevent event(unsigned flags = 0) {
    CUevent made = nullptr;
    EXPECT_EQ(cuEventCreate(&made, flags), CUDA_SUCCESS);
    return made;
  }

  CUcontext ctx = nullptr;
  CUmodule module = nullptr;
};

} // namespace cudasim::test
