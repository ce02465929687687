#include "tests/tools/cudasim/driver/Fixture.h"

#include <cstring>
#include <set>
#include <string>

using namespace cudasim::test;

namespace {

class DeviceTest : public DriverTest {};

int attribute(CUdevice_attribute which, int device = 0) {
  int value = -1;
  EXPECT_EQ(cuDeviceGetAttribute(&value, which, device), CUDA_SUCCESS);
  return value;
}

TEST_F(DeviceTest, SeveralDevicesOfRealParts) {
  int count = 0;
  OK(cuDeviceGetCount(&count));
  ASSERT_EQ(count, 4);
  char name[64];
  OK(cuDeviceGetName(name, sizeof name, 0));
  EXPECT_STREQ(name, "NVIDIA H100 80GB HBM3 (simulated)");
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR), 9);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR), 0);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT), 132);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE), 32);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK), 49152);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN),
            232448);
  // What is not simulated is absent.
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH), 0);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED), 0);
  size_t bytes = 0;
  OK(cuDeviceTotalMem(&bytes, 0));
  EXPECT_GT(bytes, size_t(70) << 30);
}

TEST_F(DeviceTest, NamesAreCutToTheRoom) {
  char name[8] = "xxxxxxx";
  OK(cuDeviceGetName(name, sizeof name, 0));
  EXPECT_STREQ(name, "NVIDIA ");
}

TEST_F(DeviceTest, IdentifiersDiffer) {
  std::set<std::string> uuids;
  std::set<std::string> buses;
  for (int i = 0; i != 4; ++i) {
    CUuuid uuid;
    OK(cuDeviceGetUuid(&uuid, i));
    uuids.insert(std::string(uuid.bytes, sizeof uuid.bytes));
    char bus[16];
    OK(cuDeviceGetPCIBusId(bus, sizeof bus, i));
    buses.insert(bus);
    CUdevice back = -1;
    OK(cuDeviceGetByPCIBusId(&back, bus));
    EXPECT_EQ(back, i);
  }
  EXPECT_EQ(uuids.size(), 4u);
  EXPECT_EQ(buses.size(), 4u);
}

TEST_F(DeviceTest, BadArguments) {
  int value = 0;
  EXPECT_EQ(cuDeviceGet(&value, 4), CUDA_ERROR_INVALID_DEVICE);
  EXPECT_EQ(cuDeviceGet(&value, -1), CUDA_ERROR_INVALID_DEVICE);
  EXPECT_EQ(cuDeviceGetAttribute(&value, CUdevice_attribute(0), 0),
            CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuDeviceGetAttribute(&value, CUdevice_attribute(100000), 0),
            CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuDeviceGetCount(nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuInit(1), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(DeviceTest, VersionAndErrorTexts) {
  int version = 0;
  OK(cuDriverGetVersion(&version));
  EXPECT_EQ(version, CUDA_VERSION);
  const char *text = nullptr;
  OK(cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
  EXPECT_STREQ(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
  OK(cuGetErrorString(CUDA_ERROR_OUT_OF_MEMORY, &text));
  EXPECT_STREQ(text, "out of memory");
  EXPECT_EQ(cuGetErrorName(CUresult(12345), &text), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(text, nullptr);
}

//===--- contexts -----------------------------------------------------------//

TEST_F(DeviceTest, ContextsStack) {
  CUcontext made = nullptr;
  OK(cuCtxCreate(&made, nullptr, 0, 1));
  CUcontext now = nullptr;
  OK(cuCtxGetCurrent(&now));
  EXPECT_EQ(now, made);
  CUdevice device = -1;
  OK(cuCtxGetDevice(&device));
  EXPECT_EQ(device, 1);
  CUcontext popped = nullptr;
  OK(cuCtxPopCurrent(&popped));
  EXPECT_EQ(popped, made);
  OK(cuCtxGetCurrent(&now));
  EXPECT_EQ(now, ctx);
  OK(cuCtxPushCurrent(made));
  OK(cuCtxDestroy(made));
  OK(cuCtxGetCurrent(&now));
  EXPECT_EQ(now, ctx);
  EXPECT_EQ(cuCtxSetCurrent(made), CUDA_ERROR_CONTEXT_IS_DESTROYED);
  EXPECT_EQ(cuCtxDestroy(made), CUDA_ERROR_CONTEXT_IS_DESTROYED);
  EXPECT_EQ(cuCtxDestroy(ctx), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_EQ(cuCtxDestroy(nullptr), CUDA_ERROR_INVALID_CONTEXT);
  int word = 0;
  EXPECT_EQ(cuCtxSetCurrent(reinterpret_cast<CUcontext>(&word)),
            CUDA_ERROR_INVALID_CONTEXT);
}

TEST_F(DeviceTest, NothingWorksWithoutAContext) {
  OK(cuCtxSetCurrent(nullptr));
  CUdeviceptr address = 0;
  EXPECT_EQ(cuMemAlloc(&address, 4), CUDA_ERROR_INVALID_CONTEXT);
  CUcontext popped = nullptr;
  EXPECT_EQ(cuCtxPopCurrent(&popped), CUDA_ERROR_INVALID_CONTEXT);
}

TEST_F(DeviceTest, PrimaryContextsAreCounted) {
  CUcontext again = nullptr;
  OK(cuDevicePrimaryCtxRetain(&again, 0));
  EXPECT_EQ(again, ctx);
  unsigned flags = 0;
  int active = 0;
  OK(cuDevicePrimaryCtxGetState(0, &flags, &active));
  EXPECT_EQ(active, 1);
  OK(cuDevicePrimaryCtxRelease(0));
  CUdeviceptr address = words(4);
  OK(cuDevicePrimaryCtxRelease(0));
  OK(cuDevicePrimaryCtxGetState(0, &flags, &active));
  EXPECT_EQ(active, 0);
  EXPECT_EQ(cuMemFree(address), CUDA_ERROR_CONTEXT_IS_DESTROYED);
  EXPECT_EQ(cuDevicePrimaryCtxRelease(0), CUDA_ERROR_INVALID_CONTEXT);
  OK(cuDevicePrimaryCtxRetain(&again, 0));
  EXPECT_EQ(again, ctx);
  // The memory went with the context.
  EXPECT_EQ(cuMemFree(address), CUDA_ERROR_INVALID_VALUE);
  OK(cuDevicePrimaryCtxSetFlags(0, CU_CTX_SCHED_SPIN));
  OK(cuDevicePrimaryCtxGetState(0, &flags, &active));
  EXPECT_EQ(flags, unsigned(CU_CTX_SCHED_SPIN));
  EXPECT_EQ(cuDevicePrimaryCtxSetFlags(0, 0x1000), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(DeviceTest, LimitsArePartOfTheContext) {
  size_t value = 0;
  OK(cuCtxGetLimit(&value, CU_LIMIT_STACK_SIZE));
  EXPECT_EQ(value, 1024u);
  OK(cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 4096));
  OK(cuCtxGetLimit(&value, CU_LIMIT_STACK_SIZE));
  EXPECT_EQ(value, 4096u);
  EXPECT_EQ(cuCtxGetLimit(&value, CU_LIMIT_MAX), CUDA_ERROR_UNSUPPORTED_LIMIT);
  int least = 1;
  int greatest = 1;
  OK(cuCtxGetStreamPriorityRange(&least, &greatest));
  EXPECT_EQ(least, 0);
  EXPECT_LT(greatest, least);
}

//===--- peers --------------------------------------------------------------//

TEST_F(DeviceTest, PeerMemoryNeedsPermission) {
  int can = 0;
  OK(cuDeviceCanAccessPeer(&can, 0, 1));
  EXPECT_EQ(can, 1);
  OK(cuDeviceCanAccessPeer(&can, 1, 1));
  EXPECT_EQ(can, 0);
  CUcontext peer = nullptr;
  OK(cuDevicePrimaryCtxRetain(&peer, 1));
  OK(cuCtxPushCurrent(peer));
  CUdeviceptr far = words(64);
  CUcontext popped = nullptr;
  OK(cuCtxPopCurrent(&popped));

  OK(cuCtxEnablePeerAccess(peer, 0));
  EXPECT_EQ(cuCtxEnablePeerAccess(peer, 0),
            CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
  EXPECT_EQ(cuCtxEnablePeerAccess(ctx, 0), CUDA_ERROR_INVALID_CONTEXT);
  OK(fill(nullptr, far, 5, 64));
  OK(cuCtxSynchronize());
  EXPECT_EQ(read(far, 64), std::vector<unsigned>(64, 5));

  OK(cuCtxDisablePeerAccess(peer));
  EXPECT_EQ(cuCtxDisablePeerAccess(peer), CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
  testing::internal::CaptureStderr();
  OK(fill(nullptr, far, 6, 64));
  EXPECT_EQ(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("fill"),
            std::string::npos);
}

TEST_F(DeviceTest, CopiesBetweenDevicesNeedNone) {
  CUcontext peer = nullptr;
  OK(cuDevicePrimaryCtxRetain(&peer, 2));
  CUdeviceptr near = words(16, 9);
  OK(cuCtxPushCurrent(peer));
  CUdeviceptr far = words(16, 0);
  CUcontext popped = nullptr;
  OK(cuCtxPopCurrent(&popped));
  OK(cuMemcpyPeer(far, peer, near, ctx, 64));
  EXPECT_EQ(read(far, 16), std::vector<unsigned>(16, 9));
  // The contexts must be those of the addresses.
  EXPECT_EQ(cuMemcpyPeer(far, ctx, near, peer, 64), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemsetD32(near, 1, 16));
  OK(cuMemcpyDtoD(far, near, 64));
  EXPECT_EQ(readOne(far), 1u);
}

//===--- entry points -------------------------------------------------------//

TEST_F(DeviceTest, EntryPointsByName) {
  void *address = nullptr;
  CUdriverProcAddressQueryResult found;
  OK(cuGetProcAddress("cuMemAlloc", &address, 12000,
                      CU_GET_PROC_ADDRESS_DEFAULT, &found));
  EXPECT_EQ(found, CU_GET_PROC_ADDRESS_SUCCESS);
  EXPECT_EQ(address, reinterpret_cast<void *>(&cuMemAlloc));
  // The form that the asked version has.
  void *newest = nullptr;
  void *older = nullptr;
  OK(cuGetProcAddress("cuCtxCreate", &newest, 13000, 0, &found));
  OK(cuGetProcAddress("cuCtxCreate", &older, 11040, 0, &found));
  EXPECT_EQ(newest, reinterpret_cast<void *>(&cuCtxCreate));
  EXPECT_NE(newest, older);
  OK(cuGetProcAddress("cuCtxCreate_v3", &address, 13000, 0, &found));
  EXPECT_EQ(address, older);
  void *legacy = nullptr;
  void *own = nullptr;
  OK(cuGetProcAddress("cuLaunchKernel", &legacy, 12000,
                      CU_GET_PROC_ADDRESS_LEGACY_STREAM, &found));
  OK(cuGetProcAddress("cuLaunchKernel", &own, 12000,
                      CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &found));
  EXPECT_NE(legacy, own);
  OK(cuGetProcAddress("cuMemAlloc", &address, 12000,
                      CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &found));
  EXPECT_EQ(address, reinterpret_cast<void *>(&cuMemAlloc));
  OK(cuGetProcAddress("cuLibraryLoadData", &address, 11000, 0, &found));
  EXPECT_EQ(address, nullptr);
  EXPECT_EQ(found, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
  OK(cuGetProcAddress("cuMakeCoffee", &address, 12000, 0, &found));
  EXPECT_EQ(address, nullptr);
  EXPECT_EQ(found, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  EXPECT_EQ(
      cuGetProcAddress("cuInit", &address, CUDA_VERSION + 1000, 0, &found),
      CUDA_ERROR_INVALID_VALUE);
}

TEST_F(DeviceTest, WhatIsNotSimulatedSaysSo) {
  testing::internal::CaptureStderr();
  CUarray array = nullptr;
  CUDA_ARRAY_DESCRIPTOR desc = {16, 16, CU_AD_FORMAT_FLOAT, 1};
  EXPECT_EQ(cuArrayCreate(&array, &desc), CUDA_ERROR_NOT_SUPPORTED);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "cudasim: cuArrayCreate_v2 is not simulated\n");
}

} // namespace
