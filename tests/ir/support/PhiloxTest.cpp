#include "ir/support/Philox.h"

#include "ir/support/Hash.h"
#include "llvm/ADT/bit.h"
#include "gtest/gtest.h"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace moec;

TEST(Philox, KnownAnswersOfThePublishedGenerator) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                       {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// These bits are part of recipe version 1: they may never change.
TEST(Philox, FrozenVectors) {
  RandomKey key = RandomKey::of(1, "drop", "layers.0.ffn", 3, "up");
  EXPECT_EQ(key.bits, 0x3dd497fcf48853ceull);
  EXPECT_EQ(randomBits(key, 0), 0x2612b80ff17efe9bull);
  EXPECT_EQ(randomBits(key, uint64_t(1) << 40), 0xcb05621c3e4e890aull);
  EXPECT_EQ(llvm::bit_cast<uint64_t>(uniform(key, 7)), 0x3fcad466eae6d24cull);
  EXPECT_EQ(llvm::bit_cast<uint64_t>(normal(key, 7)), 0x3fd9c2f049c83786ull);
  EXPECT_EQ(uniformInt(key, 9, 1000), 790u);
  EXPECT_EQ(permutation(key, 8),
            (std::vector<uint64_t>{2, 5, 0, 7, 6, 4, 3, 1}));
  EXPECT_EQ(chooseIndices(key, 8, 3), (std::vector<uint64_t>{0, 2, 5}));
  std::vector<float> values(4096);
  fillNormal(key, 1000, 0.5, 0.02, values);
  EXPECT_EQ(toHex(sha256(llvm::ArrayRef<uint8_t>(
                reinterpret_cast<const uint8_t *>(values.data()),
                values.size() * 4))),
            "5f45ff70acd087e27aa6ba9cd3682892abf5459c7870378070a34f8b95b4c898");
}

TEST(Philox, KeysDependOnEveryPart) {
  RandomKey base = RandomKey::of(1, "a", "bc", 0, "d");
  EXPECT_EQ(base, RandomKey::of(1, "a", "bc", 0, "d"));
  EXPECT_FALSE(base == RandomKey::of(2, "a", "bc", 0, "d"));
  EXPECT_FALSE(base == RandomKey::of(1, "ab", "c", 0, "d"));
  EXPECT_FALSE(base == RandomKey::of(1, "a", "bc", 1, "d"));
  EXPECT_FALSE(base == RandomKey::of(1, "a", "bc", -1, "d"));
  EXPECT_FALSE(base == RandomKey::of(1, "a", "bc", 0, ""));
}

TEST(Philox, LogIsWithinAnUlp) {
  RandomKey key = RandomKey::of(5, "test", "log");
  for (uint64_t i = 0; i < 20000; ++i) {
    double x = 1.0 - uniform(key, i);
    if (i % 3 == 1)
      x = x * 0x1p-40;
    if (i % 3 == 2)
      x = 1.0 - x * 0x1p-20;
    if (x <= 0)
      continue;
    double expected = double(std::log((long double)x));
    double ulp = std::fabs(expected) * 0x1p-52;
    EXPECT_LE(std::fabs(portableLog(x) - expected), ulp) << x;
  }
  EXPECT_EQ(portableLog(1.0), 0.0);
}

TEST(Philox, CosineIsAccurate) {
  RandomKey key = RandomKey::of(5, "test", "cos");
  constexpr long double kTwoPi = 6.283185307179586476925286766559L;
  for (uint64_t i = 0; i < 20000; ++i) {
    double turns = uniform(key, i);
    double expected = double(std::cos(kTwoPi * (long double)turns));
    EXPECT_LE(std::fabs(portableCosTurns(turns) - expected), 0x1p-52) << turns;
  }
  EXPECT_EQ(portableCosTurns(0.0), 1.0);
  EXPECT_EQ(portableCosTurns(0.25), 0.0);
  EXPECT_EQ(portableCosTurns(0.5), -1.0);
  EXPECT_EQ(portableCosTurns(0.75), 0.0);
}

TEST(Philox, NormalHasItsMoments) {
  RandomKey key = RandomKey::of(11, "test", "moments");
  constexpr uint64_t kCount = 200000;
  double sum = 0, squares = 0, fourth = 0;
  for (uint64_t i = 0; i < kCount; ++i) {
    double x = normal(key, i);
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
  }
  // Five standard errors: 1, sqrt 2 and sqrt 96 over sqrt of the count.
  double step = 5 / std::sqrt(double(kCount));
  EXPECT_NEAR(sum / kCount, 0, step);
  EXPECT_NEAR(squares / kCount, 1, 1.42 * step);
  EXPECT_NEAR(fourth / kCount, 3, 9.8 * step);
}

TEST(Philox, FillsEqualSingleNumbers) {
  RandomKey key = RandomKey::of(4, "test", "fills");
  uint64_t first = (uint64_t(1) << 32) - 5000;
  std::vector<float> normals(10003), uniforms(10003);
  fillNormal(key, first, 0.25, 3.0, normals);
  fillUniform(key, first, -1.0, 2.0, uniforms);
  for (size_t i = 0; i < normals.size(); ++i) {
    ASSERT_EQ(normals[i], float(normal(key, first + i) * 3.0 + 0.25)) << i;
    ASSERT_EQ(uniforms[i], float(uniform(key, first + i) * 3.0 + -1.0)) << i;
  }
}

TEST(Philox, FillsAtAnyIndices) {
  RandomKey key = RandomKey::of(4, "test", "indices");
  std::vector<uint64_t> indices;
  for (uint64_t i = 0; i < 1003; ++i)
    indices.push_back(i * i * 7919 + (i << 33));
  std::vector<float> numbers(indices.size());
  fillNormalAt(key, indices, 0.25, 3.0, numbers);
  for (size_t i = 0; i < indices.size(); ++i)
    ASSERT_EQ(numbers[i], float(normal(key, indices[i]) * 3.0 + 0.25)) << i;
  fillNormalAt(key, {}, 0, 1, {});
}

TEST(Philox, FillsDoNotDependOnChunks) {
  RandomKey key = RandomKey::of(3, "test", "chunks");
  std::vector<float> whole(1000), pieces(1000);
  fillNormal(key, 50, 1.0, 2.0, whole);
  llvm::MutableArrayRef<float> rest(pieces);
  for (uint64_t at = 0; !rest.empty(); at += 7) {
    size_t length = std::min<size_t>(7, rest.size());
    fillNormal(key, 50 + at, 1.0, 2.0, rest.take_front(length));
    rest = rest.drop_front(length);
  }
  EXPECT_EQ(whole, pieces);
}

TEST(Philox, PermutationsAndChoices) {
  RandomKey key = RandomKey::of(3, "test", "order");
  auto order = permutation(key, 1000);
  std::vector<uint64_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  std::vector<uint64_t> identity(1000);
  std::iota(identity.begin(), identity.end(), 0);
  EXPECT_EQ(sorted, identity);
  EXPECT_NE(order, identity);

  auto chosen = chooseIndices(key, 1000, 300);
  std::vector<uint64_t> first(order.begin(), order.begin() + 300);
  std::sort(first.begin(), first.end());
  EXPECT_EQ(chosen, first);
  EXPECT_EQ(chooseIndices(key, 1000, 1000), identity);
  EXPECT_TRUE(chooseIndices(key, 1000, 0).empty());
  EXPECT_TRUE(permutation(key, 0).empty());
}

TEST(Philox, UniformIntCoversItsRange) {
  RandomKey key = RandomKey::of(3, "test", "int");
  std::array<unsigned, 10> counts = {};
  for (uint64_t i = 0; i < 100000; ++i)
    ++counts[uniformInt(key, i, 10)];
  for (unsigned count : counts)
    EXPECT_NEAR(count, 10000, 5 * 95);
  EXPECT_EQ(uniformInt(key, 1, 1), 0u);
}
