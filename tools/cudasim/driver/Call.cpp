#include "tools/cudasim/driver/Call.h"

#include "tools/cudasim/driver/Errors.h"
#include "tools/cudasim/driver/Graph.h"
#include "llvm/ADT/STLExtras.h"

using namespace llvm;

namespace cudasim::driver {

Entry::Entry(const char *name) : name(name) { driver().mutex.lock(); }

Entry::~Entry() { driver().mutex.unlock(); }

CUresult Entry::needDriver() {
  if (!driver().initialised)
    return CUDA_ERROR_NOT_INITIALIZED;
  if (thisThread().inHostFunction)
    return refuse(CUDA_ERROR_NOT_PERMITTED,
                  "a host function may not call the driver");
  return CUDA_SUCCESS;
}

CUresult Entry::needContext() {
  if (CUresult bad = needDriver())
    return bad;
  ThreadState &thread = thisThread();
  if (thread.contexts.empty() || !thread.contexts.back())
    return CUDA_ERROR_INVALID_CONTEXT;
  ctx = thread.contexts.back();
  return usable(ctx);
}

CUresult Entry::done(CUresult status) {
  Driver &self = driver();
  if (self.options.log == LogLevel::Calls ||
      (self.options.log == LogLevel::Errors && status != CUDA_SUCCESS &&
       status != CUDA_ERROR_NOT_READY))
    self.report(Twine(name).str() + " -> " + errorName(status).str());
  return status;
}

CUresult usable(CUcontext ctx) {
  if (!driver().knownContexts.contains(ctx))
    return CUDA_ERROR_INVALID_CONTEXT;
  if (ctx->destroyed)
    return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  return ctx->poison;
}

CUresult refuse(CUresult status, const Twine &why) {
  driver().explain(why.str());
  return status;
}

CUresult answer(const MemoryFault &fault) {
  return refuse(CUresult(fault.code), fault.message);
}

CUresult findStream(CUctx_st &current, CUstream handle, CUstream &stream) {
  bool ownDefault = thisThread().perThreadDefault;
  if (handle == CU_STREAM_PER_THREAD || (!handle && ownDefault)) {
    auto &slot = current.perThread[std::this_thread::get_id()];
    if (!slot) {
      slot = std::make_unique<CUstream_st>();
      slot->kind = CUstream_st::Kind::PerThread;
      slot->ctx = &current;
      slot->id = driver().nextId();
    }
    stream = slot.get();
    return CUDA_SUCCESS;
  }
  if (!handle || handle == CU_STREAM_LEGACY) {
    stream = current.legacy.get();
    return CUDA_SUCCESS;
  }
  if (!driver().knownStreams.contains(handle))
    return refuse(CUDA_ERROR_INVALID_HANDLE, "the stream is not a live one");
  stream = handle;
  return usable(handle->ctx);
}

CUresult findEvent(CUevent handle) {
  if (!handle || !driver().knownEvents.contains(handle))
    return refuse(CUDA_ERROR_INVALID_HANDLE, "the event is not a live one");
  return usable(handle->ctx);
}

CUresult submit(CUstream stream, Work work) {
  if (stream->capture) {
    Capture &capture = *stream->capture;
    if (capture.invalid)
      return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (std::holds_alternative<CallbackWork>(work) ||
        std::holds_alternative<ValueWork>(work)) {
      invalidate(capture);
      return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                    describe(work) + " cannot be captured");
    }
    CUgraphNode node =
        addNode(capture.graph, std::move(work), stream->captureAfter);
    stream->captureAfter = {node};
    return CUDA_SUCCESS;
  }
  if (stream->kind == CUstream_st::Kind::Legacy)
    if (CUresult bad = forbidImplicit(*stream->ctx))
      return bad;
  enqueue(stream, std::move(work));
  // A random order may have run it, and it may have failed; that is for a
  // later call to say, as with a real device.
  return CUDA_SUCCESS;
}

OpRef append(CUstream stream, OpRef op) {
  CUctx_st &ctx = *stream->ctx;
  auto behind = [&](const OpRef &last) {
    if (last)
      op->after.push_back(last);
  };
  behind(stream->last);
  if (stream->kind == CUstream_st::Kind::Legacy) {
    for (const auto &other : ctx.streams)
      if (other->isBlocking())
        behind(other->last);
    for (const auto &[thread, other] : ctx.perThread)
      behind(other->last);
  } else if (stream->isBlocking()) {
    behind(ctx.legacy->last);
  }
  stream->last = driver().queue.submit(std::move(op));
  return stream->last;
}

OpRef enqueue(CUstream stream, Work work) {
  CUctx_st &ctx = *stream->ctx;
  if (auto *child = std::get_if<ChildWork>(&work))
    return launchGraph(ctx, *child->graph, stream,
                       append(stream, makeOp(ctx, EmptyWork(), stream)));
  // An event's wait is an edge and nothing else.
  if (auto *wait = std::get_if<WaitWork>(&work)) {
    OpRef op = makeOp(ctx, EmptyWork(), stream);
    if (wait->event->record)
      op->after.push_back(wait->event->record);
    return append(stream, std::move(op));
  }
  if (auto *record = std::get_if<RecordWork>(&work)) {
    OpRef op = append(stream, makeOp(ctx, EmptyWork(), stream));
    record->event->record = op;
    record->event->capture = nullptr;
    record->event->captureAfter.clear();
    return op;
  }
  return append(stream, makeOp(ctx, std::move(work), stream));
}

CUresult submitAndWait(CUstream stream, Work work) {
  if (stream->capture) {
    invalidate(*stream->capture);
    return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                  "a call that waits cannot be captured");
  }
  if (stream->kind == CUstream_st::Kind::Legacy)
    if (CUresult bad = forbidImplicit(*stream->ctx))
      return bad;
  return driver().queue.wait(enqueue(stream, std::move(work)));
}

} // namespace cudasim::driver
