#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

#include <array>

using namespace corpus;

/// Philox 4x32-10 from its definition (Salmon et al., SC11).
static std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter,
                                      std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    uint64_t left = uint64_t(0xD2511F53) * counter[0];
    uint64_t right = uint64_t(0xCD9E8D57) * counter[2];
    counter = {uint32_t(right >> 32) ^ counter[1] ^ key[0], uint32_t(right),
               uint32_t(left >> 32) ^ counter[3] ^ key[1], uint32_t(left)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

TEST(Corpus, AdamWWithStochasticRounding) {
  const long long count = 4 * 531;
  const float rate = 1e-2f, beta1 = 0.9f, beta2 = 0.95f, epsilon = 1e-8f;
  const float decay = 0.1f, correction1 = 1 - 0.9f * 0.9f;
  const float correction2 = 1 - 0.95f * 0.95f;
  const unsigned long long seed = 0x123456789abcdefull;
  const unsigned step = 2;
  Random random(9);
  auto p = random.bf16s(count, -1, 1);
  auto m = random.floats(count, -0.1, 0.1), v = random.floats(count, 0, 0.01);
  auto g = random.floats(count, -0.2, 0.2);

  Buffer<uint16_t> parameters(p);
  Buffer<float> first(m), second(v), gradients(g);
  launch(kernel("AdamW.cu", "adamWStep"), {unsigned(count / 4 + 255) / 256},
         {256}, 0, parameters, first, second, gradients, count, rate, beta1,
         beta2, epsilon, decay, correction1, correction2, seed, step);

  std::vector<double> wantFirst, wantSecond;
  auto got = parameters.download();
  int down = 0, up = 0;
  for (long long i = 0; i < count; ++i) {
    double newM = double(beta1) * m[i] + (1.0f - beta1) * double(g[i]);
    double newV =
        double(beta2) * v[i] + (1.0f - beta2) * double(g[i]) * double(g[i]);
    wantFirst.push_back(newM);
    wantSecond.push_back(newV);
    double old = fromBf16(p[i]);
    double update =
        newM / correction1 / (std::sqrt(newV / correction2) + epsilon);
    double value = old - rate * (update + decay * old);
    uint32_t bits = philox({uint32_t(i & ~3ll), 0, step, 0},
                           {uint32_t(seed), uint32_t(seed >> 32)})[i & 3] &
                    0xffff;
    // Float arithmetic moves the value by some units in its last place, and
    // with it the outcome where the random bits are close to the middle.
    double slack = 4e-7 * (std::fabs(old) + std::fabs(value)) +
                   1e-6 * rate * std::fabs(update) + 1e-9;
    auto rounded = [&](double x) {
      return double(fromBf16(uint16_t((bitsOf(float(x)) + bits) >> 16)));
    };
    double low = std::min(rounded(value - slack), rounded(value + slack));
    double high = std::max(rounded(value - slack), rounded(value + slack));
    ASSERT_GE(fromBf16(got[i]), low) << "parameter " << i;
    ASSERT_LE(fromBf16(got[i]), high) << "parameter " << i;
    (std::fabs(fromBf16(got[i])) > std::fabs(value) ? up : down) += 1;
  }
  // Rounding that always went one way would pass the bounds of one side only.
  EXPECT_GT(up, count / 3);
  EXPECT_GT(down, count / 3);
  // Two products and a sum of terms below 0.1.
  expectClose(widen(first.download()), wantFirst, {2e-8, 2e-7}, "momentum");
  expectClose(widen(second.download()), wantSecond, {1e-9, 4e-7}, "variance");
}
