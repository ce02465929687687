// Memory pools and stream-ordered allocation. The address is there at the
// call; the free happens when the stream comes to it, so a use in a stream
// that is not ordered before it is a use after free on some seed.
#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/DeviceCalls.h"
#include "tools/cudasim/driver/Graph.h"

#include <algorithm>
#include <cstring>

using namespace llvm;
using namespace cudasim::driver;

//===--- pools of devices ---------------------------------------------------//

template <typename Body>
static CUresult poolOfDevice(const char *name, CUdevice ordinal, Body &&body) {
  return inDriver(name, [&]() -> CUresult {
    Device *device = nullptr;
    if (CUresult bad = findDevice(ordinal, device))
      return bad;
    return body(*device);
  });
}

CUresult CUDAAPI cuDeviceGetDefaultMemPool(CUmemoryPool *out,
                                           CUdevice ordinal) {
  return poolOfDevice("cuDeviceGetDefaultMemPool", ordinal,
                      [&](Device &device) -> CUresult {
                        if (!out)
                          return CUDA_ERROR_INVALID_VALUE;
                        *out = device.defaultPool;
                        return CUDA_SUCCESS;
                      });
}

CUresult CUDAAPI cuDeviceGetMemPool(CUmemoryPool *out, CUdevice ordinal) {
  return poolOfDevice("cuDeviceGetMemPool", ordinal,
                      [&](Device &device) -> CUresult {
                        if (!out)
                          return CUDA_ERROR_INVALID_VALUE;
                        *out = device.currentPool;
                        return CUDA_SUCCESS;
                      });
}

CUresult CUDAAPI cuDeviceSetMemPool(CUdevice ordinal, CUmemoryPool pool) {
  return poolOfDevice(
      "cuDeviceSetMemPool", ordinal, [&](Device &device) -> CUresult {
        if (!driver().pools.has(pool) || pool->device != &device)
          return CUDA_ERROR_INVALID_VALUE;
        device.currentPool = pool;
        return CUDA_SUCCESS;
      });
}

CUresult CUDAAPI cuMemPoolCreate(CUmemoryPool *out,
                                 const CUmemPoolProps *props) {
  return inDriver("cuMemPoolCreate", [&]() -> CUresult {
    if (!out || !props || props->allocType != CU_MEM_ALLOCATION_TYPE_PINNED)
      return CUDA_ERROR_INVALID_VALUE;
    if (props->handleTypes != CU_MEM_HANDLE_TYPE_NONE ||
        props->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
      return refuse(CUDA_ERROR_NOT_SUPPORTED,
                    "only pools of device memory without handles are "
                    "simulated");
    Device *device = nullptr;
    if (CUresult bad = findDevice(props->location.id, device))
      return bad;
    auto pool = std::make_unique<CUmemPoolHandle_st>();
    pool->device = device;
    pool->maxSize = props->maxSize;
    *out = driver().pools.add(std::move(pool));
    return CUDA_SUCCESS;
  });
}

template <typename Body>
static CUresult onPool(const char *name, CUmemoryPool pool, Body &&body) {
  return inDriver(name, [&]() -> CUresult {
    if (!driver().pools.has(pool))
      return CUDA_ERROR_INVALID_VALUE;
    return body(*pool);
  });
}

// Allocations live on until they are freed; the device's current pool becomes
// the default one if it was this.
CUresult CUDAAPI cuMemPoolDestroy(CUmemoryPool handle) {
  return onPool("cuMemPoolDestroy", handle,
                [&](CUmemPoolHandle_st &pool) -> CUresult {
                  if (pool.isDefault)
                    return CUDA_ERROR_INVALID_VALUE;
                  if (pool.device->currentPool == handle)
                    pool.device->currentPool = pool.device->defaultPool;
                  for (auto &[address, held] : driver().holdings)
                    if (held.pool == handle)
                      held.pool = nullptr;
                  driver().pools.take(handle);
                  return CUDA_SUCCESS;
                });
}

CUresult CUDAAPI cuMemPoolTrimTo(CUmemoryPool handle, size_t keep) {
  return onPool("cuMemPoolTrimTo", handle,
                [&](CUmemPoolHandle_st &pool) -> CUresult {
                  if (pool.reserved > keep)
                    pool.reserved = std::max<uint64_t>(pool.used, keep);
                  return CUDA_SUCCESS;
                });
}

static uint64_t *wideAttribute(CUmemPoolHandle_st &pool,
                               CUmemPool_attribute attribute) {
  switch (attribute) {
  case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
    return &pool.releaseThreshold;
  case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
    return &pool.reserved;
  case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
    return &pool.reservedHigh;
  case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
    return &pool.used;
  case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
    return &pool.usedHigh;
  default:
    return nullptr;
  }
}

static int *reuseAttribute(CUmemPoolHandle_st &pool,
                           CUmemPool_attribute attribute) {
  int index = int(attribute) - CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES;
  return index >= 0 && index < 3 ? &pool.reuse[index] : nullptr;
}

CUresult CUDAAPI cuMemPoolGetAttribute(CUmemoryPool handle,
                                       CUmemPool_attribute attribute,
                                       void *value) {
  return onPool("cuMemPoolGetAttribute", handle,
                [&](CUmemPoolHandle_st &pool) -> CUresult {
                  if (!value)
                    return CUDA_ERROR_INVALID_VALUE;
                  if (int *reuse = reuseAttribute(pool, attribute))
                    std::memcpy(value, reuse, sizeof(int));
                  else if (uint64_t *wide = wideAttribute(pool, attribute))
                    std::memcpy(value, wide, sizeof(uint64_t));
                  else
                    return CUDA_ERROR_INVALID_VALUE;
                  return CUDA_SUCCESS;
                });
}

// High water marks may only be set to 0, which makes them the present value.
CUresult CUDAAPI cuMemPoolSetAttribute(CUmemoryPool handle,
                                       CUmemPool_attribute attribute,
                                       void *value) {
  return onPool(
      "cuMemPoolSetAttribute", handle,
      [&](CUmemPoolHandle_st &pool) -> CUresult {
        if (!value)
          return CUDA_ERROR_INVALID_VALUE;
        if (int *reuse = reuseAttribute(pool, attribute)) {
          std::memcpy(reuse, value, sizeof(int));
          return CUDA_SUCCESS;
        }
        uint64_t wide = 0;
        std::memcpy(&wide, value, sizeof wide);
        if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
          pool.releaseThreshold = wide;
        else if (attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH && wide == 0)
          pool.reservedHigh = pool.reserved;
        else if (attribute == CU_MEMPOOL_ATTR_USED_MEM_HIGH && wide == 0)
          pool.usedHigh = pool.used;
        else
          return CUDA_ERROR_INVALID_VALUE;
        return CUDA_SUCCESS;
      });
}

// Access of other devices to a pool's memory is that of its device.
CUresult CUDAAPI cuMemPoolSetAccess(CUmemoryPool handle,
                                    const CUmemAccessDesc *map, size_t count) {
  return onPool("cuMemPoolSetAccess", handle,
                [&](CUmemPoolHandle_st &pool) -> CUresult {
                  if (!map && count != 0)
                    return CUDA_ERROR_INVALID_VALUE;
                  for (size_t i = 0; i != count; ++i) {
                    Device *device = nullptr;
                    if (map[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE)
                      return CUDA_ERROR_INVALID_VALUE;
                    if (CUresult bad = findDevice(map[i].location.id, device))
                      return bad;
                    if (device == pool.device &&
                        map[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
                      return CUDA_ERROR_INVALID_VALUE;
                    pool.access[device->ordinal] = map[i].flags;
                    if (device != pool.device)
                      driver().memory->setPeerAccess(
                          device->ordinal, pool.device->ordinal,
                          map[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
                  }
                  return CUDA_SUCCESS;
                });
}

CUresult CUDAAPI cuMemPoolGetAccess(CUmemAccess_flags *flags,
                                    CUmemoryPool handle,
                                    CUmemLocation *location) {
  return onPool("cuMemPoolGetAccess", handle,
                [&](CUmemPoolHandle_st &pool) -> CUresult {
                  if (!flags || !location ||
                      location->type != CU_MEM_LOCATION_TYPE_DEVICE)
                    return CUDA_ERROR_INVALID_VALUE;
                  auto at = pool.access.find(location->id);
                  if (location->id == pool.device->ordinal)
                    *flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
                  else if (at == pool.access.end())
                    *flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
                  else
                    *flags = at->second;
                  return CUDA_SUCCESS;
                });
}

//===--- stream-ordered allocation ------------------------------------------//

// The address of a graph's memory is there when its node is made.
CUresult cudasim::driver::makeGraphMemory(Device &device, size_t bytes,
                                          AllocWork &work) {
  Driver &self = driver();
  auto address =
      self.memory->allocate(device.ordinal, bytes, "a graph's allocation");
  if (!address)
    return CUDA_ERROR_OUT_OF_MEMORY;
  Holding &held = self.holdings[*address];
  held = Holding();
  held.kind = Holding::Kind::Graph;
  held.bytes = bytes;
  work.address = *address;
  work.bytes = bytes;
  work.props.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  work.props.location = {CU_MEM_LOCATION_TYPE_DEVICE, device.ordinal};
  work.memory = std::make_shared<GraphMemory>();
  work.memory->address = *address;
  work.memory->id = self.memory->find(*address)->id;
  return CUDA_SUCCESS;
}

static CUresult allocateOrdered(const char *name, CUdeviceptr *out,
                                size_t bytes, CUmemoryPool pool,
                                CUstream handle) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    Driver &self = driver();
    CUstream stream = nullptr;
    if (CUresult bad = findStream(ctx, handle, stream))
      return bad;
    if (!pool)
      pool = stream->ctx->device->currentPool;
    if (!out || bytes == 0 || !self.pools.has(pool))
      return CUDA_ERROR_INVALID_VALUE;
    if (pool->maxSize != 0 && bytes > pool->maxSize - pool->used)
      return refuse(CUDA_ERROR_OUT_OF_MEMORY, "the pool is at its maximum");
    if (stream->capture) {
      AllocWork work;
      if (CUresult bad = makeGraphMemory(*pool->device, bytes, work))
        return bad;
      *out = work.address;
      return submit(stream, std::move(work));
    }
    auto address = self.memory->allocate(pool->device->ordinal, bytes, name);
    if (!address)
      return CUDA_ERROR_OUT_OF_MEMORY;
    Holding &held = self.holdings[*address];
    held = Holding();
    held.kind = Holding::Kind::Pool;
    held.ctx = stream->ctx;
    held.bytes = bytes;
    held.pool = pool;
    pool->used += bytes;
    pool->usedHigh = std::max(pool->usedHigh, pool->used);
    pool->reserved = std::max(pool->reserved, pool->used);
    pool->reservedHigh = std::max(pool->reservedHigh, pool->reserved);
    AllocWork work;
    work.address = *address;
    work.bytes = bytes;
    if (CUresult bad = submit(stream, std::move(work)))
      return bad;
    *out = *address;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemAllocAsync(CUdeviceptr *out, size_t bytes,
                                 CUstream stream) {
  return allocateOrdered("cuMemAllocAsync", out, bytes, nullptr, stream);
}

CUresult CUDAAPI cuMemAllocFromPoolAsync(CUdeviceptr *out, size_t bytes,
                                         CUmemoryPool pool, CUstream stream) {
  if (!pool)
    return CUDA_ERROR_INVALID_VALUE;
  return allocateOrdered("cuMemAllocFromPoolAsync", out, bytes, pool, stream);
}

CUresult CUDAAPI cuMemFreeAsync(CUdeviceptr address, CUstream handle) {
  return inContext("cuMemFreeAsync", [&](CUctx_st &ctx) -> CUresult {
    Driver &self = driver();
    CUstream stream = nullptr;
    if (CUresult bad = findStream(ctx, handle, stream))
      return bad;
    if (address == 0)
      return CUDA_SUCCESS;
    auto at = self.holdings.find(address);
    if (at == self.holdings.end() || at->second.freeing ||
        at->second.kind == Holding::Kind::Host ||
        at->second.kind == Holding::Kind::Registered ||
        at->second.kind == Holding::Kind::Managed)
      return refuse(CUDA_ERROR_INVALID_VALUE,
                    "cuMemFreeAsync: 0x" + Twine::utohexstr(address) +
                        " is not the start of a live allocation");
    // Memory of a graph that frees it lives as long as the graph.
    if (!stream->capture)
      at->second.freeing = true;
    return submit(stream, FreeWork{address});
  });
}
