#include "frontend/exporter/ExportPlan.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace moec;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Names = std::vector<std::string>;

/// Llama's attention, eight experts of which two are used.
static ModelConfig sparse() {
  ModelConfig config;
  config.layers = 2;
  config.hidden = 64;
  config.heads = 4;
  config.kvHeads = 2;
  config.headDim = 16;
  config.ffn = 96;
  config.vocab = 100;
  config.context = 128;
  config.attentionScale = 0.25;
  config.rope.dims = 16;
  MoeConfig &moe = config.moe.emplace();
  moe.experts = 8;
  moe.ffn = 96;
  moe.route.k = 2;
  return config;
}
static Names hf(const ModelConfig &config) {
  return exactTargets(config, ExportFormat::huggingFace);
}
static Names gguf(const ModelConfig &config) {
  return exactTargets(config, ExportFormat::gguf);
}
/// The message and notes of a refusal.
static std::string refusal(const ModelConfig &config, const char *arch,
                           bool allowInexact = false) {
  ExportRequest request;
  request.arch = arch;
  request.allowInexact = allowInexact;
  auto target = chooseTarget(config, request);
  return target ? "fits" : toText(target.takeError());
}

TEST(Targets, SoftmaxThenSum) {
  ModelConfig config = sparse();
  config.moe->route.renorm = RouterRenorm::sum;
  EXPECT_THAT(hf(config), ElementsAre("mixtral", "qwen2_moe", "granitemoe",
                                      "granitemoeshared"));
  EXPECT_THAT(gguf(config), ElementsAre("llama"));
  // The softmax of the chosen logits is the same.
  config.moe->route.score = RouterScore::identity;
  config.moe->route.renorm = RouterRenorm::softmax_selected;
  EXPECT_THAT(hf(config), ElementsAre("mixtral", "qwen2_moe", "granitemoe",
                                      "granitemoeshared"));
}

TEST(Targets, SoftmaxAsItIs) {
  ModelConfig config = sparse();
  EXPECT_THAT(hf(config), ElementsAre("qwen2_moe"));
  EXPECT_THAT(gguf(config), ElementsAre("qwen2moe"));
  // Over all experts the sum is 1 anyway.
  config.moe->route.k = 8;
  EXPECT_THAT(hf(config), testing::Contains("mixtral"));
  // A constant goes into the down projections.
  config.moe->route.k = 2;
  config.moe->route.scale = 4;
  EXPECT_THAT(hf(config), ElementsAre("qwen2_moe"));
  EXPECT_EQ(viewRouter(*config.moe).outputScale, 4);
}

TEST(Targets, NormsOfHeads) {
  ModelConfig config = sparse();
  config.qkNorm = QkNorm::head;
  EXPECT_THAT(hf(config), ElementsAre("qwen3_moe"));
  EXPECT_THAT(gguf(config), IsEmpty());
  config.moe->route.renorm = RouterRenorm::sum;
  EXPECT_THAT(gguf(config), ElementsAre("qwen3moe"));
  config.qkNorm = QkNorm::row;
  EXPECT_THAT(hf(config), ElementsAre("olmoe"));
}

TEST(Targets, Sigmoids) {
  ModelConfig config = sparse();
  config.moe->route.score = RouterScore::sigmoid;
  config.moe->route.scale = 2.5;
  config.moe->selectBias = true;
  EXPECT_THAT(hf(config), ElementsAre("glm4_moe"));
  EXPECT_EQ(viewRouter(*config.moe).outputScale, 1);
  config.qkNorm = QkNorm::head;
  EXPECT_THAT(hf(config), ElementsAre("glm4_moe", "dots1"));
  config.moe->route.groups = 2;
  config.moe->route.topGroups = 1;
  config.moe->route.groupScore = GroupScore::sum_top2;
  EXPECT_THAT(hf(config), ElementsAre("glm4_moe", "dots1"));
  config.moe->route.groupScore = GroupScore::max;
  EXPECT_THAT(hf(config), IsEmpty());
}

TEST(Targets, SharedExperts) {
  ModelConfig config = sparse();
  config.moe->sharedFfn = 40;
  config.moe->sharedGate = true;
  EXPECT_THAT(hf(config), ElementsAre("qwen2_moe"));
  config.moe->sharedGate = false;
  EXPECT_THAT(hf(config), IsEmpty());
  config.moe->route.renorm = RouterRenorm::sum;
  EXPECT_THAT(hf(config), ElementsAre("granitemoeshared"));
  config.moe->route.score = RouterScore::sigmoid;
  EXPECT_THAT(hf(config), ElementsAre("glm4_moe"));
}

TEST(Targets, DenseLayers) {
  ModelConfig config = sparse();
  config.moe->route.renorm = RouterRenorm::sum;
  config.moe->denseLayers = {1};
  EXPECT_THAT(hf(config), ElementsAre("qwen2_moe"));
  config.moe->route.score = RouterScore::sigmoid;
  EXPECT_THAT(hf(config), IsEmpty());
  config.moe->denseLayers = {0};
  EXPECT_THAT(hf(config), ElementsAre("glm4_moe"));
}

TEST(Targets, RoutersThatNobodyHas) {
  auto lacks = [](auto change) {
    ModelConfig config = sparse();
    change(config.moe->route, *config.moe);
    EXPECT_THAT(hf(config), IsEmpty());
    EXPECT_THAT(gguf(config), IsEmpty());
  };
  lacks([](RouteAttrs &, MoeConfig &moe) { moe.routerBias = true; });
  lacks([](RouteAttrs &, MoeConfig &moe) { moe.selectBias = true; });
  lacks([](RouteAttrs &route, MoeConfig &) {
    route.logitNorm = LogitNorm::zscore;
  });
  lacks([](RouteAttrs &route, MoeConfig &) { route.capacity = 1.25; });
  lacks(
      [](RouteAttrs &route, MoeConfig &) { route.score = RouterScore::relu; });
  lacks([](RouteAttrs &route, MoeConfig &) {
    route.score = RouterScore::identity;
  });
  for (RouterSelect select :
       {RouterSelect::topp, RouterSelect::threshold,
        RouterSelect::expert_choice, RouterSelect::sparse_mixer})
    lacks([&](RouteAttrs &route, MoeConfig &) { route.select = select; });
  lacks([](RouteAttrs &route, MoeConfig &) {
    route.groups = 4;
    route.topGroups = 2;
  });
  lacks([](RouteAttrs &route, MoeConfig &) {
    route.renorm = RouterRenorm::sum;
    route.minimum = 1e-3;
  });
}

TEST(Targets, RefusalsSayWhatToDo) {
  ModelConfig config = sparse();
  std::string text = refusal(config, "mixtral");
  EXPECT_THAT(text, HasSubstr("architecture 'mixtral' cannot express this "
                              "model: its router keeps softmax scores as they "
                              "are, but mixtral divides softmax scores"));
  EXPECT_THAT(text, HasSubstr("exact with --format hf: qwen2_moe"));
  EXPECT_THAT(text, HasSubstr("exact with --format gguf: qwen2moe"));
  EXPECT_THAT(text, HasSubstr("with --allow-inexact the export divides"));
  EXPECT_EQ(refusal(config, "mixtral", /*allowInexact=*/true), "fits");
  EXPECT_EQ(refusal(config, "Qwen2-MoE"), "fits");
  // What is no router cannot be exchanged.
  config.qkNorm = QkNorm::head;
  text = refusal(config, "mixtral", /*allowInexact=*/true);
  EXPECT_THAT(text, HasSubstr("queries and keys are normalised"));
  EXPECT_THAT(text, HasSubstr("also, its router keeps"));
  EXPECT_THAT(text, testing::Not(HasSubstr("--allow-inexact")));
  EXPECT_THAT(refusal(config, "gpt5"), HasSubstr("--arch is 'gpt5'"));
}

TEST(Targets, NearestRouterIfAllowed) {
  ModelConfig config = sparse();
  config.moe->route.logitNorm = LogitNorm::zscore;
  config.moe->routerBias = true;
  EXPECT_THAT(refusal(config, ""), HasSubstr("z-score"));
  EXPECT_EQ(refusal(config, "", /*allowInexact=*/true), "fits");
}

TEST(Targets, DenseModels) {
  ModelConfig config = sparse();
  config.moe.reset();
  EXPECT_THAT(hf(config), ElementsAre("llama", "mistral", "qwen2", "phi3"));
  config.qkvBias = true;
  EXPECT_THAT(hf(config), ElementsAre("llama", "qwen2"));
  config.outBias = true;
  EXPECT_THAT(hf(config), ElementsAre("llama"));
  config.windows = {0, 32};
  EXPECT_THAT(hf(config), IsEmpty());
  EXPECT_THAT(refusal(config, "qwen2"), HasSubstr("output projection"));
  config.outBias = false;
  EXPECT_THAT(hf(config), ElementsAre("qwen2"));
}
