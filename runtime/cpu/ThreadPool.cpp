#include "runtime/cpu/ThreadPool.h"

#include "ir/support/Thread.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <climits>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace moec::runtime;

/// Of what is expected a thread asks for so much: a part of its L2.
static constexpr uint64_t kExpected = 256 << 10;

static void pauseThread() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

static void futexWait(std::atomic<uint32_t> &word, uint32_t expected) {
  syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), FUTEX_WAIT_PRIVATE,
          expected, nullptr, nullptr, 0);
}

static void futexWake(std::atomic<uint32_t> &word, int count) {
  syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), FUTEX_WAKE_PRIVATE,
          count, nullptr, nullptr, 0);
}

std::vector<unsigned> moec::runtime::allowedProcessors() {
  std::vector<unsigned> processors;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    for (unsigned i = 0; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &set))
        processors.push_back(i);
  // More processors than a cpu_set_t holds: count without naming them.
  if (processors.empty())
    for (long i = 0, end = std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)); i < end;
         ++i)
      processors.push_back(unsigned(i));
  return processors;
}

ThreadPool::ThreadPool(unsigned threads, bool pin) {
  std::vector<unsigned> processors = allowedProcessors();
  if (threads == 0)
    threads = unsigned(processors.size());
  // Spinning pays while every thread has a processor of its own: about 50
  // microseconds, longer than what lies between two launches.
  spins = threads <= processors.size() ? 2000 : 0;
  shares = std::make_unique<Share[]>(threads);
  for (unsigned i = 1; i < threads; ++i) {
    std::optional<std::thread> worker =
        moec::startThread([this, i] { work(i); });
    if (!worker)
      break;
    workers.push_back(std::move(*worker));
    if (pin && threads <= processors.size()) {
      cpu_set_t set;
      CPU_ZERO(&set);
      CPU_SET(processors[i], &set);
      // Pinning is a hint: where it is forbidden the pool works without.
      pthread_setaffinity_np(workers.back().native_handle(), sizeof(set), &set);
    }
  }
}

ThreadPool::~ThreadPool() {
  stopping.store(true);
  wakeWorkers();
  for (std::thread &worker : workers)
    worker.join();
}

void ThreadPool::expect(const void *memory, uint64_t bytes) {
  expected.store(reinterpret_cast<uintptr_t>(memory),
                 std::memory_order_relaxed);
  expectedBytes.store(bytes, std::memory_order_relaxed);
}

/// One round of waiting: some lines of what is expected, if any are left.
void ThreadPool::waitAMoment(unsigned thread, Progress &progress) {
  // Prefetching never faults, so it does not matter if the two are of
  // different calls.
  uintptr_t memory = expected.load(std::memory_order_relaxed);
  uint64_t part = expectedBytes.load(std::memory_order_relaxed) / threads();
  if (progress.memory != memory)
    progress = {memory, 0};
  if (progress.bytes >= std::min(part, kExpected)) {
    pauseThread();
    return;
  }
  for (unsigned line = 0; line < 4; ++line, progress.bytes += 64)
    __builtin_prefetch(
        reinterpret_cast<const void *>(memory + part * thread + progress.bytes),
        0, 2);
}

void ThreadPool::wakeWorkers() {
  // Sequentially consistent with `sleepers` in `work`: either the worker sees
  // the new signal before it sleeps, or it is counted here.
  signal.fetch_add(1);
  if (sleepers.load() != 0)
    futexWake(signal, INT_MAX);
}

void ThreadPool::run(int64_t count, Body function, void *argument) {
  assert(count < kMaxTasks && "task numbers fit in the claim word");
  if (count <= 0)
    return;
  if (count == 1 || workers.empty()) {
    function(argument, 0, 0, count);
    return;
  }
  uint64_t job =
      (shares[0].claim.load(std::memory_order_relaxed) >> kTaskBits) + 1;
  // Any claim on the last job has failed or ended, so these may change; a
  // worker that still holds a word of it fails to claim on the new one.
  for (unsigned i = 0; i < threads(); ++i)
    shares[i].claim.store(job << kTaskBits | kTaskMask,
                          std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  body.store(function, std::memory_order_relaxed);
  context.store(argument, std::memory_order_relaxed);
  tasks.store(count, std::memory_order_relaxed);
  ended.store(0, std::memory_order_relaxed);
  int64_t each = count / threads(), more = count % threads();
  auto firstOf = [&](int64_t thread) {
    return each * thread + std::min(thread, more);
  };
  for (unsigned i = 0; i < threads(); ++i)
    shares[i].end.store(firstOf(i + 1), std::memory_order_relaxed);
  for (unsigned i = 0; i < threads(); ++i)
    shares[i].claim.store((job + 1) << kTaskBits | uint64_t(firstOf(i)),
                          std::memory_order_release);
  wakeWorkers();
  runClaims(0);

  for (unsigned i = 0; ended.load(std::memory_order_acquire) != count; ++i) {
    if (i < spins) {
      waitAMoment(0, callersProgress);
      continue;
    }
    callerSleeps.store(1);
    if (ended.load() != count)
      futexWait(callerSleeps, 1);
    callerSleeps.store(0);
  }
}

void ThreadPool::runClaims(unsigned thread) {
  for (unsigned i = 0; i < threads(); ++i)
    runShare(thread, (thread + i) % threads());
}

void ThreadPool::runShare(unsigned thread, unsigned owner) {
  Share &share = shares[owner];
  uint64_t word = share.claim.load(std::memory_order_acquire);
  for (;;) {
    Body function = body.load(std::memory_order_acquire);
    void *argument = context.load(std::memory_order_acquire);
    int64_t count = tasks.load(std::memory_order_acquire);
    int64_t left =
        share.end.load(std::memory_order_acquire) - int64_t(word & kTaskMask);
    if (left <= 0)
      return;
    // Half of what is left, or of what is fair: few claims, and small ones at
    // the end, where threads must finish together.
    int64_t parts = thread == owner ? 2 : 2 * int64_t(threads());
    int64_t begin = int64_t(word & kTaskMask);
    int64_t end = begin + std::max<int64_t>(left / parts, 1);
    uint64_t next = (word & ~kTaskMask) | uint64_t(end);
    if (!share.claim.compare_exchange_weak(
            word, next, std::memory_order_acq_rel, std::memory_order_acquire))
      continue;
    function(argument, thread, begin, end);
    if (ended.fetch_add(end - begin) + (end - begin) == count &&
        callerSleeps.load() != 0) {
      callerSleeps.store(0);
      futexWake(callerSleeps, 1);
    }
    word = share.claim.load(std::memory_order_acquire);
  }
}

void ThreadPool::work(unsigned thread) {
  uint32_t seen = 0;
  Progress progress;
  while (!stopping.load()) {
    uint32_t now = signal.load(std::memory_order_acquire);
    for (unsigned i = 0; now == seen && i < spins; ++i) {
      waitAMoment(thread, progress);
      now = signal.load(std::memory_order_acquire);
    }
    if (now == seen) {
      sleepers.fetch_add(1);
      if (signal.load() == seen)
        futexWait(signal, seen);
      sleepers.fetch_sub(1);
      continue;
    }
    seen = now;
    runClaims(thread);
  }
}
