#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

using namespace corpus;

// The hidden size takes a second, partial turn of the block's loop.
TEST(Corpus, ResidualRmsNorm) {
  const int rows = 3, hidden = 2048 + 264;
  const float epsilon = 1e-5f;
  Random random(1);
  auto x = random.bf16s(size_t(rows) * hidden, -2, 2);
  auto residual = random.bf16s(size_t(rows) * hidden, -3, 3);
  auto weight = random.bf16s(hidden, 0.5, 1.5);

  std::vector<double> wantSum, wantOut;
  for (int row = 0; row < rows; ++row) {
    double squares = 0;
    for (int i = 0; i < hidden; ++i) {
      size_t at = size_t(row) * hidden + i;
      double sum = roundTo(fromBf16(x[at]) + fromBf16(residual[at]), kBf16);
      wantSum.push_back(sum);
      squares += sum * sum;
    }
    double scale = 1 / std::sqrt(squares / hidden + epsilon);
    for (int i = 0; i < hidden; ++i)
      wantOut.push_back(wantSum[size_t(row) * hidden + i] * scale *
                        fromBf16(weight[i]));
  }

  Buffer<uint16_t> xs(x), residuals(residual), weights(weight);
  Buffer<uint16_t> out(x.size());
  launch(kernel("RmsNorm.cu", "residualRmsNorm"), {unsigned(rows)}, {256},
         hidden * sizeof(float), xs, residuals, weights, out, hidden, epsilon);
  // A sum of two bf16 of like size is exact in float: one rounding only.
  expectClose(widenBf16(residuals.download()), wantSum, {}, "residual");
  expectClose(widenBf16(out.download()), wantOut, kBf16Result, "output");
}
