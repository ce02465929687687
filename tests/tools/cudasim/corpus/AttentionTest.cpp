#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

using namespace corpus;

// 100 tokens: the second tile of keys and of queries is partial.
TEST(Corpus, FlashAttentionForward) {
  const int tokens = 100, heads = 4, kvHeads = 2, dim = 64;
  const float scale = 0.125f;
  Random random(3);
  auto q = random.bf16s(size_t(tokens) * heads * dim, -1.5, 1.5);
  auto k = random.bf16s(size_t(tokens) * kvHeads * dim, -1.5, 1.5);
  auto v = random.bf16s(size_t(tokens) * kvHeads * dim, -1, 1);

  std::vector<double> wantOut(q.size()), wantLog(size_t(heads) * tokens);
  for (int head = 0; head < heads; ++head) {
    int kvHead = head / (heads / kvHeads);
    for (int query = 0; query < tokens; ++query) {
      std::vector<double> p(query + 1);
      double sum = 0;
      for (int key = 0; key <= query; ++key) {
        double dot = 0;
        for (int i = 0; i < dim; ++i)
          dot += double(fromBf16(q[(size_t(query) * heads + head) * dim + i])) *
                 fromBf16(k[(size_t(key) * kvHeads + kvHead) * dim + i]);
        sum += p[key] = std::exp(dot * scale);
      }
      wantLog[size_t(head) * tokens + query] = std::log(sum);
      for (int i = 0; i < dim; ++i) {
        double out = 0;
        for (int key = 0; key <= query; ++key)
          out += p[key] / sum *
                 fromBf16(v[(size_t(key) * kvHeads + kvHead) * dim + i]);
        wantOut[(size_t(query) * heads + head) * dim + i] = out;
      }
    }
  }

  Buffer<uint16_t> qs(q), ks(k), vs(v), out(q.size());
  Buffer<float> logs(wantLog.size());
  launch(kernel("FlashAttention.cu", "flashForward"),
         {unsigned(tokens + 63) / 64, unsigned(heads)}, {128}, 5 * 64 * 72 * 2,
         qs, ks, vs, out, logs, tokens, heads, kvHeads, scale);
  // The probabilities are rounded to bf16 before they meet the values, which
  // are at most 1: half a unit of each, weighted, and half a unit of the sum.
  expectClose(widenBf16(out.download()), wantOut, {0x1p-8 + 1e-5, 0x1p-8},
              "attention");
  // Scores are float sums of 64 products below 2.25.
  expectClose(widen(logs.download()), wantLog, {2e-5, 1e-6}, "log of the sum");
}
