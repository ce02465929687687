// Captures: calls on a stream become nodes of a graph until the end.
#include "tools/cudasim/driver/OnHandle.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallPtrSet.h"

using namespace llvm;

namespace cudasim::driver {

void invalidate(Capture &capture) { capture.invalid = true; }

void forget(const std::shared_ptr<Capture> &capture) {
  for (CUstream stream : capture->streams)
    if (stream->capture == capture) {
      stream->capture = nullptr;
      stream->captureAfter.clear();
    }
  llvm::erase(driver().captures, capture);
  // What was captured into no graph of the program's goes away.
  if (capture->graph && !capture->intoGraph && capture->invalid) {
    graphHandles().graphs.erase(capture->graph);
    capture->graph = nullptr;
  }
}

// The rules of cuThreadExchangeStreamCaptureMode.
CUresult forbidInCapture() {
  const ThreadState &thread = thisThread();
  if (thread.captureMode == CU_STREAM_CAPTURE_MODE_RELAXED)
    return CUDA_SUCCESS;
  bool forbidden = false;
  for (const auto &capture : driver().captures) {
    bool own = capture->thread == std::this_thread::get_id() &&
               capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
    bool global = capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL &&
                  thread.captureMode == CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (!own && !global)
      continue;
    invalidate(*capture);
    forbidden = true;
  }
  if (!forbidden)
    return CUDA_SUCCESS;
  return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                "the call is not allowed while a stream is being captured");
}

CUresult forbidImplicit(CUctx_st &ctx) {
  bool forbidden = false;
  for (const auto &capture : driver().captures)
    for (CUstream stream : capture->streams)
      if (stream->ctx == &ctx && stream->isBlocking()) {
        invalidate(*capture);
        forbidden = true;
        break;
      }
  if (!forbidden)
    return CUDA_SUCCESS;
  return refuse(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
                "work in the legacy default stream would wait for a stream "
                "that is being captured");
}

} // namespace cudasim::driver

using namespace cudasim::driver;

static CUresult begin(CUstream_st &stream, CUstreamCaptureMode mode,
                      CUgraph graph, ArrayRef<CUgraphNode> after) {
  if (mode < CU_STREAM_CAPTURE_MODE_GLOBAL ||
      mode > CU_STREAM_CAPTURE_MODE_RELAXED)
    return CUDA_ERROR_INVALID_VALUE;
  if (stream.kind == CUstream_st::Kind::Legacy)
    return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                  "the legacy default stream cannot be captured");
  if (stream.capture)
    return refuse(CUDA_ERROR_ILLEGAL_STATE,
                  "the stream is being captured already");
  auto capture = std::make_shared<Capture>();
  capture->id = driver().nextId();
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  capture->origin = &stream;
  capture->streams = {&stream};
  capture->intoGraph = graph != nullptr;
  capture->graph = graph ? graph : makeGraph(0);
  stream.captureAfter.assign(after.begin(), after.end());
  stream.capture = capture;
  driver().captures.push_back(std::move(capture));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamBeginCapture(CUstream handle) {
  return onStream("cuStreamBeginCapture", handle, [&](CUstream_st &stream) {
    return begin(stream, CU_STREAM_CAPTURE_MODE_GLOBAL, nullptr, {});
  });
}

CUresult CUDAAPI cuStreamBeginCapture_v2(CUstream handle,
                                         CUstreamCaptureMode mode) {
  return onStream("cuStreamBeginCapture_v2", handle, [&](CUstream_st &stream) {
    return begin(stream, mode, nullptr, {});
  });
}

CUresult CUDAAPI cuStreamBeginCaptureToGraph(CUstream handle, CUgraph graph,
                                             const CUgraphNode *after,
                                             const CUgraphEdgeData *,
                                             size_t count,
                                             CUstreamCaptureMode mode) {
  return onStream("cuStreamBeginCaptureToGraph", handle,
                  [&](CUstream_st &stream) -> CUresult {
                    if (!isGraph(graph) || (count != 0 && !after))
                      return CUDA_ERROR_INVALID_VALUE;
                    for (size_t i = 0; i != count; ++i)
                      if (!isNode(after[i]) || after[i]->graph != graph)
                        return CUDA_ERROR_INVALID_VALUE;
                    return begin(stream, mode, graph, ArrayRef(after, count));
                  });
}

// Whatever a stream joined the capture with must lead back to the origin.
static bool isJoined(const Capture &capture) {
  SmallPtrSet<CUgraphNode, 32> reached;
  SmallVector<CUgraphNode, 32> open(capture.origin->captureAfter.begin(),
                                    capture.origin->captureAfter.end());
  while (!open.empty()) {
    CUgraphNode node = open.pop_back_val();
    if (!reached.insert(node).second)
      continue;
    open.append(node->after.begin(), node->after.end());
  }
  for (CUstream stream : capture.streams)
    for (CUgraphNode node : stream->captureAfter)
      if (!reached.contains(node))
        return false;
  return true;
}

CUresult CUDAAPI cuStreamEndCapture(CUstream handle, CUgraph *out) {
  return onStream(
      "cuStreamEndCapture", handle, [&](CUstream_st &stream) -> CUresult {
        if (!out)
          return CUDA_ERROR_INVALID_VALUE;
        *out = nullptr;
        std::shared_ptr<Capture> capture = stream.capture;
        if (!capture)
          return refuse(CUDA_ERROR_ILLEGAL_STATE,
                        "the stream is not being captured");
        if (capture->origin != &stream) {
          invalidate(*capture);
          return refuse(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED,
                        "the capture was begun in another stream");
        }
        if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED &&
            capture->thread != std::this_thread::get_id())
          return refuse(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD,
                        "the capture was begun by another thread");
        bool joined = isJoined(*capture);
        if (!joined)
          invalidate(*capture);
        bool broken = capture->invalid;
        forget(capture);
        if (!joined)
          return refuse(CUDA_ERROR_STREAM_CAPTURE_UNJOINED,
                        "a stream that joined the capture was not joined back");
        if (broken)
          return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        *out = capture->graph;
        return CUDA_SUCCESS;
      });
}

static CUstreamCaptureStatus statusOf(const CUstream_st &stream) {
  if (!stream.capture)
    return CU_STREAM_CAPTURE_STATUS_NONE;
  return stream.capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                 : CU_STREAM_CAPTURE_STATUS_ACTIVE;
}

// Asking about the legacy stream while another is captured is itself an
// implicit dependency.
static CUresult captureInfo(const char *name, CUstream handle,
                            CUstreamCaptureStatus *status, cuuint64_t *id,
                            CUgraph *graph, const CUgraphNode **after,
                            const CUgraphEdgeData **edges, size_t *count) {
  return onStream(name, handle, [&](CUstream_st &stream) -> CUresult {
    if (!status)
      return CUDA_ERROR_INVALID_VALUE;
    if (stream.kind == CUstream_st::Kind::Legacy)
      for (const auto &capture : driver().captures)
        for (CUstream each : capture->streams)
          if (each->ctx == stream.ctx && each->isBlocking())
            return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    *status = statusOf(stream);
    if (*status != CU_STREAM_CAPTURE_STATUS_ACTIVE)
      return CUDA_SUCCESS;
    if (id)
      *id = stream.capture->id;
    if (graph)
      *graph = stream.capture->graph;
    if (after)
      *after = stream.captureAfter.data();
    if (edges)
      *edges = nullptr;
    if (count)
      *count = stream.captureAfter.size();
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuStreamIsCapturing(CUstream stream,
                                     CUstreamCaptureStatus *status) {
  return captureInfo("cuStreamIsCapturing", stream, status, nullptr, nullptr,
                     nullptr, nullptr, nullptr);
}

CUresult CUDAAPI cuStreamGetCaptureInfo(CUstream stream,
                                        CUstreamCaptureStatus *status,
                                        cuuint64_t *id) {
  return captureInfo("cuStreamGetCaptureInfo", stream, status, id, nullptr,
                     nullptr, nullptr, nullptr);
}

CUresult CUDAAPI cuStreamGetCaptureInfo_v2(CUstream stream,
                                           CUstreamCaptureStatus *status,
                                           cuuint64_t *id, CUgraph *graph,
                                           const CUgraphNode **after,
                                           size_t *count) {
  return captureInfo("cuStreamGetCaptureInfo_v2", stream, status, id, graph,
                     after, nullptr, count);
}

CUresult CUDAAPI cuStreamGetCaptureInfo_v3(CUstream stream,
                                           CUstreamCaptureStatus *status,
                                           cuuint64_t *id, CUgraph *graph,
                                           const CUgraphNode **after,
                                           const CUgraphEdgeData **edges,
                                           size_t *count) {
  return captureInfo("cuStreamGetCaptureInfo_v3", stream, status, id, graph,
                     after, edges, count);
}

static CUresult updateDependencies(const char *name, CUstream handle,
                                   CUgraphNode *after, size_t count,
                                   unsigned flags) {
  return onStream(name, handle, [&](CUstream_st &stream) -> CUresult {
    if (!stream.capture)
      return CUDA_ERROR_ILLEGAL_STATE;
    if (flags > CU_STREAM_SET_CAPTURE_DEPENDENCIES || (count != 0 && !after))
      return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i != count; ++i)
      if (!isNode(after[i]) || after[i]->graph != stream.capture->graph)
        return CUDA_ERROR_INVALID_VALUE;
    if (flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES)
      stream.captureAfter.clear();
    for (size_t i = 0; i != count; ++i)
      if (!is_contained(stream.captureAfter, after[i]))
        stream.captureAfter.push_back(after[i]);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuStreamUpdateCaptureDependencies(CUstream stream,
                                                   CUgraphNode *after,
                                                   size_t count,
                                                   unsigned flags) {
  return updateDependencies("cuStreamUpdateCaptureDependencies", stream, after,
                            count, flags);
}

CUresult CUDAAPI cuStreamUpdateCaptureDependencies_v2(CUstream stream,
                                                      CUgraphNode *after,
                                                      const CUgraphEdgeData *,
                                                      size_t count,
                                                      unsigned flags) {
  return updateDependencies("cuStreamUpdateCaptureDependencies_v2", stream,
                            after, count, flags);
}

CUresult CUDAAPI cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
  return inDriver("cuThreadExchangeStreamCaptureMode", [&]() -> CUresult {
    if (!mode || *mode < CU_STREAM_CAPTURE_MODE_GLOBAL ||
        *mode > CU_STREAM_CAPTURE_MODE_RELAXED)
      return CUDA_ERROR_INVALID_VALUE;
    std::swap(*mode, thisThread().captureMode);
    return CUDA_SUCCESS;
  });
}
