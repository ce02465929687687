#include "ir/support/Parallel.h"

#include "ir/support/Interrupt.h"
#include "ir/support/Thread.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <sched.h>
#include <vector>

using namespace moec;

unsigned moec::defaultThreads() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (!sched_getaffinity(0, sizeof(allowed), &allowed))
    return std::max(1, CPU_COUNT(&allowed));
  return std::max(1u, std::thread::hardware_concurrency());
}

llvm::Error moec::parallelFor(uint64_t count, unsigned threads,
                              llvm::function_ref<llvm::Error(uint64_t)> body) {
  uint64_t workers = std::clamp<uint64_t>(count, 1, std::max(1u, threads));
  if (workers == 1) {
    for (uint64_t i = 0; i < count; ++i) {
      if (llvm::Error err = checkInterrupt())
        return err;
      if (llvm::Error err = body(i))
        return err;
    }
    return llvm::Error::success();
  }

  std::atomic<uint64_t> next = 0;
  std::atomic<bool> stop = false;
  std::mutex mutex;
  llvm::Error failure = llvm::Error::success();
  uint64_t failedIndex = count;
  auto fail = [&](uint64_t index, llvm::Error err) {
    std::lock_guard<std::mutex> lock(mutex);
    stop = true;
    if (index < failedIndex) {
      // A failure of a higher index gives way to this one.
      llvm::consumeError(std::move(failure));
      failure = std::move(err);
      failedIndex = index;
      return;
    }
    llvm::consumeError(std::move(err));
  };
  auto work = [&] {
    while (!stop) {
      uint64_t index = next++;
      if (index >= count)
        return;
      llvm::Error err = checkInterrupt();
      if (!err)
        err = body(index);
      if (err)
        fail(index, std::move(err));
    }
  };
  std::vector<std::thread> pool;
  for (uint64_t worker = 1; worker < workers; ++worker) {
    std::optional<std::thread> thread = startThread(work);
    if (!thread)
      break; // Those that there are do it all.
    pool.push_back(std::move(*thread));
  }
  work();
  for (std::thread &thread : pool)
    thread.join();
  return failure;
}
