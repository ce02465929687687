//===- OnHandle.h - calls that name a stream, an event or a graph ---------===//
#pragma once

#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/Graph.h"

namespace cudasim::driver {

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

/// `body` takes the current context and the executable graph.
template <typename Body>
CUresult onExec(const char *name, CUgraphExec exec, Body &&body) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    if (!graphHandles().execs.has(exec))
      return refuse(CUDA_ERROR_INVALID_VALUE,
                    "the executable graph is not a live one");
    return body(ctx, *exec);
  });
}

} // namespace cudasim::driver
