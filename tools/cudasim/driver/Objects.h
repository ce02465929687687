//===- Objects.h - what the driver's handles point to ---------------------===//
//
// A handle is a pointer to one of these. Every handle that a program passes is
// looked up among the living before it is followed, so a stale or made-up one
// is an error code and not a crash. Everything is guarded by the driver's lock.
//
// Contexts are never freed: a program may hold a destroyed one, and is told so
// by CUDA_ERROR_CONTEXT_IS_DESTROYED.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "tools/cudasim/driver/Cuda.h"
#include "tools/cudasim/driver/Queue.h"
#include "tools/cudasim/driver/Work.h"
#include "tools/cudasim/machine/Launch.h"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace cudasim::driver {

struct Capture;

/// A simulated part.
struct Device {
  int ordinal = 0;
  const DeviceModel *model = nullptr;
  CUcontext primary = nullptr;
  unsigned primaryUses = 0;
  unsigned primaryFlags = 0;
  CUmemoryPool defaultPool = nullptr;
  CUmemoryPool currentPool = nullptr;
};

/// What the driver knows of an allocation beside what the memory does.
struct Holding {
  enum class Kind { Device, Pitched, Managed, Host, Registered, Pool, Graph };
  Kind kind = Kind::Device;
  CUcontext ctx = nullptr;
  CUmemoryPool pool = nullptr;
  uint64_t bytes = 0;
  unsigned flags = 0;
  /// A stream-ordered free has been submitted.
  bool freeing = false;
  bool syncMemops = false;
};

} // namespace cudasim::driver

struct CUctx_st {
  cudasim::driver::Device *device = nullptr;
  uint64_t id = 0;
  unsigned flags = 0;
  bool isPrimary = false;
  /// A primary context that nobody retains, or one that was destroyed.
  bool destroyed = false;
  /// The error that a fault left behind; every later call answers with it.
  CUresult poison = CUDA_SUCCESS;
  std::map<CUlimit, size_t> limits;
  CUfunc_cache cacheConfig = CU_FUNC_CACHE_PREFER_NONE;
  CUsharedconfig sharedConfig = CU_SHARED_MEM_CONFIG_DEFAULT_BANK_SIZE;
  std::set<CUcontext> peers;

  std::unique_ptr<CUstream_st> legacy;
  std::map<std::thread::id, std::unique_ptr<CUstream_st>> perThread;
  std::vector<std::unique_ptr<CUstream_st>> streams;
  std::vector<std::unique_ptr<CUevent_st>> events;
  std::vector<std::unique_ptr<CUmod_st>> modules;
};

struct CUstream_st {
  enum class Kind { User, Legacy, PerThread };
  Kind kind = Kind::User;
  CUcontext ctx = nullptr;
  uint64_t id = 0;
  unsigned flags = 0;
  int priority = 0;
  cudasim::driver::OpRef last;
  CUstreamAttrValue policyWindow = {};
  CUsynchronizationPolicy syncPolicy = CU_SYNC_POLICY_AUTO;

  /// Set while the stream is being captured, with the nodes that the next one
  /// comes after.
  std::shared_ptr<cudasim::driver::Capture> capture;
  std::vector<CUgraphNode> captureAfter;

  /// Work in the legacy default stream waits for it, and it for that.
  bool isBlocking() const {
    return kind == Kind::Legacy || !(flags & CU_STREAM_NON_BLOCKING);
  }
};

struct CUevent_st {
  CUcontext ctx = nullptr;
  unsigned flags = 0;
  /// The newest record; null before the first.
  cudasim::driver::OpRef record;
  /// Set where the newest record was captured.
  std::shared_ptr<cudasim::driver::Capture> capture;
  std::vector<CUgraphNode> captureAfter;
};

struct CUmod_st {
  CUcontext ctx = nullptr;
  CUlibrary library = nullptr;
  std::shared_ptr<const cudasim::Program> program;
  std::unique_ptr<cudasim::Instance> instance;
  /// One a kernel, in the program's order.
  std::vector<std::unique_ptr<CUfunc_st>> functions;
};

struct CUfunc_st {
  CUmodule module = nullptr;
  const cudasim::KernelInfo *info = nullptr;
  /// What the attribute of that name was set to.
  unsigned maxDynamicShared = 0;
  int carveout = CU_SHAREDMEM_CARVEOUT_DEFAULT;
  CUfunc_cache cacheConfig = CU_FUNC_CACHE_PREFER_NONE;
  CUkernel kernel = nullptr;
};

struct CUlib_st {
  std::shared_ptr<const cudasim::Program> program;
  std::vector<std::unique_ptr<CUkern_st>> kernels;
  /// The module in each context that has used it.
  std::map<CUcontext, CUmodule> modules;
};

struct CUkern_st {
  CUlibrary library = nullptr;
  const cudasim::KernelInfo *info = nullptr;
  /// By device, and for those without an entry, what was set before.
  std::map<int, unsigned> maxDynamicShared;
};

struct CUmemPoolHandle_st {
  cudasim::driver::Device *device = nullptr;
  bool isDefault = false;
  uint64_t releaseThreshold = 0;
  int reuse[3] = {1, 1, 1};
  uint64_t used = 0;
  uint64_t usedHigh = 0;
  uint64_t reserved = 0;
  uint64_t reservedHigh = 0;
  uint64_t maxSize = 0;
  std::map<int, CUmemAccess_flags> access;
};

struct CUuserObject_st {
  CUhostFn destroy = nullptr;
  void *userData = nullptr;
  unsigned uses = 0;
};
