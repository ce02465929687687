#include "runtime/cpu/ThreadPool.h"

#include "ir/support/Diagnostic.h"
#include "runtime/cpu/ReadBandwidth.h"

#include <chrono>
#include <gtest/gtest.h>
#include <vector>

using namespace moec;
using namespace moec::runtime;

namespace {

/// Runs `tasks` tasks and expects each to be run once.
void expectEachOnce(ThreadPool &pool, int64_t tasks) {
  std::vector<std::atomic<int>> runs(static_cast<size_t>(tasks));
  std::atomic<bool> threadIsValid = true;
  pool.parallelFor(tasks, [&](unsigned thread, int64_t begin, int64_t end) {
    if (thread >= pool.threads())
      threadIsValid = false;
    for (int64_t i = begin; i < end; ++i)
      ++runs[static_cast<size_t>(i)];
  });
  EXPECT_TRUE(threadIsValid);
  for (int64_t i = 0; i < tasks; ++i)
    ASSERT_EQ(runs[static_cast<size_t>(i)], 1) << i << " of " << tasks;
}

TEST(ThreadPool, RunsEachTaskOnce) {
  for (unsigned threads : {1u, 2u, 3u, 7u}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int64_t tasks : {0, 1, 2, 3, 5, 64, 1000, 10007})
      expectEachOnce(pool, tasks);
  }
}

TEST(ThreadPool, RunsManyJobsInARow) {
  ThreadPool pool(3);
  std::atomic<int64_t> sum = 0;
  for (int job = 0; job < 20000; ++job)
    pool.parallelFor(
        4, [&](unsigned, int64_t begin, int64_t end) { sum += end - begin; });
  EXPECT_EQ(sum, 80000);
}

TEST(ThreadPool, SeesWhatTheJobBeforeWrote) {
  ThreadPool pool(2);
  std::vector<int64_t> numbers(257, 0);
  for (int job = 0; job < 3000; ++job)
    pool.parallelFor(257, [&](unsigned, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        ++numbers[static_cast<size_t>(i)];
    });
  for (int64_t number : numbers)
    ASSERT_EQ(number, 3000);
}

TEST(ThreadPool, WakesSleepers) {
  ThreadPool pool(2, /*pin=*/true);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    expectEachOnce(pool, 100);
  }
}

TEST(ThreadPool, LeavesAloneWhatIsExpected) {
  ThreadPool pool(2);
  std::vector<uint8_t> bytes(3 << 20, 7);
  for (uint64_t expected : {uint64_t(0), uint64_t(1), uint64_t(bytes.size())}) {
    pool.expect(bytes.data(), expected);
    expectEachOnce(pool, 1);
    expectEachOnce(pool, 100);
  }
  // Only a hint: what is not there harms nobody.
  pool.expect(nullptr, uint64_t(1) << 40);
  for (int job = 0; job < 100; ++job)
    expectEachOnce(pool, 3);
  EXPECT_EQ(bytes, std::vector<uint8_t>(3 << 20, 7));
}

TEST(ThreadPool, UsesAllThreads) {
  // Two tasks that wait for each other end only if two threads run them.
  ThreadPool pool(2);
  std::atomic<int> arrived = 0;
  pool.parallelFor(2, [&](unsigned, int64_t begin, int64_t end) {
    ASSERT_EQ(end, begin + 1);
    ++arrived;
    while (arrived < 2)
      std::this_thread::yield();
  });
  EXPECT_EQ(arrived, 2);
}

TEST(ThreadPool, KnowsItsProcessors) {
  std::vector<unsigned> processors = allowedProcessors();
  ASSERT_FALSE(processors.empty());
  EXPECT_EQ(ThreadPool().threads(), processors.size());
}

TEST(ReadBandwidth, IsOfAMemorysOrder) {
  ThreadPool pool(2);
  auto bandwidth = measureReadBandwidth(pool, uint64_t(8) << 20, 2);
  ASSERT_TRUE(bool(bandwidth)) << toText(bandwidth.takeError());
  EXPECT_GT(*bandwidth, 1e6);
  EXPECT_LT(*bandwidth, 1e14);
  auto absurd = measureReadBandwidth(pool, uint64_t(1) << 62, 1);
  ASSERT_FALSE(bool(absurd));
  moec::toText(absurd.takeError());
}

} // namespace
