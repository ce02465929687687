#include "runtime/generate/Session.h"

#include "ir/support/Interrupt.h"
#include "tests/runtime/generate/ToyModel.h"

#include <cstdlib>
#include <gmock/gmock.h>

using namespace moec;
using namespace moec::runtime;
using testing::HasSubstr;

namespace {

using SessionTest = ToyModelTest;

std::string errorText(llvm::Expected<llvm::ArrayRef<float>> result) {
  return result ? "" : toText(result.takeError());
}

TEST_F(SessionTest, FeedsOneSequence) {
  std::unique_ptr<Session> session = open();
  ASSERT_TRUE(session);
  EXPECT_EQ(session->model().context(), toy::kContext);
  EXPECT_EQ(session->blocks().total(), toy::kContext / toy::kBlockSize);
  SequenceId sequence = session->beginSequence();
  std::vector<int32_t> tokens = {3, 1, 4};
  auto logits = session->forward(SequenceChunk{sequence, tokens});
  ASSERT_TRUE(bool(logits)) << toText(logits.takeError());
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(logits->size(), size_t(toy::kVocabulary));
    int32_t next = best(*logits);
    EXPECT_EQ(next, toy::nextToken(tokens)) << i;
    tokens.push_back(next);
    logits = session->forward(SequenceChunk{sequence, next});
    ASSERT_TRUE(bool(logits)) << toText(logits.takeError());
  }
  EXPECT_EQ(session->length(sequence), 23);
  EXPECT_EQ(session->blocks().available(), 16 - 6);
  session->endSequence(sequence);
  EXPECT_EQ(session->blocks().available(), 16);
}

TEST_F(SessionTest, PrefillsInSteps) {
  std::unique_ptr<Session> session = open();
  ASSERT_TRUE(session);
  ASSERT_EQ(session->maxStepTokens(), 16);
  for (size_t length : {1, 15, 16, 17, 32, 50, 64}) {
    std::vector<int32_t> tokens;
    for (size_t i = 0; i < length; ++i)
      tokens.push_back(int32_t(i * 7 % 32));
    SequenceId sequence = session->beginSequence();
    auto logits = session->prefill(sequence, tokens);
    ASSERT_TRUE(bool(logits)) << toText(logits.takeError());
    EXPECT_EQ(best(*logits), toy::nextToken(tokens)) << length;
    session->endSequence(sequence);
  }
}

TEST_F(SessionTest, MixesSequencesInOneStep) {
  SessionOptions options;
  options.cacheTokens = 200;
  std::unique_ptr<Session> session = open(options);
  ASSERT_TRUE(session);
  EXPECT_EQ(session->blocks().total(), 50);
  SequenceId one = session->beginSequence(), two = session->beginSequence(),
             three = session->beginSequence();
  std::vector<int32_t> a = {1, 2, 3, 4, 5}, b = {9}, c = {7, 7};
  SequenceChunk first[] = {{one, a, WantedLogits::last},
                           {two, b, WantedLogits::all},
                           {three, c, WantedLogits::none}};
  auto logits = session->forward(first);
  ASSERT_TRUE(bool(logits)) << toText(logits.takeError());
  ASSERT_EQ(logits->size(), size_t(2 * toy::kVocabulary));
  EXPECT_EQ(best(logits->take_front(toy::kVocabulary)), toy::nextToken(a));
  EXPECT_EQ(best(logits->drop_front(toy::kVocabulary)), toy::nextToken(b));
  // They grow in turn, so that their blocks interleave.
  for (int i = 0; i < 10; ++i) {
    int32_t next[] = {int32_t(i), int32_t(2 * i), int32_t(3 * i)};
    SequenceChunk chunks[] = {{three, next[2]}, {one, next[0]}, {two, next[1]}};
    a.push_back(next[0]);
    b.push_back(next[1]);
    c.push_back(next[2]);
    logits = session->forward(chunks);
    ASSERT_TRUE(bool(logits)) << toText(logits.takeError());
    EXPECT_EQ(best(logits->slice(0, toy::kVocabulary)), toy::nextToken(c));
    EXPECT_EQ(best(logits->slice(toy::kVocabulary, toy::kVocabulary)),
              toy::nextToken(a));
    EXPECT_EQ(best(logits->slice(2 * toy::kVocabulary, toy::kVocabulary)),
              toy::nextToken(b));
  }
  // A sequence that ends leaves its blocks to others.
  session->endSequence(one);
  SequenceId four = session->beginSequence();
  logits = session->prefill(four, {30, 31});
  ASSERT_TRUE(bool(logits)) << toText(logits.takeError());
  EXPECT_EQ(best(*logits), toy::nextToken({30, 31}));
  logits = session->forward(SequenceChunk{two, {1}});
  ASSERT_TRUE(bool(logits)) << toText(logits.takeError());
  b.push_back(1);
  EXPECT_EQ(best(*logits), toy::nextToken(b));
}

TEST_F(SessionTest, TruncatesSequences) {
  std::unique_ptr<Session> session = open();
  ASSERT_TRUE(session);
  SequenceId sequence = session->beginSequence();
  ASSERT_TRUE(bool(session->prefill(sequence, {1, 2, 3, 4, 5, 6})));
  session->truncate(sequence, 4);
  EXPECT_EQ(session->blocks().available(), 15);
  auto logits = session->forward(SequenceChunk{sequence, {9}});
  ASSERT_TRUE(bool(logits)) << toText(logits.takeError());
  EXPECT_EQ(best(*logits), toy::nextToken({1, 2, 3, 4, 9}));
}

TEST_F(SessionTest, RefusesWhatDoesNotFitAndStaysAsItWas) {
  std::unique_ptr<Session> session = open();
  ASSERT_TRUE(session);
  SequenceId sequence = session->beginSequence();
  EXPECT_THAT(
      errorText(session->prefill(sequence, std::vector<int32_t>(65, 1))),
      HasSubstr("a prompt of 65 tokens does not fit: the context has 64"));
  EXPECT_THAT(errorText(session->prefill(sequence, {})),
              HasSubstr("expects at least one token"));
  EXPECT_THAT(errorText(session->forward(SequenceChunk{sequence, {32}})),
              HasSubstr("expects token ids in [0, 32), got 32"));
  EXPECT_THAT(errorText(session->forward(SequenceChunk{sequence, {-1}})),
              HasSubstr("got -1"));
  std::vector<int32_t> tooMany(17, 1);
  EXPECT_THAT(errorText(session->forward(SequenceChunk{sequence, tooMany})),
              HasSubstr("expects 1 to 16 tokens, got 17"));
  EXPECT_EQ(session->length(sequence), 0);
  EXPECT_EQ(session->blocks().available(), 16);
  // Another sequence takes all blocks.
  SequenceId other = session->beginSequence();
  ASSERT_TRUE(bool(session->prefill(other, std::vector<int32_t>(64, 1))));
  EXPECT_THAT(errorText(session->forward(SequenceChunk{sequence, {1}})),
              HasSubstr("the KV cache is full: 1 more blocks of 4 tokens are "
                        "needed, 0 of 16 are free"));
  EXPECT_THAT(errorText(session->forward(SequenceChunk{other, {1}})),
              HasSubstr("a sequence of 65 tokens does not fit"));
}

TEST_F(SessionTest, ObeysItsBudget) {
  SessionOptions options;
  options.cacheBytes = 5 * 16 + 3; // A block is 4 times i32.
  std::unique_ptr<Session> session = open(options);
  ASSERT_TRUE(session);
  EXPECT_EQ(session->blocks().total(), 5);
  EXPECT_EQ(session->maxSequenceTokens(), 20);
  options.cacheBytes = 15;
  EXPECT_THAT(errorOf(toy::makePlan(), options),
              HasSubstr("needs 16 bytes for a block of the KV cache, the "
                        "budget is 15"));
}

TEST_F(SessionTest, ChecksBareSteps) {
  std::unique_ptr<Session> session = open();
  ASSERT_TRUE(session);
  struct Arrays {
    std::vector<int32_t> tokens = {1, 2, 3}, positions = {0, 1, 0},
                         offsets = {0, 2, 3}, table = {5, 9}, rows = {2, 0};
  };
  auto step = [&](auto change) {
    Arrays arrays;
    change(arrays);
    std::vector<float> logits(arrays.rows.size() * toy::kVocabulary);
    llvm::Error err = session->step({arrays.tokens, arrays.positions,
                                     arrays.offsets, arrays.table, arrays.rows},
                                    logits);
    if (err)
      return toText(std::move(err));
    llvm::ArrayRef<float> rows(logits);
    return std::to_string(best(rows.take_front(toy::kVocabulary))) + " " +
           std::to_string(best(rows.take_back(toy::kVocabulary)));
  };
  EXPECT_EQ(step([](Arrays &) {}), "3 1");
  EXPECT_THAT(step([](Arrays &a) { a.tokens = {}; }),
              HasSubstr("expects 1 to 16 tokens, got 0"));
  EXPECT_THAT(step([](Arrays &a) { a.positions = {0, 1}; }),
              HasSubstr("expects 3 positions, got 2"));
  EXPECT_THAT(step([](Arrays &a) { a.positions = {0, 4, 0}; }),
              HasSubstr("expects positions in [0, 4), got 4"));
  EXPECT_THAT(step([](Arrays &a) { a.positions = {0, -1, 0}; }),
              HasSubstr("got -1"));
  EXPECT_THAT(step([](Arrays &a) { a.offsets = {0, 2, 4}; }),
              HasSubstr("expects sequence offsets from 0 to 3"));
  EXPECT_THAT(step([](Arrays &a) { a.offsets = {0, 4, 3}; }),
              HasSubstr("expects ascending sequence offsets, got 4 before 3"));
  EXPECT_THAT(step([](Arrays &a) { a.offsets = {}; }),
              HasSubstr("expects 1 to 8 sequences, got -1"));
  EXPECT_THAT(step([](Arrays &a) { a.table = {5, 16}; }),
              HasSubstr("expects blocks in [0, 16), got 16"));
  EXPECT_THAT(step([](Arrays &a) { a.table = {5, 9, 2}; }),
              HasSubstr("expects a block table of 2 equal rows"));
  EXPECT_THAT(step([](Arrays &a) { a.rows = {3, 0}; }),
              HasSubstr("expects logit rows in [0, 3), got 3"));
  EXPECT_THAT(step([](Arrays &a) { a.tokens[1] = 99; }),
              HasSubstr("expects token ids in [0, 32), got 99"));
}

TEST_F(SessionTest, CountsExperts) {
  std::unique_ptr<Session> session = open();
  ASSERT_TRUE(session);
  SequenceId sequence = session->beginSequence();
  ASSERT_TRUE(bool(session->prefill(sequence, {0, 4, 8, 1, 3})));
  auto counters = session->expertCounters();
  ASSERT_TRUE(bool(counters)) << toText(counters.takeError());
  ASSERT_EQ(counters->size(), 1u);
  EXPECT_EQ((*counters)[0].name, "layers.0.experts");
  EXPECT_THAT((*counters)[0].counts, testing::ElementsAre(3, 1, 0, 1));
  ASSERT_FALSE(bool(session->resetCounters()));
  EXPECT_THAT(session->expertCounters()->at(0).counts, testing::Each(0));
}

TEST_F(SessionTest, NamesWhatAPlanLacks) {
  plan::PlanT source = toy::makePlan();
  source.facts.erase(source.facts.begin());
  EXPECT_THAT(errorOf(source), HasSubstr("lacks the fact 'model.context'"));
  source = toy::makePlan();
  source.facts[1]->value = "many";
  EXPECT_THAT(errorOf(source),
              HasSubstr("fact 'model.vocabulary': error: expects an integer "
                        "of at least 1, got 'many'"));
  source = toy::makePlan();
  source.symbols[toy::kRows]->name = "lines";
  EXPECT_THAT(errorOf(source), HasSubstr("lacks the symbol 'rows'"));
  source = toy::makePlan();
  source.signatures[0]->name = "stride";
  EXPECT_THAT(errorOf(source), HasSubstr("lacks the signature 'step'"));
  source = toy::makePlan();
  source.signatures[0]->inputs[1]->name = "places";
  EXPECT_THAT(errorOf(source), HasSubstr("lacks the i32 input 'positions'"));
}

TEST_F(SessionTest, TakesTheVariantOfTheEnvironment) {
  setenv("MOEC_VARIANT", "nowhere", 1);
  EXPECT_THAT(errorOf(toy::makePlan()), HasSubstr("has no variant 'nowhere'"));
  setenv("MOEC_VARIANT", "generic", 1);
  EXPECT_EQ(errorOf(toy::makePlan()), "");
  unsetenv("MOEC_VARIANT");
}

TEST_F(SessionTest, StopsBetweenStepsOnAnInterruption) {
  std::unique_ptr<Session> session = open();
  ASSERT_TRUE(session);
  SequenceId sequence = session->beginSequence();
  setInterruptRequested(true);
  auto logits = session->prefill(sequence, std::vector<int32_t>(40, 1));
  setInterruptRequested(false);
  ASSERT_FALSE(bool(logits));
  llvm::Error err = logits.takeError();
  EXPECT_TRUE(isInterrupted(err));
  llvm::consumeError(std::move(err));
}

} // namespace
