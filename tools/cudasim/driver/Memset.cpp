// Fills. They are asynchronous to the host, except of host memory.
#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/Copies.h"
#include "llvm/Support/MathExtras.h"

using namespace llvm;

namespace cudasim::driver {

CUresult checkSet(const SetWork &work) {
  if (work.elementBytes != 1 && work.elementBytes != 2 &&
      work.elementBytes != 4)
    return refuse(CUDA_ERROR_INVALID_VALUE,
                  "elements of " + Twine(work.elementBytes) + " bytes");
  if (work.width == 0 || work.rows == 0)
    return CUDA_SUCCESS;
  bool overflow = false;
  uint64_t rowBytes =
      SaturatingMultiply<uint64_t>(work.width, work.elementBytes, &overflow);
  if (overflow || (work.rows > 1 && work.pitch < rowBytes))
    return refuse(CUDA_ERROR_INVALID_VALUE,
                  "a pitch of " + Twine(work.pitch) +
                      " bytes is less than the width of " + Twine(rowBytes));
  if (work.dst % work.elementBytes != 0 ||
      (work.rows > 1 && work.pitch % work.elementBytes != 0))
    return refuse(CUDA_ERROR_INVALID_VALUE,
                  "the destination is not aligned to " +
                      Twine(work.elementBytes) + " bytes");
  for (size_t row = 0; row != work.rows; ++row)
    if (auto fault = driver().memory->check(-1, work.dst + row * work.pitch,
                                            rowBytes, /*write=*/true))
      return refuse(CUDA_ERROR_INVALID_VALUE, fault->message);
  return CUDA_SUCCESS;
}

static CUresult set(const char *name, bool sync, CUstream handle,
                    const SetWork &work) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    CUstream stream = nullptr;
    if (CUresult bad = findStream(ctx, handle, stream))
      return bad;
    if (sync)
      if (CUresult bad = forbidInCapture())
        return bad;
    if (CUresult bad = checkSet(work))
      return bad;
    if (sync && !driver().memory->isDeviceAddress(work.dst))
      return submitAndWait(stream, work);
    return submit(stream, work);
  });
}

static SetWork row(CUdeviceptr dst, uint32_t value, unsigned elementBytes,
                   size_t count) {
  return {dst, /*pitch=*/0, value, elementBytes, count, /*rows=*/1};
}

} // namespace cudasim::driver

using namespace cudasim::driver;

CUresult CUDAAPI cuMemsetD8_v2(CUdeviceptr dst, unsigned char value,
                               size_t count) {
  return set("cuMemsetD8_v2", true, nullptr, row(dst, value, 1, count));
}

CUresult CUDAAPI cuMemsetD16_v2(CUdeviceptr dst, unsigned short value,
                                size_t count) {
  return set("cuMemsetD16_v2", true, nullptr, row(dst, value, 2, count));
}

CUresult CUDAAPI cuMemsetD32_v2(CUdeviceptr dst, unsigned value, size_t count) {
  return set("cuMemsetD32_v2", true, nullptr, row(dst, value, 4, count));
}

CUresult CUDAAPI cuMemsetD8Async(CUdeviceptr dst, unsigned char value,
                                 size_t count, CUstream stream) {
  return set("cuMemsetD8Async", false, stream, row(dst, value, 1, count));
}

CUresult CUDAAPI cuMemsetD16Async(CUdeviceptr dst, unsigned short value,
                                  size_t count, CUstream stream) {
  return set("cuMemsetD16Async", false, stream, row(dst, value, 2, count));
}

CUresult CUDAAPI cuMemsetD32Async(CUdeviceptr dst, unsigned value, size_t count,
                                  CUstream stream) {
  return set("cuMemsetD32Async", false, stream, row(dst, value, 4, count));
}

CUresult CUDAAPI cuMemsetD2D8_v2(CUdeviceptr dst, size_t pitch,
                                 unsigned char value, size_t width,
                                 size_t rows) {
  return set("cuMemsetD2D8_v2", true, nullptr,
             {dst, pitch, value, 1, width, rows});
}

CUresult CUDAAPI cuMemsetD2D16_v2(CUdeviceptr dst, size_t pitch,
                                  unsigned short value, size_t width,
                                  size_t rows) {
  return set("cuMemsetD2D16_v2", true, nullptr,
             {dst, pitch, value, 2, width, rows});
}

CUresult CUDAAPI cuMemsetD2D32_v2(CUdeviceptr dst, size_t pitch, unsigned value,
                                  size_t width, size_t rows) {
  return set("cuMemsetD2D32_v2", true, nullptr,
             {dst, pitch, value, 4, width, rows});
}

CUresult CUDAAPI cuMemsetD2D8Async(CUdeviceptr dst, size_t pitch,
                                   unsigned char value, size_t width,
                                   size_t rows, CUstream stream) {
  return set("cuMemsetD2D8Async", false, stream,
             {dst, pitch, value, 1, width, rows});
}

CUresult CUDAAPI cuMemsetD2D16Async(CUdeviceptr dst, size_t pitch,
                                    unsigned short value, size_t width,
                                    size_t rows, CUstream stream) {
  return set("cuMemsetD2D16Async", false, stream,
             {dst, pitch, value, 2, width, rows});
}

CUresult CUDAAPI cuMemsetD2D32Async(CUdeviceptr dst, size_t pitch,
                                    unsigned value, size_t width, size_t rows,
                                    CUstream stream) {
  return set("cuMemsetD2D32Async", false, stream,
             {dst, pitch, value, 4, width, rows});
}
