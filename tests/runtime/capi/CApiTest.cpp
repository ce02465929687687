#include <moec.h>

#include "runtime/text/TokenizerAsset.h"
#include "tests/ir/support/TemporaryFolder.h"
#include "tests/runtime/toy/ToyPlan.h"

#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace moec;
using testing::HasSubstr;

namespace {

class CApiTest : public testing::Test {
protected:
  void SetUp() override {
    folder.write("toy.bin", toy::weightFile());
    std::vector<uint8_t> bytes = toy::serialize(toy::makePlan());
    plan = folder.write("plan.moep",
                        {reinterpret_cast<char *>(bytes.data()), bytes.size()});
    moec_load_options options = {};
    options.size = sizeof(options);
    options.threads = 2;
    options.no_pinning = 1;
    options.jit_library = MOEC_TEST_JIT;
    setenv("MOEC_CACHE", "off", 1);
    ASSERT_EQ(moec_model_load(plan.c_str(), &options, &model), MOEC_OK)
        << moec_last_error();
    ASSERT_EQ(moec_session_create(model, nullptr, &session), MOEC_OK)
        << moec_last_error();
  }
  void TearDown() override {
    moec_session_free(session);
    moec_model_free(model);
  }

  TemporaryFolder folder;
  std::string plan;
  moec_model *model = nullptr;
  moec_session *session = nullptr;
};

TEST_F(CApiTest, TellsOfItsModel) {
  EXPECT_STREQ(moec_version(), MOEC_VERSION);
  EXPECT_EQ(moec_model_vocabulary(model), toy::kVocabulary);
  EXPECT_EQ(moec_model_context(model), toy::kContext);
  EXPECT_STREQ(moec_model_fact(model, "kv.block_size"), "4");
  EXPECT_EQ(moec_model_fact(model, "nothing"), nullptr);
  EXPECT_GT(moec_model_load_seconds(model), 0);
}

TEST_F(CApiTest, SaysWhatWentWrong) {
  moec_model *other = nullptr;
  EXPECT_EQ(moec_model_load("nowhere.moep", nullptr, &other), MOEC_ERROR);
  EXPECT_THAT(moec_last_error(), HasSubstr("nowhere.moep"));
  EXPECT_EQ(moec_model_load(nullptr, nullptr, &other), MOEC_ERROR);
  EXPECT_THAT(moec_last_error(), HasSubstr("argument 'path'"));
  moec_load_options options = {};
  options.size = sizeof(options) + 8;
  EXPECT_EQ(moec_model_load(plan.c_str(), &options, &other), MOEC_ERROR);
  EXPECT_THAT(moec_last_error(), HasSubstr("argument 'options'"));
  int32_t *ids = nullptr;
  size_t count = 0;
  EXPECT_EQ(moec_tokenize(model, "a", 1, 1, &ids, &count), MOEC_ERROR);
  EXPECT_THAT(moec_last_error(), HasSubstr("has no tokenizer"));
  EXPECT_EQ(moec_sequence_end(session, 17), MOEC_ERROR);
  EXPECT_THAT(moec_last_error(), HasSubstr("argument 'sequence'"));
}

TEST_F(CApiTest, TurnsTextIntoIdsAndBack) {
  TokenizerAsset asset;
  asset.kind = TokenizerKind::ByteLevelBpe;
  for (const char *text : {"a", "b", "ab"})
    asset.pieces.push_back({text, 0, PieceType::Normal});
  asset.merges.push_back({0, 1, 2});
  std::string blob = serialize(asset);
  plan::PlanT withTokenizer = toy::makePlan();
  withTokenizer.tokenizer.assign(blob.begin(), blob.end());
  std::vector<uint8_t> bytes = toy::serialize(withTokenizer);
  std::string path = folder.write(
      "text.moep", {reinterpret_cast<char *>(bytes.data()), bytes.size()});
  moec_load_options options = {};
  options.size = sizeof(options);
  options.jit_library = MOEC_TEST_JIT;
  moec_model *speaker = nullptr;
  ASSERT_EQ(moec_model_load(path.c_str(), &options, &speaker), MOEC_OK)
      << moec_last_error();
  int32_t *ids = nullptr;
  size_t count = 0, length = 0;
  char *text = nullptr;
  ASSERT_EQ(moec_tokenize(speaker, "abba", 4, 1, &ids, &count), MOEC_OK)
      << moec_last_error();
  EXPECT_THAT(std::vector<int32_t>(ids, ids + count),
              testing::ElementsAre(2, 1, 0));
  ASSERT_EQ(moec_detokenize(speaker, ids, count, &text, &length), MOEC_OK)
      << moec_last_error();
  EXPECT_EQ(length, 4u);
  EXPECT_STREQ(text, "abba");
  moec_release(ids);
  moec_release(text);
  EXPECT_EQ(moec_detokenize(speaker, nullptr, 3, &text, nullptr), MOEC_ERROR);
  EXPECT_THAT(moec_last_error(), HasSubstr("argument 'ids'"));
  moec_model_free(speaker);
}

TEST_F(CApiTest, FeedsSequences) {
  uint32_t sequence = 0;
  ASSERT_EQ(moec_sequence_begin(session, &sequence), MOEC_OK);
  std::vector<int32_t> tokens(30, 5);
  std::vector<float> logits(toy::kVocabulary);
  ASSERT_EQ(moec_sequence_feed(session, sequence, tokens.data(), tokens.size(),
                               logits.data()),
            MOEC_OK)
      << moec_last_error();
  EXPECT_EQ(logits[toy::nextToken(tokens)], 8);
  int32_t bad = 99;
  EXPECT_EQ(moec_sequence_feed(session, sequence, &bad, 1, logits.data()),
            MOEC_ERROR);
  EXPECT_THAT(moec_last_error(), HasSubstr("expects token ids in [0, 32)"));
  EXPECT_EQ(moec_sequence_end(session, sequence), MOEC_OK);
}

TEST_F(CApiTest, TakesBareSteps) {
  int32_t tokens[] = {1, 2, 3}, positions[] = {0, 1, 0}, offsets[] = {0, 2, 3},
          table[] = {5, 9}, rows[] = {1, 2};
  float logits[2 * toy::kVocabulary];
  moec_batch batch = {sizeof(batch), 3, tokens, positions, 2,
                      offsets,       1, table,  2,         rows};
  ASSERT_EQ(moec_step(session, &batch, logits), MOEC_OK) << moec_last_error();
  EXPECT_EQ(logits[toy::nextToken({1, 2})], 8);
  EXPECT_EQ(logits[toy::kVocabulary + toy::nextToken({3})], 8);
  table[1] = 16;
  EXPECT_EQ(moec_step(session, &batch, logits), MOEC_ERROR);
  EXPECT_THAT(moec_last_error(), HasSubstr("expects blocks in [0, 16)"));
}

TEST_F(CApiTest, Generates) {
  std::vector<int32_t> prompt = {1, 2, 3}, seen;
  moec_generate_options options = {};
  options.size = sizeof(options);
  options.max_tokens = 12;
  auto callback = [](void *user, int32_t token, const char *text) {
    EXPECT_EQ(text, nullptr);
    static_cast<std::vector<int32_t> *>(user)->push_back(token);
    return 1;
  };
  int32_t *tokens = nullptr;
  size_t count = 0;
  moec_timings timings = {};
  timings.size = sizeof(timings);
  ASSERT_EQ(moec_generate(session, prompt.data(), prompt.size(), &options,
                          callback, &seen, &tokens, &count, &timings),
            MOEC_OK)
      << moec_last_error();
  ASSERT_EQ(count, 12u);
  EXPECT_EQ(seen, std::vector<int32_t>(tokens, tokens + count));
  moec_release(tokens);
  std::vector<int32_t> text = prompt;
  for (int32_t token : seen) {
    EXPECT_EQ(token, toy::nextToken(text));
    text.push_back(token);
  }
  EXPECT_EQ(timings.prompt_tokens, 3);
  EXPECT_EQ(timings.decoded_tokens, 11);

  moec_interrupt();
  EXPECT_EQ(moec_generate(session, prompt.data(), prompt.size(), &options,
                          nullptr, nullptr, nullptr, nullptr, nullptr),
            MOEC_INTERRUPTED);
  moec_interrupt_clear();
}

TEST_F(CApiTest, CountsExperts) {
  uint32_t sequence = 0;
  ASSERT_EQ(moec_sequence_begin(session, &sequence), MOEC_OK);
  int32_t tokens[] = {0, 4, 1};
  ASSERT_EQ(moec_sequence_feed(session, sequence, tokens, 3, nullptr), MOEC_OK);
  const char *name = nullptr;
  int64_t counts[4] = {};
  size_t experts = 0;
  ASSERT_EQ(moec_expert_counts(session, 0, &name, counts, 4, &experts),
            MOEC_OK);
  EXPECT_STREQ(name, "layers.0.experts");
  EXPECT_EQ(experts, 4u);
  EXPECT_THAT(counts, testing::ElementsAre(2, 1, 0, 0));
  ASSERT_EQ(moec_expert_counts(session, 1, &name, counts, 4, &experts),
            MOEC_OK);
  EXPECT_EQ(experts, 0u);
  ASSERT_EQ(moec_reset_counters(session), MOEC_OK);
  ASSERT_EQ(moec_expert_counts(session, 0, nullptr, counts, 4, &experts),
            MOEC_OK);
  EXPECT_THAT(counts, testing::Each(0));
}

} // namespace
