#include "runtime/generate/Benchmark.h"

#include "tests/runtime/generate/ToyModel.h"

#include <gmock/gmock.h>

using namespace moec;
using namespace moec::runtime;

namespace {

using BenchmarkTest = ToyModelTest;

TEST_F(BenchmarkTest, RunsWhatItIsAskedFor) {
  std::unique_ptr<Session> session = open();
  ASSERT_TRUE(session);
  session->executor().setProfile(true);
  BenchmarkOptions options;
  options.prefill = 40;
  options.decode = 10;
  options.repetitions = 3;
  auto samples = benchmark(*session, options);
  ASSERT_TRUE(bool(samples)) << toText(samples.takeError());
  ASSERT_EQ(samples->size(), 3u);
  for (const BenchmarkSample &sample : *samples) {
    EXPECT_GT(sample.prefillSeconds, 0);
    EXPECT_GT(sample.decodeSeconds, 0);
  }
  EXPECT_EQ(session->blocks().available(), 16);
  // Four runs of 3 prefill steps (16 + 16 + 8) and 10 decode steps.
  std::vector<KernelTime> times = profileByKernel(session->executor());
  ASSERT_EQ(times.size(), 2u);
  EXPECT_GE(times[0].seconds, times[1].seconds);
  for (const KernelTime &time : times) {
    EXPECT_THAT(time.kernel, testing::AnyOf("toy_append", "toy_logits"));
    EXPECT_EQ(time.launches, 4u * 13);
  }
  auto counters = session->expertCounters();
  ASSERT_TRUE(bool(counters));
  int64_t tokens = 0;
  for (int64_t count : (*counters)[0].counts)
    tokens += count;
  EXPECT_EQ(tokens, 4 * 50);
}

TEST_F(BenchmarkTest, RefusesMoreThanTheContext) {
  std::unique_ptr<Session> session = open();
  ASSERT_TRUE(session);
  BenchmarkOptions options;
  options.prefill = 65;
  auto samples = benchmark(*session, options);
  ASSERT_FALSE(bool(samples));
  EXPECT_THAT(toText(samples.takeError()),
              testing::HasSubstr("expects 0 to 64 tokens to measure, got 65"));
}

TEST(Median, IsTheMiddle) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({9, 1, 4}), 4);
  EXPECT_EQ(median({9, 1, 4, 6}), 5);
}

} // namespace
