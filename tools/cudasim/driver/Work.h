//===- Work.h - what can be asked of a stream or put in a graph -----------===//
//
// One description serves both: a call on a stream either submits a Work or,
// while the stream is being captured, becomes a node that holds it. Everything
// that the call may forget afterwards is copied in: kernel parameters always,
// and the bytes of pageable host memory.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "tools/cudasim/driver/Cuda.h"

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace cudasim::driver {

struct Grid {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
  uint64_t count() const { return uint64_t(x) * y * z; }
};

struct EmptyWork {};

struct KernelWork {
  CUfunction function = nullptr;
  /// What the caller named, where that was a CUkernel; only handed back.
  CUkernel kernel = nullptr;
  Grid grid;
  Grid block;
  unsigned dynamicShared = 0;
  bool cooperative = false;
  int priority = 0;
  /// As the kernel reads them, padding included.
  std::vector<uint8_t> params;
  /// Where each parameter lies in `params`; what cuGraphKernelNodeGetParams
  /// hands out points there.
  std::vector<void *> pointers;
};

/// One side of a copy: `rows * slices` rows of bytes, whatever the memory.
struct Side {
  bool host = false;
  uint64_t address = 0;
  size_t pitch = 0;
  /// Rows between two slices.
  size_t height = 0;
  /// For copies between contexts; null is the current one.
  CUcontext ctx = nullptr;
  uint64_t rowAt(size_t slice, size_t row) const {
    return address + (uint64_t(slice) * height + row) * pitch;
  }
};

struct CopyWork {
  Side src;
  Side dst;
  size_t width = 0;
  size_t rows = 1;
  size_t slices = 1;
  /// The bytes of a pageable source, row after row, taken at the call.
  std::shared_ptr<const std::vector<uint8_t>> staged;
};

struct SetWork {
  CUdeviceptr dst = 0;
  size_t pitch = 0;
  uint32_t value = 0;
  unsigned elementBytes = 1;
  size_t width = 0;
  size_t rows = 1;
};

struct HostWork {
  CUhostFn function = nullptr;
  void *userData = nullptr;
};

/// cuStreamAddCallback: a function that is also told the status.
struct CallbackWork {
  CUstreamCallback function = nullptr;
  CUstream stream = nullptr;
  void *userData = nullptr;
};

struct ChildWork {
  /// The node's own copy; owned by the node.
  std::shared_ptr<CUgraph_st> graph;
};

struct RecordWork {
  CUevent event = nullptr;
};
struct WaitWork {
  CUevent event = nullptr;
};

/// Memory of a graph: freed with the last graph that allocates it, unless the
/// program has freed it before.
struct GraphMemory {
  CUdeviceptr address = 0;
  uint64_t id = 0;
  ~GraphMemory();
};

struct AllocWork {
  /// Null outside of graphs.
  std::shared_ptr<GraphMemory> memory;
  CUdeviceptr address = 0;
  size_t bytes = 0;
  CUmemPoolProps props = {};
};
struct FreeWork {
  CUdeviceptr address = 0;
};

/// cuStreamWriteValue and cuStreamWaitValue.
struct ValueWork {
  bool wait = false;
  CUdeviceptr address = 0;
  uint64_t value = 0;
  unsigned bytes = 4;
  unsigned flags = 0;
};

/// What another library asked for through PrivateApi.h.
struct ForeignOp;
struct ForeignWork {
  std::shared_ptr<ForeignOp> op;
};

using Work = std::variant<EmptyWork, KernelWork, CopyWork, SetWork, HostWork,
                          CallbackWork, ChildWork, RecordWork, WaitWork,
                          AllocWork, FreeWork, ValueWork, ForeignWork>;

/// What the work is, in a few words, for reports and dot files.
std::string describe(const Work &work);

} // namespace cudasim::driver
