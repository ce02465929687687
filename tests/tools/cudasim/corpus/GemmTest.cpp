#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

using namespace corpus;

// C = A * B^T in double. Operands are bf16 in [-1, 1], so products are exact
// and a float sum of `depth` of them is off by at most depth^2 * 2^-24 / 2;
// the rest is the rounding of the result.
static void checkGemm(int rows, int columns, int depth) {
  Random random(uint64_t(rows + columns + depth));
  auto a = random.bf16s(size_t(rows) * depth, -1, 1);
  auto b = random.bf16s(size_t(columns) * depth, -1, 1);
  std::vector<double> want;
  for (int row = 0; row < rows; ++row)
    for (int column = 0; column < columns; ++column) {
      double sum = 0;
      for (int k = 0; k < depth; ++k)
        sum += double(fromBf16(a[size_t(row) * depth + k])) *
               fromBf16(b[size_t(column) * depth + k]);
      want.push_back(sum);
    }
  Buffer<uint16_t> as(a), bs(b), c(want.size());
  launch(kernel("Gemm.cu", "gemmBf16"),
         {unsigned(columns) / 64, unsigned(rows) / 64}, {128}, 30720, as, bs, c,
         columns, depth);
  expectClose(widenBf16(c.download()), want,
              {depth * double(depth) * 0x1p-25, 0x1p-8},
              "gemm with depth " + std::to_string(depth));
}

TEST(Corpus, Gemm) { checkGemm(128, 64, 160); }

// Fewer steps than stages: some groups of copies are empty.
TEST(Corpus, GemmOneStep) { checkGemm(64, 64, 32); }

TEST(Corpus, RaggedGemmSwiGlu) {
  const int tokens = 40, experts = 4, columns = 64, depth = 96, tile = 64;
  Random random(7);
  auto x = random.bf16s(size_t(tokens) * depth, -1, 1);
  auto gate = random.bf16s(size_t(experts) * columns * depth, -0.3, 0.3);
  auto up = random.bf16s(size_t(experts) * columns * depth, -0.3, 0.3);
  // Expert 1 has two tiles, expert 2 none; every last tile is part padding.
  const std::vector<int> counts = {20, 70, 0, 5};
  std::vector<int> rowToken, tileExpert;
  for (int expert = 0; expert < experts; ++expert) {
    for (int i = 0; i < counts[expert]; ++i)
      rowToken.push_back(int(random.below(tokens)));
    while (rowToken.size() % tile)
      rowToken.push_back(-1);
    tileExpert.resize(rowToken.size() / tile, expert);
  }

  std::vector<double> want;
  for (size_t row = 0; row < rowToken.size(); ++row) {
    size_t matrix = size_t(tileExpert[row / tile]) * columns * depth;
    for (int column = 0; column < columns; ++column) {
      double g = 0, u = 0;
      for (int k = 0; k < depth && rowToken[row] >= 0; ++k) {
        double value = fromBf16(x[size_t(rowToken[row]) * depth + k]);
        g += value * fromBf16(gate[matrix + size_t(column) * depth + k]);
        u += value * fromBf16(up[matrix + size_t(column) * depth + k]);
      }
      want.push_back(g / (1 + std::exp(-g)) * u);
    }
  }

  Buffer<uint16_t> xs(x), gates(gate), ups(up), out(want.size());
  Buffer<int> rows(rowToken), tiles(tileExpert);
  launch(kernel("RaggedGemm.cu", "raggedGemmSwiGlu"),
         {columns / 32, unsigned(tileExpert.size())}, {128}, 30720, xs, gates,
         ups, rows, tiles, out, columns, depth);
  // Sums of 96 products below 0.3 are off by about 1e-5, and the factors are
  // below 6; then bf16.
  expectClose(widenBf16(out.download()), want, {1e-4, 0x1p-8 + 1e-4},
              "ragged gemm");
}
