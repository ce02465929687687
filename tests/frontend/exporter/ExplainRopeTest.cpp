#include "frontend/exporter/Recognize.h"

#include "gtest/gtest.h"

using namespace moec;

using Scaling = RopeConfig::Scaling;

static RopeConfig roundTrip(const RopeConfig &rope) {
  return explainFrequencies(rope.frequencies(), /*context=*/8192);
}

TEST(ExplainRope, BasesOfPublishedModels) {
  for (double theta : {1e4, 5e5, 1e6, 1e7, 1e5, 25600.0, 999999.4}) {
    RopeConfig rope;
    rope.dims = 64;
    rope.theta = theta;
    RopeConfig found = roundTrip(rope);
    EXPECT_EQ(found.scaling, Scaling::none) << theta;
    EXPECT_EQ(found.dims, 64);
    EXPECT_EQ(found.frequencies(), rope.frequencies()) << theta;
  }
}

TEST(ExplainRope, LinearScaling) {
  RopeConfig rope;
  rope.dims = 32;
  rope.theta = 5e5;
  rope.scaling = Scaling::linear;
  rope.factor = 4;
  RopeConfig found = roundTrip(rope);
  EXPECT_EQ(found.scaling, Scaling::linear);
  EXPECT_EQ(found.theta, 5e5);
  EXPECT_EQ(found.factor, 4);
}

TEST(ExplainRope, Llama3Scaling) {
  for (double factor : {8.0, 32.0}) {
    RopeConfig rope;
    rope.dims = 128;
    rope.theta = 5e5;
    rope.scaling = Scaling::llama3;
    rope.factor = factor;
    rope.lowFactor = 1;
    rope.highFactor = 4;
    rope.originalContext = 8192;
    RopeConfig found = roundTrip(rope);
    EXPECT_EQ(found.scaling, Scaling::llama3);
    EXPECT_EQ(found.frequencies(), rope.frequencies());
  }
}

TEST(ExplainRope, OtherFrequenciesBecomeDivisors) {
  RopeConfig rope;
  rope.dims = 8;
  rope.scaling = Scaling::factors;
  rope.divisors = {1, 3, 2, 7};
  RopeConfig found = roundTrip(rope);
  EXPECT_EQ(found.scaling, Scaling::factors);
  std::vector<double> frequencies = found.frequencies();
  for (size_t i = 0; i < 4; ++i)
    EXPECT_NEAR(frequencies[i] / rope.frequencies()[i], 1, 1e-7);
}

TEST(ExplainRope, DivisorsOfLlama3HaveItsName) {
  RopeConfig rope, divided;
  rope.dims = divided.dims = 64;
  rope.theta = divided.theta = 5e5;
  RopeConfig plain = rope;
  rope.scaling = Scaling::llama3;
  rope.factor = 8;
  rope.originalContext = 8192;
  divided.scaling = Scaling::factors;
  for (size_t i = 0; i < 32; ++i)
    divided.divisors.push_back(
        float(plain.frequencies()[i] / rope.frequencies()[i]));
  auto named = nameScaling(divided, /*context=*/131072);
  ASSERT_TRUE(named);
  EXPECT_EQ(named->scaling, Scaling::llama3);
  EXPECT_EQ(named->factor, 8);
}

TEST(ExplainRope, OnePairHasNoBase) {
  RopeConfig found = explainFrequencies({1.0}, 64);
  EXPECT_EQ(found.scaling, Scaling::none);
  EXPECT_EQ(found.dims, 2);
}
