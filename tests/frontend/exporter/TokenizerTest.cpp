//===- TokenizerTest.cpp - tokenizers in the files of exports -------------===//

#include "runtime/text/Tokenizer.h"
#include "frontend/gguf/GgufTokenizerData.h"
#include "frontend/tokenizer/ByteAlphabet.h"
#include "frontend/tokenizer/ImportTokenizer.h"
#include "frontend/tokenizer/WriteGgufTokenizer.h"
#include "frontend/tokenizer/WriteTokenizerJson.h"
#include "ir/support/Diagnostic.h"
#include "tests/ir/support/TemporaryFolder.h"
#include "gtest/gtest.h"

using namespace moec;

/// All bytes, two merges, and three special tokens.
static GgufTokenizerData byteLevel() {
  GgufTokenizerData data;
  data.model = "gpt2";
  data.pre = "qwen2";
  for (const char *special : {"<unk>", "<s>", "</s>"})
    data.tokens.push_back(special);
  for (unsigned byte = 0; byte < 256; ++byte)
    data.tokens.push_back(spellingOfBytes(std::string(1, char(byte))));
  data.tokens.push_back("th");
  data.tokens.push_back("the");
  data.merges = {"t h", "th e"};
  data.tokenTypes.assign(data.tokens.size(), 1);
  data.tokenTypes[0] = data.tokenTypes[1] = data.tokenTypes[2] = 3;
  data.bos = 1;
  data.eos = 2;
  data.addBos = true;
  return data;
}

/// SentencePiece's pieces with scores.
static GgufTokenizerData scored() {
  GgufTokenizerData data;
  data.model = "llama";
  data.tokens = {"<unk>", "<s>", "</s>"};
  data.tokenTypes = {2, 3, 3};
  data.scores = {0, 0, 0};
  for (unsigned byte = 0; byte < 256; ++byte) {
    static const char digits[] = "0123456789ABCDEF";
    data.tokens.push_back(std::string("<0x") + digits[byte / 16] +
                          digits[byte % 16] + ">");
    data.tokenTypes.push_back(6);
    data.scores.push_back(0);
  }
  for (const char *piece :
       {"\xE2\x96\x81", "t", "h", "e", "a", "th", "the", "\xE2\x96\x81the",
        "\xE2\x96\x81"
        "a",
        "he"}) {
    data.scores.push_back(-float(data.tokens.size()));
    data.tokens.push_back(piece);
    data.tokenTypes.push_back(1);
  }
  data.bos = 1;
  data.eos = 2;
  data.unknown = 0;
  return data;
}

static TokenizerAsset imported(const GgufTokenizerData &data) {
  auto asset = importGgufTokenizer(data);
  if (asset)
    return std::move(*asset);
  ADD_FAILURE() << toText(asset.takeError());
  return TokenizerAsset();
}

static std::vector<int32_t> encode(const TokenizerAsset &asset,
                                   llvm::StringRef text) {
  auto tokenizer = Tokenizer::load(serialize(asset), "test");
  if (!tokenizer) {
    ADD_FAILURE() << toText(tokenizer.takeError());
    return {};
  }
  auto ids = (*tokenizer)->encode(text, EncodeOptions());
  if (ids)
    return std::move(*ids);
  ADD_FAILURE() << toText(ids.takeError());
  return {};
}

static constexpr const char *kTexts[] = {"",
                                         "the",
                                         "the the  a",
                                         "than 12 the\n\nother",
                                         "caf\xC3\xA9 \xE4\xB8\xAD",
                                         "the</s>the"};

/// An asset through the files of a Hugging Face folder.
static TokenizerAsset throughJson(const TokenizerAsset &asset) {
  TemporaryFolder folder;
  auto text = writeTokenizerJson(asset);
  if (!text) {
    ADD_FAILURE() << toText(text.takeError());
    return TokenizerAsset();
  }
  folder.write("tokenizer.json", *text);
  folder.write("tokenizer_config.json", writeTokenizerConfig(asset));
  auto again = importTokenizer(folder.path());
  if (again)
    return std::move(*again);
  ADD_FAILURE() << toText(again.takeError());
  return TokenizerAsset();
}

TEST(ExportTokenizer, SpellingIsTheReverseOfBytes) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    std::string bytes(1, char(byte));
    EXPECT_EQ(bytesOfSpelling(spellingOfBytes(bytes)), bytes);
  }
}

TEST(ExportTokenizer, JsonOfGguf) {
  for (const GgufTokenizerData &data : {byteLevel(), scored()}) {
    TokenizerAsset asset = imported(data);
    TokenizerAsset again = throughJson(asset);
    for (const char *text : kTexts)
      EXPECT_EQ(encode(again, text), encode(asset, text))
          << data.model << ": " << text;
    EXPECT_EQ(again.bos, asset.bos);
    EXPECT_EQ(again.eos, asset.eos);
  }
}

TEST(ExportTokenizer, GgufOfJson) {
  for (const GgufTokenizerData &data : {byteLevel(), scored()}) {
    TokenizerAsset json = throughJson(imported(data));
    auto made = makeGgufTokenizer(json);
    ASSERT_TRUE(bool(made)) << toText(made.takeError());
    EXPECT_EQ(made->model, data.model);
    EXPECT_EQ(made->tokens, data.tokens);
    TokenizerAsset again = imported(*made);
    for (const char *text : kTexts)
      EXPECT_EQ(encode(again, text), encode(json, text))
          << data.model << ": " << text;
  }
}

TEST(ExportTokenizer, SplittingsHaveTheirNames) {
  EXPECT_EQ(ggufSplitting(imported(byteLevel())), "qwen2");
  TokenizerAsset asset = imported(byteLevel());
  asset.preTokenizer.clear();
  EXPECT_EQ(ggufSplitting(asset), "");
  auto made = makeGgufTokenizer(asset);
  ASSERT_FALSE(bool(made));
  EXPECT_NE(toText(made.takeError()).find("no name"), std::string::npos);
}

TEST(ExportTokenizer, UnigramModelsAreRefused) {
  TokenizerAsset asset = imported(scored());
  asset.kind = TokenizerKind::Unigram;
  auto json = writeTokenizerJson(asset);
  ASSERT_FALSE(bool(json));
  llvm::consumeError(json.takeError()); // That it fails is what is tested.
  auto made = makeGgufTokenizer(asset);
  ASSERT_FALSE(bool(made));
  llvm::consumeError(made.takeError());
}
