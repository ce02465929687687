//===- FamiliesTest.cpp - what each further family's settings mean --------===//

#include "frontend/models/OpenModel.h"
#include "frontend/models/WeightMap.h"
#include "ir/support/Diagnostic.h"
#include "tests/frontend/TinyFamilies.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <cmath>

using namespace moec;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

namespace {
struct Opened {
  Checkpoint checkpoint;
  ModelConfig config;
  std::vector<std::string> warnings;
  WeightMap map;

  std::vector<float> values(llvm::StringRef name) const {
    const WeightEntry *entry = map.find(name);
    EXPECT_TRUE(entry) << name.str();
    return entry ? map.readF32(checkpoint, *entry) : std::vector<float>();
  }
};
} // namespace

static llvm::Expected<Opened> open(const TinyFamily &model) {
  MOEC_TRY(model.write());
  MOEC_ASSIGN(Checkpoint checkpoint, openModel(model.folder.path()));
  MOEC_ASSIGN(ModelConfigResult result, readModelConfig(checkpoint));
  MOEC_ASSIGN(WeightMap map, WeightMap::create(checkpoint, result.config,
                                               RotaryLayout::halfSplit));
  llvm::append_range(result.warnings, map.warnings());
  return Opened{std::move(checkpoint), std::move(result.config),
                std::move(result.warnings), std::move(map)};
}

/// Opens a model that has no errors and no warnings.
static Opened clean(const TinyFamily &model) {
  auto opened = open(model);
  if (!opened) {
    ADD_FAILURE() << toText(opened.takeError());
    std::abort();
  }
  EXPECT_THAT(opened->warnings, IsEmpty());
  return std::move(*opened);
}

static std::string failure(const TinyFamily &model) {
  auto opened = open(model);
  return opened ? "(no error)" : toText(opened.takeError());
}

/// The stored numbers of rows [begin, end) of a matrix.
static std::vector<float> rows(TinyFamily &model, llvm::StringRef name,
                               int64_t begin, int64_t end) {
  const SafetensorsLayout &tensor = model.tensor(name);
  std::vector<float> all = TinyModel::valuesOf(tensor);
  int64_t width = int64_t(all.size()) / tensor.shape[0];
  return {all.begin() + begin * width, all.begin() + end * width};
}

TEST(Families, Gemma) {
  TinyFamily model;
  model.makeGemma();
  Opened opened = clean(model);
  const ModelConfig &config = opened.config;
  EXPECT_EQ(familyName(config.family), "gemma");
  // Its first files say "gelu" and mean the tanh form.
  EXPECT_EQ(config.activation, Activation::geluTanh);
  EXPECT_EQ(config.embeddingScale, 4);
  EXPECT_EQ(config.normOffset, 1);
  EXPECT_EQ(config.normPlace, NormPlace::before);
  EXPECT_TRUE(config.tiedEmbeddings);
  std::vector<float> gain = rows(model, "model.norm.weight", 0, 16);
  for (float &value : gain)
    value += 1;
  EXPECT_EQ(opened.values("final_norm"), gain);
  // The newer key wins.
  model.set("hidden_activation", "\"gelu\"");
  EXPECT_EQ(clean(model).config.activation, Activation::geluTanh);
  model.set("hidden_activation", "\"relu\"");
  EXPECT_EQ(clean(model).config.activation, Activation::relu);
  model.unset("head_dim");
  EXPECT_THAT(failure(model), HasSubstr("expected shape [1024, 16]"));
}

TEST(Families, Gemma2) {
  TinyFamily model;
  model.makeGemma2();
  Opened opened = clean(model);
  const ModelConfig &config = opened.config;
  EXPECT_EQ(config.normPlace, NormPlace::both);
  EXPECT_EQ(config.attentionScale, 0.25);
  EXPECT_EQ(config.attentionSoftcap, 50);
  EXPECT_EQ(config.logitSoftcap, 30);
  EXPECT_THAT(config.windows, ElementsAre(8, 0));
  const WeightEntry *post = opened.map.find("layers.1.attn_post_norm");
  const WeightEntry *pre = opened.map.find("layers.1.ffn_norm");
  ASSERT_TRUE(post && pre);
  EXPECT_EQ(opened.checkpoint.tensors()[post->tensor].name,
            "model.layers.1.post_attention_layernorm.weight");
  EXPECT_EQ(opened.checkpoint.tensors()[pre->tensor].name,
            "model.layers.1.pre_feedforward_layernorm.weight");
  // null is no cap; a number is that cap.
  model.set("attn_logit_softcapping", "null");
  model.set("final_logit_softcapping", "12.5");
  model.set("layer_types", "[\"full_attention\", \"sliding_attention\"]");
  Opened changed = clean(model);
  EXPECT_EQ(changed.config.attentionSoftcap, 0);
  EXPECT_EQ(changed.config.logitSoftcap, 12.5);
  EXPECT_THAT(changed.config.windows, ElementsAre(0, 8));
  model.set("final_logit_softcapping", "-1");
  EXPECT_THAT(failure(model), HasSubstr("expected 'final_logit_softcapping' to "
                                        "be positive, found -1"));
  model.unset("final_logit_softcapping");
  model.set("use_bidirectional_attention", "true");
  EXPECT_THAT(failure(model),
              HasSubstr("'use_bidirectional_attention' changes results"));
}

TEST(Families, Phi3) {
  TinyFamily model;
  model.makePhi3();
  Opened opened = clean(model);
  EXPECT_EQ(opened.config.rope.dims, 4);
  std::string qkv = "model.layers.1.self_attn.qkv_proj.weight";
  EXPECT_EQ(opened.values("layers.1.attn.q"), rows(model, qkv, 0, 16));
  EXPECT_EQ(opened.values("layers.1.attn.k"), rows(model, qkv, 16, 24));
  EXPECT_EQ(opened.values("layers.1.attn.v"), rows(model, qkv, 24, 32));
  std::string gateUp = "model.layers.0.mlp.gate_up_proj.weight";
  EXPECT_EQ(opened.values("layers.0.ffn.gate"), rows(model, gateUp, 0, 24));
  EXPECT_EQ(opened.values("layers.0.ffn.up"), rows(model, gateUp, 24, 48));
  // A partial rotation, and a window in every layer.
  model.set("partial_rotary_factor", "0.5");
  model.set("sliding_window", "20");
  Opened partial = clean(model);
  EXPECT_EQ(partial.config.rope.dims, 2);
  EXPECT_THAT(partial.config.windows, ElementsAre(20, 20));
  model.set("partial_rotary_factor", "1.5");
  EXPECT_THAT(failure(model), HasSubstr("above 0 and up to 1, found 1.5"));
  model.set("partial_rotary_factor", "1.0");
  model.set("head_dim", "2000000000");
  EXPECT_THAT(failure(model), HasSubstr("a head of at most 65536 elements, "
                                        "found 2000000000"));
  model.set("head_dim", "4");
  model.set("partial_rotary_factor", "0.3");
  EXPECT_THAT(failure(model), HasSubstr("at least one pair"));
}

TEST(Families, LongRope) {
  TinyFamily model;
  model.makePhi3();
  model.set("original_max_position_embeddings", "16");
  for (llvm::StringRef type : {"su", "longrope", "yarn"}) {
    model.set("rope_scaling", "{\"type\": \"" + type.str() +
                                  "\", \"short_factor\": [1, 2], "
                                  "\"long_factor\": [3, 4.5]}");
    Opened opened = clean(model);
    const RopeConfig &rope = opened.config.rope;
    EXPECT_EQ(rope.scaling, RopeConfig::Scaling::longrope);
    EXPECT_EQ(rope.originalContext, 16);
    EXPECT_THAT(rope.divisors, ElementsAre(1, 2));
    EXPECT_THAT(rope.longDivisors, ElementsAre(3, 4.5));
    EXPECT_EQ(rope.frequencies()[1], 0.01 / 2);
    // sqrt(1 + ln(64 / 16) / ln(16))
    EXPECT_NEAR(rope.magnitude, std::sqrt(1.5), 1e-15);
  }
  auto failureOf = [&](llvm::StringRef scaling) {
    model.set("rope_scaling", scaling);
    return failure(model);
  };
  EXPECT_THAT(failureOf("{\"type\": \"longrope\", \"short_factor\": [1]}"),
              HasSubstr("expected 2 numbers in 'rope_scaling.short_factor', "
                        "one for each pair, found 1"));
  EXPECT_THAT(
      failureOf("{\"type\": \"longrope\", \"short_factor\": [1, 2]}"),
      HasSubstr("expected 'rope_scaling.long_factor' to be a list of numbers, "
                "found none"));
  EXPECT_THAT(failureOf("{\"type\": \"longrope\", \"short_factor\": [1, -2], "
                        "\"long_factor\": [1, 1]}"),
              HasSubstr("expected positive numbers in "
                        "'rope_scaling.short_factor', found -2"));
}

TEST(Families, Olmo2) {
  TinyFamily model;
  model.makeOlmo2();
  Opened opened = clean(model);
  EXPECT_EQ(opened.config.normPlace, NormPlace::after);
  EXPECT_EQ(opened.config.qkNorm, QkNorm::row);
  EXPECT_FALSE(opened.map.find("layers.0.attn_norm"));
  EXPECT_EQ(opened.values("layers.0.attn.k_norm").size(), 8u);
  EXPECT_EQ(
      opened.values("layers.0.ffn_post_norm"),
      rows(model, "model.layers.0.post_feedforward_layernorm.weight", 0, 16));
}

TEST(Families, Nemotron) {
  TinyFamily model;
  model.makeNemotron();
  Opened opened = clean(model);
  const ModelConfig &config = opened.config;
  EXPECT_EQ(config.activation, Activation::squaredRelu);
  EXPECT_EQ(config.norm, NormKind::layer);
  EXPECT_EQ(config.normEps, 1e-5);
  EXPECT_EQ(config.normOffset, 1);
  EXPECT_FALSE(config.gatedFfn);
  EXPECT_EQ(config.rope.dims, 2); // Half of a head, unless the file says.
  // The gain is offset, the bias is not.
  std::vector<float> gain =
      rows(model, "model.layers.0.input_layernorm.weight", 0, 16);
  EXPECT_EQ(opened.values("layers.0.attn_norm")[3], gain[3] + 1);
  EXPECT_EQ(opened.values("layers.0.attn_norm.bias"),
            rows(model, "model.layers.0.input_layernorm.bias", 0, 16));
  model.set("rope_parameters",
            "{\"rope_type\": \"default\", \"partial_rotary_factor\": 1.0}");
  EXPECT_EQ(clean(model).config.rope.dims, 4);
}

TEST(Families, Starcoder2) {
  TinyFamily model;
  model.makeStarcoder2();
  model.set("sliding_window", "16");
  Opened opened = clean(model);
  const ModelConfig &config = opened.config;
  EXPECT_TRUE(config.qkvBias && config.outBias && config.ffnBias);
  EXPECT_FALSE(config.gatedFfn);
  EXPECT_EQ(config.activation, Activation::geluTanh);
  EXPECT_EQ(config.normOffset, 0);
  EXPECT_THAT(config.windows, ElementsAre(16, 16));
  EXPECT_EQ(opened.values("layers.1.ffn.up.bias"),
            rows(model, "model.layers.1.mlp.c_fc.bias", 0, 24));
  model.set("norm_type", "\"layer_norm\"");
  model.set("mlp_type", "\"default\"");
  clean(model);
  model.set("mlp_type", "\"gated\"");
  EXPECT_THAT(failure(model),
              HasSubstr("expected 'mlp_type' to be 'default' in "
                        "a 'starcoder2' model, found 'gated'"));
}

TEST(Families, Qwen2Moe) {
  TinyFamily model;
  model.makeQwen2Moe();
  Opened opened = clean(model);
  const MoeConfig &moe = *opened.config.moe;
  EXPECT_EQ(moe.experts, 3);
  EXPECT_EQ(moe.ffn, 8);
  EXPECT_EQ(moe.sharedFfn, 12);
  EXPECT_TRUE(moe.sharedGate);
  EXPECT_EQ(moe.route.k, 2);
  EXPECT_EQ(moe.route.score, RouterScore::softmax);
  EXPECT_EQ(moe.route.renorm, RouterRenorm::none);
  EXPECT_THAT(moe.denseLayers, IsEmpty());
  EXPECT_TRUE(opened.config.qkvBias);
  EXPECT_EQ(opened.values("layers.0.moe.shared.router").size(), 16u);
  EXPECT_EQ(opened.values("layers.0.moe.experts.2.up"),
            rows(model, "model.layers.0.mlp.experts.2.up_proj.weight", 0, 8));
  model.set("shared_expert_intermediate_size", "0");
  EXPECT_THAT(failure(model),
              HasSubstr("expected 'shared_expert_intermediate_size'"));
}

// Sparse layers are every n-th one, but those that are listed.
TEST(Families, QwenDenseLayers) {
  TinyFamily model;
  model.makeQwen3Moe();
  Opened opened = clean(model);
  EXPECT_EQ(opened.config.moe->route.renorm, RouterRenorm::sum);
  EXPECT_EQ(opened.config.qkNorm, QkNorm::head);
  auto denseLayers = [&] {
    EXPECT_FALSE(bool(model.write()));
    Checkpoint checkpoint = llvm::cantFail(openModel(model.folder.path()));
    ModelConfig config = llvm::cantFail(readModelConfig(checkpoint)).config;
    return config.moe ? config.moe->denseLayers : std::vector<int64_t>{-1};
  };
  model.set("decoder_sparse_step", "2");
  EXPECT_THAT(denseLayers(), ElementsAre(0));
  EXPECT_THAT(failure(model),
              HasSubstr("'model.layers.0.mlp.gate_proj.weight'"));
  model.set("decoder_sparse_step", "1");
  model.set("mlp_only_layers", "[1]");
  EXPECT_THAT(denseLayers(), ElementsAre(1));
  // Nothing but dense layers: no experts.
  model.set("mlp_only_layers", "[0, 1]");
  EXPECT_THAT(denseLayers(), ElementsAre(-1));
  model.set("mlp_only_layers", "[\"x\"]");
  EXPECT_THAT(failure(model), HasSubstr("to hold numbers of layers, found the "
                                        "string 'x'"));
  model.set("mlp_only_layers", "3");
  EXPECT_THAT(failure(model), HasSubstr("to be a list, found 3"));
}

TEST(Families, QwenWindows) {
  TinyFamily model;
  model.makeQwen2Moe();
  model.set("sliding_window", "8");
  EXPECT_THAT(clean(model).config.windows, IsEmpty());
  model.set("use_sliding_window", "true");
  EXPECT_THAT(clean(model).config.windows, ElementsAre(8, 0));
  model.set("max_window_layers", "0");
  EXPECT_THAT(clean(model).config.windows, IsEmpty());
}

TEST(Families, Olmoe) {
  TinyFamily model;
  model.makeOlmoe();
  Opened opened = clean(model);
  EXPECT_EQ(opened.config.qkNorm, QkNorm::row);
  EXPECT_EQ(opened.config.clipQkv, 8);
  EXPECT_EQ(opened.config.moe->ffn, 24);
  EXPECT_EQ(opened.config.moe->route.renorm, RouterRenorm::none);
  model.set("clip_qkv", "null");
  EXPECT_EQ(clean(model).config.clipQkv, 0);
  model.set("clip_qkv", "0");
  EXPECT_THAT(failure(model), HasSubstr("to be positive, found 0"));
}

TEST(Families, GraniteMoe) {
  for (bool isShared : {false, true}) {
    TinyFamily model;
    model.makeGranite(isShared);
    Opened opened = clean(model);
    const ModelConfig &config = opened.config;
    EXPECT_EQ(config.embeddingScale, 12);
    EXPECT_EQ(config.residualScale, 0.25);
    EXPECT_EQ(config.attentionScale, 0.125);
    EXPECT_EQ(config.logitScale, 0.125);
    EXPECT_EQ(config.moe->route.score, RouterScore::identity);
    EXPECT_EQ(config.moe->route.renorm, RouterRenorm::softmax_selected);
    EXPECT_EQ(config.moe->sharedFfn, isShared ? 12 : 0);
    EXPECT_FALSE(config.moe->sharedGate);
    // Expert 1 has rows [48, 96) of the stack, gate before up.
    std::string block = "model.layers.0.block_sparse_moe.";
    std::vector<float> stack = rows(model, block + "input_linear.weight", 1, 2);
    EXPECT_EQ(opened.values("layers.0.moe.experts.1.gate"),
              std::vector<float>(stack.begin(), stack.begin() + 24 * 16));
    EXPECT_EQ(opened.values("layers.0.moe.experts.1.up"),
              std::vector<float>(stack.begin() + 24 * 16, stack.end()));
    EXPECT_EQ(opened.values("layers.0.moe.experts.1.down"),
              rows(model, block + "output_linear.weight", 1, 2));
    if (isShared)
      EXPECT_EQ(
          opened.values("layers.1.moe.shared.up"),
          rows(model, "model.layers.1.shared_mlp.input_linear.weight", 12, 24));
  }
}

TEST(Families, DeepseekV2) {
  for (bool hasQueryLatent : {false, true}) {
    TinyFamily model;
    model.makeDeepseek(hasQueryLatent);
    Opened opened = clean(model);
    const ModelConfig &config = opened.config;
    ASSERT_TRUE(config.mla);
    EXPECT_EQ(config.mla->qRank, hasQueryLatent ? 9 : 0);
    EXPECT_EQ(config.mla->kvRank, 7);
    EXPECT_EQ(config.headDim, 10);
    EXPECT_EQ(config.valueDim, 5);
    EXPECT_EQ(config.rope.dims, 4);
    EXPECT_EQ(config.attentionScale, 1 / std::sqrt(10.0));
    EXPECT_THAT(config.moe->denseLayers, ElementsAre(0));
    EXPECT_EQ(config.moe->sharedFfn, 16);
    EXPECT_EQ(config.moe->route.renorm, RouterRenorm::none);
    EXPECT_EQ(config.moe->route.groups, 1);
    // Heads of kv_b are 6 rows of k, then 5 of v.
    std::string expand = "model.layers.0.self_attn.kv_b_proj.weight";
    std::vector<float> v = opened.values("layers.0.attn.v");
    ASSERT_EQ(v.size(), 4u * 5 * 7);
    std::vector<float> second = rows(model, expand, 11 + 6, 11 + 11);
    EXPECT_TRUE(std::equal(second.begin(), second.end(), v.begin() + 5 * 7));
    EXPECT_EQ(opened.values("layers.0.attn.k_nope").size(), 4u * 6 * 7);
    // The part that turns comes to half-split order: rows 0, 2, 1, 3.
    std::vector<float> turned = opened.values("layers.0.attn.k_rope");
    std::string latents = "model.layers.0.self_attn.kv_a_proj_with_mqa.weight";
    std::vector<float> third = rows(model, latents, 7 + 2, 7 + 3);
    EXPECT_TRUE(std::equal(third.begin(), third.end(), turned.begin() + 16));
    EXPECT_FALSE(config.rope.interleaved);
    model.set("rope_interleave", "true");
    clean(model);
    model.set("rope_interleave", "false");
    EXPECT_THAT(failure(model), HasSubstr("found 'rope_interleave' false"));
  }
}

TEST(Families, DeepseekRouter) {
  TinyFamily model;
  model.makeDeepseek(false);
  model.set("topk_method", "\"group_limited_greedy\"");
  model.set("n_group", "3");
  model.set("topk_group", "2");
  model.set("routed_scaling_factor", "16.0");
  RouteAttrs route = clean(model).config.moe->route;
  EXPECT_EQ(route.groups, 3);
  EXPECT_EQ(route.topGroups, 2);
  EXPECT_EQ(route.groupScore, GroupScore::max);
  EXPECT_EQ(route.maskValue, MaskValue::zero);
  EXPECT_EQ(route.scale, 16);
  model.set("n_group", "2");
  EXPECT_THAT(failure(model), HasSubstr("to divide the 3 experts, found 2"));
  model.set("n_group", "3");
  model.set("topk_group", "1");
  EXPECT_THAT(failure(model), HasSubstr("routes to 2 experts, but 1 of 3 "
                                        "groups have only 1"));
  model.set("topk_method", "\"noaux_tc\"");
  EXPECT_THAT(failure(model), HasSubstr("expected 'topk_method' to be greedy "
                                        "or group_limited_greedy, found "
                                        "'noaux_tc'"));
  model.set("topk_method", "\"greedy\"");
  model.set("norm_topk_prob", "true");
  EXPECT_THAT(failure(model), HasSubstr("programs that read this setting "
                                        "disagree"));
  model.set("norm_topk_prob", "false");
  model.set("scoring_func", "\"sigmoid\"");
  EXPECT_THAT(failure(model), HasSubstr("'scoring_func' to be softmax"));
  model.set("scoring_func", "\"softmax\"");
  model.set("moe_layer_freq", "2");
  EXPECT_THAT(failure(model), HasSubstr("found 'moe_layer_freq' 2"));
  model.set("moe_layer_freq", "1");
  model.set("num_key_value_heads", "2");
  EXPECT_THAT(failure(model), HasSubstr("as many key and value heads as query "
                                        "heads, 4"));
}

// yarn as DeepSeek-V2 has it: its growth cancels in what turns, and scales the
// scores instead.
TEST(Families, Yarn) {
  TinyFamily model;
  model.makeDeepseek(false);
  std::string yarn = "{\"type\": \"yarn\", \"factor\": 40, \"mscale\": 0.707, "
                     "\"mscale_all_dim\": 0.707, \"beta_fast\": 32, "
                     "\"original_max_position_embeddings\": 16";
  model.set("rope_scaling", yarn + "}");
  ModelConfig config = clean(model).config;
  double growth = 0.1 * 0.707 * std::log(40.0) + 1;
  EXPECT_EQ(config.rope.magnitude, 1);
  EXPECT_NEAR(config.attentionScale, growth * growth / std::sqrt(10.0), 1e-15);
  // Pair 0 turns 16 / (2 pi) times, pair 1 a hundredth of it. Borders in pairs:
  // floor(-1.1) = 0 (at least), ceil(0.4) = 1.
  EXPECT_EQ(config.rope.frequencies()[0], 1);
  EXPECT_NEAR(config.rope.frequencies()[1], 0.01 / 40, 1e-12);
  model.set("rope_scaling", yarn + ", \"attention_factor\": 1.5}");
  EXPECT_EQ(clean(model).config.rope.magnitude, 1.5);
  // In other families, and without the weights, what turns grows.
  TinyFamily llama;
  llama.makeLlama();
  llama.set("rope_scaling", "{\"type\": \"yarn\", \"factor\": 4}");
  config = clean(llama).config;
  EXPECT_NEAR(config.rope.magnitude, 0.1 * std::log(4.0) + 1, 1e-15);
  EXPECT_EQ(config.attentionScale, 0.5);
  EXPECT_EQ(config.rope.originalContext, 64);
  llama.set("rope_scaling", "{\"type\": \"yarn\"}");
  EXPECT_THAT(failure(llama),
              HasSubstr("expected 'factor' in the settings of yarn"));
}

TEST(Families, SigmoidRouters) {
  TinyFamily glm, dots;
  glm.makeGlm4Moe();
  Opened opened = clean(glm);
  EXPECT_EQ(opened.config.rope.dims, 2);
  EXPECT_EQ(opened.config.qkNorm, QkNorm::none);
  const RouteAttrs &route = opened.config.moe->route;
  EXPECT_TRUE(opened.config.moe->selectBias);
  EXPECT_EQ(route.score, RouterScore::sigmoid);
  EXPECT_EQ(route.groupScore, GroupScore::sum_top2);
  EXPECT_EQ(route.renorm, RouterRenorm::sum);
  EXPECT_EQ(route.epsilon, 1e-20);
  EXPECT_EQ(opened.values("layers.1.moe.select_bias").size(), 3u);
  EXPECT_FALSE(opened.map.find("layers.0.moe.router"));
  dots.makeDots1();
  Opened other = clean(dots);
  EXPECT_EQ(other.config.qkNorm, QkNorm::head);
  EXPECT_EQ(other.config.moe->route.scale, 2.5);
  EXPECT_THAT(other.config.windows, IsEmpty());
  // The class of GLM has one dense layer unless the file says.
  glm.unset("first_k_dense_replace");
  EXPECT_THAT(clean(glm).config.moe->denseLayers, ElementsAre(0));
  dots.unset("norm_topk_prob");
  EXPECT_EQ(clean(dots).config.moe->route.renorm, RouterRenorm::none);
}
