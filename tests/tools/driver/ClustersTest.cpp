// K-means finds planted clusters, keeps sizes where it must, and gives the same
// bits for any number of threads.

#include "tools/driver/Clusters.h"

#include "llvm/ADT/STLExtras.h"
#include "gtest/gtest.h"

#include <cmath>
#include <set>

using namespace moec;

/// Rows around `k` corners that are far apart, in an order of no meaning.
static std::vector<float> planted(size_t rows, size_t width, size_t k) {
  RandomKey key = RandomKey::of(7, "test", "rows");
  std::vector<float> numbers(rows * width);
  for (size_t i = 0; i < rows; ++i)
    for (size_t j = 0; j < width; ++j)
      numbers[i * width + j] =
          float((j == i % k ? 10 : 0) + 0.1 * normal(key, i * width + j));
  return numbers;
}

static Clusters run(llvm::ArrayRef<float> rows, size_t width,
                    ClusterOptions options) {
  options.key = RandomKey::of(1, "test", "clusters");
  return llvm::cantFail(cluster({rows, width}, options));
}

/// Sum of squared distances under an assignment, to given centroids.
static double costOf(llvm::ArrayRef<float> rows, size_t width,
                     llvm::ArrayRef<int32_t> of,
                     llvm::ArrayRef<float> centroids) {
  double cost = 0;
  for (size_t i = 0; i < of.size(); ++i)
    for (size_t j = 0; j < width; ++j) {
      double d = double(rows[i * width + j]) - centroids[of[i] * width + j];
      cost += d * d;
    }
  return cost;
}

TEST(Clusters, FindsWhatWasPlanted) {
  constexpr size_t kRows = 60, kWidth = 8, kClusters = 5;
  std::vector<float> rows = planted(kRows, kWidth, kClusters);
  for (bool balanced : {false, true}) {
    ClusterOptions options;
    options.clusters = kClusters;
    options.balanced = balanced;
    Clusters found = run(rows, kWidth, options);
    // Clusters are numbered by their lowest row, here 0 to 4.
    for (size_t i = 0; i < kRows; ++i)
      EXPECT_EQ(found.of[i], int32_t(i % kClusters)) << i;
    EXPECT_LT(found.cost, kRows * kWidth * 0.02);
  }
}

TEST(Clusters, BalancedSizesAreEqualAndNoMoveIsBetter) {
  constexpr size_t kRows = 48, kWidth = 3, kClusters = 4;
  std::vector<float> rows(kRows * kWidth);
  fillNormal(RandomKey::of(3, "test", "rows"), 0, 0, 1, rows);
  ClusterOptions options;
  options.clusters = kClusters;
  options.balanced = true;
  options.rounds = 200;
  Clusters found = run(rows, kWidth, options);
  std::vector<int> sizes(kClusters);
  for (int32_t c : found.of)
    ++sizes[c];
  EXPECT_EQ(sizes, std::vector<int>(kClusters, kRows / kClusters));
  EXPECT_LT(found.rounds, 200);
  double cost = costOf(rows, kWidth, found.of, found.centroids);
  EXPECT_NEAR(cost, found.cost, 1e-4 * cost);
  // Neither an exchange of two rows nor a turn of three lowers the cost.
  std::vector<int32_t> of = found.of;
  for (size_t a = 0; a < kRows; ++a)
    for (size_t b = 0; b < kRows; ++b) {
      std::swap(of[a], of[b]);
      EXPECT_GE(costOf(rows, kWidth, of, found.centroids), cost - 1e-5);
      std::swap(of[a], of[b]);
    }
  for (size_t a = 0; a < kRows; a += 5)
    for (size_t b = 1; b < kRows; b += 3)
      for (size_t c = 2; c < kRows; c += 3) {
        if (std::set<size_t>{a, b, c}.size() < 3)
          continue;
        int32_t first = of[a];
        of[a] = of[b];
        of[b] = of[c];
        of[c] = first;
        EXPECT_GE(costOf(rows, kWidth, of, found.centroids), cost - 1e-5);
        of = found.of;
      }
}

TEST(Clusters, ThreadsNeverChangeABit) {
  constexpr size_t kRows = 300, kWidth = 37;
  std::vector<float> rows(kRows * kWidth);
  fillNormal(RandomKey::of(5, "test", "rows"), 0, 0, 1, rows);
  for (bool balanced : {false, true}) {
    ClusterOptions options;
    options.clusters = 6;
    options.balanced = balanced;
    Clusters one = run(rows, kWidth, options);
    options.threads = 3;
    Clusters three = run(rows, kWidth, options);
    EXPECT_EQ(one.of, three.of);
    EXPECT_EQ(one.centroids, three.centroids);
    EXPECT_EQ(one.cost, three.cost);
  }
}

TEST(Clusters, EqualRowsAndManyClusters) {
  std::vector<float> rows(12 * 4, 1.0f);
  ClusterOptions options;
  options.clusters = 4;
  options.balanced = true;
  Clusters found = run(rows, 4, options);
  std::vector<int> sizes(4);
  for (int32_t c : found.of)
    ++sizes[c];
  EXPECT_EQ(sizes, std::vector<int>(4, 3));
  // As many clusters as rows: each row is its own.
  std::vector<float> apart = planted(5, 5, 5);
  options.clusters = 5;
  options.balanced = false;
  EXPECT_EQ(run(apart, 5, options).of, (std::vector<int32_t>{0, 1, 2, 3, 4}));
}

TEST(Clusters, ImpossibleNumbersAreErrors) {
  std::vector<float> rows(10 * 2, 1.0f);
  ClusterOptions options;
  options.clusters = 4;
  options.balanced = true;
  auto uneven = cluster({rows, 2}, options);
  ASSERT_FALSE(bool(uneven));
  EXPECT_NE(toString(uneven.takeError()).find("equal"), std::string::npos);
  options.clusters = 11;
  options.balanced = false;
  auto many = cluster({rows, 2}, options);
  ASSERT_FALSE(bool(many));
  EXPECT_NE(toString(many.takeError()).find("11 clusters of 10"),
            std::string::npos);
}
