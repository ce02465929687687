//===- Driver.h - the state of the simulated driver -----------------------===//
#pragma once

#include "tools/cudasim/driver/Models.h"
#include "tools/cudasim/driver/Objects.h"
#include "tools/cudasim/driver/Options.h"
#include "tools/cudasim/driver/Queue.h"
#include "tools/cudasim/machine/Memory.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringRef.h"

#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace cudasim::driver {

/// Objects of one type, owned, that a handle may name.
template <typename T> class Living {
public:
  T *add(std::unique_ptr<T> object) {
    T *handle = object.get();
    objects[handle] = std::move(object);
    return handle;
  }
  bool has(const T *handle) const { return objects.count(handle) != 0; }
  std::unique_ptr<T> take(const T *handle) {
    auto at = objects.find(handle);
    std::unique_ptr<T> object = std::move(at->second);
    objects.erase(at);
    return object;
  }
  /// The owned objects; the order is that of addresses, so it must not reach
  /// any output.
  const std::map<const T *, std::unique_ptr<T>> &all() const { return objects; }

private:
  std::map<const T *, std::unique_ptr<T>> objects;
};

class Driver {
public:
  Queue::Mutex mutex;
  Queue queue{mutex};
  bool initialised = false;
  Options options;
  std::vector<Device> devices;
  std::unique_ptr<GlobalMemory> memory;

  std::vector<std::unique_ptr<CUctx_st>> contexts;
  llvm::DenseSet<const CUctx_st *> knownContexts;
  llvm::DenseSet<const CUstream_st *> knownStreams;
  llvm::DenseSet<const CUevent_st *> knownEvents;
  llvm::DenseSet<const CUmod_st *> knownModules;
  llvm::DenseSet<const CUfunc_st *> knownFunctions;
  llvm::DenseSet<const CUkern_st *> knownKernels;
  Living<CUlib_st> libraries;
  Living<CUmemPoolHandle_st> pools;
  Living<CUuserObject_st> userObjects;
  /// By first address.
  std::map<uint64_t, Holding> holdings;
  /// Captures in progress, in the order of their begin.
  std::vector<std::shared_ptr<Capture>> captures;
  /// By kernel name, in the order of first launches.
  std::vector<Counters> counters;

  /// cuInit: reads the options and makes the devices.
  CUresult initialise();

  CUcontext makeContext(Device &device, unsigned flags);
  /// Frees what the context holds and marks it destroyed.
  void tearDown(CUcontext ctx);
  /// After a fault: drops what is pending and makes the error stick.
  void poison(CUcontext ctx, CUresult status);

  /// Says `text` on standard error, unless the log is off.
  void report(llvm::StringRef text);
  /// The same, for what only LogLevel::Errors and above want.
  void explain(llvm::StringRef text);

  /// The holding and allocation around an address; null where none is.
  Holding *holdingAt(uint64_t address, Allocation *allocation = nullptr);

  uint64_t nextId() { return ++lastId; }
  void addCounters(const Counters &counted);

private:
  void writeCounters();
  /// Says what `ctx`, or where it is null any context, has not freed. A context
  /// that a fault ended cannot free any more and is left out.
  void reportLeaks(CUcontext ctx);
  static void atExit();
  uint64_t lastId = 0;
};

/// The one driver of the process; never destroyed, because programs call it
/// from destructors of their own.
Driver &driver();

/// Contexts of this thread, the current one last.
struct ThreadState {
  std::vector<CUcontext> contexts;
  CUstreamCaptureMode captureMode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  /// Inside a host function, which may not call the driver.
  bool inHostFunction = false;
  /// Inside a call of the _ptsz or _ptds kind.
  bool perThreadDefault = false;
};
ThreadState &thisThread();

} // namespace cudasim::driver
