#include "runtime/generate/Generate.h"

#include "ir/support/Interrupt.h"
#include "runtime/generate/Evaluate.h"
#include "runtime/schema/Facts.h"
#include "tests/runtime/generate/ToyModel.h"

#include <cmath>
#include <gmock/gmock.h>

using namespace moec;
using namespace moec::runtime;
using testing::HasSubstr;

namespace {

class GenerateTest : public ToyModelTest {
protected:
  static std::vector<int32_t> expected(std::vector<int32_t> tokens,
                                       size_t count) {
    std::vector<int32_t> added;
    for (size_t i = 0; i < count; ++i) {
      added.push_back(toy::nextToken(tokens));
      tokens.push_back(added.back());
    }
    return added;
  }
};

TEST_F(GenerateTest, ContinuesAPrompt) {
  std::unique_ptr<Session> session = open();
  ASSERT_TRUE(session);
  std::vector<int32_t> prompt(20, 3), streamed;
  GenerateOptions options;
  options.maxTokens = 30;
  auto result = generate(*session, prompt, options, [&](int32_t token) {
    streamed.push_back(token);
    return true;
  });
  ASSERT_TRUE(bool(result)) << toText(result.takeError());
  EXPECT_EQ(result->tokens, expected(prompt, 30));
  EXPECT_EQ(streamed, result->tokens);
  EXPECT_EQ(result->reason, StopReason::maxTokens);
  EXPECT_EQ(result->timings.promptTokens, 20);
  EXPECT_EQ(result->timings.decodedTokens, 29);
  EXPECT_GT(result->timings.decodeTokensPerSecond(), 0);
  EXPECT_GT(result->timings.promptTokensPerSecond(), 0);
  EXPECT_GE(result->timings.firstTokenSeconds, result->timings.prefillSeconds);
  EXPECT_EQ(session->blocks().available(), 16) << "the sequence has ended";
  // The same again, since nothing is left of the first.
  auto again = generate(*session, prompt, options);
  ASSERT_TRUE(bool(again));
  EXPECT_EQ(again->tokens, result->tokens);
}

TEST_F(GenerateTest, StopsForEachReason) {
  plan::PlanT source = toy::makePlan();
  std::vector<int32_t> answer = expected({1, 2}, 10);
  auto fact = std::make_unique<plan::FactT>();
  fact->key = facts::kEos;
  fact->value = "77, " + std::to_string(answer[3]);
  source.facts.push_back(std::move(fact));
  std::unique_ptr<Session> session = open({}, source);
  ASSERT_TRUE(session);
  GenerateOptions options;
  auto run = [&](llvm::function_ref<bool(int32_t)> onToken = nullptr) {
    auto result = generate(*session, {1, 2}, options, onToken);
    EXPECT_TRUE(bool(result));
    return std::make_pair(result->reason, result->tokens.size());
  };
  EXPECT_EQ(run(), std::make_pair(StopReason::end, size_t(3)));
  options.ignoreEnd = true;
  EXPECT_EQ(run(), std::make_pair(StopReason::context, size_t(63)));
  options.stopTokens = {answer[1]};
  EXPECT_EQ(run(), std::make_pair(StopReason::end, size_t(1)));
  options.stopTokens = {};
  EXPECT_EQ(run([](int32_t) { return false; }),
            std::make_pair(StopReason::callback, size_t(1)));
  options.maxTokens = 0;
  EXPECT_EQ(run(), std::make_pair(StopReason::maxTokens, size_t(0)));
}

TEST_F(GenerateTest, RefusesBadRequests) {
  std::unique_ptr<Session> session = open();
  ASSERT_TRUE(session);
  auto errorText = [&](std::vector<int32_t> prompt, GenerateOptions options) {
    auto result = generate(*session, prompt, options);
    return result ? "" : toText(result.takeError());
  };
  EXPECT_THAT(errorText({}, {}), HasSubstr("expects at least one token"));
  EXPECT_THAT(errorText(std::vector<int32_t>(70, 1), {}),
              HasSubstr("a prompt of 70 tokens does not fit"));
  GenerateOptions cold;
  cold.sampler.temperature = -1;
  EXPECT_NE(errorText({1}, cold), "");
  EXPECT_EQ(session->blocks().available(), 16);
}

TEST_F(GenerateTest, EndsOnAnInterruption) {
  std::unique_ptr<Session> session = open();
  ASSERT_TRUE(session);
  auto result = generate(*session, {1}, {}, [](int32_t) {
    setInterruptRequested(true);
    return true;
  });
  setInterruptRequested(false);
  ASSERT_FALSE(bool(result));
  llvm::Error err = result.takeError();
  EXPECT_TRUE(isInterrupted(err));
  llvm::consumeError(std::move(err));
  EXPECT_EQ(session->blocks().available(), 16);
}

TEST_F(GenerateTest, YieldsTheLogitsOfAllPositions) {
  std::unique_ptr<Session> session = open();
  ASSERT_TRUE(session);
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 40; ++i)
    tokens.push_back(i * 5 % 32);
  int64_t seen = 0;
  llvm::Error err = forEachLogits(
      *session, tokens, [&](int64_t first, llvm::ArrayRef<float> rows) {
        EXPECT_EQ(first, seen);
        for (; !rows.empty(); rows = rows.drop_front(toy::kVocabulary)) {
          ++seen;
          EXPECT_EQ(best(rows.take_front(toy::kVocabulary)),
                    toy::nextToken({tokens.begin(), tokens.begin() + seen}));
        }
        return llvm::Error::success();
      });
  ASSERT_FALSE(bool(err)) << toText(std::move(err));
  EXPECT_EQ(seen, 40);
}

TEST_F(GenerateTest, SumsLikelihoodsOverWindows) {
  std::unique_ptr<Session> session = open();
  ASSERT_TRUE(session);
  // The first half is what the model predicts, the second is not.
  std::vector<int32_t> tokens = {5};
  for (int i = 0; i < 49; ++i)
    tokens.push_back(toy::nextToken(tokens));
  for (int32_t i = 0; i < 50; ++i)
    tokens.push_back(i * i % 32);
  double total = std::log(std::exp(8.0) + 31);
  for (auto [window, stride] :
       {std::pair<int64_t, int64_t>{0, 0}, {20, 20}, {30, 10}, {64, 1}}) {
    // The definition, token by token.
    double nll = 0;
    int64_t count = 0, done = 0;
    int64_t width = window ? window : 64, step = stride ? stride : width;
    for (int64_t begin = 0;; begin += step) {
      int64_t end = std::min<int64_t>(begin + width, 100);
      for (int64_t t = std::max(begin + 1, done); t < end; ++t, ++count)
        nll += total - (toy::nextToken({tokens.begin() + begin,
                                        tokens.begin() + t}) == tokens[t]
                            ? 8
                            : 0);
      done = end;
      if (end == 100)
        break;
    }
    EvaluationOptions options{window, stride};
    auto result = evaluate(*session, tokens, options);
    ASSERT_TRUE(bool(result)) << toText(result.takeError());
    EXPECT_EQ(result->tokens, count) << window;
    EXPECT_NEAR(result->nll, nll, 1e-9) << window;
    EXPECT_NEAR(result->perplexity(), std::exp(nll / double(count)), 1e-9);
  }
  auto wrong = evaluate(*session, tokens, {65, 0});
  ASSERT_FALSE(bool(wrong));
  EXPECT_THAT(toText(wrong.takeError()),
              HasSubstr("expects a window of 2 to 64 tokens, got 65"));
}

TEST(NegativeLogLikelihood, NeitherOverflowsNorVanishes) {
  EXPECT_NEAR(negativeLogLikelihood({1000.0f, 1000.0f}, 0), std::log(2.0),
              1e-12);
  EXPECT_NEAR(negativeLogLikelihood({-1000.0f, 0.0f}, 0), 1000, 1e-9);
}

} // namespace
