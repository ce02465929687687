#include "runtime/text/Sampler.h"

#include "ir/support/Diagnostic.h"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>
#include <set>

using namespace moec;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

Sampler make(const SamplerOptions &options) {
  auto sampler = Sampler::create(options);
  EXPECT_TRUE(bool(sampler)) << toText(sampler.takeError());
  return std::move(*sampler);
}

int32_t draw(Sampler &sampler, llvm::ArrayRef<float> logits) {
  auto id = sampler.sample(logits);
  if (!id) {
    ADD_FAILURE() << toText(id.takeError());
    return -1;
  }
  return *id;
}

/// How often each id is drawn.
std::vector<double> frequencies(const SamplerOptions &options,
                                llvm::ArrayRef<float> logits, int draws) {
  Sampler sampler = make(options);
  std::vector<double> share(logits.size());
  for (int i = 0; i < draws; ++i)
    share[draw(sampler, logits)] += 1.0 / draws;
  return share;
}

TEST(Greedy, TiesGoToTheLowestId) {
  Sampler sampler = make({});
  EXPECT_EQ(draw(sampler, {1.f, 3.f, 3.f, 2.f}), 1);
  EXPECT_EQ(draw(sampler, {-kInf, -kInf}), 0);
}

TEST(Greedy, NanIsWorseThanAnyNumber) {
  Sampler sampler = make({});
  EXPECT_EQ(draw(sampler, {kNan, -kInf, kNan, -5.f}), 3);
  EXPECT_EQ(draw(sampler, {kNan, -kInf}), 1);
}

TEST(Sampling, NoNumberIsAnError) {
  for (double temperature : {0.0, 1.0}) {
    SamplerOptions options;
    options.temperature = temperature;
    Sampler sampler = make(options);
    auto nothing = sampler.sample({kNan, kNan});
    ASSERT_FALSE(bool(nothing));
    EXPECT_EQ(toText(nothing.takeError()),
              "error: expected a logit that is a number, got NaN for the "
              "whole vocabulary");
    auto empty = sampler.sample({});
    ASSERT_FALSE(bool(empty));
    EXPECT_EQ(toText(empty.takeError()),
              "error: expected a logit that is a number, got no logits");
  }
}

TEST(Sampling, FollowsTheSoftmaxOfTheTemperature) {
  const std::vector<float> logits = {2.f, 0.f, kNan, -1.f, 1.f};
  for (double temperature : {0.5, 1.0, 2.0}) {
    SamplerOptions options;
    options.temperature = temperature;
    options.seed = 11;
    constexpr int kDraws = 20000;
    std::vector<double> share = frequencies(options, logits, kDraws);
    double total = 0;
    for (float logit : logits)
      total += std::isnan(logit) ? 0 : std::exp(logit / temperature);
    for (size_t id = 0; id < logits.size(); ++id) {
      double p = std::isnan(logits[id])
                     ? 0
                     : std::exp(logits[id] / temperature) / total;
      // Five standard deviations of a binomial share.
      EXPECT_NEAR(share[id], p, 5 * std::sqrt(p * (1 - p) / kDraws)) << id;
    }
  }
}

TEST(Sampling, InfiniteLogitsAreCertainAndEqual) {
  SamplerOptions options;
  options.temperature = 1;
  std::vector<double> share =
      frequencies(options, {5.f, kInf, 7.f, kInf}, 4000);
  EXPECT_EQ(share[0] + share[2], 0);
  EXPECT_NEAR(share[1], 0.5, 0.05);
  share = frequencies(options, {-kInf, kNan, -kInf}, 4000);
  EXPECT_NEAR(share[0], 0.5, 0.05);
}

TEST(Sampling, TopKKeepsTheBestAndBreaksTiesById) {
  SamplerOptions options;
  options.temperature = 1;
  options.topK = 3;
  std::vector<double> share =
      frequencies(options, {1.f, 2.f, 1.f, 3.f, 1.f}, 3000);
  EXPECT_GT(share[0], 0);
  EXPECT_EQ(share[2], 0);
  EXPECT_EQ(share[4], 0);
  // More than there are keeps all.
  options.topK = 100;
  EXPECT_GT(frequencies(options, {1.f, 1.f}, 100)[1], 0);
}

TEST(Sampling, TopPKeepsTheFewestThatReachIt) {
  // Probabilities 0.5, 0.25, 0.125, 0.125.
  const std::vector<float> logits = {0.f, std::log(2.f), -kInf, 0.f,
                                     std::log(4.f)};
  SamplerOptions options;
  options.temperature = 1;
  auto kept = [&](double topP) {
    options.topP = topP;
    std::set<int> ids;
    std::vector<double> share = frequencies(options, logits, 2000);
    for (size_t id = 0; id < share.size(); ++id)
      if (share[id] > 0)
        ids.insert(int(id));
    return ids;
  };
  EXPECT_EQ(kept(0.01), (std::set<int>{4}));
  EXPECT_EQ(kept(0.49), (std::set<int>{4}));
  EXPECT_EQ(kept(0.70), (std::set<int>{1, 4}));
  EXPECT_EQ(kept(0.80), (std::set<int>{0, 1, 4}));
  EXPECT_EQ(kept(1.00), (std::set<int>{0, 1, 3, 4}));
}

TEST(Sampling, TopPOverManyTokensEqualsASortOfAll) {
  // Enough tokens that the search for the best proceeds in several steps.
  std::vector<float> logits(5000);
  for (size_t id = 0; id < logits.size(); ++id)
    logits[id] = float((id * 2654435761u % 5000)) / 5000;
  SamplerOptions options;
  options.temperature = 1;
  options.topP = 0.5;
  std::vector<double> share = frequencies(options, logits, 300);
  std::vector<float> sorted = logits;
  std::sort(sorted.begin(), sorted.end(), std::greater<float>());
  double total = 0, reached = 0;
  for (float logit : sorted)
    total += std::exp(double(logit));
  float least = 0;
  for (float logit : sorted) {
    reached += std::exp(double(logit));
    least = logit;
    if (reached >= 0.5 * total)
      break;
  }
  for (size_t id = 0; id < logits.size(); ++id)
    if (share[id] > 0)
      EXPECT_GE(logits[id], least) << id;
}

TEST(Sampling, MinPIsRelativeToTheBest) {
  const std::vector<float> logits = {0.f, std::log(0.3f), std::log(0.2f)};
  SamplerOptions options;
  options.temperature = 1;
  options.minP = 0.25;
  std::vector<double> share = frequencies(options, logits, 2000);
  EXPECT_GT(share[1], 0);
  EXPECT_EQ(share[2], 0);
}

TEST(Sampling, PenaltyIsOncePerIdAndForgets) {
  SamplerOptions options;
  options.repetitionPenalty = 2;
  options.penaltyWindow = 2;
  Sampler sampler = make(options);
  const std::vector<float> logits = {4.f, 3.f, -1.f};
  EXPECT_EQ(draw(sampler, logits), 0);
  sampler.accept(0);
  sampler.accept(0);
  // 4 / 2 < 3: twice the same token counts once.
  EXPECT_EQ(draw(sampler, logits), 1);
  sampler.accept(1);
  // 2, 1.5, -1.
  EXPECT_EQ(draw(sampler, logits), 0);
  sampler.accept(2);
  // The window holds 1 and 2 now: 4, 1.5, -2.
  EXPECT_EQ(draw(sampler, {3.f, 4.f, -1.f}), 0);
  // An id outside the vocabulary changes nothing.
  sampler.accept(99);
  EXPECT_EQ(draw(sampler, logits), 0);
}

TEST(Sampling, ASeedNamesOneSequence) {
  std::vector<float> logits(50);
  for (size_t id = 0; id < logits.size(); ++id)
    logits[id] = float(id % 7) * 0.25f;
  auto sequence = [&](uint64_t seed) {
    SamplerOptions options;
    options.temperature = 0.8;
    options.topK = 40;
    options.topP = 0.95;
    options.minP = 0.05;
    options.seed = seed;
    Sampler sampler = make(options);
    std::vector<int32_t> ids;
    for (int i = 0; i < 12; ++i)
      ids.push_back(draw(sampler, logits));
    return ids;
  };
  EXPECT_EQ(sequence(1), sequence(1));
  EXPECT_NE(sequence(1), sequence(2));
  // Frozen: other machines must draw the same.
  EXPECT_THAT(sequence(7), testing::ElementsAre(20, 48, 48, 13, 25, 44, 18, 34,
                                                47, 12, 13, 27));
}

TEST(Options, OutOfRangeIsAnError) {
  auto message = [](auto set) {
    SamplerOptions options;
    set(options);
    auto sampler = Sampler::create(options);
    EXPECT_FALSE(bool(sampler));
    return sampler ? std::string() : toText(sampler.takeError());
  };
  EXPECT_EQ(message([](SamplerOptions &o) { o.temperature = -1; }),
            "temperature: error: expected a number of at least 0, got -1.0");
  EXPECT_THAT(message([](SamplerOptions &o) { o.temperature = kNan; }),
              testing::HasSubstr("temperature: error"));
  EXPECT_THAT(message([](SamplerOptions &o) { o.topP = 0; }),
              testing::HasSubstr("top-p: error: expected a number in (0, 1]"));
  EXPECT_THAT(message([](SamplerOptions &o) { o.minP = 1.5; }),
              testing::HasSubstr("min-p: error: expected a number in [0, 1]"));
  EXPECT_THAT(message([](SamplerOptions &o) { o.repetitionPenalty = 0; }),
              testing::HasSubstr("repetition penalty: error: expected a "
                                 "number above 0"));
}

TEST(PortableExp, IsCloseToTheLibrarys) {
  for (double x = 0; x > -745; x -= 0.0371) {
    double expected = std::exp(x);
    // Below the smallest normal number only the absolute error is bounded.
    EXPECT_NEAR(portableExp(x), expected, expected * 4e-16 + 5e-324) << x;
  }
  EXPECT_EQ(portableExp(0), 1);
  EXPECT_EQ(portableExp(-800), 0);
  EXPECT_EQ(portableExp(-kInf), 0);
}

} // namespace
