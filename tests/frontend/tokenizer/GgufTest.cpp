// The tokenizers that GGUF files embed. A file's metadata is made from other
// forms of the same tokenizers, whose expected ids are known.

#include "frontend/gguf/GgufTokenizerData.h"
#include "frontend/tokenizer/ImportTokenizer.h"
#include "ir/support/Diagnostic.h"
#include "ir/support/Json.h"
#include "runtime/text/Tokenizer.h"
#include "tests/frontend/TestData.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace moec;
using testing::HasSubstr;

namespace {

/// "ids ids ids" lines for the 47 texts.
void checkConformance(const GgufTokenizerData &data, const char *family) {
  auto asset = importGgufTokenizer(data);
  ASSERT_TRUE(bool(asset)) << toText(asset.takeError());
  auto tokenizer = Tokenizer::create(std::move(*asset), "gguf");
  ASSERT_TRUE(bool(tokenizer)) << toText(tokenizer.takeError());
  std::string input = testFile("tokenizers/conformance/ggml-vocab.inp");
  std::string output = testFile(
      std::string("tokenizers/conformance/ggml-vocab-") + family + ".out");
  llvm::SmallVector<llvm::StringRef> texts, lines;
  llvm::StringRef(input).split(texts, "\n__ggml_vocab_test__\n");
  llvm::StringRef(output).split(lines, '\n');
  ASSERT_EQ(texts.size(), 47u);
  for (auto [text, line] : llvm::zip(texts, lines)) {
    auto ids = (*tokenizer)
                   ->encode(text, {/*addSpecial=*/false,
                                   /*parseSpecial=*/false});
    ASSERT_TRUE(bool(ids)) << toText(ids.takeError());
    std::string joined = llvm::join(
        llvm::map_range(*ids, [](int32_t id) { return std::to_string(id); }),
        " ");
    EXPECT_EQ(joined, line.trim().str()) << family << ": " << text.str();
  }
}

void readSpelledVocabulary(const JsonValue &vocabulary,
                           GgufTokenizerData &data) {
  data.tokens.resize(vocabulary.members.size());
  for (const JsonMember &member : vocabulary.members)
    data.tokens[size_t(member.value.integer)] = member.key;
  data.tokenTypes.assign(data.tokens.size(), 1);
}

TEST(Gguf, Gpt2) {
  MOEC_REQUIRE_TEST_DATA();
  auto doc = JsonDocument::load(testDataPath("tokenizers/gpt2/vocab.json"));
  ASSERT_TRUE(bool(doc)) << toText(doc.takeError());
  GgufTokenizerData data;
  data.model = "gpt2";
  data.pre = "gpt-2";
  readSpelledVocabulary((*doc)->root(), data);
  std::string merges = testFile("tokenizers/gpt2/merges.txt");
  llvm::SmallVector<llvm::StringRef> lines;
  llvm::StringRef(merges).split(lines, '\n', -1, /*KeepEmpty=*/false);
  data.merges.assign(lines.begin(), lines.end());
  data.tokenTypes[50256] = 3;
  checkConformance(data, "gpt-2");
}

TEST(Gguf, Qwen2) {
  MOEC_REQUIRE_TEST_DATA();
  auto doc =
      JsonDocument::load(testDataPath("tokenizers/qwen3/tokenizer.json"));
  ASSERT_TRUE(bool(doc)) << toText(doc.takeError());
  const JsonValue *model = (*doc)->root().find("model");
  GgufTokenizerData data;
  data.model = "gpt2";
  data.pre = "qwen2";
  readSpelledVocabulary(*model->find("vocab"), data);
  for (const JsonValue &merge : model->find("merges")->items)
    data.merges.push_back(merge.items[0].string + " " + merge.items[1].string);
  checkConformance(data, "qwen2");
}

TEST(Gguf, LlamaSentencePiece) {
  MOEC_REQUIRE_TEST_DATA();
  auto source =
      importTokenizer(testDataPath("tokenizers/llama2/tokenizer.model"));
  ASSERT_TRUE(bool(source)) << toText(source.takeError());
  GgufTokenizerData data;
  data.model = "llama";
  for (const Piece &piece : source->pieces) {
    data.tokens.push_back(piece.text);
    data.scores.push_back(piece.score);
    data.tokenTypes.push_back(piece.type == PieceType::Normal    ? 1
                              : piece.type == PieceType::Unknown ? 2
                              : piece.type == PieceType::Control ? 3
                                                                 : 6);
  }
  data.bos = 1;
  data.eos = 2;
  data.unknown = 0;
  checkConformance(data, "llama-spm");
}

/// A small byte-level vocabulary: a, b, ab, a space, two special tokens.
GgufTokenizerData smallData() {
  GgufTokenizerData data;
  data.location = Location::atByte("model.gguf", 64);
  data.model = "gpt2";
  data.pre = "smollm";
  data.tokens = {"a", "b", "ab", "\xC4\xA0", "<|im_start|>", "<|im_end|>", "1"};
  data.tokenTypes = {1, 1, 1, 1, 3, 3, 1};
  data.merges = {"a b"};
  data.bos = 4;
  data.eos = 5;
  return data;
}

TEST(Gguf, FlagsAndSpecialTokens) {
  GgufTokenizerData data = smallData();
  data.addBos = true;
  data.eos = 4;
  auto asset = importGgufTokenizer(data);
  ASSERT_TRUE(bool(asset)) << toText(asset.takeError());
  EXPECT_EQ(asset->prefixIds, std::vector<int32_t>{4});
  // The end of a turn stops as well as the end that the file names.
  EXPECT_EQ(asset->stopIds, (std::vector<int32_t>{4, 5}));
  auto tokenizer = Tokenizer::create(std::move(*asset), "gguf");
  ASSERT_TRUE(bool(tokenizer)) << toText(tokenizer.takeError());
  auto ids = (*tokenizer)->encode("ab 11<|im_end|>");
  ASSERT_TRUE(bool(ids)) << toText(ids.takeError());
  EXPECT_EQ(*ids, (std::vector<int32_t>{4, 2, 3, 6, 6, 5}));
  EXPECT_EQ((*tokenizer)->decode(*ids), "ab 11");
}

TEST(Gguf, AByteThatIsNoPieceVanishes) {
  GgufTokenizerData data = smallData();
  data.unknown = 4;
  auto asset = importGgufTokenizer(data);
  ASSERT_TRUE(bool(asset)) << toText(asset.takeError());
  auto tokenizer = Tokenizer::create(std::move(*asset), "gguf");
  ASSERT_TRUE(bool(tokenizer)) << toText(tokenizer.takeError());
  auto ids = (*tokenizer)->encode("acb");
  ASSERT_TRUE(bool(ids)) << toText(ids.takeError());
  EXPECT_EQ(*ids, std::vector<int32_t>{2});
}

TEST(Gguf, SpacePrefixIsAFlag) {
  GgufTokenizerData data;
  data.model = "llama";
  data.tokens = {"<unk>", "\xE2\x96\x81", "a",
                 "\xE2\x96\x81"
                 "a"};
  data.scores = {0, -3, -2, -1};
  data.tokenTypes = {2, 1, 1, 1};
  data.unknown = 0;
  for (bool prefix : {true, false}) {
    data.addSpacePrefix = prefix;
    auto asset = importGgufTokenizer(data);
    ASSERT_TRUE(bool(asset)) << toText(asset.takeError());
    auto tokenizer = Tokenizer::create(std::move(*asset), "gguf");
    ASSERT_TRUE(bool(tokenizer)) << toText(tokenizer.takeError());
    auto ids = (*tokenizer)->encode("a a");
    ASSERT_TRUE(bool(ids)) << toText(ids.takeError());
    EXPECT_EQ(*ids, (std::vector<int32_t>{prefix ? 3 : 2, 3}));
    EXPECT_EQ((*tokenizer)->decode(*ids), "a a");
  }
}

TEST(Gguf, BadMetadataIsALocatedError) {
  auto message = [](auto change) {
    GgufTokenizerData data = smallData();
    change(data);
    auto asset = importGgufTokenizer(data);
    return asset ? std::string("no error") : toText(asset.takeError());
  };
  using Data = GgufTokenizerData;
  EXPECT_EQ(message([](Data &) {}), "no error");
  EXPECT_EQ(message([](Data &d) { d.model = "bert"; }),
            "model.gguf: at byte 64: error: expected 'tokenizer.ggml.model' to "
            "be 'llama' or 'gpt2', got 'bert'");
  EXPECT_THAT(message([](Data &d) { d.pre = "new"; }),
              HasSubstr("expected 'tokenizer.ggml.pre' to be one of default "
                        "dbrx"));
  EXPECT_THAT(message([](Data &d) { d.tokens.clear(); }), HasSubstr("got 0"));
  EXPECT_THAT(message([](Data &d) { d.tokenTypes.pop_back(); }),
              HasSubstr("expected 7 entries in 'tokenizer.ggml.token_type', as "
                        "many as tokens, got 6"));
  EXPECT_THAT(message([](Data &d) { d.scores = {1}; }),
              HasSubstr("'tokenizer.ggml.scores'"));
  EXPECT_THAT(message([](Data &d) { d.tokenTypes[2] = 7; }),
              HasSubstr("expected token 2 to have a type in [0, 6], got 7"));
  EXPECT_THAT(message([](Data &d) { d.tokenTypes[2] = 6; }),
              HasSubstr("expected token 2, a byte, to be spelled"));
  EXPECT_THAT(message([](Data &d) { d.eos = 7; }),
              HasSubstr("expected 'tokenizer.ggml.eos_token_id' in [0, 7), got "
                        "7"));
  EXPECT_THAT(message([](Data &d) { d.eot = -1; }),
              HasSubstr("expected 'tokenizer.ggml.eot_token_id' in [0, 7), got "
                        "-1"));
  EXPECT_THAT(message([](Data &d) { d.merges = {"ab"}; }),
              HasSubstr("tokenizer.ggml.merges[0]: error: expected a merge as "
                        "two pieces"));
  EXPECT_THAT(message([](Data &d) { d.merges.push_back("b b"); }),
              HasSubstr("tokenizer.ggml.merges[1]: error: expected a merge of "
                        "two pieces of the vocabulary into a third, got 'b' "
                        "and 'b', and 'bb' is no piece"));
  EXPECT_THAT(message([](Data &d) { d.merges.clear(); }),
              HasSubstr("expected 'tokenizer.ggml.merges'"));
  EXPECT_THAT(message([](Data &d) { d.model = "llama"; }),
              HasSubstr("expected 'tokenizer.ggml.scores' for the tokenizer"));
}

} // namespace
