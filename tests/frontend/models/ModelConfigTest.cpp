#include "frontend/models/ModelConfig.h"

#include "frontend/models/OpenModel.h"
#include "ir/support/Diagnostic.h"
#include "tests/frontend/TestData.h"
#include "tests/frontend/TinyModel.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <cmath>

using namespace moec;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

static llvm::Expected<ModelConfigResult> read(const TinyModel &model) {
  MOEC_TRY(model.write());
  MOEC_ASSIGN(Checkpoint checkpoint, openModel(model.folder.path()));
  return readModelConfig(checkpoint);
}

static std::string failure(const TinyModel &model) {
  auto result = read(model);
  return result ? "(no error)" : toText(result.takeError());
}

/// The error after one setting of a small Llama is changed.
static std::string failureWith(llvm::StringRef key, llvm::StringRef value) {
  TinyModel model;
  model.makeLlama();
  model.set(key, value);
  return failure(model);
}

TEST(ModelConfig, Llama) {
  TinyModel model;
  model.makeLlama();
  model.set("rope_theta", "50000");
  model.set("attention_bias", "true");
  model.set("mlp_bias", "true");
  auto result = read(model);
  ASSERT_TRUE(bool(result));
  const ModelConfig &config = result->config;
  EXPECT_EQ(familyName(config.family), "llama");
  EXPECT_EQ(config.layers, 2);
  EXPECT_EQ(config.hidden, 16);
  EXPECT_EQ(config.heads, 4);
  EXPECT_EQ(config.kvHeads, 2);
  EXPECT_EQ(config.headDim, 4);
  EXPECT_EQ(config.ffn, 24);
  EXPECT_EQ(config.vocab, 40);
  EXPECT_EQ(config.context, 64);
  EXPECT_EQ(config.normEps, 1e-6);
  EXPECT_EQ(config.rope.theta, 50000);
  EXPECT_EQ(config.rope.dims, 4);
  EXPECT_FALSE(config.rope.interleaved);
  EXPECT_TRUE(config.qkvBias && config.outBias && config.ffnBias);
  EXPECT_FALSE(config.tiedEmbeddings);
  EXPECT_EQ(config.attentionScale, 0.5);
  EXPECT_EQ(config.bos, 1);
  EXPECT_THAT(config.eos, ElementsAre(2));
  EXPECT_TRUE(config.windows.empty());
  EXPECT_FALSE(config.moe);
  EXPECT_TRUE(result->warnings.empty());
}

TEST(ModelConfig, FamiliesDiffer) {
  TinyModel qwen2;
  qwen2.makeQwen2();
  qwen2.set("sliding_window", "16");
  qwen2.set("use_sliding_window", "false");
  qwen2.set("max_window_layers", "1");
  auto result = read(qwen2);
  ASSERT_TRUE(bool(result));
  EXPECT_TRUE(result->config.qkvBias);
  EXPECT_FALSE(result->config.outBias);
  EXPECT_TRUE(result->config.windows.empty());
  qwen2.set("use_sliding_window", "true");
  result = read(qwen2);
  ASSERT_TRUE(bool(result));
  EXPECT_THAT(result->config.windows, ElementsAre(0, 16));

  TinyModel qwen3;
  qwen3.makeQwen3();
  result = read(qwen3);
  ASSERT_TRUE(bool(result));
  EXPECT_EQ(result->config.qkNorm, QkNorm::head);
  EXPECT_EQ(result->config.headDim, 8);
  EXPECT_EQ(result->config.attentionScale, 1 / std::sqrt(8.0));
  qwen3.unset("head_dim");
  result = read(qwen3);
  ASSERT_TRUE(bool(result));
  EXPECT_EQ(result->config.headDim, 128);

  for (llvm::StringRef key :
       {"alibi", "attention_chunk_size", "bias", "no_rope_layer_interval",
        "qk_layernorm", "qkv_bias", "rotary_dim", "sliding_window_pattern",
        "use_alibi", "use_bias", "use_qk_norm"}) {
    EXPECT_THAT(failureWith(key, "4"),
                HasSubstr(("'" + key + "' changes results").str()));
    EXPECT_EQ(failureWith(key, "false"), "(no error)");
  }
  EXPECT_THAT(failureWith("position_embedding_type", "\"alibi\""),
              HasSubstr("not supported, found the string 'alibi'"));
  EXPECT_EQ(failureWith("position_embedding_type", "\"rope\""), "(no error)");
  EXPECT_THAT(failureWith("pruned_heads", "{\"0\": [1]}"),
              HasSubstr("not supported, found an object"));
  EXPECT_EQ(failureWith("pruned_heads", "{}"), "(no error)");
  EXPECT_THAT(failureWith("is_causal", "false"),
              HasSubstr("not supported, found false"));
  EXPECT_EQ(failureWith("is_causal", "true"), "(no error)");

  TinyModel mistral;
  mistral.makeLlama("mistral", "MistralForCausalLM");
  mistral.set("sliding_window", "32");
  result = read(mistral);
  ASSERT_TRUE(bool(result));
  EXPECT_THAT(result->config.windows, ElementsAre(32, 32));
  mistral.set("layer_types", "[\"full_attention\", \"sliding_attention\"]");
  result = read(mistral);
  ASSERT_TRUE(bool(result));
  EXPECT_THAT(result->config.windows, ElementsAre(0, 32));

  mistral.set("sliding_window", "64");
  result = read(mistral);
  ASSERT_TRUE(bool(result));
  EXPECT_TRUE(result->config.windows.empty());
  mistral.unset("layer_types");
  mistral.unset("sliding_window");
  mistral.set("max_position_embeddings", "5000");
  result = read(mistral);
  ASSERT_TRUE(bool(result));
  EXPECT_THAT(result->config.windows, ElementsAre(4096, 4096));
  mistral.set("sliding_window", "null");
  result = read(mistral);
  ASSERT_TRUE(bool(result));
  EXPECT_TRUE(result->config.windows.empty());

  TinyModel mixtral;
  mixtral.makeMixtral();
  result = read(mixtral);
  ASSERT_TRUE(bool(result));
  ASSERT_TRUE(result->config.moe);
  EXPECT_EQ(result->config.moe->experts, 3);
  EXPECT_EQ(result->config.moe->route.k, 2);
  EXPECT_EQ(result->config.moe->ffn, 24);
  EXPECT_EQ(result->config.moe->route.renorm, RouterRenorm::sum);
  EXPECT_EQ(result->config.rope.theta, 1e6);

  TinyModel gpt2;
  gpt2.makeGpt2();
  result = read(gpt2);
  ASSERT_TRUE(bool(result));
  EXPECT_EQ(result->config.norm, NormKind::layer);
  EXPECT_EQ(result->config.position, PositionKind::learned);
  EXPECT_EQ(activationName(result->config.activation), "gelu_tanh");
  EXPECT_FALSE(result->config.gatedFfn);
  EXPECT_TRUE(result->config.tiedEmbeddings);
  EXPECT_EQ(result->config.ffn, 64);
  EXPECT_EQ(result->config.normEps, 1e-5);
}

TEST(ModelConfig, EndsComeFromGenerationSettings) {
  TinyModel model;
  model.makeLlama();
  model.folder.write("generation_config.json", "{\"eos_token_id\": [2, 7]}");
  auto result = read(model);
  ASSERT_TRUE(bool(result));
  EXPECT_THAT(result->config.eos, ElementsAre(2, 7));
  model.folder.write("generation_config.json", "{\"eos_token_id\": [2, -7]}");
  EXPECT_THAT(failure(model), HasSubstr("generation_config.json:1:22: error: "
                                        "expected 'eos_token_id' to hold token "
                                        "ids, found -7"));
}

TEST(ModelConfig, UnknownSettingsAreWarnings) {
  TinyModel model;
  model.makeLlama();
  model.set("favourite_colour", "\"green\"");
  model.set("attention_dropout", "0.1");
  model.set("auto_map", "{\"AutoConfig\": \"their_code.Config\"}");
  auto result = read(model);
  ASSERT_TRUE(bool(result));
  EXPECT_THAT(result->warnings,
              ElementsAre("the setting 'favourite_colour' is not known and was "
                          "ignored",
                          "the model brings code of its own ('auto_map'), "
                          "which is not run; it is read as a plain 'llama' "
                          "model"));
}

TEST(ModelConfig, SettingsThatChangeResultsAreErrors) {
  TinyModel model;
  model.makeLlama();
  model.set("final_logit_softcapping", "30.0");
  EXPECT_EQ(failure(model),
            model.folder.file("config.json") +
                ":16:30: error: the setting 'final_logit_softcapping' changes "
                "results and is not supported, found 30\n"
                " 16 |   \"final_logit_softcapping\": 30.0\n"
                "    |                              ^");
  for (llvm::StringRef neutral : {"null", "false"})
    EXPECT_EQ(failureWith("final_logit_softcapping", neutral), "(no error)");
  EXPECT_EQ(failureWith("partial_rotary_factor", "1.0"), "(no error)");
  EXPECT_THAT(failureWith("partial_rotary_factor", "0.5"),
              HasSubstr("expected 'partial_rotary_factor' to be 1 in a "
                        "'llama' model, found 0.5"));
  EXPECT_THAT(failureWith("quantization_config", "{}"),
              HasSubstr("not supported, found an object"));
  EXPECT_THAT(failureWith("num_experts", "8"),
              HasSubstr("expected no experts in a 'llama' model"));
  EXPECT_THAT(failureWith("num_local_experts", "8"),
              HasSubstr("expected no experts in a 'llama' model"));
  EXPECT_THAT(failureWith("hidden_act", "\"tanh\""),
              HasSubstr("as 'hidden_act', found 'tanh'"));
  EXPECT_THAT(failureWith("sliding_window", "8"),
              HasSubstr("expected no sliding window in a 'llama' model"));
  EXPECT_THAT(failureWith("layer_types", "[\"full_attention\"]"),
              HasSubstr("an item for each of the 2 layers, found an array of "
                        "1"));
  EXPECT_THAT(failureWith("layer_types", "[\"full_attention\", \"mamba\"]"),
              HasSubstr("expected 'full_attention', found the string 'mamba'"));
  EXPECT_THAT(failureWith("model_type", "\"mamba\""),
              HasSubstr("llama, mistral, mixtral, nemotron, olmo2, olmoe, "
                        "phi3, qwen2, qwen2_moe, qwen3, qwen3_moe, starcoder2, "
                        "found 'mamba'"));
  EXPECT_THAT(failureWith("architectures", "[\"LlamaModel\"]"),
              HasSubstr("expected the architecture 'LlamaForCausalLM'"));

  // What other families mean by these, this one would ignore.
  for (auto [key, value] :
       {std::pair("attn_logit_softcapping", "50.0"),
        std::pair("key_multiplier", "0.5"), std::pair("lm_head_bias", "true"),
        std::pair("logit_scale", "0.0625"), std::pair("mlp_multipliers", "[1]"),
        std::pair("qk_norm", "true"), std::pair("quantization", "{}"),
        std::pair("residual_multiplier", "0.22"),
        std::pair("rope_interleaved", "true"), std::pair("rope_ratio", "2"),
        std::pair("scale_emb", "12"), std::pair("swiglu_limit", "7.0"),
        std::pair("use_post_norm", "true")})
    EXPECT_THAT(failureWith(key, value),
                HasSubstr(std::string("the setting '") + key +
                          "' changes results and is not supported, found "));
  for (llvm::StringRef key : {"key_multiplier", "logit_scale", "rope_ratio",
                              "residual_multiplier", "scale_emb"})
    EXPECT_EQ(failureWith(key, "1.0"), "(no error)");
  EXPECT_EQ(failureWith("rope_interleaved", "false"), "(no error)");

  TinyModel mistral;
  mistral.makeLlama("mistral", "MistralForCausalLM");
  mistral.set("attention_bias", "true");
  EXPECT_THAT(failure(mistral), HasSubstr("expected no attention biases"));
  mistral.set("attention_bias", "false");
  mistral.set("mlp_bias", "true");
  EXPECT_THAT(failure(mistral), HasSubstr("expected no FFN biases"));
  TinyModel qwen2;
  qwen2.makeQwen2();
  qwen2.set("attention_bias", "false");
  EXPECT_THAT(failure(qwen2), HasSubstr("Qwen2 has biases on q, k and v"));
  TinyModel gpt2;
  gpt2.makeGpt2();
  gpt2.set("scale_attn_weights", "false");
  EXPECT_THAT(failure(gpt2), HasSubstr("'scale_attn_weights' false"));
  gpt2.unset("scale_attn_weights");
  gpt2.set("scale_attn_by_inverse_layer_idx", "true");
  EXPECT_THAT(failure(gpt2), HasSubstr("not supported, found true"));
}

TEST(ModelConfig, NumbersThatDoNotFit) {
  for (llvm::StringRef key :
       {"hidden_size", "num_hidden_layers", "num_attention_heads",
        "intermediate_size", "vocab_size", "max_position_embeddings"})
    for (llvm::StringRef value : {"0", "-1", "99999999999", "1.5", "[]"})
      EXPECT_THAT(failureWith(key, value),
                  HasSubstr(("expected '" + key + "' to be an integer").str()));
  TinyModel model;
  model.makeLlama();
  model.unset("hidden_size");
  EXPECT_THAT(failure(model),
              HasSubstr("expected the setting 'hidden_size', found none"));
  EXPECT_THAT(failureWith("num_attention_heads", "5"),
              HasSubstr("to divide 'hidden_size' (16), found 5"));
  EXPECT_THAT(failureWith("num_key_value_heads", "3"),
              HasSubstr("to divide the 4 query heads, found 3"));
  EXPECT_THAT(failureWith("head_dim", "5"),
              HasSubstr("an even number of elements"));
  EXPECT_THAT(failureWith("rms_norm_eps", "0"),
              HasSubstr("epsilon between 0 and 1"));
  EXPECT_THAT(failureWith("rope_theta", "-1"),
              HasSubstr("expected a positive rope theta"));
  TinyModel mixtral;
  mixtral.makeMixtral();
  mixtral.set("num_experts_per_tok", "9");
  EXPECT_EQ(failure(mixtral),
            mixtral.folder.file("config.json") +
                ":17:26: error: routes to 9 experts, but the model has 3\n"
                " 17 |   \"num_experts_per_tok\": 9\n"
                "    |                          ^\n" +
                mixtral.folder.file("config.json") +
                ":16:24: note: the number of experts is set here");
}

TEST(ModelConfig, RopeScaling) {
  auto ropeOf = [](llvm::StringRef key, llvm::StringRef value) {
    TinyModel model;
    model.makeLlama();
    model.set("head_dim", "8");
    model.set(key, value);
    auto result = read(model);
    EXPECT_TRUE(bool(result));
    return result->config.rope;
  };
  RopeConfig plain = ropeOf("rope_scaling", "null");
  EXPECT_EQ(plain.frequencies()[1], 1 / std::pow(10000.0, 0.25));
  RopeConfig linear =
      ropeOf("rope_scaling", "{\"type\": \"linear\", \"factor\": 4}");
  EXPECT_EQ(linear.frequencies()[1], plain.frequencies()[1] / 4);
  RopeConfig newer = ropeOf(
      "rope_parameters", "{\"rope_type\": \"default\", \"rope_theta\": 777}");
  EXPECT_EQ(newer.theta, 777);
  EXPECT_EQ(newer.scaling, RopeConfig::Scaling::none);
  RopeConfig llama3 = ropeOf(
      "rope_scaling",
      "{\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, "
      "\"high_freq_factor\": 4, \"original_max_position_embeddings\": 100}");
  auto frequencies = llama3.frequencies(), base = plain.frequencies();
  // Wave lengths 6.3, 63, 628 and 6283: untouched, smoothed, divided twice.
  EXPECT_EQ(frequencies[0], base[0]);
  double smooth = (100 / (6.283185307179586476925 / base[1]) - 1) / 3;
  EXPECT_NEAR(frequencies[1], (1 - smooth) * base[1] / 8 + smooth * base[1],
              1e-15);
  EXPECT_EQ(frequencies[2], base[2] / 8);
  EXPECT_EQ(frequencies[3], base[3] / 8);

  EXPECT_THAT(failureWith("rope_scaling", "{\"type\": \"dynamic\"}"),
              HasSubstr("default, linear, llama3, yarn or longrope, found "
                        "'dynamic'"));
  EXPECT_THAT(failureWith("rope_scaling", "{\"type\": \"linear\"}"),
              HasSubstr("expected 'factor' in 'rope_scaling', found none"));
  EXPECT_THAT(
      failureWith("rope_scaling", "{\"type\": \"linear\", \"factor\": 0}"),
      HasSubstr("expected 'factor' to be positive, found 0"));
  EXPECT_THAT(failureWith("rope_scaling", "3"), HasSubstr("to be an object"));
  EXPECT_THAT(failureWith("rope_scaling", "{\"factor\": 4}"),
              HasSubstr("expected a 'rope_type' that says what 'factor' "
                        "divides, found none"));
  EXPECT_THAT(failureWith("rope_parameters",
                          "{\"full_attention\": {\"rope_theta\": 5}}"),
              HasSubstr("the same rotary embedding in all layers, found "
                        "settings for 'full_attention'"));
  EXPECT_THAT(
      failureWith("rope_scaling", "{\"type\": \"linear\", \"factor\": 1e-320}"),
      HasSubstr("rotary embedding that give numbers"));
  EXPECT_THAT(failureWith("rope_theta", "1e-300"),
              HasSubstr("rotary embedding that give numbers"));
  EXPECT_THAT(
      failureWith("rope_parameters", "{\"partial_rotary_factor\": 0.5}"),
      HasSubstr("expected 'rope_parameters.partial_rotary_factor' to be 1 in "
                "a 'llama' model, found 0.5"));
  TinyModel unknown;
  unknown.makeLlama();
  unknown.set("rope_parameters", "{\"attention_factor\": 1, \"x\": 2}");
  auto result = read(unknown);
  ASSERT_TRUE(bool(result));
  EXPECT_THAT(result->warnings,
              ElementsAre("the setting 'rope_parameters.x' is not known and "
                          "was ignored"));
  EXPECT_THAT(failureWith("rope_scaling",
                          "{\"type\": \"default\", \"mrope_section\": [1, 1]}"),
              HasSubstr("multimodal rotary"));
  EXPECT_THAT(
      failureWith("rope_scaling",
                  "{\"type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": "
                  "4, \"high_freq_factor\": 4, "
                  "\"original_max_position_embeddings\": 100}"),
      HasSubstr("expected 'high_freq_factor' above"));
}

TEST(ModelConfig, OtherFiles) {
  TemporaryFolder folder;
  auto failureOf = [](const std::string &path) {
    auto checkpoint = openModel(path);
    return checkpoint ? "(no error)" : toText(checkpoint.takeError());
  };
  EXPECT_THAT(failureOf(folder.write("a.txt", "hello")),
              HasSubstr("found a file of another kind"));
  EXPECT_THAT(failureOf(folder.write("a.bin", "hello")),
              HasSubstr("expected a llama2.c header of 28 bytes, found 5"));
  EXPECT_THAT(failureOf(folder.write("a.safetensors", "hello")),
              HasSubstr("name the directory that holds 'config.json'"));
  EXPECT_THAT(failureOf(folder.file("none")), HasSubstr("cannot open"));
}

TEST(ModelConfig, RealModels) {
  MOEC_REQUIRE_TEST_DATA();
  auto stories = openModel(testDataPath("models/stories260K/stories260K.bin"));
  ASSERT_TRUE(bool(stories));
  auto result = readModelConfig(*stories);
  ASSERT_TRUE(bool(result));
  EXPECT_EQ(result->config.hidden, 64);
  EXPECT_EQ(result->config.ffn, 172);
  EXPECT_EQ(result->config.headDim, 8);
  EXPECT_EQ(result->config.kvHeads, 4);
  EXPECT_TRUE(result->config.rope.interleaved);
  EXPECT_TRUE(result->config.tiedEmbeddings);

  auto tiny = openModel(testDataPath("models/tinystories-656k"));
  ASSERT_TRUE(bool(tiny));
  result = readModelConfig(*tiny);
  ASSERT_TRUE(bool(result));
  EXPECT_EQ(result->config.vocab, 2048);
  EXPECT_EQ(result->config.normEps, 1e-6);
  EXPECT_TRUE(result->config.tiedEmbeddings);
  EXPECT_TRUE(result->warnings.empty());
}
