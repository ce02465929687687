#include "tests/tools/cudasim/driver/Fixture.h"

#include <cstdlib>
#include <cstring>
#include <numeric>

using namespace cudasim::test;

namespace {

class MemoryTest : public DriverTest {};

std::vector<unsigned> counting(size_t count) {
  std::vector<unsigned> values(count);
  std::iota(values.begin(), values.end(), 0u);
  return values;
}

TEST_F(MemoryTest, RoundTrip) {
  std::vector<unsigned> values = counting(1000);
  CUdeviceptr a = words(1000);
  CUdeviceptr b = words(1000);
  OK(cuMemcpyHtoD(a, values.data(), 4000));
  OK(cuMemcpyDtoD(b, a, 4000));
  EXPECT_EQ(read(b, 1000), values);
  OK(cuMemcpy(a, b + 400, 400));
  EXPECT_EQ(readOne(a), 100u);
  OK(cuMemFree(a));
  OK(cuMemFree(b));
  OK(cuMemFree(0));
}

TEST_F(MemoryTest, BadCopiesAreRefusedAtOnce) {
  CUdeviceptr a = words(16);
  unsigned host[16] = {};
  EXPECT_EQ(cuMemcpyHtoD(a + 4, host, 64), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemcpyDtoH(host, a - 4, 8), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemcpyHtoD(a, reinterpret_cast<void *>(a), 4),
            CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemcpyHtoD(a, nullptr, 4), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemcpyDtoD(a, reinterpret_cast<CUdeviceptr>(host), 4),
            CUDA_ERROR_INVALID_VALUE);
  OK(cuMemcpyHtoD(a, host, 0));
  OK(cuMemFree(a));
  EXPECT_EQ(cuMemcpyHtoD(a, host, 4), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemFree(a), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemFree(reinterpret_cast<CUdeviceptr>(host)),
            CUDA_ERROR_INVALID_VALUE);
  CUdeviceptr none = 0;
  EXPECT_EQ(cuMemAlloc(&none, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemAlloc(&none, size_t(1) << 50), CUDA_ERROR_OUT_OF_MEMORY);
}

TEST_F(MemoryTest, FreeMemoryIsCounted) {
  size_t before = 0;
  size_t total = 0;
  OK(cuMemGetInfo(&before, &total));
  CUdeviceptr a = 0;
  OK(cuMemAlloc(&a, 1 << 20));
  size_t after = 0;
  OK(cuMemGetInfo(&after, &total));
  EXPECT_LE(after + (1 << 20), before);
  OK(cuMemFree(a));
}

TEST_F(MemoryTest, Fills) {
  CUdeviceptr a = words(8, 0x01020304);
  OK(cuMemsetD8(a, 0xff, 3));
  OK(cuMemsetD16(a + 4, 0xabcd, 2));
  EXPECT_EQ(read(a, 3),
            (std::vector<unsigned>{0x01ffffff, 0xabcdabcd, 0x01020304}));
  OK(cuMemsetD2D32(a, 16, 7, 2, 2));
  EXPECT_EQ(read(a, 8), (std::vector<unsigned>{7, 7, 0x01020304, 0x01020304, 7,
                                               7, 0x01020304, 0x01020304}));
  EXPECT_EQ(cuMemsetD16(a + 1, 0, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemsetD32(a + 2, 0, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemsetD32(a, 0, 9), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemsetD2D8(a, 4, 0, 8, 2), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(MemoryTest, PlanesAndVolumes) {
  CUdeviceptr address = 0;
  size_t pitch = 0;
  OK(cuMemAllocPitch(&address, &pitch, 20, 4, 4));
  EXPECT_GE(pitch, 20u);
  EXPECT_EQ(pitch % 512, 0u);
  std::vector<unsigned> values = counting(20);
  CUDA_MEMCPY2D in = {};
  in.srcMemoryType = CU_MEMORYTYPE_HOST;
  in.srcHost = values.data();
  in.srcPitch = 20;
  in.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  in.dstDevice = address;
  in.dstPitch = pitch;
  in.WidthInBytes = 20;
  in.Height = 4;
  OK(cuMemcpy2D(&in));
  EXPECT_EQ(readOne(address + 3 * pitch + 4), 16u);

  // Columns 1 and 2 of rows 1 to 3.
  unsigned part[6] = {};
  CUDA_MEMCPY2D out = {};
  out.srcMemoryType = CU_MEMORYTYPE_DEVICE;
  out.srcDevice = address;
  out.srcPitch = pitch;
  out.srcXInBytes = 4;
  out.srcY = 1;
  out.dstMemoryType = CU_MEMORYTYPE_HOST;
  out.dstHost = part;
  out.dstPitch = 8;
  out.WidthInBytes = 8;
  out.Height = 3;
  OK(cuMemcpy2D(&out));
  EXPECT_EQ(std::vector<unsigned>(part, part + 6),
            (std::vector<unsigned>{6, 7, 11, 12, 16, 17}));
  out.dstPitch = 4;
  EXPECT_EQ(cuMemcpy2D(&out), CUDA_ERROR_INVALID_VALUE);
  out.dstPitch = 8;
  out.Height = 400;
  EXPECT_EQ(cuMemcpy2D(&out), CUDA_ERROR_INVALID_VALUE);
  out.srcMemoryType = CU_MEMORYTYPE_ARRAY;
  EXPECT_EQ(cuMemcpy2D(&out), CUDA_ERROR_NOT_SUPPORTED);

  // Two slices of two rows.
  CUdeviceptr volume = words(16);
  CUDA_MEMCPY3D slices = {};
  slices.srcMemoryType = CU_MEMORYTYPE_HOST;
  slices.srcHost = values.data();
  slices.srcPitch = 8;
  slices.srcHeight = 2;
  slices.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  slices.dstDevice = volume;
  slices.dstPitch = 16;
  slices.dstHeight = 2;
  slices.WidthInBytes = 8;
  slices.Height = 2;
  slices.Depth = 2;
  OK(cuMemcpy3D(&slices));
  EXPECT_EQ(read(volume, 16), (std::vector<unsigned>{0, 1, 0, 0, 2, 3, 0, 0, 4,
                                                     5, 0, 0, 6, 7, 0, 0}));
  slices.dstHeight = 1;
  EXPECT_EQ(cuMemcpy3D(&slices), CUDA_ERROR_INVALID_VALUE);
}

// What the host may do with its bytes, and when, is as documented.
TEST_F(MemoryTest, PageableBytesAreTakenAtTheCall) {
  CUdeviceptr a = words(4);
  OK(cuCtxSynchronize());
  CUstream s = stream();
  unsigned value = 5;
  OK(cuMemcpyHtoDAsync(a, &value, 4, s));
  value = 6;
  OK(cuStreamSynchronize(s));
  EXPECT_EQ(readOne(a), 5u);
  unsigned back = 0;
  OK(cuMemcpyDtoHAsync(&back, a, 4, s));
  EXPECT_EQ(back, 5u);
}

TEST_F(MemoryTest, PinnedBytesAreTakenWhenTheStreamComesToThem) {
  CUdeviceptr a = words(4);
  OK(cuCtxSynchronize());
  CUstream s = stream();
  void *pinned = nullptr;
  OK(cuMemAllocHost(&pinned, 4));
  auto *value = static_cast<unsigned *>(pinned);
  *value = 5;
  OK(cuMemcpyHtoDAsync(a, pinned, 4, s));
  *value = 6;
  OK(cuStreamSynchronize(s));
  // The program has a race, and which value wins depends on the seed; with
  // the first it is always the later one.
  const char *options = getenv("MOEC_CUDASIM");
  if (!options || strstr(options, "seed=0"))
    EXPECT_EQ(readOne(a), 6u);
  OK(cuMemFreeHost(pinned));
  EXPECT_EQ(cuMemFreeHost(pinned), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(MemoryTest, KernelsSeePinnedRegisteredAndManagedMemory) {
  void *pinned = nullptr;
  OK(cuMemHostAlloc(&pinned, 256, CU_MEMHOSTALLOC_DEVICEMAP));
  CUdeviceptr view = 0;
  OK(cuMemHostGetDevicePointer(&view, pinned, 0));
  OK(fill(nullptr, view, 3, 64));
  OK(cuCtxSynchronize());
  EXPECT_EQ(static_cast<unsigned *>(pinned)[63], 3u);

  std::vector<unsigned> own(64);
  OK(cuMemHostRegister(own.data(), 256, 0));
  EXPECT_EQ(cuMemHostRegister(own.data(), 256, 0),
            CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  OK(fill(nullptr, reinterpret_cast<CUdeviceptr>(own.data()), 4, 64));
  OK(cuMemHostUnregister(own.data()));
  EXPECT_EQ(own[63], 4u);
  EXPECT_EQ(cuMemHostUnregister(own.data()),
            CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);

  CUdeviceptr managed = 0;
  OK(cuMemAllocManaged(&managed, 256, CU_MEM_ATTACH_GLOBAL));
  OK(cuMemPrefetchAsync(
      managed, 256, CUmemLocation{CU_MEM_LOCATION_TYPE_DEVICE, 0}, 0, nullptr));
  OK(fill(nullptr, managed, 8, 64));
  OK(cuCtxSynchronize());
  EXPECT_EQ(reinterpret_cast<unsigned *>(managed)[1], 8u);
  OK(cuMemFree(managed));
  OK(cuMemFreeHost(pinned));
}

TEST_F(MemoryTest, Pointers) {
  CUdeviceptr a = words(64);
  void *pinned = nullptr;
  OK(cuMemAllocHost(&pinned, 64));
  auto host = reinterpret_cast<CUdeviceptr>(pinned);
  unsigned type = 0;
  OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, a + 8));
  EXPECT_EQ(type, unsigned(CU_MEMORYTYPE_DEVICE));
  OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, host));
  EXPECT_EQ(type, unsigned(CU_MEMORYTYPE_HOST));
  CUcontext owner = nullptr;
  OK(cuPointerGetAttribute(&owner, CU_POINTER_ATTRIBUTE_CONTEXT, a));
  EXPECT_EQ(owner, ctx);
  CUdeviceptr start = 0;
  size_t size = 0;
  OK(cuMemGetAddressRange(&start, &size, a + 100));
  EXPECT_EQ(start, a);
  EXPECT_EQ(size, 256u);
  unsigned word = 0;
  EXPECT_EQ(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                  reinterpret_cast<CUdeviceptr>(&word)),
            CUDA_ERROR_INVALID_VALUE);
  // Asking for several is lenient about foreign pointers.
  CUpointer_attribute wanted[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                  CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
  int ordinal = 0;
  type = 99;
  void *outs[] = {&type, &ordinal};
  OK(cuPointerGetAttributes(2, wanted, outs,
                            reinterpret_cast<CUdeviceptr>(&word)));
  EXPECT_EQ(type, 0u);
  EXPECT_EQ(ordinal, -2);
}

//===--- pools --------------------------------------------------------------//

TEST_F(MemoryTest, StreamOrderedAllocation) {
  CUstream s = stream();
  CUdeviceptr a = 0;
  OK(cuMemAllocAsync(&a, 256, s));
  OK(fill(s, a, 11, 64));
  unsigned back = 0;
  OK(cuMemcpyDtoHAsync(&back, a, 4, s));
  EXPECT_EQ(back, 11u);
  CUmemoryPool pool = nullptr;
  OK(cuDeviceGetDefaultMemPool(&pool, 0));
  cuuint64_t used = 0;
  OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
  EXPECT_EQ(used, 256u);
  OK(cuMemFreeAsync(a, s));
  EXPECT_EQ(cuMemFreeAsync(a, s), CUDA_ERROR_INVALID_VALUE);
  OK(cuStreamSynchronize(s));
  OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
  EXPECT_EQ(used, 0u);
  OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &used));
  EXPECT_GE(used, 256u);
  EXPECT_EQ(cuMemcpyDtoH(&back, a, 4), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(MemoryTest, UseAfterAStreamOrderedFreeIsCaught) {
  CUstream s = stream();
  CUdeviceptr a = 0;
  OK(cuMemAllocAsync(&a, 256, s));
  OK(cuMemFreeAsync(a, s));
  testing::internal::CaptureStderr();
  CUresult launched = fill(s, a, 1, 64);
  CUresult synced = cuStreamSynchronize(s);
  EXPECT_EQ(launched, CUDA_SUCCESS);
  EXPECT_EQ(synced, CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("free"),
            std::string::npos);
}

TEST_F(MemoryTest, PoolsOfTheProgram) {
  CUmemPoolProps props = {};
  props.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  props.location = {CU_MEM_LOCATION_TYPE_DEVICE, 1};
  props.maxSize = 1024;
  CUmemoryPool pool = nullptr;
  OK(cuMemPoolCreate(&pool, &props));
  CUstream s = stream();
  CUdeviceptr a = 0;
  OK(cuMemAllocFromPoolAsync(&a, 1000, pool, s));
  CUdeviceptr b = 0;
  EXPECT_EQ(cuMemAllocFromPoolAsync(&b, 1000, pool, s),
            CUDA_ERROR_OUT_OF_MEMORY);
  int ordinal = -1;
  OK(cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, a));
  EXPECT_EQ(ordinal, 1);
  // Device 0 reaches it once it may.
  CUmemAccessDesc access = {{CU_MEM_LOCATION_TYPE_DEVICE, 0},
                            CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  OK(cuMemPoolSetAccess(pool, &access, 1));
  OK(fill(s, a, 2, 64));
  OK(cuStreamSynchronize(s));
  EXPECT_EQ(readOne(a), 2u);
  OK(cuDeviceSetMemPool(1, pool));
  EXPECT_EQ(cuDeviceSetMemPool(0, pool), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemFreeAsync(a, s));
  OK(cuStreamSynchronize(s));
  OK(cuMemPoolDestroy(pool));
  EXPECT_EQ(cuMemPoolDestroy(pool), CUDA_ERROR_INVALID_VALUE);
  CUmemoryPool now = nullptr;
  CUmemoryPool initial = nullptr;
  OK(cuDeviceGetMemPool(&now, 1));
  OK(cuDeviceGetDefaultMemPool(&initial, 1));
  EXPECT_EQ(now, initial);
  EXPECT_EQ(cuMemPoolDestroy(initial), CUDA_ERROR_INVALID_VALUE);
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
  OK(cuMemPoolSetAccess(initial, &access, 1));
}

} // namespace
