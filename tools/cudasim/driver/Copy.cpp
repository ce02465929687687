// Copies of all directions and shapes.
//
// When the host is free again is as documented: a copy from pageable memory
// has taken the bytes, a copy to pageable memory is complete, a copy between
// device addresses has merely been submitted, and asynchronous copies of
// pinned memory read and write it whenever their turn comes.
#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/Copies.h"
#include "llvm/Support/MathExtras.h"

#include <cstring>

using namespace llvm;

namespace cudasim::driver {

bool isPageable(const Side &side) {
  return side.host && !driver().memory->find(side.address);
}

// The bytes from the first to behind the last that a side touches, or nothing
// where that does not fit into 64 bits.
static std::optional<uint64_t> spanOf(const Side &side, const CopyWork &work) {
  bool overflow = false;
  bool any = false;
  auto times = [&](uint64_t a, uint64_t b) {
    uint64_t product = SaturatingMultiply(a, b, &overflow);
    any |= overflow;
    return product;
  };
  auto plus = [&](uint64_t a, uint64_t b) {
    uint64_t sum = SaturatingAdd(a, b, &overflow);
    any |= overflow;
    return sum;
  };
  uint64_t rows = plus(times(work.slices - 1, side.height), work.rows - 1);
  uint64_t span = plus(times(rows, side.pitch), work.width);
  return any ? std::nullopt : std::optional(span);
}

static CUresult checkSide(const Side &side, const CopyWork &work, bool write) {
  GlobalMemory &memory = *driver().memory;
  if (work.rows > 1 && side.pitch < work.width)
    return refuse(CUDA_ERROR_INVALID_VALUE,
                  "a pitch of " + Twine(side.pitch) +
                      " bytes is less than the width of " + Twine(work.width));
  if (work.slices > 1 && side.height < work.rows)
    return refuse(CUDA_ERROR_INVALID_VALUE,
                  "slices of " + Twine(side.height) +
                      " rows are less than the height of " + Twine(work.rows));
  std::optional<uint64_t> span = spanOf(side, work);
  if (!span)
    return refuse(CUDA_ERROR_INVALID_VALUE, "the copy is too large");
  if (side.host) {
    if (side.address == 0 || memory.isDeviceAddress(side.address))
      return refuse(CUDA_ERROR_INVALID_VALUE,
                    "0x" + Twine::utohexstr(side.address) +
                        " is not a host pointer");
    if (isPageable(side))
      return CUDA_SUCCESS;
  }
  // Row by row, because what lies between rows need not be allocated.
  if (work.slices == 1 && work.rows == 1) {
    if (auto fault = memory.check(-1, side.address, *span, write))
      return refuse(CUDA_ERROR_INVALID_VALUE, fault->message);
    return CUDA_SUCCESS;
  }
  for (size_t slice = 0; slice != work.slices; ++slice)
    for (size_t row = 0; row != work.rows; ++row)
      if (auto fault =
              memory.check(-1, side.rowAt(slice, row), work.width, write))
        return refuse(CUDA_ERROR_INVALID_VALUE, fault->message);
  return CUDA_SUCCESS;
}

CUresult checkCopy(const CopyWork &work) {
  if (work.width == 0 || work.rows == 0 || work.slices == 0)
    return CUDA_SUCCESS;
  if (CUresult bad = checkSide(work.src, work, /*write=*/false))
    return bad;
  return checkSide(work.dst, work, /*write=*/true);
}

// Where a UNIFIED pointer points is for the memory to say.
static CUresult makeSide(CUmemorytype type, const void *host,
                         CUdeviceptr device, size_t pitch, size_t height,
                         size_t x, size_t y, size_t z, Side &side) {
  uint64_t base = 0;
  switch (type) {
  case CU_MEMORYTYPE_HOST:
    side.host = true;
    base = reinterpret_cast<uint64_t>(host);
    break;
  case CU_MEMORYTYPE_DEVICE:
    base = device;
    break;
  case CU_MEMORYTYPE_UNIFIED:
    base = device;
    side.host = !driver().memory->isDeviceAddress(device);
    break;
  case CU_MEMORYTYPE_ARRAY:
    return refuse(CUDA_ERROR_NOT_SUPPORTED, "arrays are not simulated");
  default:
    return refuse(CUDA_ERROR_INVALID_VALUE,
                  Twine(int(type)) + " is not a memory type");
  }
  side.pitch = pitch;
  side.height = height;
  side.address = base + x + (uint64_t(z) * height + y) * pitch;
  return CUDA_SUCCESS;
}

CUresult makeCopy(const CUDA_MEMCPY3D &p, CopyWork &work) {
  work.width = p.WidthInBytes;
  work.rows = p.Height;
  work.slices = p.Depth;
  // A row that is alone needs no pitch, a slice that is alone no height.
  size_t srcPitch = p.srcPitch ? p.srcPitch : p.WidthInBytes;
  size_t dstPitch = p.dstPitch ? p.dstPitch : p.WidthInBytes;
  size_t srcHeight = p.srcHeight ? p.srcHeight : p.Height;
  size_t dstHeight = p.dstHeight ? p.dstHeight : p.Height;
  if (p.srcLOD != 0 || p.dstLOD != 0)
    return CUDA_ERROR_INVALID_VALUE;
  if (CUresult bad =
          makeSide(p.srcMemoryType, p.srcHost, p.srcDevice, srcPitch, srcHeight,
                   p.srcXInBytes, p.srcY, p.srcZ, work.src))
    return bad;
  return makeSide(p.dstMemoryType, p.dstHost, p.dstDevice, dstPitch, dstHeight,
                  p.dstXInBytes, p.dstY, p.dstZ, work.dst);
}

namespace {

enum class When { Sync, Async };

std::shared_ptr<const std::vector<uint8_t>> stage(const CopyWork &work) {
  auto bytes = std::make_shared<std::vector<uint8_t>>();
  bytes->resize(work.width * work.rows * work.slices);
  uint8_t *to = bytes->data();
  for (size_t slice = 0; slice != work.slices; ++slice)
    for (size_t row = 0; row != work.rows; ++row, to += work.width)
      std::memcpy(to,
                  reinterpret_cast<const void *>(work.src.rowAt(slice, row)),
                  work.width);
  return bytes;
}

CUresult give(CUctx_st &ctx, CUstream handle, CopyWork work, When when) {
  CUstream stream = nullptr;
  if (CUresult bad = findStream(ctx, handle, stream))
    return bad;
  if (when == When::Sync)
    if (CUresult bad = forbidInCapture())
      return bad;
  if (CUresult bad = checkCopy(work))
    return bad;
  if (stream->capture)
    return submit(stream, std::move(work));
  if (work.width == 0 || work.rows == 0 || work.slices == 0)
    return CUDA_SUCCESS;
  bool wait = when == When::Sync && (work.src.host || work.dst.host);
  if (when == When::Sync)
    for (const Side *side : {&work.src, &work.dst})
      if (Holding *held = driver().holdingAt(side->address))
        wait |= held->syncMemops;
  if (isPageable(work.dst))
    wait = true;
  if (wait)
    return submitAndWait(stream, std::move(work));
  if (isPageable(work.src))
    work.staged = stage(work);
  return submit(stream, std::move(work));
}

Side hostSide(const void *address) {
  Side side;
  side.host = true;
  side.address = reinterpret_cast<uint64_t>(address);
  return side;
}

Side deviceSide(CUdeviceptr address) {
  Side side;
  side.address = address;
  return side;
}

// An address of whatever memory, as cuMemcpy takes them.
Side anySide(CUdeviceptr address) {
  Side side = deviceSide(address);
  side.host = !driver().memory->isDeviceAddress(address);
  return side;
}

CUresult flat(const char *name, When when, CUstream stream, size_t bytes,
              llvm::function_ref<void(CopyWork &)> sides) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    CopyWork work;
    work.width = bytes;
    sides(work);
    return give(ctx, stream, std::move(work), when);
  });
}

CUresult shaped(const char *name, When when, CUstream stream,
                const CUDA_MEMCPY3D *params) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    if (!params)
      return CUDA_ERROR_INVALID_VALUE;
    CopyWork work;
    if (CUresult bad = makeCopy(*params, work))
      return bad;
    return give(ctx, stream, std::move(work), when);
  });
}

CUDA_MEMCPY3D fromPlane(const CUDA_MEMCPY2D &p) {
  CUDA_MEMCPY3D q = {};
  q.srcXInBytes = p.srcXInBytes;
  q.srcY = p.srcY;
  q.srcMemoryType = p.srcMemoryType;
  q.srcHost = p.srcHost;
  q.srcDevice = p.srcDevice;
  q.srcPitch = p.srcPitch;
  q.dstXInBytes = p.dstXInBytes;
  q.dstY = p.dstY;
  q.dstMemoryType = p.dstMemoryType;
  q.dstHost = p.dstHost;
  q.dstDevice = p.dstDevice;
  q.dstPitch = p.dstPitch;
  q.WidthInBytes = p.WidthInBytes;
  q.Height = p.Height;
  q.Depth = 1;
  return q;
}

CUDA_MEMCPY3D fromPeer(const CUDA_MEMCPY3D_PEER &p) {
  CUDA_MEMCPY3D q = {};
  q.srcXInBytes = p.srcXInBytes;
  q.srcY = p.srcY;
  q.srcZ = p.srcZ;
  q.srcLOD = p.srcLOD;
  q.srcMemoryType = p.srcMemoryType;
  q.srcHost = p.srcHost;
  q.srcDevice = p.srcDevice;
  q.srcPitch = p.srcPitch;
  q.srcHeight = p.srcHeight;
  q.dstXInBytes = p.dstXInBytes;
  q.dstY = p.dstY;
  q.dstZ = p.dstZ;
  q.dstLOD = p.dstLOD;
  q.dstMemoryType = p.dstMemoryType;
  q.dstHost = p.dstHost;
  q.dstDevice = p.dstDevice;
  q.dstPitch = p.dstPitch;
  q.dstHeight = p.dstHeight;
  q.WidthInBytes = p.WidthInBytes;
  q.Height = p.Height;
  q.Depth = p.Depth;
  return q;
}

CUresult plane(const char *name, When when, CUstream stream,
               const CUDA_MEMCPY2D *params) {
  CUDA_MEMCPY3D widened = params ? fromPlane(*params) : CUDA_MEMCPY3D{};
  return shaped(name, when, stream, params ? &widened : nullptr);
}

CUresult peer(const char *name, When when, CUstream stream,
              const CUDA_MEMCPY3D_PEER *params) {
  CUDA_MEMCPY3D narrowed = params ? fromPeer(*params) : CUDA_MEMCPY3D{};
  return shaped(name, when, stream, params ? &narrowed : nullptr);
}

// Both contexts must be usable, and each address must be of its device.
CUresult between(const char *name, When when, CUdeviceptr dst, CUcontext dstCtx,
                 CUdeviceptr src, CUcontext srcCtx, size_t bytes,
                 CUstream stream) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    std::pair<CUcontext, CUdeviceptr> ends[] = {{dstCtx, dst}, {srcCtx, src}};
    for (auto [owner, address] : ends) {
      if (CUresult bad = usable(owner))
        return bad;
      int device = driver().memory->deviceOf(address);
      if (device >= 0 && device != owner->device->ordinal)
        return refuse(CUDA_ERROR_INVALID_VALUE,
                      "0x" + Twine::utohexstr(address) + " is of device " +
                          Twine(device) + ", but its context is of device " +
                          Twine(owner->device->ordinal));
    }
    CopyWork work;
    work.width = bytes;
    work.src = anySide(src);
    work.dst = anySide(dst);
    return give(ctx, stream, std::move(work), when);
  });
}

} // namespace

} // namespace cudasim::driver

using namespace cudasim::driver;

CUresult CUDAAPI cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t bytes) {
  return flat("cuMemcpy", When::Sync, nullptr, bytes, [&](CopyWork &work) {
    work.dst = anySide(dst);
    work.src = anySide(src);
  });
}

CUresult CUDAAPI cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t bytes,
                               CUstream stream) {
  return flat("cuMemcpyAsync", When::Async, stream, bytes, [&](CopyWork &work) {
    work.dst = anySide(dst);
    work.src = anySide(src);
  });
}

CUresult CUDAAPI cuMemcpyHtoD_v2(CUdeviceptr dst, const void *src,
                                 size_t bytes) {
  return flat("cuMemcpyHtoD_v2", When::Sync, nullptr, bytes,
              [&](CopyWork &work) {
                work.dst = deviceSide(dst);
                work.src = hostSide(src);
              });
}

CUresult CUDAAPI cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src,
                                      size_t bytes, CUstream stream) {
  return flat("cuMemcpyHtoDAsync_v2", When::Async, stream, bytes,
              [&](CopyWork &work) {
                work.dst = deviceSide(dst);
                work.src = hostSide(src);
              });
}

CUresult CUDAAPI cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t bytes) {
  return flat("cuMemcpyDtoH_v2", When::Sync, nullptr, bytes,
              [&](CopyWork &work) {
                work.dst = hostSide(dst);
                work.src = deviceSide(src);
              });
}

CUresult CUDAAPI cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t bytes,
                                      CUstream stream) {
  return flat("cuMemcpyDtoHAsync_v2", When::Async, stream, bytes,
              [&](CopyWork &work) {
                work.dst = hostSide(dst);
                work.src = deviceSide(src);
              });
}

CUresult CUDAAPI cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src,
                                 size_t bytes) {
  return flat("cuMemcpyDtoD_v2", When::Sync, nullptr, bytes,
              [&](CopyWork &work) {
                work.dst = deviceSide(dst);
                work.src = deviceSide(src);
              });
}

CUresult CUDAAPI cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src,
                                      size_t bytes, CUstream stream) {
  return flat("cuMemcpyDtoDAsync_v2", When::Async, stream, bytes,
              [&](CopyWork &work) {
                work.dst = deviceSide(dst);
                work.src = deviceSide(src);
              });
}

CUresult CUDAAPI cuMemcpyPeer(CUdeviceptr dst, CUcontext dstCtx,
                              CUdeviceptr src, CUcontext srcCtx, size_t bytes) {
  return between("cuMemcpyPeer", When::Sync, dst, dstCtx, src, srcCtx, bytes,
                 nullptr);
}

CUresult CUDAAPI cuMemcpyPeerAsync(CUdeviceptr dst, CUcontext dstCtx,
                                   CUdeviceptr src, CUcontext srcCtx,
                                   size_t bytes, CUstream stream) {
  return between("cuMemcpyPeerAsync", When::Async, dst, dstCtx, src, srcCtx,
                 bytes, stream);
}

CUresult CUDAAPI cuMemcpy2D_v2(const CUDA_MEMCPY2D *params) {
  return plane("cuMemcpy2D_v2", When::Sync, nullptr, params);
}

CUresult CUDAAPI cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *params) {
  return plane("cuMemcpy2DUnaligned_v2", When::Sync, nullptr, params);
}

CUresult CUDAAPI cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *params,
                                    CUstream stream) {
  return plane("cuMemcpy2DAsync_v2", When::Async, stream, params);
}

CUresult CUDAAPI cuMemcpy3D_v2(const CUDA_MEMCPY3D *params) {
  return shaped("cuMemcpy3D_v2", When::Sync, nullptr, params);
}

CUresult CUDAAPI cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *params,
                                    CUstream stream) {
  return shaped("cuMemcpy3DAsync_v2", When::Async, stream, params);
}

CUresult CUDAAPI cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER *params) {
  return peer("cuMemcpy3DPeer", When::Sync, nullptr, params);
}

CUresult CUDAAPI cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER *params,
                                     CUstream stream) {
  return peer("cuMemcpy3DPeerAsync", When::Async, stream, params);
}
