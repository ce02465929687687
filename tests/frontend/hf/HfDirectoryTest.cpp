#include "frontend/hf/HfDirectory.h"

#include "ir/support/Diagnostic.h"
#include "tests/frontend/TestData.h"
#include "tests/frontend/TinyModel.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace moec;
using ::testing::HasSubstr;

static std::string openFailure(const std::string &path) {
  auto checkpoint = openHfDirectory(path);
  return checkpoint ? "(no error)" : toText(checkpoint.takeError());
}

TEST(HfDirectory, OneFile) {
  TinyModel model;
  model.makeLlama();
  ASSERT_EQ(toText(model.write()), "");
  auto checkpoint = openHfDirectory(model.folder.path());
  ASSERT_TRUE(bool(checkpoint));
  EXPECT_EQ(formatName(checkpoint->format), "hf");
  EXPECT_EQ(checkpoint->tensors().size(), model.tensors.size());
  const CheckpointTensor *tensor =
      checkpoint->find("model.layers.1.mlp.up_proj.weight");
  ASSERT_TRUE(tensor);
  EXPECT_EQ(tensor->shape, (std::vector<int64_t>{24, 16}));
  std::vector<float> part(20);
  checkpoint->readF32(*tensor, 5, part);
  auto expected =
      TinyModel::valuesOf(model.tensor("model.layers.1.mlp.up_proj.weight"));
  EXPECT_TRUE(llvm::ArrayRef<float>(part).equals(
      llvm::ArrayRef<float>(expected).slice(5, 20)));
  checkpoint->dropPages(*tensor);
  EXPECT_EQ(checkpoint->locationOf(*tensor).object,
            "tensor 'model.layers.1.mlp.up_proj.weight'");
}

TEST(HfDirectory, SettingsHavePlaces) {
  TinyModel model;
  model.makeLlama();
  model.set("num_hidden_layers", "\"two\"");
  model.set("rope_scaling", "{\"type\": \"linear\", \"factor\": 2.0}");
  ASSERT_EQ(toText(model.write()), "");
  auto checkpoint = openHfDirectory(model.folder.path());
  ASSERT_TRUE(bool(checkpoint));
  const Config &config = checkpoint->config;
  auto layers = config.integer("num_hidden_layers");
  ASSERT_FALSE(bool(layers));
  EXPECT_EQ(toText(layers.takeError()),
            model.folder.file("config.json") +
                ":5:24: error: expected 'num_hidden_layers' to be an integer "
                "from 0 to 2147483647, found the string 'two'\n"
                " 5 |   \"num_hidden_layers\": \"two\",\n"
                "   |                        ^");
  auto factor = config.number("rope_scaling.factor");
  ASSERT_TRUE(bool(factor));
  EXPECT_EQ(*factor, 2.0);
  auto none = config.requireInteger("no_such_key");
  ASSERT_FALSE(bool(none));
  EXPECT_EQ(toText(none.takeError()),
            model.folder.file("config.json") +
                ": error: expected the setting 'no_such_key', found none");
  auto negative = config.integer("vocab_size", 100);
  ASSERT_FALSE(bool(negative));
  EXPECT_THAT(toText(negative.takeError()), HasSubstr("found 40"));
  for (llvm::StringRef key : {"vocab_size", "rope_scaling"}) {
    auto flag = config.boolean(key);
    ASSERT_FALSE(bool(flag));
    EXPECT_THAT(toText(flag.takeError()), HasSubstr("to be true or false"));
    auto text = config.string(key);
    ASSERT_FALSE(bool(text));
    EXPECT_THAT(toText(text.takeError()), HasSubstr("to be a string"));
  }
}

TEST(HfDirectory, WhatIsMissing) {
  TemporaryFolder folder;
  EXPECT_THAT(openFailure(folder.file("none")), HasSubstr("found nothing"));
  EXPECT_THAT(openFailure(folder.write("file", "x")),
              HasSubstr("found a file"));
  EXPECT_THAT(openFailure(folder.path()), HasSubstr("no 'config.json'"));
  folder.write("config.json", "[]");
  EXPECT_THAT(openFailure(folder.path()),
              HasSubstr("config.json:1:1: error: expected an object"));
  folder.write("config.json", "{}");
  EXPECT_THAT(openFailure(folder.path()), HasSubstr("found neither"));
  folder.write("pytorch_model.bin", "x");
  EXPECT_THAT(openFailure(folder.path()), HasSubstr("pickled weights only"));
}

/// Splits the model after its first three tensors.
static void writeShards(TinyModel &model, const std::string &extraEntry = "") {
  TinyModel first, second;
  std::string map;
  for (size_t i = 0; i < model.tensors.size(); ++i) {
    (i < 3 ? first : second).tensors.push_back(model.tensors[i]);
    map += (i ? ",\n    \"" : "    \"") + model.tensors[i].name + "\": \"" +
           (i < 3 ? "a" : "b") + ".safetensors\"";
  }
  ASSERT_EQ(toText(first.writeTensors("a.safetensors")), "");
  ASSERT_EQ(toText(second.writeTensors("b.safetensors")), "");
  model.writeConfig();
  model.folder.write("a.safetensors", first.folder.read("a.safetensors"));
  model.folder.write("b.safetensors", second.folder.read("b.safetensors"));
  model.folder.write("model.safetensors.index.json",
                     "{\n  \"weight_map\": {\n" + map + extraEntry + "}}");
}

TEST(HfDirectory, Shards) {
  TinyModel model;
  model.makeLlama();
  writeShards(model);
  auto checkpoint = openHfDirectory(model.folder.path());
  ASSERT_TRUE(bool(checkpoint));
  EXPECT_EQ(checkpoint->files().size(), 2u);
  EXPECT_EQ(checkpoint->tensors().size(), model.tensors.size());
  for (const SafetensorsLayout &layout : model.tensors) {
    const CheckpointTensor *tensor = checkpoint->find(layout.name);
    ASSERT_TRUE(tensor);
    auto expected = TinyModel::valuesOf(layout);
    std::vector<float> values(expected.size());
    checkpoint->readF32(*tensor, 0, values);
    EXPECT_EQ(values, expected) << layout.name;
  }
}

TEST(HfDirectory, BrokenShards) {
  TinyModel missing;
  missing.makeLlama();
  writeShards(missing, ",\n    \"extra\": \"c.safetensors\"");
  std::string index = missing.folder.file("model.safetensors.index.json");
  EXPECT_EQ(openFailure(missing.folder.path()),
            missing.folder.file("c.safetensors") +
                ": error: cannot open the file: No such file or directory\n" +
                index + ":24:14: note: the file is named here");
  TinyModel absent;
  absent.makeLlama();
  writeShards(absent, ",\n    \"extra\": \"a.safetensors\"");
  EXPECT_THAT(openFailure(absent.folder.path()),
              HasSubstr(":24:5: error: tensor 'extra' is not in "
                        "'a.safetensors', where this index places it"));
  for (llvm::StringRef name :
       {"\"../a.safetensors\"", "\"/etc/passwd\"", "\"\"", "3", "\"..\""}) {
    TinyModel hostile;
    hostile.makeLlama();
    writeShards(hostile, (",\n \"extra\": " + name).str());
    EXPECT_THAT(openFailure(hostile.folder.path()),
                HasSubstr("expected the name of a file beside this one"));
  }
  TinyModel unlisted;
  unlisted.makeLlama();
  writeShards(unlisted);
  unlisted.folder.write("model.safetensors.index.json",
                        "{\"weight_map\": {\"model.embed_tokens.weight\": "
                        "\"a.safetensors\"}}");
  EXPECT_THAT(openFailure(unlisted.folder.path()),
              HasSubstr("the tensor is not listed in"));
  unlisted.folder.write("model.safetensors.index.json", "{\"weight_map\": 1}");
  EXPECT_THAT(openFailure(unlisted.folder.path()),
              HasSubstr("expected an object 'weight_map'"));
}

TEST(HfDirectory, SharedTensorsAreAliases) {
  TinyModel model;
  model.makeLlama();
  model.remove("model.embed_tokens.weight");
  model.metadata = {{"format", "pt"},
                    {"model.embed_tokens.weight", "lm_head.weight"}};
  ASSERT_EQ(toText(model.write()), "");
  auto checkpoint = openHfDirectory(model.folder.path());
  ASSERT_TRUE(bool(checkpoint));
  EXPECT_EQ(checkpoint->find("model.embed_tokens.weight"),
            checkpoint->find("lm_head.weight"));
  EXPECT_EQ(checkpoint->find("format"), nullptr);
}

TEST(HfDirectory, DigestNamesTheContents) {
  TinyModel model;
  model.makeLlama();
  ASSERT_EQ(toText(model.write()), "");
  auto digestOf = [&] {
    auto checkpoint = openHfDirectory(model.folder.path());
    EXPECT_TRUE(bool(checkpoint));
    auto digest = checkpoint->digest();
    EXPECT_TRUE(bool(digest));
    return *digest;
  };
  Digest first = digestOf();
  EXPECT_EQ(digestOf(), first);
  model.set("rope_theta", "5000");
  model.writeConfig();
  Digest second = digestOf();
  EXPECT_NE(second, first);
  model.tensor("model.norm.weight").type = ElementType::bf16;
  ASSERT_EQ(toText(model.writeTensors()), "");
  EXPECT_NE(digestOf(), second);
}

TEST(HfDirectory, GenerationSettings) {
  TemporaryFolder folder;
  auto none = loadGenerationConfig(folder.path());
  ASSERT_TRUE(bool(none));
  EXPECT_FALSE(none->has("eos_token_id"));
  folder.write("generation_config.json", "{\"eos_token_id\": [2, 7]}");
  auto some = loadGenerationConfig(folder.path());
  ASSERT_TRUE(bool(some));
  EXPECT_EQ(some->find("eos_token_id")->items.size(), 2u);
}

TEST(HfDirectory, RealModel) {
  MOEC_REQUIRE_TEST_DATA();
  auto checkpoint = openHfDirectory(testDataPath("models/tinystories-656k"));
  ASSERT_TRUE(bool(checkpoint));
  EXPECT_EQ(checkpoint->tensors().size(), 20u);
  const CheckpointTensor *head = checkpoint->find("lm_head.weight");
  ASSERT_TRUE(head);
  EXPECT_EQ(checkpoint->find("model.embed_tokens.weight"), head);
  EXPECT_EQ(head->shape, (std::vector<int64_t>{2048, 128}));
}
