#include "frontend/gguf/GgufWriter.h"
#include "frontend/models/ModelConfig.h"
#include "frontend/models/OpenModel.h"
#include "ir/support/Diagnostic.h"
#include "ir/support/QuantizedBlocks.h"
#include "tests/ir/support/TemporaryFolder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace moec;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace {
/// The metadata of a small GGUF model; tests add to it.
struct TinyGguf {
  GgufWriter writer;
  TemporaryFolder folder;
  std::vector<std::vector<uint8_t>> data;

  explicit TinyGguf(const std::string &name = "llama", uint32_t kvHeads = 2) {
    writer.addString("general.architecture", name);
    writer.addString("general.name", "Tiny");
    writer.addU32(name + ".block_count", 2);
    writer.addU32(name + ".context_length", 64);
    writer.addU32(name + ".embedding_length", 16);
    writer.addU32(name + ".feed_forward_length", 24);
    writer.addU32(name + ".attention.head_count", 4);
    writer.addU32(name + ".attention.head_count_kv", kvHeads);
    writer.addF32(name + ".attention.layer_norm_rms_epsilon", 1e-5f);
    writer.addU32("tokenizer.ggml.bos_token_id", 1);
    writer.addU32("tokenizer.ggml.eos_token_id", 2);
    addTensor("token_embd.weight", {40, 16});
  }
  void addTensor(llvm::StringRef name, std::vector<int64_t> shape,
                 float value = 0.5f) {
    writer.addTensor(name, ElementType::f32, shape);
    std::vector<float> values(size_t(*elementCount(shape)), value);
    data.emplace_back(values.size() * 4);
    encodeFromF32(ElementType::f32, values, data.back());
  }
  llvm::Expected<ModelConfigResult> read() {
    std::vector<llvm::ArrayRef<uint8_t>> views(data.begin(), data.end());
    MOEC_TRY(writer.write(folder.file("m.gguf"), views));
    MOEC_ASSIGN(Checkpoint checkpoint, openModel(folder.file("m.gguf")));
    return readModelConfig(checkpoint);
  }
  std::string failure() {
    auto result = read();
    return result ? "(no error)" : toText(result.takeError());
  }
};
} // namespace

TEST(GgufConfig, Llama) {
  TinyGguf model;
  model.writer.addF32("llama.rope.freq_base", 5000.0f);
  model.writer.addU32("tokenizer.ggml.eot_token_id", 5);
  model.writer.addU32("llama.something_new", 1);
  auto result = model.read();
  ASSERT_TRUE(bool(result));
  const ModelConfig &config = result->config;
  EXPECT_EQ(config.name, "Tiny");
  EXPECT_EQ(config.layers, 2);
  EXPECT_EQ(config.vocab, 40);
  EXPECT_EQ(config.headDim, 4);
  EXPECT_TRUE(config.rope.interleaved);
  EXPECT_EQ(config.rope.theta, 5000);
  EXPECT_TRUE(config.tiedEmbeddings);
  EXPECT_EQ(config.normEps, double(1e-5f));
  EXPECT_THAT(config.eos, ElementsAre(2, 5));
  EXPECT_THAT(result->warnings,
              ElementsAre("the metadata key 'llama.something_new' is not known "
                          "and was ignored"));
}

TEST(GgufConfig, QwenAndExperts) {
  TinyGguf qwen2("qwen2");
  qwen2.addTensor("output.weight", {40, 16});
  auto result = qwen2.read();
  ASSERT_TRUE(bool(result));
  EXPECT_TRUE(result->config.qkvBias);
  EXPECT_FALSE(result->config.rope.interleaved);
  EXPECT_FALSE(result->config.tiedEmbeddings);

  TinyGguf qwen3("qwen3");
  qwen3.writer.addU32("qwen3.attention.key_length", 8);
  qwen3.writer.addU32("qwen3.attention.value_length", 8);
  result = qwen3.read();
  ASSERT_TRUE(bool(result));
  EXPECT_EQ(result->config.qkNorm, QkNorm::head);
  EXPECT_EQ(result->config.headDim, 8);

  TinyGguf mixtral;
  mixtral.writer.addU32("llama.expert_count", 4);
  mixtral.writer.addU32("llama.expert_used_count", 2);
  result = mixtral.read();
  ASSERT_TRUE(bool(result));
  EXPECT_EQ(result->config.family, ModelFamily::mixtral);
  EXPECT_EQ(result->config.moe->experts, 4);
}

TEST(GgufConfig, Rope) {
  TinyGguf linear;
  linear.writer.addString("llama.rope.scaling.type", "linear");
  linear.writer.addF32("llama.rope.scaling.factor", 2.0f);
  auto result = linear.read();
  ASSERT_TRUE(bool(result));
  EXPECT_EQ(result->config.rope.scaling, RopeConfig::Scaling::linear);
  EXPECT_EQ(result->config.rope.factor, 2);

  TinyGguf factors;
  factors.addTensor("rope_freqs.weight", {2}, 4.0f);
  result = factors.read();
  ASSERT_TRUE(bool(result));
  EXPECT_THAT(result->config.rope.divisors, ElementsAre(4, 4));
  EXPECT_EQ(result->config.rope.frequencies()[0], 0.25);

  TinyGguf wrong;
  wrong.addTensor("rope_freqs.weight", {3});
  EXPECT_THAT(wrong.failure(), HasSubstr("expected 2 rope factors"));
  TinyGguf zero;
  zero.addTensor("rope_freqs.weight", {2}, 0.0f);
  EXPECT_THAT(zero.failure(), HasSubstr("expected positive rope factors"));
  TinyGguf yarn;
  yarn.writer.addString("llama.rope.scaling.type", "yarn");
  EXPECT_THAT(yarn.failure(),
              HasSubstr("none, linear or longrope, found 'yarn'"));
  TinyGguf partial;
  partial.writer.addU32("llama.rope.dimension_count", 2);
  EXPECT_THAT(partial.failure(), HasSubstr("the whole head of 4, found 2"));
}

TEST(GgufConfig, MoreFamilies) {
  auto read = [](TinyGguf &model) {
    auto result = model.read();
    EXPECT_TRUE(bool(result)) << (result ? "" : toText(result.takeError()));
    return result ? result->config : ModelConfig();
  };
  TinyGguf gemma("gemma2");
  gemma.writer.addF32("gemma2.final_logit_softcapping", 20.0f);
  gemma.writer.addU32("gemma2.attention.sliding_window", 16);
  ModelConfig config = read(gemma);
  EXPECT_EQ(config.normPlace, NormPlace::both);
  EXPECT_EQ(config.normOffset, 0); // The converter added it.
  EXPECT_EQ(config.embeddingScale, 4);
  EXPECT_EQ(config.attentionSoftcap, 50);
  EXPECT_EQ(config.logitSoftcap, 20);
  EXPECT_EQ(config.attentionScale, 0.5);
  EXPECT_THAT(config.windows, ElementsAre(16, 0));

  TinyGguf nemotron("nemotron");
  nemotron.writer.addF32("nemotron.attention.layer_norm_epsilon", 1e-6f);
  nemotron.writer.addU32("nemotron.rope.dimension_count", 2);
  config = read(nemotron);
  EXPECT_EQ(config.norm, NormKind::layer);
  EXPECT_EQ(config.normEps, double(1e-6f));
  EXPECT_EQ(config.activation, Activation::squaredRelu);
  EXPECT_FALSE(config.gatedFfn);
  EXPECT_EQ(config.rope.dims, 2);

  TinyGguf still("nemotron");
  still.writer.addF32("nemotron.attention.layer_norm_epsilon", 1e-6f);
  still.writer.addU32("nemotron.rope.dimension_count", 0);
  EXPECT_THAT(still.failure(), HasSubstr("at least one pair of elements"));

  TinyGguf phi("phi3");
  phi.addTensor("rope_factors_short.weight", {2}, 2.0f);
  phi.addTensor("rope_factors_long.weight", {2}, 3.0f);
  phi.writer.addU32("phi3.rope.scaling.original_context_length", 16);
  phi.writer.addF32("phi3.rope.scaling.attn_factor", 1.25f);
  config = read(phi);
  EXPECT_EQ(config.rope.scaling, RopeConfig::Scaling::longrope);
  EXPECT_THAT(config.rope.divisors, ElementsAre(2, 2));
  EXPECT_THAT(config.rope.longDivisors, ElementsAre(3, 3));
  EXPECT_EQ(config.rope.magnitude, 1.25);
  EXPECT_EQ(config.rope.originalContext, 16);
  TinyGguf half("phi3");
  half.addTensor("rope_factors_long.weight", {2}, 3.0f);
  EXPECT_THAT(half.failure(), HasSubstr("only these"));

  TinyGguf olmo("olmo2");
  config = read(olmo);
  EXPECT_EQ(config.normPlace, NormPlace::after);
  EXPECT_EQ(config.qkNorm, QkNorm::row);
}

TEST(GgufConfig, ExpertsOfEachFamily) {
  auto make = [](const std::string &name) {
    auto model = std::make_unique<TinyGguf>(name);
    model->writer.addU32(name + ".expert_count", 4);
    model->writer.addU32(name + ".expert_used_count", 2);
    return model;
  };
  auto moeOf = [](TinyGguf &model) {
    auto result = model.read();
    EXPECT_TRUE(bool(result)) << (result ? "" : toText(result.takeError()));
    return result ? *result->config.moe : MoeConfig();
  };
  auto qwen2 = make("qwen2moe");
  qwen2->writer.addU32("qwen2moe.expert_feed_forward_length", 8);
  qwen2->writer.addU32("qwen2moe.expert_shared_feed_forward_length", 10);
  MoeConfig moe = moeOf(*qwen2);
  EXPECT_EQ(moe.ffn, 8);
  EXPECT_EQ(moe.sharedFfn, 10);
  EXPECT_TRUE(moe.sharedGate);
  EXPECT_EQ(moe.route.renorm, RouterRenorm::none);
  // Widths that a file does not state.
  moe = moeOf(*make("qwen2moe"));
  EXPECT_EQ(moe.ffn, 12);
  EXPECT_EQ(moe.sharedFfn, 24);
  auto qwen3 = make("qwen3moe");
  qwen3->writer.addU32("qwen3moe.expert_feed_forward_length", 8);
  moe = moeOf(*qwen3);
  EXPECT_EQ(moe.ffn, 8);
  EXPECT_EQ(moe.sharedFfn, 0);
  EXPECT_EQ(moe.route.renorm, RouterRenorm::sum);
  moe = moeOf(*make("olmoe"));
  EXPECT_EQ(moe.ffn, 24);
  EXPECT_EQ(moe.route.renorm, RouterRenorm::none);
  TinyGguf none("olmoe");
  EXPECT_THAT(none.failure(), HasSubstr("with at least one used, found 0"));
  auto sigmoid = make("qwen3moe");
  sigmoid->writer.addU32("qwen3moe.expert_gating_func", 2);
  EXPECT_THAT(sigmoid->failure(), HasSubstr("not supported, found 2"));
  auto normed = make("olmoe");
  normed->writer.addBool("olmoe.expert_weights_norm", true);
  EXPECT_THAT(normed->failure(),
              HasSubstr("expected weights that are not divided by their sum"));
  auto stated = make("qwen3moe");
  stated->writer.addBool("qwen3moe.expert_weights_norm", true);
  EXPECT_EQ(moeOf(*stated).route.renorm, RouterRenorm::sum);
}

TEST(GgufConfig, Errors) {
  EXPECT_THAT(TinyGguf("mamba").failure(),
              HasSubstr("qwen2, qwen2moe, qwen3, qwen3moe, starcoder2, found "
                        "'mamba'"));
  EXPECT_THAT(TinyGguf("llama", 3).failure(),
              HasSubstr("to divide the 4 query heads, found 3"));
  EXPECT_THAT(TinyGguf("llama", 0).failure(),
              HasSubstr("at least one key and value head, found 0"));
  TinyGguf softcap;
  softcap.writer.addF32("llama.attn_logit_softcapping", 50);
  EXPECT_THAT(softcap.failure(), HasSubstr("not supported, found 50"));
  TinyGguf textScale;
  textScale.writer.addString("llama.attention.scale", "0.5");
  EXPECT_THAT(textScale.failure(),
              HasSubstr("not supported, found the string '0.5'"));
  TinyGguf pattern;
  pattern.writer.addI32s("llama.attention.sliding_window_pattern", {1, 0});
  EXPECT_THAT(pattern.failure(), HasSubstr("not supported, found an array"));
  TinyGguf causal;
  causal.writer.addBool("llama.attention.causal", false);
  EXPECT_THAT(causal.failure(), HasSubstr("not supported, found false"));
  TinyGguf theta;
  theta.writer.addF32("llama.rope.scaling.factor", 1e-44f);
  EXPECT_THAT(theta.failure(), HasSubstr("rotary embedding that give numbers"));
  TinyGguf window;
  window.writer.addU32("llama.attention.sliding_window", 8);
  EXPECT_THAT(window.failure(), HasSubstr("expected no sliding window"));
  TinyGguf values;
  values.writer.addU32("llama.attention.value_length", 8);
  EXPECT_THAT(values.failure(),
              HasSubstr("expected heads of values as long as those of keys"));
  TinyGguf experts;
  experts.writer.addU32("llama.expert_count", 2);
  experts.writer.addU32("llama.expert_used_count", 3);
  EXPECT_THAT(experts.failure(),
              HasSubstr("routes to 3 experts, but the model has 2"));
  TinyGguf dense("qwen2");
  dense.writer.addU32("qwen2.expert_count", 2);
  EXPECT_THAT(dense.failure(),
              HasSubstr("expected no experts in architecture 'qwen2'"));
}

TEST(GgufConfig, MissingKeys) {
  TemporaryFolder folder;
  GgufWriter writer;
  std::string path = folder.file("m.gguf");
  auto failureNow = [&] {
    EXPECT_EQ(toText(writer.write(path, {})), "");
    auto checkpoint = openModel(path);
    EXPECT_TRUE(bool(checkpoint));
    auto result = readModelConfig(*checkpoint);
    return result ? "(no error)" : toText(result.takeError());
  };
  EXPECT_THAT(failureNow(), HasSubstr("'general.architecture', found none"));
  writer.addString("general.architecture", "llama");
  EXPECT_THAT(failureNow(), HasSubstr("'llama.block_count', found none"));
  writer.addU32("llama.block_count", 0);
  EXPECT_THAT(failureNow(), HasSubstr("'llama.block_count' from 1 to"));
  GgufWriter layers;
  layers.addString("general.architecture", "llama");
  layers.addU32("llama.block_count", 2);
  layers.addU32("llama.embedding_length", 16);
  layers.addI32s("llama.feed_forward_length", {24, 32});
  writer = layers;
  EXPECT_THAT(
      failureNow(),
      HasSubstr("one positive integer for all layers, found 24 and 32"));
}
