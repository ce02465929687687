//===- Call.h - how every entry point begins and ends ---------------------===//
//
//   CUresult CUDAAPI cuMemFree_v2(CUdeviceptr address) {
//     return inContext("cuMemFree_v2", [&](CUctx_st &ctx) { ... });
//   }
//
// takes the lock, answers for what is wrong before the call is looked at (not
// initialised, called from a host function, no context, a context that is
// destroyed or has faulted), and logs. `inDriver` is for calls that need no
// context; they work after a fault too.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "tools/cudasim/driver/Driver.h"

namespace cudasim::driver {

class Entry {
public:
  explicit Entry(const char *name);
  ~Entry();
  Entry(const Entry &) = delete;

  CUresult needDriver();
  /// Sets `ctx`.
  CUresult needContext();
  CUresult done(CUresult status);

  CUcontext ctx = nullptr;

private:
  const char *name;
};

template <typename Body> CUresult inDriver(const char *name, Body &&body) {
  Entry entry(name);
  if (CUresult bad = entry.needDriver())
    return entry.done(bad);
  return entry.done(body());
}

template <typename Body> CUresult inContext(const char *name, Body &&body) {
  Entry entry(name);
  if (CUresult bad = entry.needContext())
    return entry.done(bad);
  return entry.done(body(*entry.ctx));
}

/// Runs `call` with handle 0 standing for the thread's own default stream.
template <typename Call, typename... Args>
CUresult perThread(Call call, Args... args) {
  bool &flag = thisThread().perThreadDefault;
  bool before = flag;
  flag = true;
  CUresult status = call(args...);
  flag = before;
  return status;
}

/// The error of the context, if it is not one that work can be given to.
CUresult usable(CUcontext ctx);

/// The stream that a handle names, 0 and the special values included.
CUresult findStream(CUctx_st &current, CUstream handle, CUstream &stream);
CUresult findEvent(CUevent handle);

/// For calls that are not allowed while a capture that this thread must mind
/// is in progress: they break it.
CUresult forbidInCapture();
/// Likewise for calls that synchronise with the legacy default stream.
CUresult forbidImplicit(CUctx_st &ctx);

/// Submits to the stream, or adds to the graph that it is being captured to.
CUresult submit(CUstream stream, Work work);
/// Submits, waits, and answers with what the work came to.
CUresult submitAndWait(CUstream stream, Work work);
/// Submits without a look at captures.
OpRef enqueue(CUstream stream, Work work);
/// The operation for `work` in `ctx`, with no edges yet.
OpRef makeOp(CUctx_st &ctx, Work work, CUstream stream);
/// Adds the edges of the stream, submits, and makes it the stream's last.
OpRef append(CUstream stream, OpRef op);

/// What a MemoryFault says, logged.
CUresult answer(const MemoryFault &fault);

/// Says why a call is refused, where the log wants it, and hands on `status`.
CUresult refuse(CUresult status, const llvm::Twine &why);

} // namespace cudasim::driver
