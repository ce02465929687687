// Contexts: primary ones and others, the stack of each thread, limits, peers.
#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/DeviceCalls.h"
#include "tools/cudasim/driver/Graph.h"
#include "llvm/ADT/STLExtras.h"

using namespace llvm;
using namespace cudasim::driver;

static bool areContextFlags(unsigned flags) {
  unsigned schedule = flags & CU_CTX_SCHED_MASK;
  return !(flags & ~CU_CTX_FLAGS_MASK) &&
         (schedule == 0 || isPowerOf2_32(schedule));
}

//===--- primary contexts ---------------------------------------------------//

CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice ordinal) {
  return inDriver("cuDevicePrimaryCtxRetain", [&]() -> CUresult {
    Device *device = nullptr;
    if (CUresult bad = findDevice(ordinal, device))
      return bad;
    if (!out)
      return CUDA_ERROR_INVALID_VALUE;
    if (!device->primary) {
      device->primary = driver().makeContext(*device, device->primaryFlags);
      device->primary->isPrimary = true;
    }
    // The handle stays the same for the life of the process.
    device->primary->destroyed = false;
    device->primary->flags = device->primaryFlags;
    ++device->primaryUses;
    *out = device->primary;
    return CUDA_SUCCESS;
  });
}

static void endPrimary(Device &device) {
  device.primaryUses = 0;
  if (!device.primary)
    return;
  driver().tearDown(device.primary);
  device.primary->poison = CUDA_SUCCESS;
}

static CUresult releasePrimary(const char *name, CUdevice ordinal) {
  return inDriver(name, [&]() -> CUresult {
    Device *device = nullptr;
    if (CUresult bad = findDevice(ordinal, device))
      return bad;
    if (device->primaryUses == 0)
      return refuse(CUDA_ERROR_INVALID_CONTEXT,
                    "the primary context is not retained");
    if (--device->primaryUses == 0)
      endPrimary(*device);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDevicePrimaryCtxRelease(CUdevice ordinal) {
  return releasePrimary("cuDevicePrimaryCtxRelease", ordinal);
}

CUresult CUDAAPI cuDevicePrimaryCtxRelease_v2(CUdevice ordinal) {
  return releasePrimary("cuDevicePrimaryCtxRelease_v2", ordinal);
}

static CUresult resetPrimary(const char *name, CUdevice ordinal) {
  return inDriver(name, [&]() -> CUresult {
    Device *device = nullptr;
    if (CUresult bad = findDevice(ordinal, device))
      return bad;
    endPrimary(*device);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDevicePrimaryCtxReset(CUdevice ordinal) {
  return resetPrimary("cuDevicePrimaryCtxReset", ordinal);
}

CUresult CUDAAPI cuDevicePrimaryCtxReset_v2(CUdevice ordinal) {
  return resetPrimary("cuDevicePrimaryCtxReset_v2", ordinal);
}

CUresult CUDAAPI cuDevicePrimaryCtxGetState(CUdevice ordinal, unsigned *flags,
                                            int *active) {
  return inDriver("cuDevicePrimaryCtxGetState", [&]() -> CUresult {
    Device *device = nullptr;
    if (CUresult bad = findDevice(ordinal, device))
      return bad;
    if (!flags || !active)
      return CUDA_ERROR_INVALID_VALUE;
    *flags = device->primaryFlags;
    *active = device->primaryUses != 0;
    return CUDA_SUCCESS;
  });
}

static CUresult setPrimaryFlags(const char *name, CUdevice ordinal,
                                unsigned flags) {
  return inDriver(name, [&]() -> CUresult {
    Device *device = nullptr;
    if (CUresult bad = findDevice(ordinal, device))
      return bad;
    if (!areContextFlags(flags))
      return CUDA_ERROR_INVALID_VALUE;
    device->primaryFlags = flags;
    if (device->primaryUses != 0)
      device->primary->flags = flags;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDevicePrimaryCtxSetFlags(CUdevice ordinal, unsigned flags) {
  return setPrimaryFlags("cuDevicePrimaryCtxSetFlags", ordinal, flags);
}

CUresult CUDAAPI cuDevicePrimaryCtxSetFlags_v2(CUdevice ordinal,
                                               unsigned flags) {
  return setPrimaryFlags("cuDevicePrimaryCtxSetFlags_v2", ordinal, flags);
}

//===--- other contexts -----------------------------------------------------//

static CUresult createContext(const char *name, CUcontext *out, unsigned flags,
                              CUdevice ordinal, bool plain) {
  return inDriver(name, [&]() -> CUresult {
    Device *device = nullptr;
    if (CUresult bad = findDevice(ordinal, device))
      return bad;
    if (!out || !areContextFlags(flags))
      return CUDA_ERROR_INVALID_VALUE;
    if (!plain)
      return refuse(CUDA_ERROR_NOT_SUPPORTED,
                    "execution affinity and graphics contexts are not "
                    "simulated");
    *out = driver().makeContext(*device, flags);
    thisThread().contexts.push_back(*out);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxCreate(CUcontext *out, unsigned flags, CUdevice device) {
  return createContext("cuCtxCreate", out, flags, device, true);
}

CUresult CUDAAPI cuCtxCreate_v2(CUcontext *out, unsigned flags,
                                CUdevice device) {
  return createContext("cuCtxCreate_v2", out, flags, device, true);
}

CUresult CUDAAPI cuCtxCreate_v3(CUcontext *out, CUexecAffinityParam *params,
                                int count, unsigned flags, CUdevice device) {
  return createContext("cuCtxCreate_v3", out, flags, device,
                       !params && count == 0);
}

CUresult CUDAAPI cuCtxCreate_v4(CUcontext *out, CUctxCreateParams *params,
                                unsigned flags, CUdevice device) {
  return createContext(
      "cuCtxCreate_v4", out, flags, device,
      !params || (params->numExecAffinityParams == 0 && !params->cigParams));
}

static CUresult destroyContext(const char *name, CUcontext ctx) {
  return inDriver(name, [&]() -> CUresult {
    if (!ctx || !driver().knownContexts.contains(ctx) || ctx->isPrimary)
      return CUDA_ERROR_INVALID_CONTEXT;
    if (ctx->destroyed)
      return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    driver().tearDown(ctx);
    std::vector<CUcontext> &stack = thisThread().contexts;
    if (!stack.empty() && stack.back() == ctx)
      stack.pop_back();
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxDestroy(CUcontext ctx) {
  return destroyContext("cuCtxDestroy", ctx);
}

CUresult CUDAAPI cuCtxDestroy_v2(CUcontext ctx) {
  return destroyContext("cuCtxDestroy_v2", ctx);
}

//===--- the thread's stack -------------------------------------------------//

static CUresult pushContext(const char *name, CUcontext ctx) {
  return inDriver(name, [&]() -> CUresult {
    if (!driver().knownContexts.contains(ctx))
      return CUDA_ERROR_INVALID_CONTEXT;
    if (ctx->destroyed)
      return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    thisThread().contexts.push_back(ctx);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxPushCurrent(CUcontext ctx) {
  return pushContext("cuCtxPushCurrent", ctx);
}

CUresult CUDAAPI cuCtxPushCurrent_v2(CUcontext ctx) {
  return pushContext("cuCtxPushCurrent_v2", ctx);
}

static CUresult popContext(const char *name, CUcontext *out) {
  return inDriver(name, [&]() -> CUresult {
    std::vector<CUcontext> &stack = thisThread().contexts;
    if (stack.empty())
      return CUDA_ERROR_INVALID_CONTEXT;
    if (out)
      *out = stack.back();
    stack.pop_back();
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxPopCurrent(CUcontext *out) {
  return popContext("cuCtxPopCurrent", out);
}

CUresult CUDAAPI cuCtxPopCurrent_v2(CUcontext *out) {
  return popContext("cuCtxPopCurrent_v2", out);
}

CUresult CUDAAPI cuCtxSetCurrent(CUcontext ctx) {
  return inDriver("cuCtxSetCurrent", [&]() -> CUresult {
    std::vector<CUcontext> &stack = thisThread().contexts;
    if (!ctx) {
      if (!stack.empty())
        stack.pop_back();
      return CUDA_SUCCESS;
    }
    if (!driver().knownContexts.contains(ctx))
      return CUDA_ERROR_INVALID_CONTEXT;
    if (ctx->destroyed)
      return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    if (stack.empty())
      stack.push_back(ctx);
    else
      stack.back() = ctx;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxGetCurrent(CUcontext *out) {
  return inDriver("cuCtxGetCurrent", [&]() -> CUresult {
    if (!out)
      return CUDA_ERROR_INVALID_VALUE;
    const std::vector<CUcontext> &stack = thisThread().contexts;
    *out = stack.empty() ? nullptr : stack.back();
    return CUDA_SUCCESS;
  });
}

//===--- what a context says of itself --------------------------------------//

// These name a context, or mean the current one by null.
template <typename Body>
static CUresult onContext(const char *name, CUcontext ctx, Body &&body) {
  if (!ctx)
    return inContext(name, body);
  return inDriver(name, [&]() -> CUresult {
    if (CUresult bad = usable(ctx))
      return bad;
    return body(*ctx);
  });
}

CUresult CUDAAPI cuCtxGetDevice(CUdevice *out) {
  return inContext("cuCtxGetDevice", [&](CUctx_st &ctx) -> CUresult {
    if (!out)
      return CUDA_ERROR_INVALID_VALUE;
    *out = ctx.device->ordinal;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxGetDevice_v2(CUdevice *out, CUcontext ctx) {
  return onContext("cuCtxGetDevice_v2", ctx, [&](CUctx_st &each) -> CUresult {
    if (!out)
      return CUDA_ERROR_INVALID_VALUE;
    *out = each.device->ordinal;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxGetFlags(unsigned *flags) {
  return inContext("cuCtxGetFlags", [&](CUctx_st &ctx) -> CUresult {
    if (!flags)
      return CUDA_ERROR_INVALID_VALUE;
    *flags = ctx.flags;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxSetFlags(unsigned flags) {
  return inContext("cuCtxSetFlags", [&](CUctx_st &ctx) -> CUresult {
    if (!areContextFlags(flags))
      return CUDA_ERROR_INVALID_VALUE;
    ctx.flags = flags;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxGetId(CUcontext ctx, unsigned long long *id) {
  return onContext("cuCtxGetId", ctx, [&](CUctx_st &each) -> CUresult {
    if (!id)
      return CUDA_ERROR_INVALID_VALUE;
    *id = each.id;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxGetApiVersion(CUcontext ctx, unsigned *version) {
  return onContext("cuCtxGetApiVersion", ctx, [&](CUctx_st &) -> CUresult {
    if (!version)
      return CUDA_ERROR_INVALID_VALUE;
    *version = 3020;
    return CUDA_SUCCESS;
  });
}

static CUresult synchronize(CUctx_st &ctx) {
  bool captured = false;
  for (const auto &capture : driver().captures)
    if (capture->origin->ctx == &ctx) {
      invalidate(*capture);
      captured = true;
    }
  if (captured)
    return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                  "a context cannot be waited for while one of its streams "
                  "is being captured");
  CUresult status = driver().queue.waitAll(&ctx);
  return ctx.poison ? ctx.poison : status;
}

CUresult CUDAAPI cuCtxSynchronize(void) {
  return inContext("cuCtxSynchronize", synchronize);
}

CUresult CUDAAPI cuCtxSynchronize_v2(CUcontext ctx) {
  return onContext("cuCtxSynchronize_v2", ctx, synchronize);
}

// Lower numbers are more urgent.
CUresult CUDAAPI cuCtxGetStreamPriorityRange(int *least, int *greatest) {
  return inContext("cuCtxGetStreamPriorityRange", [&](CUctx_st &) -> CUresult {
    if (least)
      *least = 0;
    if (greatest)
      *greatest = -5;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxGetLimit(size_t *value, CUlimit limit) {
  return inContext("cuCtxGetLimit", [&](CUctx_st &ctx) -> CUresult {
    auto at = ctx.limits.find(limit);
    if (at == ctx.limits.end())
      return CUDA_ERROR_UNSUPPORTED_LIMIT;
    if (!value)
      return CUDA_ERROR_INVALID_VALUE;
    *value = at->second;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxSetLimit(CUlimit limit, size_t value) {
  return inContext("cuCtxSetLimit", [&](CUctx_st &ctx) -> CUresult {
    auto at = ctx.limits.find(limit);
    if (at == ctx.limits.end())
      return CUDA_ERROR_UNSUPPORTED_LIMIT;
    if (limit == CU_LIMIT_MAX_L2_FETCH_GRANULARITY && value > 128)
      return CUDA_ERROR_INVALID_VALUE;
    at->second = value;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxGetCacheConfig(CUfunc_cache *config) {
  return inContext("cuCtxGetCacheConfig", [&](CUctx_st &ctx) -> CUresult {
    if (!config)
      return CUDA_ERROR_INVALID_VALUE;
    *config = ctx.cacheConfig;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxSetCacheConfig(CUfunc_cache config) {
  return inContext("cuCtxSetCacheConfig", [&](CUctx_st &ctx) -> CUresult {
    if (config < CU_FUNC_CACHE_PREFER_NONE ||
        config > CU_FUNC_CACHE_PREFER_EQUAL)
      return CUDA_ERROR_INVALID_VALUE;
    ctx.cacheConfig = config;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxGetSharedMemConfig(CUsharedconfig *config) {
  return inContext("cuCtxGetSharedMemConfig", [&](CUctx_st &ctx) -> CUresult {
    if (!config)
      return CUDA_ERROR_INVALID_VALUE;
    *config = ctx.sharedConfig;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxSetSharedMemConfig(CUsharedconfig config) {
  return inContext("cuCtxSetSharedMemConfig", [&](CUctx_st &ctx) -> CUresult {
    ctx.sharedConfig = config;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxResetPersistingL2Cache(void) {
  return inContext("cuCtxResetPersistingL2Cache",
                   [](CUctx_st &) { return CUDA_SUCCESS; });
}

//===--- peers --------------------------------------------------------------//

CUresult CUDAAPI cuCtxEnablePeerAccess(CUcontext peer, unsigned flags) {
  return inContext("cuCtxEnablePeerAccess", [&](CUctx_st &ctx) -> CUresult {
    if (CUresult bad = usable(peer))
      return bad;
    if (flags != 0)
      return CUDA_ERROR_INVALID_VALUE;
    if (peer == &ctx || peer->device == ctx.device)
      return CUDA_ERROR_INVALID_CONTEXT;
    if (!ctx.peers.insert(peer).second)
      return CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
    driver().memory->setPeerAccess(ctx.device->ordinal, peer->device->ordinal,
                                   true);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxDisablePeerAccess(CUcontext peer) {
  return inContext("cuCtxDisablePeerAccess", [&](CUctx_st &ctx) -> CUresult {
    if (!driver().knownContexts.contains(peer))
      return CUDA_ERROR_INVALID_CONTEXT;
    if (ctx.peers.erase(peer) == 0)
      return CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
    // What is under way may still use it.
    driver().queue.waitAll(&ctx);
    driver().memory->setPeerAccess(ctx.device->ordinal, peer->device->ordinal,
                                   false);
    return CUDA_SUCCESS;
  });
}
