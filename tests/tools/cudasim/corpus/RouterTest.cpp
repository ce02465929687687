#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

using namespace corpus;

// 40 experts: the second slot of most lanes is empty. Some tokens have equal
// scores, which go to the lower expert.
TEST(Corpus, RouterSoftmaxTopk) {
  const int tokens = 70, experts = 40, topk = 6;
  Random random(4);
  auto logits = random.floats(size_t(tokens) * experts, -3, 3);
  for (int i = 0; i < experts; ++i) {
    logits[5 * experts + i] = 0.25f;
    logits[6 * experts + i] = i % 3 ? 1.0f : 2.0f;
  }

  std::vector<double> wantWeights, wantSums(experts);
  std::vector<int> wantExperts;
  std::vector<uint32_t> wantLoads(experts);
  for (int token = 0; token < tokens; ++token) {
    const float *row = logits.data() + size_t(token) * experts;
    double largest = *std::max_element(row, row + experts), sum = 0;
    for (int i = 0; i < experts; ++i)
      sum += std::exp(row[i] - largest);
    for (int i = 0; i < experts; ++i)
      wantSums[i] += std::exp(row[i] - largest) / sum;
    std::vector<int> order(experts);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int a, int b) {
      return row[a] > row[b] || (row[a] == row[b] && a < b);
    });
    double chosen = 0;
    for (int i = 0; i < topk; ++i)
      chosen += std::exp(row[order[i]] - largest);
    for (int i = 0; i < topk; ++i) {
      wantExperts.push_back(order[i]);
      wantWeights.push_back(std::exp(row[order[i]] - largest) / chosen);
      ++wantLoads[order[i]];
    }
  }

  Buffer<float> scores(logits), weights(wantWeights.size());
  Buffer<int> winners(wantExperts.size());
  Buffer<float> sums(experts, 0.0f);
  Buffer<uint32_t> loads(experts, 0u);
  launch(kernel("Router.cu", "routeTopk"), {unsigned(tokens + 3) / 4}, {128}, 0,
         scores, weights, winners, sums, loads, tokens, experts, topk);
  EXPECT_EQ(winners.download(), wantExperts);
  EXPECT_EQ(loads.download(), wantLoads);
  // expf has 2 units in the last place, the sums a few more.
  expectClose(widen(weights.download()), wantWeights, {1e-7, 2e-6}, "weights");
  // 70 float additions in any order.
  expectClose(widen(sums.download()), wantSums, {0, 1e-5}, "probability sums");
}
