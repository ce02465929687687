// Streams: made, asked, waited for, and host functions and values in them.
#include "tools/cudasim/driver/OnHandle.h"
#include "llvm/ADT/STLExtras.h"

#include <algorithm>

using namespace llvm;
using namespace cudasim::driver;

//===--- streams ------------------------------------------------------------//

static CUresult createStream(const char *name, CUstream *out, unsigned flags,
                             int priority) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    if (!out || (flags & ~unsigned(CU_STREAM_NON_BLOCKING)))
      return CUDA_ERROR_INVALID_VALUE;
    auto stream = std::make_unique<CUstream_st>();
    stream->ctx = &ctx;
    stream->id = driver().nextId();
    stream->flags = flags;
    stream->priority = std::clamp(priority, -5, 0);
    driver().knownStreams.insert(stream.get());
    ctx.streams.push_back(std::move(stream));
    *out = ctx.streams.back().get();
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuStreamCreate(CUstream *out, unsigned flags) {
  return createStream("cuStreamCreate", out, flags, 0);
}

CUresult CUDAAPI cuStreamCreateWithPriority(CUstream *out, unsigned flags,
                                            int priority) {
  return createStream("cuStreamCreateWithPriority", out, flags, priority);
}

// Returns at once; what is pending in the stream still runs, as nothing that
// is pending needs the stream itself except a callback, which gets its handle.
static CUresult destroyStream(const char *name, CUstream handle) {
  return inContext(name, [&](CUctx_st &) -> CUresult {
    if (!driver().knownStreams.contains(handle))
      return CUDA_ERROR_INVALID_HANDLE;
    CUctx_st &owner = *handle->ctx;
    if (handle->capture) {
      invalidate(*handle->capture);
      llvm::erase(handle->capture->streams, handle);
      if (handle->capture->origin == handle)
        forget(std::shared_ptr<Capture>(handle->capture));
    }
    // The legacy stream keeps waiting for what was submitted here.
    if (handle->last && !handle->last->done && handle->isBlocking()) {
      OpRef join = makeOp(owner, EmptyWork(), nullptr);
      join->after.push_back(handle->last);
      if (owner.legacy->last)
        join->after.push_back(owner.legacy->last);
      owner.legacy->last = driver().queue.submit(std::move(join));
    }
    driver().knownStreams.erase(handle);
    erase_if(owner.streams,
             [&](const auto &stream) { return stream.get() == handle; });
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuStreamDestroy(CUstream stream) {
  return destroyStream("cuStreamDestroy", stream);
}

CUresult CUDAAPI cuStreamDestroy_v2(CUstream stream) {
  return destroyStream("cuStreamDestroy_v2", stream);
}

// A capturing stream has nothing that could be waited for.
static CUresult refuseCapturing(CUstream_st &stream) {
  if (!stream.capture)
    return CUDA_SUCCESS;
  invalidate(*stream.capture);
  return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                "a stream cannot be waited for or queried while it is being "
                "captured");
}

CUresult CUDAAPI cuStreamSynchronize(CUstream handle) {
  return onStream(
      "cuStreamSynchronize", handle, [&](CUstream_st &stream) -> CUresult {
        if (CUresult bad = refuseCapturing(stream))
          return bad;
        // Waiting for the legacy stream is waiting for all it waits for.
        OpRef last = stream.last;
        if (stream.kind == CUstream_st::Kind::Legacy) {
          if (CUresult bad = forbidImplicit(*stream.ctx))
            return bad;
          last = enqueue(&stream, EmptyWork());
        }
        CUresult status = last ? driver().queue.wait(last) : CUDA_SUCCESS;
        return stream.ctx->poison ? stream.ctx->poison : status;
      });
}

CUresult CUDAAPI cuStreamQuery(CUstream handle) {
  return onStream(
      "cuStreamQuery", handle, [&](CUstream_st &stream) -> CUresult {
        if (CUresult bad = refuseCapturing(stream))
          return bad;
        if (stream.kind == CUstream_st::Kind::Legacy)
          if (CUresult bad = forbidImplicit(*stream.ctx))
            return bad;
        // A program that polls must see something move.
        if (stream.last && !stream.last->done)
          driver().queue.nudge(stream.last);
        if (stream.ctx->poison)
          return stream.ctx->poison;
        return stream.last && !stream.last->done ? CUDA_ERROR_NOT_READY
                                                 : CUDA_SUCCESS;
      });
}

CUresult CUDAAPI cuStreamGetFlags(CUstream handle, unsigned *flags) {
  return onStream("cuStreamGetFlags", handle,
                  [&](CUstream_st &stream) -> CUresult {
                    if (!flags)
                      return CUDA_ERROR_INVALID_VALUE;
                    *flags = stream.flags;
                    return CUDA_SUCCESS;
                  });
}

CUresult CUDAAPI cuStreamGetPriority(CUstream handle, int *priority) {
  return onStream("cuStreamGetPriority", handle,
                  [&](CUstream_st &stream) -> CUresult {
                    if (!priority)
                      return CUDA_ERROR_INVALID_VALUE;
                    *priority = stream.priority;
                    return CUDA_SUCCESS;
                  });
}

CUresult CUDAAPI cuStreamGetId(CUstream handle, unsigned long long *id) {
  return onStream("cuStreamGetId", handle,
                  [&](CUstream_st &stream) -> CUresult {
                    if (!id)
                      return CUDA_ERROR_INVALID_VALUE;
                    *id = stream.id;
                    return CUDA_SUCCESS;
                  });
}

CUresult CUDAAPI cuStreamGetDevice(CUstream handle, CUdevice *device) {
  return onStream("cuStreamGetDevice", handle,
                  [&](CUstream_st &stream) -> CUresult {
                    if (!device)
                      return CUDA_ERROR_INVALID_VALUE;
                    *device = stream.ctx->device->ordinal;
                    return CUDA_SUCCESS;
                  });
}

CUresult CUDAAPI cuStreamGetCtx(CUstream handle, CUcontext *ctx) {
  return onStream("cuStreamGetCtx", handle,
                  [&](CUstream_st &stream) -> CUresult {
                    if (!ctx)
                      return CUDA_ERROR_INVALID_VALUE;
                    *ctx = stream.ctx;
                    return CUDA_SUCCESS;
                  });
}

CUresult CUDAAPI cuStreamGetCtx_v2(CUstream handle, CUcontext *ctx,
                                   CUgreenCtx *green) {
  return onStream("cuStreamGetCtx_v2", handle,
                  [&](CUstream_st &stream) -> CUresult {
                    if (!ctx)
                      return CUDA_ERROR_INVALID_VALUE;
                    *ctx = stream.ctx;
                    if (green)
                      *green = nullptr;
                    return CUDA_SUCCESS;
                  });
}

CUresult CUDAAPI cuStreamGetAttribute(CUstream handle, CUstreamAttrID id,
                                      CUstreamAttrValue *value) {
  return onStream("cuStreamGetAttribute", handle,
                  [&](CUstream_st &stream) -> CUresult {
                    if (!value)
                      return CUDA_ERROR_INVALID_VALUE;
                    switch (int(id)) {
                    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
                      *value = stream.policyWindow;
                      return CUDA_SUCCESS;
                    case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
                      value->syncPolicy = stream.syncPolicy;
                      return CUDA_SUCCESS;
                    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
                      value->priority = stream.priority;
                      return CUDA_SUCCESS;
                    default:
                      return CUDA_ERROR_INVALID_VALUE;
                    }
                  });
}

CUresult CUDAAPI cuStreamSetAttribute(CUstream handle, CUstreamAttrID id,
                                      const CUstreamAttrValue *value) {
  return onStream("cuStreamSetAttribute", handle,
                  [&](CUstream_st &stream) -> CUresult {
                    if (!value)
                      return CUDA_ERROR_INVALID_VALUE;
                    switch (int(id)) {
                    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
                      stream.policyWindow = *value;
                      return CUDA_SUCCESS;
                    case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
                      stream.syncPolicy = value->syncPolicy;
                      return CUDA_SUCCESS;
                    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
                      stream.priority = std::clamp(value->priority, -5, 0);
                      return CUDA_SUCCESS;
                    default:
                      return CUDA_ERROR_INVALID_VALUE;
                    }
                  });
}

CUresult CUDAAPI cuStreamCopyAttributes(CUstream dst, CUstream src) {
  return onStream("cuStreamCopyAttributes", dst,
                  [&](CUstream_st &to) -> CUresult {
                    CUstream from = nullptr;
                    if (CUresult bad = findStream(*to.ctx, src, from))
                      return bad;
                    to.policyWindow = from->policyWindow;
                    to.syncPolicy = from->syncPolicy;
                    return CUDA_SUCCESS;
                  });
}

// Managed memory is host memory that every device sees: nothing moves.
CUresult CUDAAPI cuStreamAttachMemAsync(CUstream handle, CUdeviceptr address,
                                        size_t bytes, unsigned flags) {
  return onStream("cuStreamAttachMemAsync", handle,
                  [&](CUstream_st &) -> CUresult {
                    Holding *held = driver().holdingAt(address);
                    if (!held || held->kind != Holding::Kind::Managed)
                      return CUDA_ERROR_INVALID_VALUE;
                    return CUDA_SUCCESS;
                  });
}

CUresult CUDAAPI cuLaunchHostFunc(CUstream handle, CUhostFn function,
                                  void *userData) {
  return onStream("cuLaunchHostFunc", handle,
                  [&](CUstream_st &stream) -> CUresult {
                    if (!function)
                      return CUDA_ERROR_INVALID_VALUE;
                    return submit(&stream, HostWork{function, userData});
                  });
}

CUresult CUDAAPI cuStreamAddCallback(CUstream handle, CUstreamCallback function,
                                     void *userData, unsigned flags) {
  return onStream(
      "cuStreamAddCallback", handle, [&](CUstream_st &stream) -> CUresult {
        if (!function || flags != 0)
          return CUDA_ERROR_INVALID_VALUE;
        return submit(&stream, CallbackWork{function, handle, userData});
      });
}

//===--- values in memory ---------------------------------------------------//

static CUresult streamValue(const char *name, CUstream handle, bool wait,
                            CUdeviceptr address, uint64_t value, unsigned flags,
                            unsigned bytes) {
  return onStream(name, handle, [&](CUstream_st &stream) -> CUresult {
    if (address % bytes != 0)
      return refuse(CUDA_ERROR_INVALID_VALUE, "the address is not aligned");
    if (auto fault = driver().memory->check(-1, address, bytes, !wait))
      return refuse(CUDA_ERROR_INVALID_VALUE, fault->message);
    return submit(&stream, ValueWork{wait, address, value, bytes, flags});
  });
}

CUresult CUDAAPI cuStreamWriteValue32_v2(CUstream s, CUdeviceptr address,
                                         cuuint32_t value, unsigned flags) {
  return streamValue("cuStreamWriteValue32_v2", s, false, address, value, flags,
                     4);
}

CUresult CUDAAPI cuStreamWriteValue64_v2(CUstream s, CUdeviceptr address,
                                         cuuint64_t value, unsigned flags) {
  return streamValue("cuStreamWriteValue64_v2", s, false, address, value, flags,
                     8);
}

CUresult CUDAAPI cuStreamWaitValue32_v2(CUstream s, CUdeviceptr address,
                                        cuuint32_t value, unsigned flags) {
  return streamValue("cuStreamWaitValue32_v2", s, true, address, value, flags,
                     4);
}

CUresult CUDAAPI cuStreamWaitValue64_v2(CUstream s, CUdeviceptr address,
                                        cuuint64_t value, unsigned flags) {
  return streamValue("cuStreamWaitValue64_v2", s, true, address, value, flags,
                     8);
}
