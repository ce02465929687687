#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

using namespace corpus;

// Positions beyond 105615 take sincosf through Payne-Hanek reduction.
TEST(Corpus, RopeOnPackedQkv) {
  const int heads = 4, kvHeads = 2, dim = 64, half = dim / 2;
  const float base = 10000.0f;
  const std::vector<int> positions = {0, 1, 5, 4095, 131071, 1000003};
  const int width = (heads + 2 * kvHeads) * dim;
  Random random(2);
  auto qkv = random.bf16s(positions.size() * width, -1, 1);

  Buffer<uint16_t> packed(qkv);
  Buffer<int> places(positions);
  launch(kernel("Rope.cu", "ropePackedQkv"), {unsigned(positions.size())},
         {128}, 0, packed, places, heads, kvHeads, dim, base);
  auto got = packed.download();

  for (size_t token = 0; token < positions.size(); ++token) {
    const uint16_t *before = qkv.data() + token * width;
    const uint16_t *after = got.data() + token * width;
    for (int head = 0; head < heads + kvHeads; ++head) {
      for (int pair = 0; pair < half; ++pair) {
        double inverse = std::pow(double(base), -2.0 * pair / dim);
        double angle = positions[token] * inverse;
        double a = fromBf16(before[head * dim + pair]);
        double b = fromBf16(before[head * dim + pair + half]);
        double want[2] = {a * cos(angle) - b * sin(angle),
                          b * cos(angle) + a * sin(angle)};
        for (int side = 0; side < 2; ++side) {
          // powf may be off by 4 units in the last place and the product by
          // half of one: the angle is off by that much of itself. sincosf adds
          // 2 units of 1; the result is rounded to bf16.
          double slack = (std::fabs(a) + std::fabs(b)) *
                             (angle * 4.5 * 0x1p-23 + 2 * 0x1p-23) +
                         0x1p-8 * std::fabs(want[side]) + 1e-7;
          if (pair == 0) // The inverse is exactly 1.
            slack = (std::fabs(a) + std::fabs(b)) * 3 * 0x1p-23 +
                    0x1p-8 * std::fabs(want[side]) + 1e-7;
          ASSERT_NEAR(fromBf16(after[head * dim + pair + side * half]),
                      want[side], slack)
              << "position " << positions[token] << ", head " << head
              << ", pair " << pair;
        }
      }
    }
    for (int i = (heads + kvHeads) * dim; i < width; ++i)
      ASSERT_EQ(before[i], after[i]) << "a value was changed";
  }
}
