// Streams and events.
#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/Graph.h"
#include "llvm/ADT/STLExtras.h"

#include <algorithm>

using namespace llvm;
using namespace cudasim::driver;

namespace {

/// Calls that name a stream of whatever context: the current one only gives
/// meaning to the default streams.
template <typename Body>
CUresult onStream(const char *name, CUstream handle, Body &&body) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    CUstream stream = nullptr;
    if (CUresult bad = findStream(ctx, handle, stream))
      return bad;
    return body(*stream);
  });
}

template <typename Body>
CUresult onEvent(const char *name, CUevent event, Body &&body) {
  return inContext(name, [&](CUctx_st &) -> CUresult {
    if (CUresult bad = findEvent(event))
      return bad;
    return body(*event);
  });
}

} // namespace

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

//===--- events -------------------------------------------------------------//

CUresult CUDAAPI cuEventCreate(CUevent *out, unsigned flags) {
  return inContext("cuEventCreate", [&](CUctx_st &ctx) -> CUresult {
    unsigned known = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING;
    if (flags & CU_EVENT_INTERPROCESS)
      return refuse(CUDA_ERROR_NOT_SUPPORTED,
                    "events between processes are not simulated");
    if (!out || (flags & ~known))
      return CUDA_ERROR_INVALID_VALUE;
    auto event = std::make_unique<CUevent_st>();
    event->ctx = &ctx;
    event->flags = flags;
    driver().knownEvents.insert(event.get());
    ctx.events.push_back(std::move(event));
    *out = ctx.events.back().get();
    return CUDA_SUCCESS;
  });
}

static CUresult destroyEvent(const char *name, CUevent event) {
  return onEvent(name, event, [&](CUevent_st &) -> CUresult {
    driver().knownEvents.erase(event);
    erase_if(event->ctx->events,
             [&](const auto &each) { return each.get() == event; });
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuEventDestroy(CUevent event) {
  return destroyEvent("cuEventDestroy", event);
}

CUresult CUDAAPI cuEventDestroy_v2(CUevent event) {
  return destroyEvent("cuEventDestroy_v2", event);
}

static CUresult recordEvent(const char *name, CUevent event, CUstream handle,
                            unsigned flags) {
  return onStream(name, handle, [&](CUstream_st &stream) -> CUresult {
    if (CUresult bad = findEvent(event))
      return bad;
    if (flags & ~unsigned(CU_EVENT_RECORD_EXTERNAL))
      return CUDA_ERROR_INVALID_VALUE;
    if (event->ctx != stream.ctx)
      return refuse(CUDA_ERROR_INVALID_HANDLE,
                    "the event and the stream are of different contexts");
    if (stream.capture && !(flags & CU_EVENT_RECORD_EXTERNAL)) {
      if (stream.capture->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
      event->capture = stream.capture;
      event->captureAfter = stream.captureAfter;
      return CUDA_SUCCESS;
    }
    return submit(&stream, RecordWork{event});
  });
}

CUresult CUDAAPI cuEventRecord(CUevent event, CUstream stream) {
  return recordEvent("cuEventRecord", event, stream, 0);
}

CUresult CUDAAPI cuEventRecordWithFlags(CUevent event, CUstream stream,
                                        unsigned flags) {
  return recordEvent("cuEventRecordWithFlags", event, stream, flags);
}

static CUresult waitCaptured(CUstream_st &stream, CUevent_st &event) {
  // A wait for a captured event takes the waiting stream into the capture.
  std::shared_ptr<Capture> capture = event.capture;
  if (!is_contained(driver().captures, capture))
    return refuse(CUDA_ERROR_CAPTURED_EVENT,
                  "the event was recorded in a capture that has ended");
  if (capture->invalid)
    return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (stream.capture && stream.capture != capture) {
    invalidate(*capture);
    invalidate(*stream.capture);
    return refuse(CUDA_ERROR_STREAM_CAPTURE_MERGE,
                  "the event belongs to another capture");
  }
  if (!stream.capture) {
    if (stream.kind == CUstream_st::Kind::Legacy) {
      invalidate(*capture);
      return refuse(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
                    "the legacy stream cannot be captured");
    }
    stream.capture = capture;
    stream.captureAfter.clear();
    capture->streams.push_back(&stream);
  }
  for (CUgraphNode node : event.captureAfter)
    if (!is_contained(stream.captureAfter, node))
      stream.captureAfter.push_back(node);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamWaitEvent(CUstream handle, CUevent event,
                                   unsigned flags) {
  return onStream(
      "cuStreamWaitEvent", handle, [&](CUstream_st &stream) -> CUresult {
        if (CUresult bad = findEvent(event))
          return bad;
        if (flags & ~unsigned(CU_EVENT_WAIT_EXTERNAL))
          return CUDA_ERROR_INVALID_VALUE;
        if (stream.capture && (flags & CU_EVENT_WAIT_EXTERNAL))
          return submit(&stream, WaitWork{event});
        if (event->capture)
          return waitCaptured(stream, *event);
        if (stream.capture) {
          invalidate(*stream.capture);
          return refuse(CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
                        "the event was not recorded in the capture");
        }
        return submit(&stream, WaitWork{event});
      });
}

static CUresult refuseCaptured(CUevent_st &event) {
  if (!event.capture)
    return CUDA_SUCCESS;
  invalidate(*event.capture);
  return refuse(CUDA_ERROR_CAPTURED_EVENT,
                "a captured event cannot be waited for or queried");
}

CUresult CUDAAPI cuEventSynchronize(CUevent handle) {
  return onEvent(
      "cuEventSynchronize", handle, [&](CUevent_st &event) -> CUresult {
        if (CUresult bad = refuseCaptured(event))
          return bad;
        if (CUresult bad = forbidInCapture())
          return bad;
        CUresult status =
            event.record ? driver().queue.wait(event.record) : CUDA_SUCCESS;
        return event.ctx->poison ? event.ctx->poison : status;
      });
}

CUresult CUDAAPI cuEventQuery(CUevent handle) {
  return onEvent("cuEventQuery", handle, [&](CUevent_st &event) -> CUresult {
    if (CUresult bad = refuseCaptured(event))
      return bad;
    if (CUresult bad = forbidInCapture())
      return bad;
    if (!event.record)
      return CUDA_SUCCESS;
    if (!event.record->done)
      driver().queue.nudge(event.record);
    if (event.ctx->poison)
      return event.ctx->poison;
    return event.record->done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
  });
}

// The difference of two points of the estimated clock, told once a process.
static CUresult elapsed(const char *name, float *millis, CUevent start,
                        CUevent end) {
  return inContext(name, [&](CUctx_st &) -> CUresult {
    for (CUevent event : {start, end})
      if (CUresult bad = findEvent(event))
        return bad;
    if (!millis)
      return CUDA_ERROR_INVALID_VALUE;
    if (start->ctx != end->ctx ||
        ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING) ||
        !start->record || !end->record)
      return refuse(CUDA_ERROR_INVALID_HANDLE,
                    "both events must be recorded in one context and timed");
    if (!start->record->done || !end->record->done)
      return CUDA_ERROR_NOT_READY;
    static bool told = false;
    if (!told)
      driver().report(
          "note: times of events are a roofline estimate from the device's "
          "published rates, not a measurement; without counters= a kernel "
          "counts only by its threads");
    told = true;
    *millis =
        float((end->record->endMicros - start->record->endMicros) / 1000.0);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuEventElapsedTime(float *millis, CUevent start, CUevent end) {
  return elapsed("cuEventElapsedTime", millis, start, end);
}

CUresult CUDAAPI cuEventElapsedTime_v2(float *millis, CUevent start,
                                       CUevent end) {
  return elapsed("cuEventElapsedTime_v2", millis, start, end);
}

CUresult CUDAAPI cuCtxRecordEvent(CUcontext ctx, CUevent event) {
  return inDriver("cuCtxRecordEvent", [&]() -> CUresult {
    if (CUresult bad = usable(ctx))
      return bad;
    if (CUresult bad = findEvent(event))
      return bad;
    if (event->ctx != ctx)
      return CUDA_ERROR_INVALID_HANDLE;
    OpRef op = makeOp(*ctx, EmptyWork(), nullptr);
    if (ctx->legacy->last)
      op->after.push_back(ctx->legacy->last);
    for (const auto &stream : ctx->streams)
      if (stream->last)
        op->after.push_back(stream->last);
    for (const auto &[thread, stream] : ctx->perThread)
      if (stream->last)
        op->after.push_back(stream->last);
    event->record = driver().queue.submit(std::move(op));
    event->capture = nullptr;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxWaitEvent(CUcontext ctx, CUevent event) {
  return inDriver("cuCtxWaitEvent", [&]() -> CUresult {
    if (CUresult bad = usable(ctx))
      return bad;
    if (CUresult bad = findEvent(event))
      return bad;
    std::vector<CUstream> streams = {ctx->legacy.get()};
    for (const auto &stream : ctx->streams)
      streams.push_back(stream.get());
    for (CUstream stream : streams)
      enqueue(stream, WaitWork{event});
    return CUDA_SUCCESS;
  });
}
