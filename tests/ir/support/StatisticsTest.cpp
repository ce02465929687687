#include "ir/support/Statistics.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Philox.h"
#include "llvm/ADT/bit.h"
#include "gtest/gtest.h"

#include <algorithm>
#include <cmath>

using namespace moec;

static std::vector<float> sample(size_t count) {
  std::vector<float> values(count);
  fillNormal(RandomKey::of(1, "test", "statistics"), 0, 3.0, 0.02, values);
  return values;
}

static void expectSameBits(const Moments &a, const Moments &b) {
  EXPECT_EQ(a.count, b.count);
  EXPECT_EQ(llvm::bit_cast<uint64_t>(a.mean), llvm::bit_cast<uint64_t>(b.mean));
  EXPECT_EQ(llvm::bit_cast<uint64_t>(a.squares),
            llvm::bit_cast<uint64_t>(b.squares));
}

TEST(Statistics, SmallSetsByHand) {
  std::vector<float> values = {1, 2, 3, 4};
  Moments moments = computeMoments(values);
  EXPECT_EQ(moments.mean, 2.5);
  EXPECT_EQ(moments.squares, 5.0);
  EXPECT_EQ(moments.deviation(/*unbiased=*/true), std::sqrt(5.0 / 3));
  EXPECT_EQ(moments.deviation(/*unbiased=*/false), std::sqrt(5.0 / 4));
  EXPECT_EQ(computeMoments(llvm::ArrayRef<float>(values).take_front(1))
                .deviation(/*unbiased=*/true),
            0.0);
  EXPECT_EQ(computeMoments(llvm::ArrayRef<float>()).count, 0u);
}

TEST(Statistics, AgreesWithExtendedPrecision) {
  auto values = sample(1'000'003);
  long double sum = 0, squares = 0;
  for (float value : values)
    sum += value;
  long double mean = sum / values.size();
  for (float value : values)
    squares += (value - mean) * (value - mean);
  Moments moments = computeMoments(values);
  EXPECT_NEAR(moments.mean, double(mean), 1e-14);
  EXPECT_NEAR(moments.squares / double(squares), 1.0, 1e-12);
}

TEST(Statistics, BitsDependOnNeitherChunksNorThreads) {
  auto values = sample(777'777);
  Moments whole = computeMoments(values);
  for (size_t chunk :
       {size_t(1), size_t(4095), size_t(4097), size_t(100'000)}) {
    MomentsStream stream;
    for (size_t at = 0; at < values.size(); at += chunk)
      stream.add(llvm::ArrayRef<float>(values).slice(
          at, std::min(chunk, values.size() - at)));
    expectSameBits(stream.result(), whole);
  }
  for (unsigned threads : {1u, 3u, 8u}) {
    auto moments = computeMoments(
        values.size(), threads,
        [&](uint64_t first, llvm::MutableArrayRef<float> out) {
          std::copy_n(values.begin() + first, out.size(), out.begin());
          return llvm::Error::success();
        });
    ASSERT_TRUE(bool(moments));
    expectSameBits(*moments, whole);
  }
}

TEST(Statistics, ReadErrorsAreReturned) {
  auto moments = computeMoments(
      10, 2, [](uint64_t, llvm::MutableArrayRef<float>) -> llvm::Error {
        return error() << "cannot read";
      });
  ASSERT_FALSE(bool(moments));
  EXPECT_EQ(toText(moments.takeError()), "error: cannot read");
}
