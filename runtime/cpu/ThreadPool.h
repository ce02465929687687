//===- ThreadPool.h - the threads that run launches -----------------------===//
//
// A decode step has hundreds of launches of a few microseconds each, so the
// pool is made for latency. Every thread has a share of a job's tasks: the same
// part of each job, so that what one launch leaves in a processor's cache the
// next one finds there. A share is published by an atomic word that holds the
// job's number and the next task; its thread claims ranges from it, large ones
// first, and then from the shares of others. A thread that comes late, because
// the system ran something else, finds nothing left and delays nobody. Idle
// threads spin for a moment, then sleep.
//
// The split of tasks depends on timing; results do not, since tasks of a
// launch are independent (runtime/schema/KernelAbi.h).
//
//===----------------------------------------------------------------------===//
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace moec::runtime {

class ThreadPool {
public:
  /// Called with the index of the thread (0: the caller of `parallelFor`) and
  /// a half-open range of tasks.
  using Body = void (*)(void *context, unsigned thread, int64_t begin,
                        int64_t end);

  /// `threads` counts the caller; 0 means as many as the process may use. With
  /// `pin`, thread i > 0 stays on the i-th processor of the process' set. Where
  /// the system refuses a thread, the pool has those that it got.
  explicit ThreadPool(unsigned threads = 0, bool pin = false);
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  static constexpr int64_t kMaxTasks = (int64_t(1) << 32) - 1;

  unsigned threads() const { return unsigned(workers.size()) + 1; }

  /// Runs tasks [0, tasks) and returns when all have ended. One caller at a
  /// time; not from inside a body. `tasks` is below kMaxTasks.
  void run(int64_t tasks, Body body, void *context);

  /// The same for a callable `(unsigned thread, int64_t begin, int64_t end)`.
  template <typename Callable>
  void parallelFor(int64_t tasks, Callable &&callable) {
    run(
        tasks,
        [](void *context, unsigned thread, int64_t begin, int64_t end) {
          (*static_cast<std::remove_reference_t<Callable> *>(context))(
              thread, begin, end);
        },
        const_cast<void *>(static_cast<const void *>(&callable)));
  }

  /// Memory that a job to come reads, a part for each thread in order. Threads
  /// that wait bring the beginnings of their parts into their caches.
  void expect(const void *memory, uint64_t bytes);

private:
  /// How far a thread has come with what is expected.
  struct Progress {
    uintptr_t memory = 0;
    uint64_t bytes = 0;
  };
  void waitAMoment(unsigned thread, Progress &progress);
  void work(unsigned thread);
  void runClaims(unsigned thread);
  void runShare(unsigned thread, unsigned owner);
  void wakeWorkers();

  static constexpr unsigned kTaskBits = 32;
  static constexpr uint64_t kTaskMask = (uint64_t(1) << kTaskBits) - 1;

  // The job. Written by the caller before `Share::claim` is; a worker that
  // reads a newer job's fields with an older word fails to claim.
  std::atomic<Body> body{nullptr};
  std::atomic<void *> context{nullptr};
  std::atomic<int64_t> tasks{0};

  std::atomic<uintptr_t> expected{0};
  std::atomic<uint64_t> expectedBytes{0};
  Progress callersProgress;

  struct alignas(64) Share {
    /// Job number (upper half) and next task (lower half).
    std::atomic<uint64_t> claim{0};
    std::atomic<int64_t> end{0};
  };
  /// By thread.
  std::unique_ptr<Share[]> shares;
  /// Tasks of the job that have ended.
  alignas(64) std::atomic<int64_t> ended{0};
  /// Changes with every job and at the end; what sleepers wait on.
  alignas(64) std::atomic<uint32_t> signal{0};
  std::atomic<uint32_t> sleepers{0};
  /// 1 while the caller sleeps until all tasks have ended.
  alignas(64) std::atomic<uint32_t> callerSleeps{0};
  std::atomic<bool> stopping{false};
  /// Rounds of spinning before a thread sleeps.
  unsigned spins;
  std::vector<std::thread> workers;
};

/// Processors that this process may run on, in ascending order.
std::vector<unsigned> allowedProcessors();

} // namespace moec::runtime
