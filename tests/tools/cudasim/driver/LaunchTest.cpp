#include "tests/tools/cudasim/driver/Fixture.h"

#include <cstring>
#include <string>

using namespace cudasim::test;

namespace {

class LaunchTest : public DriverTest {
protected:
  CUresult launch(CUfunction f, unsigned grid, unsigned block,
                  unsigned shared = 0, void **params = nullptr) {
    return cuLaunchKernel(f, grid, 1, 1, block, 1, 1, shared, nullptr, params,
                          nullptr);
  }
  /// Runs what must fault and answers with what was said.
  template <typename Launch>
  std::string faults(CUresult expected, Launch launch) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(launch(), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxSynchronize(), expected);
    return testing::internal::GetCapturedStderr();
  }
};

TEST_F(LaunchTest, ParametersInABuffer) {
  CUdeviceptr a = words(64);
  struct {
    CUdeviceptr p;
    unsigned v;
    unsigned n;
  } packed = {a, 9, 64};
  size_t bytes = sizeof packed;
  void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed,
                   CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
  CUfunction f = function("fill");
  OK(cuLaunchKernel(f, 1, 1, 1, 64, 1, 1, 0, nullptr, nullptr, extra));
  EXPECT_EQ(readOne(a), 9u);
  bytes = 12;
  EXPECT_EQ(cuLaunchKernel(f, 1, 1, 1, 64, 1, 1, 0, nullptr, nullptr, extra),
            CUDA_ERROR_INVALID_VALUE);
  void *params[] = {&packed.p, &packed.v, &packed.n};
  bytes = sizeof packed;
  EXPECT_EQ(cuLaunchKernel(f, 1, 1, 1, 64, 1, 1, 0, nullptr, params, extra),
            CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuLaunchKernel(f, 1, 1, 1, 64, 1, 1, 0, nullptr, nullptr, nullptr),
            CUDA_ERROR_INVALID_VALUE);
}

TEST_F(LaunchTest, ParametersAreReadAtTheCall) {
  CUdeviceptr a = words(64);
  CUstream s = stream();
  OK(cuCtxSynchronize());
  unsigned value = 1;
  unsigned n = 64;
  void *params[] = {&a, &value, &n};
  OK(cuLaunchKernel(function("fill"), 1, 1, 1, 64, 1, 1, 0, s, params,
                    nullptr));
  value = 2;
  n = 0;
  OK(cuStreamSynchronize(s));
  EXPECT_EQ(readOne(a), 1u);
}

TEST_F(LaunchTest, ShapesBeyondTheLimits) {
  CUfunction f = function("stopped");
  EXPECT_EQ(launch(f, 0, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(launch(f, 1, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(launch(f, 1, 1025), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(launch(f, 1u << 31, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(
      cuLaunchKernel(f, 1, 65536, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr),
      CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(
      cuLaunchKernel(f, 1, 1, 65536, 1, 1, 1, 0, nullptr, nullptr, nullptr),
      CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuLaunchKernel(f, 1, 1, 1, 1, 1, 65, 0, nullptr, nullptr, nullptr),
            CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuLaunchKernel(f, 1, 1, 1, 32, 33, 1, 0, nullptr, nullptr, nullptr),
            CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(
      cuLaunchKernel(nullptr, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr),
      CUDA_ERROR_INVALID_HANDLE);
  // Nothing of this leaves an error behind.
  OK(cuCtxSynchronize());
}

TEST_F(LaunchTest, TheKernelsOwnLimits) {
  CUfunction small = function("small");
  OK(launch(small, 1, 64));
  EXPECT_EQ(launch(small, 1, 65), CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
  CUfunction exact = function("exact");
  OK(cuLaunchKernel(exact, 1, 1, 1, 32, 2, 1, 0, nullptr, nullptr, nullptr));
  EXPECT_NE(
      cuLaunchKernel(exact, 1, 1, 1, 64, 1, 1, 0, nullptr, nullptr, nullptr),
      CUDA_SUCCESS);
}

TEST_F(LaunchTest, SharedMemoryNeedsTheOptIn) {
  CUfunction f = function("shared");
  CUdeviceptr out = words(128);
  void *params[] = {&out};
  OK(launch(f, 1, 128, 47 * 1024, params));
  EXPECT_EQ(launch(f, 1, 128, 48 * 1024, params), CUDA_ERROR_INVALID_VALUE);
  OK(cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                        100 * 1024));
  OK(launch(f, 1, 128, 100 * 1024, params));
  EXPECT_EQ(read(out, 128)[127], 127u);
  EXPECT_EQ(launch(f, 1, 128, 101 * 1024, params), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuFuncSetAttribute(
                f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 227 * 1024),
            CUDA_ERROR_INVALID_VALUE);
  OK(cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                        226 * 1024));
}

TEST_F(LaunchTest, CooperativeGridsMustFit) {
  CUfunction f = function("small");
  OK(cuLaunchCooperativeKernel(f, 132, 1, 1, 64, 1, 1, 0, nullptr, nullptr));
  EXPECT_EQ(cuLaunchCooperativeKernel(f, 132 * 32 + 1, 1, 1, 64, 1, 1, 0,
                                      nullptr, nullptr),
            CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
  OK(cuCtxSynchronize());
}

TEST_F(LaunchTest, AttributesOfLaunches) {
  CUlaunchAttribute attribute = {};
  CUlaunchConfig config = {};
  config.gridDimX = config.gridDimY = config.gridDimZ = 1;
  config.blockDimX = 64;
  config.blockDimY = config.blockDimZ = 1;
  config.attrs = &attribute;
  config.numAttrs = 1;
  CUfunction f = function("small");
  attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  attribute.value.programmaticStreamSerializationAllowed = 1;
  OK(cuLaunchKernelEx(&config, f, nullptr, nullptr));
  attribute.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
  attribute.value.cooperative = 1;
  config.gridDimX = 132 * 32 + 1;
  EXPECT_EQ(cuLaunchKernelEx(&config, f, nullptr, nullptr),
            CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
  config.gridDimX = 2;
  attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
  attribute.value.clusterDim = {2, 1, 1};
  testing::internal::CaptureStderr();
  EXPECT_EQ(cuLaunchKernelEx(&config, f, nullptr, nullptr),
            CUDA_ERROR_NOT_SUPPORTED);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("clusters"),
            std::string::npos);
}

//===--- faults -------------------------------------------------------------//

TEST_F(LaunchTest, AFaultSticksUntilTheContextGoes) {
  CUdeviceptr a = words(64);
  OK(cuCtxSynchronize());
  CUstream s = stream();
  std::string said = faults(CUDA_ERROR_ILLEGAL_ADDRESS,
                            [&] { return fill(s, a, 1, 65 * 64); });
  EXPECT_NE(said.find("'fill'"), std::string::npos) << said;
  EXPECT_NE(said.find("st.global"), std::string::npos) << said;
  CUdeviceptr b = 0;
  EXPECT_EQ(cuMemAlloc(&b, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_EQ(cuStreamQuery(s), CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_EQ(cuMemFree(a), CUDA_ERROR_ILLEGAL_ADDRESS);
  unsigned word = 0;
  EXPECT_EQ(cuMemcpyDtoH(&word, a, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
  // What needs no context still works, and a reset heals.
  int count = 0;
  OK(cuDeviceGetCount(&count));
  OK(cuDevicePrimaryCtxReset(0));
  OK(cuDevicePrimaryCtxRetain(&ctx, 0));
  OK(cuCtxSetCurrent(ctx));
  module = nullptr;
  a = words(64);
  OK(fill(nullptr, a, 3, 64));
  EXPECT_EQ(readOne(a), 3u);
}

TEST_F(LaunchTest, OtherContextsGoOn) {
  CUcontext other = nullptr;
  OK(cuDevicePrimaryCtxRetain(&other, 1));
  faults(CUDA_ERROR_ILLEGAL_ADDRESS, [&] { return fill(nullptr, 4096, 1, 1); });
  OK(cuCtxSetCurrent(other));
  module = nullptr;
  CUdeviceptr a = words(64);
  OK(fill(nullptr, a, 3, 64));
  EXPECT_EQ(readOne(a), 3u);
}

TEST_F(LaunchTest, CodesOfFaults) {
  faults(CUDA_ERROR_LAUNCH_FAILED,
         [&] { return launch(function("stopped"), 1, 1); });
  OK(cuDevicePrimaryCtxReset(0));
  OK(cuDevicePrimaryCtxRetain(&ctx, 0));
  OK(cuCtxSetCurrent(ctx));
  module = nullptr;
  CUdeviceptr a = words(64);
  faults(CUDA_ERROR_MISALIGNED_ADDRESS,
         [&] { return fill(nullptr, a + 2, 1, 1); });
}

TEST_F(LaunchTest, HostPointersAreCaught) {
  unsigned word = 0;
  std::string said = faults(CUDA_ERROR_ILLEGAL_ADDRESS, [&] {
    return fill(nullptr, reinterpret_cast<CUdeviceptr>(&word), 1, 1);
  });
  EXPECT_NE(said.find("fill"), std::string::npos) << said;
}

//===--- occupancy ----------------------------------------------------------//

TEST_F(LaunchTest, Occupancy) {
  CUfunction f = function("small");
  int blocks = 0;
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 64, 0));
  EXPECT_EQ(blocks, 32);
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 128, 0));
  EXPECT_EQ(blocks, 0);
  CUfunction shared = function("shared");
  // 47 KiB and 1 KiB static, 1 KiB reserved, of 228 KiB.
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, shared, 128,
                                                 47 * 1024));
  EXPECT_EQ(blocks, 4);
  EXPECT_EQ(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 0, 0),
            CUDA_ERROR_INVALID_VALUE);
  int grid = 0;
  int threads = 0;
  OK(cuOccupancyMaxPotentialBlockSize(&grid, &threads, f, nullptr, 0, 0));
  EXPECT_EQ(threads, 64);
  EXPECT_EQ(grid, 32 * 132);
  size_t room = 0;
  OK(cuOccupancyAvailableDynamicSMemPerBlock(&room, shared, 4, 128));
  EXPECT_EQ(room, (228 / 4 - 1 - 1) * 1024u);
}

} // namespace
