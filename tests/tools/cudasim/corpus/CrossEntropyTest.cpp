#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

using namespace corpus;

// An odd vocabulary, so rows start at odd halves; one row is ignored; one has
// a logit far above the rest.
TEST(Corpus, CrossEntropyWithGradient) {
  const int rows = 5, vocabulary = 1003;
  const float scale = 0.25f;
  Random random(10);
  auto logits = random.bf16s(size_t(rows) * vocabulary, -6, 6);
  logits[3 * vocabulary + 500] = toBf16(90);
  const std::vector<int> targets = {0, 1002, -100, 17, 512};

  std::vector<double> wantLoss, wantGradient;
  double wantTotal = 0;
  for (int row = 0; row < rows; ++row) {
    double sum = 0, largest = -1e300;
    auto logit = [&](int i) {
      return double(fromBf16(logits[size_t(row) * vocabulary + i]));
    };
    for (int i = 0; i < vocabulary; ++i)
      largest = std::max(largest, logit(i));
    for (int i = 0; i < vocabulary; ++i)
      sum += std::exp(logit(i) - largest);
    bool counted = targets[row] >= 0;
    wantLoss.push_back(counted ? largest + std::log(sum) - logit(targets[row])
                               : 0);
    wantTotal += wantLoss.back();
    for (int i = 0; i < vocabulary; ++i)
      wantGradient.push_back(
          counted ? (std::exp(logit(i) - largest) / sum - (i == targets[row])) *
                        scale
                  : 0);
  }

  Buffer<uint16_t> data(logits);
  Buffer<int> classes(targets);
  Buffer<float> losses(rows);
  Buffer<double> total(1, 0.0);
  launch(kernel("CrossEntropy.cu", "crossEntropy"), {rows}, {512}, 0, data,
         classes, losses, total, vocabulary, scale);
  // __expf of arguments down to -12 is off by 2 units and the rounding of its
  // argument: 1e-6 of a probability; sums likewise.
  expectClose(widen(losses.download()), wantLoss, {1e-5, 2e-6}, "loss");
  expectClose(total.download(), {wantTotal}, {3e-5, 2e-6}, "total");
  expectClose(widenBf16(data.download()), wantGradient, {2e-7, 0x1p-8 + 2e-5},
              "gradient");
}
