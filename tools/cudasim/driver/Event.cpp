// Events, and what waits for them.
#include "tools/cudasim/driver/OnHandle.h"
#include "llvm/ADT/STLExtras.h"

using namespace llvm;
using namespace cudasim::driver;

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
