// Tokenizers of real models against ids that other programs made.

#include "frontend/tokenizer/ImportTokenizer.h"
#include "frontend/tokenizer/SentencePieceLibrary.h"
#include "ir/support/Diagnostic.h"
#include "runtime/text/Tokenizer.h"
#include "tests/frontend/TestData.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/JSON.h"

#include <gtest/gtest.h>

using namespace moec;

namespace {

using Ids = std::vector<int32_t>;

constexpr EncodeOptions kPlain = {/*addSpecial=*/false, /*parseSpecial=*/false};

std::unique_ptr<Tokenizer> import(const std::string &path) {
  auto asset = importTokenizer(path);
  if (!asset) {
    ADD_FAILURE() << toText(asset.takeError());
    return nullptr;
  }
  // Through the stored form, which is what runs.
  auto tokenizer = Tokenizer::load(serialize(*asset), path);
  if (!tokenizer) {
    ADD_FAILURE() << toText(tokenizer.takeError());
    return nullptr;
  }
  EXPECT_EQ(*asset, (*tokenizer)->asset());
  return std::move(*tokenizer);
}

Ids encode(const Tokenizer &tokenizer, llvm::StringRef text,
           EncodeOptions options = kPlain) {
  auto ids = tokenizer.encode(text, options);
  if (!ids) {
    ADD_FAILURE() << toText(ids.takeError());
    return {};
  }
  return *ids;
}

std::vector<std::string> conformanceTexts() {
  llvm::SmallVector<llvm::StringRef> texts;
  std::string all = testFile("tokenizers/conformance/ggml-vocab.inp");
  llvm::StringRef(all).split(texts, "\n__ggml_vocab_test__\n");
  return std::vector<std::string>(texts.begin(), texts.end());
}

std::vector<Ids> conformanceIds(const std::string &family) {
  std::string all =
      testFile("tokenizers/conformance/ggml-vocab-" + family + ".out");
  llvm::SmallVector<llvm::StringRef> lines;
  llvm::StringRef(all).split(lines, '\n');
  std::vector<Ids> expected;
  for (llvm::StringRef line : lines) {
    Ids ids;
    llvm::SmallVector<llvm::StringRef> words;
    line.split(words, ' ', -1, /*KeepEmpty=*/false);
    for (llvm::StringRef word : words) {
      ids.push_back(0);
      EXPECT_FALSE(word.getAsInteger(10, ids.back())) << word.str();
    }
    expected.push_back(std::move(ids));
  }
  return expected;
}

void checkFamily(const std::string &family, const std::string &path) {
  auto tokenizer = import(testDataPath(path));
  ASSERT_TRUE(tokenizer);
  std::vector<std::string> texts = conformanceTexts();
  std::vector<Ids> expected = conformanceIds(family);
  ASSERT_EQ(texts.size(), 47u);
  ASSERT_GE(expected.size(), texts.size());
  for (auto [index, text] : llvm::enumerate(texts)) {
    Ids ids = encode(*tokenizer, text);
    EXPECT_EQ(ids, expected[index])
        << family << " case " << index << ": '" << text << "'";
    if (family != "qwen2") // NFC changes some texts.
      EXPECT_EQ(tokenizer->decode(ids), text) << family << " case " << index;
  }
}

TEST(Conformance, Gpt2Files) {
  MOEC_REQUIRE_TEST_DATA();
  checkFamily("gpt-2", "tokenizers/gpt2");
}

TEST(Conformance, Qwen2TokenizerJson) {
  MOEC_REQUIRE_TEST_DATA();
  checkFamily("qwen2", "tokenizers/qwen3/tokenizer.json");
}

TEST(Conformance, LlamaSentencePiece) {
  MOEC_REQUIRE_TEST_DATA();
  checkFamily("llama-spm", "tokenizers/llama2/tokenizer.model");
}

TEST(Conformance, Llama2cFile) {
  MOEC_REQUIRE_TEST_DATA();
  checkFamily("llama-spm", "tokenizers/llama2/tokenizer.bin");
}

/// The lists of goldens.json: what each text encodes to, with special tokens.
void checkGoldens(const Tokenizer &tokenizer, const std::string &model,
                  llvm::StringRef list, size_t leastCases) {
  auto goldens = llvm::json::parse(testFile("goldens.json"));
  ASSERT_TRUE(bool(goldens)) << llvm::toString(goldens.takeError());
  const llvm::json::Object *entry = goldens->getAsObject()->getObject(model);
  ASSERT_TRUE(entry);
  const llvm::json::Array *cases = entry->getArray(list);
  ASSERT_TRUE(cases);
  ASSERT_GE(cases->size(), leastCases);
  for (const llvm::json::Value &item : *cases) {
    std::string text = item.getAsObject()->getString("text")->str();
    Ids expected;
    for (const llvm::json::Value &id : *item.getAsObject()->getArray("ids"))
      expected.push_back(int32_t(*id.getAsInteger()));
    EXPECT_EQ(encode(tokenizer, text, EncodeOptions()), expected) << text;
    EXPECT_EQ(tokenizer.decode(expected), text);
  }
}

TEST(Goldens, Stories260K) {
  MOEC_REQUIRE_TEST_DATA();
  auto tokenizer = import(testDataPath("models/stories260K/tok512.bin"));
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->vocabularySize(), 512u);
  checkGoldens(*tokenizer, "stories260K", "encode", 3);
}

TEST(Goldens, TinyStories) {
  MOEC_REQUIRE_TEST_DATA();
  auto tokenizer = import(testDataPath("models/tinystories-656k"));
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->asset().bos, 1);
  EXPECT_EQ(tokenizer->asset().eos, 2);
  checkGoldens(*tokenizer, "tinystories-656k", "encode", 3);
}

// The weights were trained without the normalizer's leading mark, so the
// project's goldens for generation leave it out.
TEST(Goldens, TinyStoriesWithoutPrepend) {
  MOEC_REQUIRE_TEST_DATA();
  auto asset = importTokenizer(testDataPath("models/tinystories-656k"));
  ASSERT_TRUE(bool(asset)) << toText(asset.takeError());
  llvm::erase_if(asset->normalizer, [](const NormalizerStep &step) {
    return step.kind == NormalizerStep::Kind::Prepend;
  });
  asset->decoder.stripCount = 0;
  auto tokenizer = Tokenizer::create(std::move(*asset), "tinystories");
  ASSERT_TRUE(bool(tokenizer)) << toText(tokenizer.takeError());
  checkGoldens(**tokenizer, "tinystories-656k", "encode_noprefix", 2);
}

/// A text of every script, with runs of spaces and bytes that are no UTF-8.
std::string mixedText(uint64_t seed, size_t chars) {
  static const char *const pieces[] = {" ",
                                       "  ",
                                       "\n",
                                       "\t",
                                       "a",
                                       "the",
                                       " The",
                                       "ing",
                                       "é",
                                       "e\xCC\x81",
                                       "ß",
                                       "Ω",
                                       "я",
                                       "中",
                                       "日本",
                                       "한",
                                       "🦙",
                                       "👩‍🚀",
                                       "\xE2\x96\x81",
                                       "1",
                                       "42",
                                       "3.14",
                                       "!",
                                       "...",
                                       "'s",
                                       "'LL",
                                       "<s>",
                                       "</s>",
                                       "<0x0A>",
                                       "ﬁ",
                                       "\xC2\xA0",
                                       "\xFF",
                                       "\xE2\x82",
                                       "\xE3\x80\x80",
                                       "²",
                                       "กำ",
                                       "אב",
                                       "\r\n",
                                       "_",
                                       "$"};
  std::string text;
  for (size_t i = 0; i < chars; ++i) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    text += pieces[(seed >> 33) % std::size(pieces)];
  }
  return text;
}

TEST(SentencePiece, EqualsTheLibrary) {
  MOEC_REQUIRE_TEST_DATA();
  auto tokenizer = import(testDataPath("tokenizers/llama2/tokenizer.model"));
  ASSERT_TRUE(tokenizer);
  std::string model = testFile("tokenizers/llama2/tokenizer.model");
  for (uint64_t seed = 0; seed < 12; ++seed) {
    std::string text = mixedText(seed, 20 + 60 * seed);
    auto expected = encodeWithSentencePiece(model, text);
    ASSERT_TRUE(bool(expected)) << toText(expected.takeError());
    EXPECT_EQ(encode(*tokenizer, text), *expected) << text;
  }
}

TEST(SentencePiece, EqualsLlama2cFile) {
  MOEC_REQUIRE_TEST_DATA();
  auto model = import(testDataPath("tokenizers/llama2/tokenizer.model"));
  auto file = import(testDataPath("tokenizers/llama2/tokenizer.bin"));
  ASSERT_TRUE(model && file);
  for (uint64_t seed = 100; seed < 120; ++seed) {
    std::string text = mixedText(seed, 100);
    EXPECT_EQ(encode(*model, text), encode(*file, text)) << text;
  }
}

TEST(Stream, PiecesOfTextAreTheWhole) {
  MOEC_REQUIRE_TEST_DATA();
  for (const char *path :
       {"tokenizers/gpt2", "tokenizers/llama2/tokenizer.model",
        "models/tinystories-656k", "tokenizers/qwen3"}) {
    auto tokenizer = import(testDataPath(path));
    ASSERT_TRUE(tokenizer);
    for (uint64_t seed = 0; seed < 4; ++seed) {
      Ids ids = encode(*tokenizer, mixedText(seed, 200));
      // Ids that no text gives, too: broken characters in any order.
      uint64_t state = seed;
      for (size_t i = 0; i < 200; ++i) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        ids.push_back(int32_t((state >> 33) % 700) - 5);
      }
      StreamDecoder stream(*tokenizer);
      std::string text;
      for (int32_t id : ids) {
        std::string part = stream.push(id);
        EXPECT_TRUE(llvm::json::isUTF8(part)) << path;
        text += part;
      }
      text += stream.finish();
      EXPECT_EQ(text, tokenizer->decode(ids)) << path;
      EXPECT_TRUE(llvm::json::isUTF8(text)) << path;
    }
  }
}

// Not tinystories-656k: its vocabulary has no byte pieces.
TEST(RoundTrip, NovelThroughEveryTokenizer) {
  MOEC_REQUIRE_TEST_DATA();
  std::string novel = testFile("text/novels/Doyle_Hound_1902.txt");
  for (const char *path :
       {"tokenizers/gpt2", "tokenizers/llama2/tokenizer.model",
        "tokenizers/llama2/tokenizer.bin", "models/stories260K/tok512.bin",
        "tokenizers/qwen3"}) {
    auto tokenizer = import(testDataPath(path));
    ASSERT_TRUE(tokenizer);
    Ids ids = encode(*tokenizer, novel);
    EXPECT_TRUE(tokenizer->decode(ids) == novel) << path;
  }
}

} // namespace
