#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

using namespace corpus;

namespace {

/// Slots of three experts a token, in shuffled order, with padding between.
struct Routed {
  static constexpr int tokens = 19, topk = 3, hidden = 520, slots = 70;
  std::vector<uint16_t> y;
  std::vector<int> rowToken, slotOfPair;
  std::vector<float> rowWeight, weights;
  std::vector<double> want, largest;

  Routed() : rowToken(slots, -1), rowWeight(slots, 0.0f) {
    Random random(8);
    y = random.bf16s(size_t(slots) * hidden, -1, 1);
    want.resize(size_t(tokens) * hidden);
    largest.resize(want.size());
    for (int pair = 0; pair < tokens * topk; ++pair) {
      int slot = int(random.below(slots));
      while (rowToken[slot] >= 0)
        slot = (slot + 1) % slots;
      float weight = fromBf16(toBf16(random.uniform(0, 1)));
      rowToken[slot] = pair / topk;
      rowWeight[slot] = weight;
      slotOfPair.push_back(slot);
      weights.push_back(weight);
      for (int i = 0; i < hidden; ++i) {
        double part = weight * double(fromBf16(y[size_t(slot) * hidden + i]));
        want[size_t(pair / topk) * hidden + i] += part;
        largest[size_t(pair / topk) * hidden + i] += std::fabs(part);
      }
    }
  }
};

// A float sum of three terms below 1: a few units in the last place.
constexpr Tolerance kFloatSum = {1e-6, 1e-6};

} // namespace

TEST(Corpus, CombineFloatAtomics) {
  Routed routed;
  Buffer<uint16_t> y(routed.y);
  Buffer<int> rowToken(routed.rowToken);
  Buffer<float> rowWeight(routed.rowWeight), out(routed.want.size(), 0.0f);
  launch(kernel("Combine.cu", "combineFloat"), {Routed::slots}, {256}, 0, y,
         rowToken, rowWeight, out, Routed::hidden);
  expectClose(widen(out.download()), routed.want, kFloatSum, "combine");
}

TEST(Corpus, CombineVectorAtomics) {
  if (!hasKernel("Combine.cu", "combineVector"))
    GTEST_SKIP() << "vector atomics need sm_90, this is sm_" << currentArch();
  Routed routed;
  Buffer<uint16_t> y(routed.y);
  Buffer<int> rowToken(routed.rowToken);
  Buffer<float> rowWeight(routed.rowWeight), out(routed.want.size(), 0.0f);
  launch(kernel("Combine.cu", "combineVector"), {Routed::slots}, {256}, 0, y,
         rowToken, rowWeight, out, Routed::hidden);
  expectClose(widen(out.download()), routed.want, kFloatSum, "combine");
}

// Each of the three products and three sums is rounded to bf16, by half a unit
// of something no larger than the sum of magnitudes.
TEST(Corpus, CombineBf16Atomics) {
  Routed routed;
  Buffer<uint16_t> y(routed.y), out(routed.want.size(), uint16_t(0));
  Buffer<int> rowToken(routed.rowToken);
  Buffer<float> rowWeight(routed.rowWeight);
  launch(kernel("Combine.cu", "combineBf16"), {Routed::slots}, {256}, 0, y,
         rowToken, rowWeight, out, Routed::hidden);
  auto got = out.download();
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(fromBf16(got[i]), routed.want[i],
                routed.largest[i] * 4 * 0x1p-8 + 1e-7)
        << "element " << i;
}

TEST(Corpus, CombineGather) {
  Routed routed;
  Buffer<uint16_t> y(routed.y), out(routed.want.size());
  Buffer<int> slots(routed.slotOfPair);
  Buffer<float> weights(routed.weights);
  launch(kernel("Combine.cu", "combineGather"), {Routed::tokens}, {256}, 0, y,
         slots, weights, out, Routed::hidden, Routed::topk);
  expectClose(widenBf16(out.download()), routed.want, kBf16Result, "combine");
}
