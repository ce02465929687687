#include "frontend/llama2c/Llama2c.h"

#include "ir/support/Diagnostic.h"
#include "tests/frontend/TestData.h"
#include "tests/ir/support/TemporaryFolder.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/Endian.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace moec;
using ::testing::HasSubstr;

using Fields = std::array<int32_t, 7>;

/// dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len.
static constexpr Fields kSmall = {8, 12, 2, 4, 2, 10, 6};

/// A header and `floats` numbers 0, 1, 2, ...
static std::string file(Fields fields, size_t floats) {
  std::string text(28 + 4 * floats, '\0');
  for (size_t i = 0; i < fields.size(); ++i)
    llvm::support::endian::write32le(text.data() + 4 * i, uint32_t(fields[i]));
  for (size_t i = 0; i < floats; ++i)
    llvm::support::endian::write32le(text.data() + 28 + 4 * i,
                                     llvm::bit_cast<uint32_t>(float(i)));
  return text;
}

/// Embedding 80; a layer's norms 16, attention 8x8 + 2x 4x8 + 8x8, FFN 3x 96;
/// final norm 8; rope tables 12.
static constexpr size_t kSmallFloats =
    80 + 2 * (16 + 64 + 32 + 32 + 64 + 288) + 8 + 12;

static std::string parseFailure(llvm::StringRef text) {
  Llama2cHeader header;
  auto tensors = parseLlama2c(llvm::arrayRefFromStringRef(text), text.size(),
                              "f.bin", header);
  return tensors ? "(no error)" : toText(tensors.takeError());
}

TEST(Llama2c, PlacesTensorsByLayer) {
  TemporaryFolder folder;
  auto checkpoint =
      openLlama2c(folder.write("m.bin", file(kSmall, kSmallFloats)));
  ASSERT_TRUE(bool(checkpoint));
  EXPECT_EQ(formatName(checkpoint->format), "llama2c");
  auto firstOf = [&](llvm::StringRef name) {
    const CheckpointTensor *tensor = checkpoint->find(name);
    if (!tensor)
      return -1.0f;
    float value;
    checkpoint->readF32(*tensor, 0, llvm::MutableArrayRef<float>(value));
    return value;
  };
  EXPECT_EQ(firstOf("tok_embeddings.weight"), 0);
  EXPECT_EQ(firstOf("layers.1.attention_norm.weight"), 88);
  EXPECT_EQ(firstOf("layers.0.attention.wq.weight"), 96);
  EXPECT_EQ(firstOf("layers.1.attention.wk.weight"), 96 + 128 + 32);
  EXPECT_EQ(firstOf("layers.1.feed_forward.w3.weight"),
            80 + 16 + 2 * 192 + 16 + 4 * 96 + 96);
  EXPECT_EQ(firstOf("norm.weight"), float(kSmallFloats - 12 - 8));
  EXPECT_EQ(checkpoint->find("output.weight"), nullptr);
  auto layers = checkpoint->config.integer("n_layers");
  ASSERT_TRUE(bool(layers));
  EXPECT_EQ(*layers, 2);
}

TEST(Llama2c, NegativeVocabularyMeansAnOwnHead) {
  TemporaryFolder folder;
  Fields untied = kSmall;
  untied[5] = -10;
  auto checkpoint =
      openLlama2c(folder.write("m.bin", file(untied, kSmallFloats + 80)));
  ASSERT_TRUE(bool(checkpoint));
  ASSERT_TRUE(checkpoint->find("output.weight"));
  EXPECT_EQ(checkpoint->find("output.weight")->byteOffset,
            28 + 4 * kSmallFloats);
}

TEST(Llama2c, WrongSizes) {
  EXPECT_EQ(parseFailure("abc"), "f.bin: at byte 0: error: expected a llama2.c "
                                 "header of 28 bytes, found 3");
  EXPECT_THAT(parseFailure(file(kSmall, kSmallFloats - 1)),
              HasSubstr("asks for more tensors than the file's"));
  EXPECT_THAT(parseFailure(file(kSmall, kSmallFloats + 1)),
              HasSubstr("expected the llama2.c checkpoint to end here"));
  std::string whole = file(kSmall, kSmallFloats);
  EXPECT_TRUE(isLlama2c(llvm::arrayRefFromStringRef(whole), whole.size()));
  EXPECT_FALSE(isLlama2c(llvm::arrayRefFromStringRef(whole), whole.size() - 4));
}

TEST(Llama2c, HostileHeaders) {
  for (size_t field = 0; field < 7; ++field)
    for (int32_t value : {0, -1, INT32_MIN, INT32_MAX}) {
      if (field == 5 && value == -1)
        continue; // A vocabulary of one and an own head: only too long.
      Fields hostile = kSmall;
      hostile[field] = value;
      EXPECT_THAT(parseFailure(file(hostile, kSmallFloats)),
                  HasSubstr("at byte " + std::to_string(4 * field) +
                            ": error: expected '"));
    }
  constexpr int32_t kMost = 1 << 24;
  EXPECT_THAT(
      parseFailure(file({kMost, kMost, 1 << 14, 1, 1, kMost, kMost}, 10)),
      HasSubstr("asks for more tensors"));
  Fields heads = kSmall;
  heads[3] = 3;
  EXPECT_THAT(parseFailure(file(heads, kSmallFloats)),
              HasSubstr("'n_heads' to divide 'dim'"));
  heads = kSmall;
  heads[4] = 3;
  EXPECT_THAT(parseFailure(file(heads, kSmallFloats)),
              HasSubstr("'n_kv_heads' to divide 'n_heads'"));
  Fields later = kSmall;
  later[0] = 0x616b3432;
  later[1] = 1;
  EXPECT_THAT(parseFailure(file(later, 10)),
              HasSubstr("of version 0, found version 1"));
}

TEST(Llama2c, RealModel) {
  MOEC_REQUIRE_TEST_DATA();
  auto checkpoint =
      openLlama2c(testDataPath("models/stories260K/stories260K.bin"));
  ASSERT_TRUE(bool(checkpoint));
  EXPECT_EQ(checkpoint->tensors().size(), 2u + 5 * 9);
  EXPECT_EQ(checkpoint->find("layers.4.feed_forward.w2.weight")->shape,
            (std::vector<int64_t>{64, 172}));
}
