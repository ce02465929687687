// Allocation: device, pitched, managed, pinned and registered memory.
#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/DeviceCalls.h"
#include "llvm/Support/MathExtras.h"

using namespace llvm;
using namespace cudasim::driver;
using cudasim::Allocation;
using cudasim::MemoryKind;

/// Rows of pitched memory start at multiples of this.
static constexpr uint64_t kPitchAlignment = 512;

static Holding &hold(uint64_t address, Holding::Kind kind, CUctx_st &ctx,
                     uint64_t bytes, unsigned flags = 0) {
  Holding &held = driver().holdings[address];
  held = Holding();
  held.kind = kind;
  held.ctx = &ctx;
  held.bytes = bytes;
  held.flags = flags;
  return held;
}

CUresult CUDAAPI cuMemAlloc_v2(CUdeviceptr *out, size_t bytes) {
  return inContext("cuMemAlloc_v2", [&](CUctx_st &ctx) -> CUresult {
    if (CUresult bad = forbidInCapture())
      return bad;
    if (!out || bytes == 0)
      return CUDA_ERROR_INVALID_VALUE;
    auto address = driver().memory->allocate(ctx.device->ordinal, bytes);
    if (!address)
      return refuse(CUDA_ERROR_OUT_OF_MEMORY, "no room for " + Twine(bytes) +
                                                  " bytes on device " +
                                                  Twine(ctx.device->ordinal));
    hold(*address, Holding::Kind::Device, ctx, bytes);
    *out = *address;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemAllocPitch_v2(CUdeviceptr *out, size_t *pitch,
                                    size_t width, size_t rows,
                                    unsigned elementBytes) {
  return inContext("cuMemAllocPitch_v2", [&](CUctx_st &ctx) -> CUresult {
    if (CUresult bad = forbidInCapture())
      return bad;
    if (!out || !pitch || width == 0 || rows == 0 ||
        width > size_t(kMaxPitch) ||
        (elementBytes != 4 && elementBytes != 8 && elementBytes != 16))
      return CUDA_ERROR_INVALID_VALUE;
    uint64_t rowBytes = alignTo(width, kPitchAlignment);
    bool tooMany = false;
    uint64_t bytes = SaturatingMultiply<uint64_t>(rowBytes, rows, &tooMany);
    auto address =
        tooMany ? std::nullopt
                : driver().memory->allocate(ctx.device->ordinal, bytes,
                                            "cuMemAllocPitch", kPitchAlignment);
    if (!address)
      return CUDA_ERROR_OUT_OF_MEMORY;
    hold(*address, Holding::Kind::Pitched, ctx, bytes);
    *out = *address;
    *pitch = rowBytes;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemAllocManaged(CUdeviceptr *out, size_t bytes,
                                   unsigned flags) {
  return inContext("cuMemAllocManaged", [&](CUctx_st &ctx) -> CUresult {
    if (CUresult bad = forbidInCapture())
      return bad;
    if (!out || bytes == 0 ||
        (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST))
      return CUDA_ERROR_INVALID_VALUE;
    void *base = driver().memory->allocateHost(bytes, MemoryKind::Managed,
                                               "cuMemAllocManaged");
    if (!base)
      return CUDA_ERROR_OUT_OF_MEMORY;
    *out = reinterpret_cast<CUdeviceptr>(base);
    hold(*out, Holding::Kind::Managed, ctx, bytes, flags);
    return CUDA_SUCCESS;
  });
}

// Waits for the owner's work first, as a real free does, so that memory never
// goes away under a kernel that was submitted before.
CUresult CUDAAPI cuMemFree_v2(CUdeviceptr address) {
  return inContext("cuMemFree_v2", [&](CUctx_st &ctx) -> CUresult {
    Driver &self = driver();
    if (CUresult bad = forbidInCapture())
      return bad;
    if (address == 0)
      return CUDA_SUCCESS;
    auto at = self.holdings.find(address);
    if (at == self.holdings.end() || at->second.kind == Holding::Kind::Host ||
        at->second.kind == Holding::Kind::Registered || at->second.freeing)
      return refuse(CUDA_ERROR_INVALID_VALUE,
                    "cuMemFree: 0x" + Twine::utohexstr(address) +
                        " is not the start of a live allocation");
    // Memory of a graph is nobody's.
    CUcontext owner = at->second.ctx ? at->second.ctx : &ctx;
    CUresult status = self.queue.waitAll(owner);
    if (owner->poison)
      return owner->poison;
    // A stream may have freed it meanwhile.
    at = self.holdings.find(address);
    if (at == self.holdings.end())
      return CUDA_ERROR_INVALID_VALUE;
    Holding held = at->second;
    self.holdings.erase(at);
    if (held.pool && self.pools.has(held.pool)) {
      held.pool->used -= held.bytes;
      held.pool->reserved = held.pool->used;
    }
    auto fault = held.kind == Holding::Kind::Managed
                     ? self.memory->freeHost(reinterpret_cast<void *>(address))
                     : self.memory->free(address);
    return fault ? answer(*fault) : status;
  });
}

CUresult CUDAAPI cuMemGetInfo_v2(size_t *free, size_t *total) {
  return inContext("cuMemGetInfo_v2", [&](CUctx_st &ctx) -> CUresult {
    if (!free || !total)
      return CUDA_ERROR_INVALID_VALUE;
    int device = ctx.device->ordinal;
    *total = driver().memory->capacityBytes(device);
    *free = *total - driver().memory->usedBytes(device);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes,
                                         CUdeviceptr address) {
  return inContext("cuMemGetAddressRange_v2", [&](CUctx_st &) -> CUresult {
    Allocation found;
    if (!driver().holdingAt(address, &found))
      return CUDA_ERROR_NOT_FOUND;
    if (base)
      *base = found.base;
    if (bytes)
      *bytes = found.bytes;
    return CUDA_SUCCESS;
  });
}

//===--- host memory --------------------------------------------------------//

static CUresult allocateHost(const char *name, void **out, size_t bytes,
                             unsigned flags) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    if (CUresult bad = forbidInCapture())
      return bad;
    unsigned known = CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP |
                     CU_MEMHOSTALLOC_WRITECOMBINED;
    if (!out || bytes == 0 || (flags & ~known))
      return CUDA_ERROR_INVALID_VALUE;
    *out = driver().memory->allocateHost(bytes, MemoryKind::PinnedHost, name);
    if (!*out)
      return CUDA_ERROR_OUT_OF_MEMORY;
    hold(reinterpret_cast<uint64_t>(*out), Holding::Kind::Host, ctx, bytes,
         flags | CU_MEMHOSTALLOC_DEVICEMAP);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemAllocHost_v2(void **out, size_t bytes) {
  return allocateHost("cuMemAllocHost_v2", out, bytes, 0);
}

CUresult CUDAAPI cuMemHostAlloc(void **out, size_t bytes, unsigned flags) {
  return allocateHost("cuMemHostAlloc", out, bytes, flags);
}

CUresult CUDAAPI cuMemFreeHost(void *base) {
  return inContext("cuMemFreeHost", [&](CUctx_st &) -> CUresult {
    Driver &self = driver();
    if (CUresult bad = forbidInCapture())
      return bad;
    auto at = self.holdings.find(reinterpret_cast<uint64_t>(base));
    if (at == self.holdings.end() || at->second.kind != Holding::Kind::Host)
      return CUDA_ERROR_INVALID_VALUE;
    CUcontext owner = at->second.ctx;
    CUresult status = self.queue.waitAll(owner);
    if (owner->poison)
      return owner->poison;
    self.holdings.erase(reinterpret_cast<uint64_t>(base));
    if (auto fault = self.memory->freeHost(base))
      return answer(*fault);
    return status;
  });
}

CUresult CUDAAPI cuMemHostRegister_v2(void *base, size_t bytes,
                                      unsigned flags) {
  return inContext("cuMemHostRegister_v2", [&](CUctx_st &ctx) -> CUresult {
    if (CUresult bad = forbidInCapture())
      return bad;
    unsigned known = CU_MEMHOSTREGISTER_PORTABLE |
                     CU_MEMHOSTREGISTER_DEVICEMAP |
                     CU_MEMHOSTREGISTER_READ_ONLY;
    if (flags & CU_MEMHOSTREGISTER_IOMEMORY)
      return refuse(CUDA_ERROR_NOT_PERMITTED, "there is no I/O memory");
    if (!base || bytes == 0 || (flags & ~known))
      return CUDA_ERROR_INVALID_VALUE;
    if (auto fault = driver().memory->registerHost(base, bytes))
      return answer(*fault);
    hold(reinterpret_cast<uint64_t>(base), Holding::Kind::Registered, ctx,
         bytes, CU_MEMHOSTALLOC_DEVICEMAP);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemHostUnregister(void *base) {
  return inContext("cuMemHostUnregister", [&](CUctx_st &) -> CUresult {
    Driver &self = driver();
    if (CUresult bad = forbidInCapture())
      return bad;
    auto at = self.holdings.find(reinterpret_cast<uint64_t>(base));
    if (at == self.holdings.end() ||
        at->second.kind != Holding::Kind::Registered)
      return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
    CUcontext owner = at->second.ctx;
    CUresult status = self.queue.waitAll(owner);
    if (owner->poison)
      return owner->poison;
    self.holdings.erase(reinterpret_cast<uint64_t>(base));
    if (auto fault = self.memory->unregisterHost(base))
      return answer(*fault);
    return status;
  });
}

CUresult CUDAAPI cuMemHostGetDevicePointer_v2(CUdeviceptr *out, void *host,
                                              unsigned flags) {
  return inContext("cuMemHostGetDevicePointer_v2", [&](CUctx_st &) -> CUresult {
    if (!out || flags != 0)
      return CUDA_ERROR_INVALID_VALUE;
    Holding *held = driver().holdingAt(reinterpret_cast<uint64_t>(host));
    if (!held || (held->kind != Holding::Kind::Host &&
                  held->kind != Holding::Kind::Registered))
      return CUDA_ERROR_INVALID_VALUE;
    *out = reinterpret_cast<CUdeviceptr>(host);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemHostGetFlags(unsigned *flags, void *host) {
  return inContext("cuMemHostGetFlags", [&](CUctx_st &) -> CUresult {
    Holding *held = driver().holdingAt(reinterpret_cast<uint64_t>(host));
    if (!flags || !held || held->kind != Holding::Kind::Host)
      return CUDA_ERROR_INVALID_VALUE;
    *flags = held->flags;
    return CUDA_SUCCESS;
  });
}

//===--- hints about managed memory -----------------------------------------//

// Managed memory is host memory that every device sees, so nothing moves; the
// range is checked, and the prefetch keeps its place in the stream.
static CUresult checkManaged(CUdeviceptr address, size_t bytes) {
  Allocation found;
  Holding *held = driver().holdingAt(address, &found);
  if (!held || held->kind != Holding::Kind::Managed ||
      bytes > found.end() - address)
    return refuse(CUDA_ERROR_INVALID_VALUE,
                  "the range is not within managed memory");
  return CUDA_SUCCESS;
}

static CUresult checkPlace(int device) {
  Device *found = nullptr;
  return device == CU_DEVICE_CPU ? CUDA_SUCCESS : findDevice(device, found);
}

static CUresult prefetch(const char *name, CUdeviceptr address, size_t bytes,
                         int device, CUstream handle) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    CUstream stream = nullptr;
    if (CUresult bad = findStream(ctx, handle, stream))
      return bad;
    if (CUresult bad = checkPlace(device))
      return bad;
    if (CUresult bad = checkManaged(address, bytes))
      return bad;
    return submit(stream, EmptyWork());
  });
}

static int placeOf(const CUmemLocation &location) {
  return location.type == CU_MEM_LOCATION_TYPE_DEVICE ? location.id
                                                      : CU_DEVICE_CPU;
}

CUresult CUDAAPI cuMemPrefetchAsync(CUdeviceptr address, size_t bytes,
                                    CUdevice device, CUstream stream) {
  return prefetch("cuMemPrefetchAsync", address, bytes, device, stream);
}

CUresult CUDAAPI cuMemPrefetchAsync_v2(CUdeviceptr address, size_t bytes,
                                       CUmemLocation location, unsigned flags,
                                       CUstream stream) {
  return prefetch("cuMemPrefetchAsync_v2", address, bytes, placeOf(location),
                  stream);
}

static CUresult advise(const char *name, CUdeviceptr address, size_t bytes,
                       int device) {
  return inContext(name, [&](CUctx_st &) -> CUresult {
    if (CUresult bad = checkPlace(device))
      return bad;
    return checkManaged(address, bytes);
  });
}

CUresult CUDAAPI cuMemAdvise(CUdeviceptr address, size_t bytes,
                             CUmem_advise advice, CUdevice device) {
  return advise("cuMemAdvise", address, bytes, device);
}

CUresult CUDAAPI cuMemAdvise_v2(CUdeviceptr address, size_t bytes,
                                CUmem_advise advice, CUmemLocation location) {
  return advise("cuMemAdvise_v2", address, bytes, placeOf(location));
}
