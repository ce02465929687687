// The fitted router against plain arithmetic: where it starts, which way its
// first step goes, and that it learns what can be learned.

#include "tools/driver/Selector.h"

#include "ir/support/Diagnostic.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <cmath>

using namespace moec;
using testing::HasSubstr;

namespace {
constexpr size_t kWidth = 6, kExperts = 4, kTokens = 200;

std::vector<float> normals(size_t count, const char *name, double deviation) {
  std::vector<float> numbers(count);
  fillNormal(RandomKey::of(3, "test", name), 0, 0, deviation, numbers);
  return numbers;
}

struct Problem {
  std::vector<float> tokens = normals(kTokens * kWidth, "tokens", 2);
  std::vector<float> first = normals(kExperts * kWidth, "first", 0.5);
  /// An expert is active where its own direction is.
  std::vector<float> scores = std::vector<float>(kTokens * kExperts);
  SelectorOptions options;

  Problem() {
    std::vector<float> way = normals(kExperts * kWidth, "way", 1);
    for (size_t t = 0; t < kTokens; ++t)
      for (size_t e = 0; e < kExperts; ++e) {
        double sum = 0;
        for (size_t i = 0; i < kWidth; ++i)
          sum += way[e * kWidth + i] * tokens[t * kWidth + i];
        scores[t * kExperts + e] = float(std::max(sum, 0.0));
      }
    options.key = RandomKey::of(1, "test", "selector");
  }
  Selector fit() const {
    return llvm::cantFail(
        fitSelector({tokens, kWidth}, {scores, kExperts}, first, options));
  }
  double length() const {
    double sum = 0;
    for (size_t t = 0; t < kTokens; ++t) {
      double squares = 0;
      for (size_t i = 0; i < kWidth; ++i)
        squares += double(tokens[t * kWidth + i]) * tokens[t * kWidth + i];
      sum += std::sqrt(squares);
    }
    return sum / kTokens;
  }
  /// Logits of a token.
  std::vector<double> logits(const Selector &s, size_t token) const {
    std::vector<double> hidden(kExperts), out(kExperts);
    for (size_t e = 0; e < kExperts; ++e) {
      for (size_t i = 0; i < kWidth; ++i)
        hidden[e] +=
            double(s.first[e * kWidth + i]) * tokens[token * kWidth + i];
      hidden[e] = std::tanh(hidden[e]);
    }
    for (size_t e = 0; e < kExperts; ++e)
      for (size_t i = 0; i < kExperts; ++i)
        out[e] += double(s.second[e * kExperts + i]) * hidden[i];
    return out;
  }
  double loss(const Selector &s) const {
    double sum = 0;
    for (size_t t = 0; t < kTokens; ++t) {
      auto row = llvm::ArrayRef(scores).slice(t * kExperts, kExperts);
      double most = *std::max_element(row.begin(), row.end());
      std::vector<double> z = logits(s, t);
      for (size_t e = 0; e < kExperts; ++e) {
        double p = 1 / (1 + std::exp(-z[e])), y = most > 0 ? row[e] / most : 0;
        sum -= y * std::log(p) + (1 - y) * std::log(1 - p);
      }
    }
    return sum / (kTokens * kExperts);
  }
  /// Tokens whose best expert has the largest logit.
  size_t hits(const Selector &s) const {
    size_t count = 0;
    for (size_t t = 0; t < kTokens; ++t) {
      std::vector<double> z = logits(s, t);
      auto row = llvm::ArrayRef(scores).slice(t * kExperts, kExperts);
      count += std::max_element(z.begin(), z.end()) - z.begin() ==
               std::max_element(row.begin(), row.end()) - row.begin();
    }
    return count;
  }
};
} // namespace

TEST(Selector, StartsFromTheGivenRowsAndTheIdentity) {
  Problem problem;
  problem.options.epochs = 0;
  Selector start = problem.fit();
  for (size_t i = 0; i < problem.first.size(); ++i)
    EXPECT_NEAR(start.first[i], problem.first[i] / problem.length(), 1e-6);
  for (size_t i = 0; i < start.second.size(); ++i)
    EXPECT_EQ(start.second[i], i / kExperts == i % kExperts);
  EXPECT_NEAR(start.lossBefore, problem.loss(start), 1e-6);
  EXPECT_EQ(start.lossAfter, start.lossBefore);
}

// Adam's first step moves every number by the rate, against its gradient.
TEST(Selector, FirstStepGoesAgainstTheGradient) {
  Problem problem;
  problem.options.epochs = 0;
  Selector start = problem.fit();
  problem.options.epochs = 1;
  problem.options.batch = kTokens;
  problem.options.rate = 1e-4;
  Selector moved = problem.fit();
  auto check = [&](std::vector<float> Selector::*matrix, double unit) {
    for (size_t i = 0; i < (start.*matrix).size(); ++i) {
      Selector more = start, less = start;
      (more.*matrix)[i] += 1e-3f;
      (less.*matrix)[i] -= 1e-3f;
      double slope = problem.loss(more) - problem.loss(less);
      double step = double((moved.*matrix)[i]) - (start.*matrix)[i];
      if (std::abs(slope) > 1e-6)
        EXPECT_NEAR(step, slope > 0 ? -unit : unit, 0.02 * unit) << i;
    }
  };
  check(&Selector::first, problem.options.rate / problem.length());
  check(&Selector::second, problem.options.rate);
}

TEST(Selector, LearnsWhichExpertIsActive) {
  Problem problem;
  Selector fitted = problem.fit();
  EXPECT_NEAR(fitted.lossAfter, problem.loss(fitted), 1e-6);
  EXPECT_LT(fitted.lossAfter, 0.8 * fitted.lossBefore);
  EXPECT_GT(problem.hits(fitted), kTokens * 8 / 10);
  problem.options.epochs = 0;
  EXPECT_LT(problem.hits(problem.fit()), kTokens / 2);
}

TEST(Selector, SeedsAreOrdersOfTheTokens) {
  Problem problem;
  problem.options.epochs = 2;
  Selector a = problem.fit(), b = problem.fit();
  EXPECT_EQ(a.first, b.first);
  EXPECT_EQ(a.second, b.second);
  problem.options.key = RandomKey::of(2, "test", "selector");
  EXPECT_NE(problem.fit().first, a.first);
}

TEST(Selector, TokensOfZerosAndScoresOfZerosAreFinite) {
  Problem problem;
  std::fill(problem.tokens.begin(), problem.tokens.end(), 0.0f);
  std::fill(problem.scores.begin(), problem.scores.end(), 0.0f);
  Selector fitted = problem.fit();
  for (float x : fitted.first)
    EXPECT_TRUE(std::isfinite(x));
  for (float x : fitted.second)
    EXPECT_TRUE(std::isfinite(x));
}

TEST(Selector, CountsMustAgree) {
  Problem problem;
  problem.scores.resize(kExperts);
  auto fitted =
      fitSelector({problem.tokens, kWidth}, {problem.scores, kExperts},
                  problem.first, problem.options);
  ASSERT_FALSE(fitted);
  EXPECT_THAT(toText(fitted.takeError()), HasSubstr("found 200 and 1"));
}
