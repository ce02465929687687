#include "frontend/models/WeightMap.h"

#include "frontend/gguf/GgufWriter.h"
#include "frontend/models/OpenModel.h"
#include "ir/support/Diagnostic.h"
#include "tests/frontend/TestData.h"
#include "tests/frontend/TinyModel.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <numeric>

using namespace moec;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace {
struct Opened {
  Checkpoint checkpoint;
  ModelConfig config;
  WeightMap map;

  std::vector<float> values(llvm::StringRef name) const {
    const WeightEntry *entry = map.find(name);
    EXPECT_TRUE(entry) << name.str();
    return entry ? map.readF32(checkpoint, *entry) : std::vector<float>();
  }
  const std::string &stored(llvm::StringRef name) const {
    return checkpoint.tensors()[map.find(name)->tensor].name;
  }
};
} // namespace

static llvm::Expected<Opened>
openAt(const std::string &path, RotaryLayout layout = RotaryLayout::asStored) {
  MOEC_ASSIGN(Checkpoint checkpoint, openModel(path));
  MOEC_ASSIGN(ModelConfigResult result, readModelConfig(checkpoint));
  MOEC_ASSIGN(WeightMap map,
              WeightMap::create(checkpoint, result.config, layout));
  return Opened{std::move(checkpoint), std::move(result.config),
                std::move(map)};
}

static llvm::Expected<Opened> open(const TinyModel &model) {
  MOEC_TRY(model.write());
  return openAt(model.folder.path());
}

static std::string failure(const TinyModel &model) {
  auto opened = open(model);
  return opened ? "(no error)" : toText(opened.takeError());
}

TEST(WeightMap, LlamaIsStoredAsItIsUsed) {
  TinyModel model;
  model.makeLlama();
  auto opened = open(model);
  ASSERT_TRUE(bool(opened));
  EXPECT_EQ(opened->map.entries().size(), model.tensors.size());
  EXPECT_TRUE(opened->map.warnings().empty());
  EXPECT_EQ(opened->map.entries().front().name, "embed");
  EXPECT_EQ(opened->map.entries().back().name, "lm_head");
  EXPECT_EQ(opened->stored("layers.1.ffn.gate"),
            "model.layers.1.mlp.gate_proj.weight");
  EXPECT_EQ(opened->stored("layers.0.ffn_norm"),
            "model.layers.0.post_attention_layernorm.weight");
  EXPECT_EQ(opened->stored("final_norm"), "model.norm.weight");
  for (const WeightEntry &entry : opened->map.entries())
    EXPECT_TRUE(entry.steps.empty());
  EXPECT_EQ(opened->values("layers.1.attn.k"),
            TinyModel::valuesOf(
                model.tensor("model.layers.1.self_attn.k_proj.weight")));
  EXPECT_EQ(opened->map.find("layers.2.attn.k"), nullptr);
}

TEST(WeightMap, BiasesAndHeadNorms) {
  TinyModel qwen2;
  qwen2.makeQwen2();
  auto opened = open(qwen2);
  ASSERT_TRUE(bool(opened));
  EXPECT_EQ(opened->map.find("layers.1.attn.k.bias")->shape,
            (std::vector<int64_t>{8}));
  EXPECT_EQ(opened->map.find("layers.1.attn.o.bias"), nullptr);
  qwen2.remove("model.layers.1.self_attn.v_proj.bias");
  EXPECT_EQ(failure(qwen2),
            qwen2.folder.path() +
                ": layers.1.attn.v.bias: error: expected the tensor "
                "'model.layers.1.self_attn.v_proj.bias' of shape [8], but no "
                "file has it");
  TinyModel qwen3;
  qwen3.makeQwen3();
  opened = open(qwen3);
  ASSERT_TRUE(bool(opened));
  EXPECT_EQ(opened->stored("layers.0.attn.q_norm"),
            "model.layers.0.self_attn.q_norm.weight");
  EXPECT_EQ(opened->map.find("layers.0.attn.o")->shape,
            (std::vector<int64_t>{16, 32}));
}

TEST(WeightMap, MixtralExperts) {
  TinyModel model;
  model.makeMixtral();
  auto opened = open(model);
  ASSERT_TRUE(bool(opened));
  EXPECT_EQ(opened->stored("layers.1.moe.router"),
            "model.layers.1.block_sparse_moe.gate.weight");
  EXPECT_EQ(opened->stored("layers.1.moe.experts.2.up"),
            "model.layers.1.block_sparse_moe.experts.2.w3.weight");
  EXPECT_EQ(opened->map.find("layers.1.moe.experts.2.down")->shape,
            (std::vector<int64_t>{16, 24}));
  EXPECT_EQ(opened->map.find("layers.0.ffn.up"), nullptr);
}

TEST(WeightMap, Gpt2IsTransposedAndSplit) {
  for (std::string prefix : {"", "transformer."}) {
    TinyModel model;
    model.makeGpt2(prefix);
    auto opened = open(model);
    ASSERT_TRUE(bool(opened));
    EXPECT_TRUE(opened->map.warnings().empty());
    auto fused =
        TinyModel::valuesOf(model.tensor(prefix + "h.1.attn.c_attn.weight"));
    auto fusedBias =
        TinyModel::valuesOf(model.tensor(prefix + "h.1.attn.c_attn.bias"));
    size_t part = 0;
    for (llvm::StringRef name :
         {"layers.1.attn.q", "layers.1.attn.k", "layers.1.attn.v"}) {
      auto values = opened->values(name);
      auto bias = opened->values((name + ".bias").str());
      ASSERT_EQ(values.size(), 256u);
      ASSERT_EQ(bias.size(), 16u);
      for (size_t out = 0; out < 16; ++out) {
        EXPECT_EQ(bias[out], fusedBias[part * 16 + out]);
        for (size_t in = 0; in < 16; ++in)
          EXPECT_EQ(values[out * 16 + in], fused[in * 48 + part * 16 + out]);
      }
      ++part;
    }
    auto up = opened->values("layers.0.ffn.up");
    auto stored =
        TinyModel::valuesOf(model.tensor(prefix + "h.0.mlp.c_fc.weight"));
    EXPECT_EQ(opened->map.find("layers.0.ffn.up")->shape,
              (std::vector<int64_t>{64, 16}));
    EXPECT_EQ(up[5 * 16 + 3], stored[3 * 64 + 5]);
    EXPECT_EQ(opened->stored("pos_embed"), prefix + "wpe.weight");
    EXPECT_TRUE(opened->map.find("layers.0.attn_norm.bias"));
    EXPECT_TRUE(opened->map.find("final_norm.bias"));
    EXPECT_EQ(opened->map.find("lm_head"), nullptr);
  }
}

TEST(WeightMap, TiedEmbeddingTraps) {
  TinyModel tied;
  tied.makeLlama();
  tied.set("tie_word_embeddings", "true");
  // Both are stored and differ.
  EXPECT_THAT(failure(tied),
              HasSubstr("config.json:13:26: error: the settings tie the head "
                        "to the embedding, but 'lm_head.weight' and "
                        "'model.embed_tokens.weight' are both stored and "
                        "differ"));
  // Only the head is stored.
  tied.remove("model.embed_tokens.weight");
  auto opened = open(tied);
  ASSERT_TRUE(bool(opened));
  EXPECT_EQ(opened->stored("embed"), "lm_head.weight");
  EXPECT_EQ(opened->map.find("lm_head"), nullptr);
  // Neither is.
  tied.remove("lm_head.weight");
  EXPECT_THAT(failure(tied), HasSubstr("embed: error: expected the tensor "
                                       "'model.embed_tokens.weight'"));
  // Only the embedding is: tied by default or by the setting.
  TinyModel plain;
  plain.makeLlama();
  plain.remove("lm_head.weight");
  EXPECT_EQ(failure(plain),
            plain.folder.file("config.json") +
                ":13:26: error: the settings do not tie the head to the "
                "embedding, so the tensor 'lm_head.weight' is expected, but no "
                "file has it\n"
                " 13 |   \"tie_word_embeddings\": false,\n"
                "    |                          ^");
  plain.unset("tie_word_embeddings");
  EXPECT_THAT(failure(plain), HasSubstr("do not tie the head"));
  plain.set("tie_word_embeddings", "true");
  EXPECT_EQ(failure(plain), "(no error)");
  // Not tied, and the head is a stored alias of the embedding.
  plain.set("tie_word_embeddings", "false");
  plain.metadata = {{"lm_head.weight", "model.embed_tokens.weight"}};
  opened = open(plain);
  ASSERT_TRUE(bool(opened));
  EXPECT_EQ(opened->stored("lm_head"), "model.embed_tokens.weight");
}

TEST(WeightMap, WrongShapesAndTypes) {
  TinyModel model;
  model.makeLlama();
  model.tensor("model.layers.1.mlp.up_proj.weight").shape = {16, 24};
  EXPECT_THAT(failure(model),
              HasSubstr("tensor 'model.layers.1.mlp.up_proj.weight': error: "
                        "expected shape [24, 16] for layers.1.ffn.up, found "
                        "[16, 24]"));
  TinyModel integers;
  integers.makeLlama();
  integers.tensor("model.norm.weight").type = ElementType::i32;
  EXPECT_THAT(failure(integers),
              HasSubstr("expected floating-point numbers for final_norm, found "
                        "i32"));
  TinyModel layers;
  layers.makeLlama();
  layers.set("num_hidden_layers", "3");
  EXPECT_THAT(failure(layers), HasSubstr("'model.layers.2.input_layernorm"));
  layers.set("num_hidden_layers", "16000");
  EXPECT_THAT(failure(layers), HasSubstr("expected tensors for 16000 layers"));
}

TEST(WeightMap, HostileNumbersOfExperts) {
  TinyModel model;
  model.makeMixtral();
  model.set("num_hidden_layers", "40");
  model.set("num_local_experts", "16000");
  for (int i = 0; i < 40; ++i)
    model.add("extra." + std::to_string(i), {1});
  EXPECT_THAT(failure(model),
              HasSubstr("expected at most 1048576 weights, found 40 layers of "
                        "16000 experts"));
}

TEST(WeightMap, UnusedTensorsAreWarnings) {
  TinyModel model;
  model.makeLlama();
  model.add("model.layers.0.self_attn.rotary_emb.inv_freq", {2});
  model.add("model.layers.0.self_attn.q_proj.bias", {16});
  model.add("other", {1});
  auto opened = open(model);
  ASSERT_TRUE(bool(opened));
  EXPECT_THAT(opened->map.warnings(),
              ElementsAre("2 tensors belong to no part of the model and were "
                          "ignored, the first is "
                          "'model.layers.0.self_attn.q_proj.bias'"));
}

//===----------------------------------------------------------------------===//
// GGUF and llama2.c
//===----------------------------------------------------------------------===//

TEST(WeightMap, RotaryRowsInvertTheInterleaving) {
  // One head of six rows: pairs (0, 1), (2, 3), (4, 5) become (0, 3), ...
  EXPECT_THAT(rotaryRows(6, 1), ElementsAre(0, 2, 4, 1, 3, 5));
  EXPECT_THAT(rotaryRows(8, 2), ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
}

namespace {
/// A GGUF Mixtral of one layer: hidden 4, 2 heads, FFN 6, 3 experts.
struct GgufMixtral {
  TemporaryFolder folder;
  GgufWriter writer;
  std::vector<std::vector<uint8_t>> data;

  std::string write(bool isStacked) {
    writer.addString("general.architecture", "llama");
    for (auto [key, value] :
         std::initializer_list<std::pair<const char *, uint32_t>>{
             {"block_count", 1},
             {"context_length", 8},
             {"embedding_length", 4},
             {"feed_forward_length", 6},
             {"attention.head_count", 1},
             {"expert_count", 3},
             {"expert_used_count", 1},
             {"vocab_size", 5}})
      writer.addU32(std::string("llama.") + key, value);
    writer.addF32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    add("token_embd.weight", {5, 4});
    add("output_norm.weight", {4});
    add("blk.0.attn_norm.weight", {4});
    add("blk.0.ffn_norm.weight", {4});
    for (const char *name : {"q", "k", "v", "output"})
      add(std::string("blk.0.attn_") + name + ".weight", {4, 4});
    add("blk.0.ffn_gate_inp.weight", {3, 4});
    if (isStacked) {
      add("blk.0.ffn_gate_exps.weight", {3, 6, 4});
      add("blk.0.ffn_up_exps.weight", {3, 6, 4});
      add("blk.0.ffn_down_exps.weight", {3, 4, 6});
    }
    for (int expert = 0; !isStacked && expert < 3; ++expert) {
      std::string end = "." + std::to_string(expert) + ".weight";
      add("blk.0.ffn_gate" + end, {6, 4});
      add("blk.0.ffn_up" + end, {6, 4});
      add("blk.0.ffn_down" + end, {4, 6});
    }
    std::vector<llvm::ArrayRef<uint8_t>> views(data.begin(), data.end());
    EXPECT_EQ(toText(writer.write(folder.file("m.gguf"), views)), "");
    return folder.file("m.gguf");
  }
  /// Elements 0, 1, 2, ...
  void add(const std::string &name, std::vector<int64_t> shape) {
    writer.addTensor(name, ElementType::f32, shape);
    std::vector<float> values(size_t(*elementCount(shape)));
    std::iota(values.begin(), values.end(), 0.0f);
    data.emplace_back(values.size() * 4);
    encodeFromF32(ElementType::f32, values, data.back());
  }
};
} // namespace

TEST(WeightMap, GgufExpertsStackedOrApart) {
  GgufMixtral stacked, apart;
  auto opened = openAt(stacked.write(true));
  ASSERT_TRUE(bool(opened));
  auto up = opened->values("layers.0.moe.experts.2.up");
  ASSERT_EQ(up.size(), 24u);
  EXPECT_EQ(up.front(), 48);
  EXPECT_EQ(opened->map.find("layers.0.moe.experts.2.down")->shape,
            (std::vector<int64_t>{4, 6}));
  auto other = openAt(apart.write(false));
  ASSERT_TRUE(bool(other));
  EXPECT_EQ(other->values("layers.0.moe.experts.2.up").front(), 0);
  EXPECT_EQ(other->stored("layers.0.moe.experts.2.up"),
            "blk.0.ffn_up.2.weight");
}

TEST(WeightMap, RotaryLayoutOfGgufLlama) {
  GgufMixtral model;
  std::string path = model.write(true);
  auto stored = openAt(path);
  ASSERT_TRUE(bool(stored));
  EXPECT_TRUE(stored->config.rope.interleaved);
  EXPECT_EQ(stored->values("layers.0.attn.q")[4], 4);
  auto half = openAt(path, RotaryLayout::halfSplit);
  ASSERT_TRUE(bool(half));
  EXPECT_FALSE(half->config.rope.interleaved);
  for (llvm::StringRef name : {"layers.0.attn.q", "layers.0.attn.k"})
    EXPECT_THAT(half->values(name), ElementsAre(0, 1, 2, 3, 8, 9, 10, 11, 4, 5,
                                                6, 7, 12, 13, 14, 15));
  EXPECT_EQ(half->values("layers.0.attn.v"), stored->values("layers.0.attn.v"));
}

TEST(WeightMap, RealModels) {
  MOEC_REQUIRE_TEST_DATA();
  auto stories = openAt(testDataPath("models/stories260K/stories260K.bin"));
  ASSERT_TRUE(bool(stories));
  EXPECT_EQ(stories->map.entries().size(), 2u + 5 * 9);
  EXPECT_TRUE(stories->map.warnings().empty());
  EXPECT_EQ(stories->stored("layers.3.ffn.down"),
            "layers.3.feed_forward.w2.weight");
  auto tiny = openAt(testDataPath("models/tinystories-656k"));
  ASSERT_TRUE(bool(tiny));
  EXPECT_EQ(tiny->stored("embed"), "lm_head.weight");
  EXPECT_EQ(tiny->map.find("lm_head"), nullptr);
  EXPECT_TRUE(tiny->map.warnings().empty());
}
