//===- Queue.h - submitted work, run late and in a legal order ------------===//
//
// Nothing runs when it is submitted. A call that must wait for something runs
// what it depends on, and nothing else when the seed is 0; other seeds pick at
// random among all that may legally run, and now and then run something at
// submission. So a missing edge shows, on some seed, as data that is too old
// or too new. Edges are: the order within a stream, events, the legacy default
// stream, and the edges of graphs.
//
// One lock guards the driver; it is held while work runs, except host
// functions. A wait that sees no progress for a while is a deadlock, which is
// reported with the work that it hangs on.
//
// A clock of its own, advanced by each operation's estimated duration along
// the edges, gives events their times: a roofline estimate, never a
// measurement.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "tools/cudasim/driver/Cuda.h"
#include "llvm/ADT/FunctionExtras.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallVector.h"

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

namespace cudasim::driver {

struct Op;
using OpRef = std::shared_ptr<Op>;

/// What running an operation came to.
struct Outcome {
  CUresult status = CUDA_SUCCESS;
  /// Estimated microseconds.
  double micros = 0;
  /// Not finished: it only spins, and others should have a turn first.
  bool again = false;
};

struct Op {
  uint64_t serial = 0;
  CUcontext ctx = nullptr;
  std::string label;
  /// What must be done before; emptied when this is done.
  llvm::SmallVector<OpRef, 4> after;
  /// Null for an operation that only joins others.
  llvm::unique_function<Outcome()> run;
  /// A further condition; null means none.
  llvm::unique_function<bool()> ready;
  /// More about the operation, for the report of a deadlock.
  llvm::unique_function<std::string()> explain;
  /// Whether `run` calls the program back, and so runs without the lock.
  bool callsHost = false;

  /// `run` is on some thread's stack.
  bool running = false;
  /// It only span when it last had its turn.
  bool spins = false;
  bool done = false;
  CUresult status = CUDA_SUCCESS;
  double startMicros = 0;
  double endMicros = 0;
};

class Queue {
public:
  using Mutex = std::recursive_mutex;

  explicit Queue(Mutex &mutex) : mutex(mutex) {}

  void configure(uint64_t seed, uint64_t hangMs);

  /// Adds `op`, whose edges are set; may run something.
  OpRef submit(OpRef op);
  /// Runs until `op` is done. The error is the operation's own.
  CUresult wait(const OpRef &op);
  /// Runs until nothing of `ctx` is pending.
  CUresult waitAll(CUcontext ctx);
  /// Runs until `holds`, which is asked under the lock, or until nothing has
  /// happened for the time of a deadlock: then false.
  bool waitUntil(llvm::function_ref<bool()> holds);
  /// Runs at most one operation, preferably one that `op` needs.
  void nudge(const OpRef &op);
  /// Forgets what is pending in `ctx`; each such operation ends with `status`.
  void drop(CUcontext ctx, CUresult status);

  /// Wakes waiters after something outside has changed.
  void notify();

private:
  /// Naps since something last happened.
  struct Patience {
    uint64_t ticks = 0;
    uint64_t naps = 0;
  };
  bool rest(Patience &patience);
  bool runOne(const Op *target);
  size_t pick(const Op *target);
  void execute(OpRef op);
  bool mayRun(const Op &op);
  void finish(Op &op, Outcome outcome);
  void reportHang(const Op *target);

  Mutex &mutex;
  std::condition_variable_any progress;
  std::vector<OpRef> pending;
  uint64_t nextSerial = 1;
  /// Counts submissions and completions.
  uint64_t ticks = 0;
  unsigned running = 0;
  uint64_t seed = 0;
  uint64_t hangMs = 10000;
  std::mt19937_64 random;
};

} // namespace cudasim::driver
