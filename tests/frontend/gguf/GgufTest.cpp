#include "frontend/gguf/Gguf.h"

#include "frontend/gguf/GgufHeader.h"
#include "frontend/gguf/GgufWriter.h"
#include "ir/support/Diagnostic.h"
#include "ir/support/QuantizedBlocks.h"
#include "tests/ir/support/TemporaryFolder.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/Endian.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <numeric>

using namespace moec;
using ::testing::HasSubstr;

//===----------------------------------------------------------------------===//
// Files by hand
//===----------------------------------------------------------------------===//

namespace {
/// Bytes of a file, field by field.
struct Bytes {
  std::string text;

  template <typename T> Bytes &put(T value) {
    char bytes[sizeof(T)];
    llvm::support::endian::write<T, llvm::endianness::little>(bytes, value);
    text.append(bytes, sizeof(T));
    return *this;
  }
  Bytes &u32(uint32_t value) { return put<uint32_t>(value); }
  Bytes &u64(uint64_t value) { return put<uint64_t>(value); }
  Bytes &string(llvm::StringRef value) {
    u64(value.size());
    text += value;
    return *this;
  }
  Bytes &head(uint64_t tensors, uint64_t entries, uint32_t version = 3) {
    text += "GGUF";
    return u32(version).u64(tensors).u64(entries);
  }
  Bytes &tensor(llvm::StringRef name, std::vector<uint64_t> dims, uint32_t tag,
                uint64_t offset) {
    string(name).u32(uint32_t(dims.size()));
    for (uint64_t dim : dims)
      u64(dim);
    return u32(tag).u64(offset);
  }
  Bytes &data(size_t count) {
    text.resize((text.size() + 31) / 32 * 32 + count, 'd');
    return *this;
  }
};
} // namespace

static llvm::Expected<GgufHeader> parse(llvm::StringRef text) {
  return parseGguf(llvm::arrayRefFromStringRef(text), "f.gguf");
}

static std::string failure(const Bytes &bytes) {
  auto header = parse(bytes.text);
  return header ? "(no error)" : toText(header.takeError());
}

TEST(GgufHeader, EveryMetadataType) {
  Bytes bytes;
  bytes.head(0, 14);
  bytes.string("u8").u32(0).put<uint8_t>(200);
  bytes.string("i8").u32(1).put<int8_t>(-3);
  bytes.string("u16").u32(2).put<uint16_t>(60000);
  bytes.string("i16").u32(3).put<int16_t>(-300);
  bytes.string("u32").u32(4).u32(4000000000u);
  bytes.string("i32").u32(5).put<int32_t>(-5);
  bytes.string("f32").u32(6).u32(llvm::bit_cast<uint32_t>(1.5f));
  bytes.string("bool").u32(7).put<uint8_t>(1);
  bytes.string("string").u32(8).string("text");
  bytes.string("strings").u32(9).u32(8).u64(2).string("a").string("");
  bytes.string("u64").u32(10).u64(uint64_t(1) << 40);
  bytes.string("i64").u32(11).put<int64_t>(-7);
  bytes.string("f64").u32(12).u64(llvm::bit_cast<uint64_t>(2.25));
  bytes.string("nested").u32(9).u32(9).u64(2);
  bytes.u32(5).u64(1).u32(9).u32(8).u64(1).string("x");
  auto header = parse(bytes.text);
  ASSERT_TRUE(bool(header));
  GgufValues values(llvm::arrayRefFromStringRef(bytes.text), "f.gguf");
  auto integer = [&](llvm::StringRef key) {
    auto value = values.integer(*header->find(key));
    EXPECT_TRUE(bool(value)) << key.str();
    return *value;
  };
  EXPECT_EQ(integer("u8"), 200);
  EXPECT_EQ(integer("i8"), -3);
  EXPECT_EQ(integer("u16"), 60000);
  EXPECT_EQ(integer("i16"), -300);
  EXPECT_EQ(integer("u32"), 4000000000);
  EXPECT_EQ(integer("i32"), -5);
  EXPECT_EQ(integer("u64"), int64_t(1) << 40);
  EXPECT_EQ(integer("i64"), -7);
  EXPECT_EQ(*values.number(*header->find("f32")), 1.5);
  EXPECT_EQ(*values.number(*header->find("f64")), 2.25);
  EXPECT_EQ(*values.number(*header->find("i8")), -3);
  EXPECT_TRUE(*values.boolean(*header->find("bool")));
  EXPECT_EQ(*values.string(*header->find("string")), "text");
  EXPECT_EQ(*values.strings(*header->find("strings")),
            (std::vector<std::string>{"a", ""}));
  EXPECT_EQ(header->find("nested")->items, 2u);
  EXPECT_EQ(header->find("none"), nullptr);

  auto wrong = values.integer(*header->find("string"));
  ASSERT_FALSE(bool(wrong));
  EXPECT_THAT(toText(wrong.takeError()),
              HasSubstr("'string': error: expected an integer below 2^63, "
                        "found a string"));
  auto noText = values.string(*header->find("f32"));
  ASSERT_FALSE(bool(noText));
  EXPECT_THAT(toText(noText.takeError()), HasSubstr("found a f32"));
  auto noList = values.numbers(*header->find("strings"));
  ASSERT_FALSE(bool(noList));
  EXPECT_THAT(toText(noList.takeError()),
              HasSubstr("found an array of string"));
}

TEST(GgufHeader, WrongStarts) {
  EXPECT_THAT(failure({}), HasSubstr("which starts with 'GGUF'"));
  Bytes other;
  other.text = "GGML";
  EXPECT_THAT(failure(other), HasSubstr("which starts with 'GGUF'"));
  EXPECT_THAT(failure(Bytes().head(0, 0, 1)),
              HasSubstr("expected GGUF version 2 or 3, found 1"));
  EXPECT_THAT(failure(Bytes().head(0, 0, 4)), HasSubstr("found 4"));
  EXPECT_THAT(failure(Bytes().head(0, 0, 0x03000000)), HasSubstr("big-endian"));
  EXPECT_EQ(failure(Bytes().head(0, 0, 2).data(0)), "(no error)");
}

TEST(GgufHeader, HostileCounts) {
  EXPECT_THAT(failure(Bytes().head(0, ~uint64_t(0))),
              HasSubstr("claims 18446744073709551615 metadata entries"));
  EXPECT_THAT(failure(Bytes().head(~uint64_t(0), 0)),
              HasSubstr("claims 18446744073709551615 tensors"));
  EXPECT_THAT(
      failure(Bytes().head(0, 1).u64(~uint64_t(0)).u64(0)),
      HasSubstr(
          "the key of metadata entry 0 needs 18446744073709551615 bytes"));
  EXPECT_THAT(
      failure(Bytes().head(0, 1).string("k").u32(9).u32(4).u64(~uint64_t(0))),
      HasSubstr("the value of 'k' claims 18446744073709551615 items of u32"));
  EXPECT_THAT(failure(Bytes().head(0, 1).string("k").u32(9).u32(8).u64(100)),
              HasSubstr("claims 100 items of string"));
  EXPECT_THAT(failure(Bytes().head(0, 1).string("k").u32(8).u64(50)),
              HasSubstr("the value of 'k' needs 50 bytes"));
  EXPECT_THAT(failure(Bytes().head(0, 1).string("k").u32(13).u32(0)),
              HasSubstr("has the type tag 13, expected at most 12"));
  Bytes deep;
  deep.head(0, 1).string("k");
  deep.u32(9);
  for (int i = 0; i < 100; ++i)
    deep.u32(9).u64(1);
  EXPECT_THAT(failure(deep), HasSubstr("nests arrays more than 4 deep"));
  EXPECT_THAT(failure(Bytes().head(0, 1).string("").u32(4).u32(0).data(0)),
              HasSubstr("expected a metadata key, found an empty string"));
}

TEST(GgufHeader, EveryTruncationIsAnError) {
  Bytes bytes;
  bytes.head(2, 2);
  bytes.string("general.alignment").u32(4).u32(32);
  bytes.string("list").u32(9).u32(8).u64(2).string("a").string("bc");
  bytes.tensor("t", {4, 2}, 0, 0).tensor("q", {32}, 8, 32).data(32 + 34);
  ASSERT_EQ(failure(bytes), "(no error)");
  for (size_t length = 0; length < bytes.text.size(); ++length) {
    auto header = parse(llvm::StringRef(bytes.text).take_front(length));
    ASSERT_FALSE(bool(header)) << length;
    EXPECT_THAT(toText(header.takeError()), HasSubstr("f.gguf: at byte "));
  }
}

TEST(GgufHeader, HostileTensors) {
  auto one = [](std::vector<uint64_t> dims, uint32_t tag, uint64_t offset,
                size_t dataBytes) {
    return failure(
        Bytes().head(1, 0).tensor("t", dims, tag, offset).data(dataBytes));
  };
  EXPECT_EQ(one({4, 2}, 0, 0, 32), "(no error)");
  EXPECT_THAT(one({1, 1, 1, 1, 1}, 0, 0, 4),
              HasSubstr("tensor 't': error: expected at most 4 dimensions, "
                        "found 5"));
  EXPECT_THAT(one({0}, 0, 0, 4),
              HasSubstr("expected a positive dimension, found 0"));
  EXPECT_THAT(one({~uint64_t(0)}, 0, 0, 4), HasSubstr("positive dimension"));
  EXPECT_THAT(one({uint64_t(1) << 40, uint64_t(1) << 40}, 0, 0, 4),
              HasSubstr("the size of the shape overflows"));
  EXPECT_THAT(one({uint64_t(1) << 62}, 0, 0, 4), HasSubstr("overflows"));
  EXPECT_THAT(one({4}, 10, 0, 4), HasSubstr("the unsupported type Q2_K"));
  EXPECT_THAT(one({4}, 99, 0, 4), HasSubstr("the unknown type tag 99"));
  EXPECT_THAT(
      one({48}, 8, 0, 64),
      HasSubstr("rows of a multiple of 32 elements for Q8_0, found 48"));
  // 16 x 2 elements are a block's number, but a block may not cross rows.
  EXPECT_THAT(one({16, 2}, 8, 0, 64), HasSubstr("found 16"));
  EXPECT_THAT(one({4}, 0, 8, 64),
              HasSubstr("a multiple of the alignment 32, found 8"));
  EXPECT_THAT(one({4}, 0, 32, 32),
              HasSubstr("the data needs 16 bytes here, but the file has only"));
  EXPECT_THAT(one({4}, 0, ~uint64_t(31), 32), HasSubstr("the data needs"));
  EXPECT_THAT(failure(Bytes()
                          .head(2, 0)
                          .tensor("a", {16}, 0, 0)
                          .tensor("b", {16}, 0, 32)
                          .data(96)),
              HasSubstr("tensor 'b': error: the data overlaps that of tensor "
                        "'a'"));
  EXPECT_THAT(failure(Bytes()
                          .head(2, 0)
                          .tensor("a", {8}, 0, 0)
                          .tensor("a", {8}, 0, 32)
                          .data(64)),
              HasSubstr("two tensors are named 'a'"));
  for (uint32_t alignment : {0u, 4u, 24u, 1u << 30})
    EXPECT_THAT(failure(Bytes()
                            .head(0, 1)
                            .string("general.alignment")
                            .u32(4)
                            .u32(alignment)
                            .data(0)),
                HasSubstr("to be a power of two from 8 to 16777216, found " +
                          std::to_string(alignment)));
  EXPECT_THAT(failure(Bytes()
                          .head(0, 2)
                          .string("a")
                          .u32(0)
                          .put<uint8_t>(1)
                          .string("a")
                          .u32(0)
                          .put<uint8_t>(1)
                          .data(0)),
              HasSubstr("the metadata key 'a' occurs twice"));
}

//===----------------------------------------------------------------------===//
// Whole files
//===----------------------------------------------------------------------===//

TEST(Gguf, WriterAndReaderAgree) {
  TemporaryFolder folder;
  GgufWriter writer;
  writer.addString("general.architecture", "llama");
  writer.addU32("llama.block_count", 2);
  writer.addF32("llama.rope.freq_base", 500.5f);
  writer.addBool("flag", true);
  writer.addI32("negative", -4);
  writer.addU64("hash", ~uint64_t(0));
  writer.addI32s("per_layer", {3, 3});
  writer.addF32s("floats", {0.5f, 2.0f});
  std::vector<float> values(64);
  std::iota(values.begin(), values.end(), -10.0f);
  std::vector<std::vector<uint8_t>> data;
  std::vector<llvm::ArrayRef<uint8_t>> views;
  const ElementType types[] = {ElementType::f32, ElementType::bf16,
                               ElementType::q8_0, ElementType::f16};
  for (ElementType type : types) {
    writer.addTensor(elementTypeName(type), type, {2, 32});
    data.emplace_back(*byteSize(type, values.size()));
    encodeFromF32(type, values, data.back());
  }
  for (const auto &bytes : data)
    views.push_back(bytes);
  std::string path = folder.file("m.gguf");
  ASSERT_EQ(toText(writer.write(path, views)), "");
  EXPECT_EQ(folder.read("m.gguf").size(), writer.fileBytes());

  auto checkpoint = openGguf(path);
  ASSERT_TRUE(bool(checkpoint));
  EXPECT_EQ(formatName(checkpoint->format), "gguf");
  for (size_t i = 0; i < 4; ++i) {
    const CheckpointTensor *tensor =
        checkpoint->find(elementTypeName(types[i]));
    ASSERT_TRUE(tensor);
    EXPECT_EQ(tensor->type, types[i]);
    EXPECT_EQ(tensor->shape, (std::vector<int64_t>{2, 32}));
    EXPECT_EQ(tensor->byteOffset, writer.byteOffset(i));
    EXPECT_EQ(tensor->byteSize, writer.byteSize(i));
    EXPECT_EQ(checkpoint->bytes(*tensor), views[i]);
    std::vector<float> back(64);
    checkpoint->readF32(*tensor, 0, back);
    for (size_t j = 0; j < 64; ++j)
      EXPECT_NEAR(back[j], values[j], types[i] == ElementType::q8_0 ? 0.25 : 0);
  }
  const Config &config = checkpoint->config;
  EXPECT_EQ(**config.string("general.architecture"), "llama");
  EXPECT_EQ(**config.integer("llama.block_count"), 2);
  EXPECT_EQ(**config.number("llama.rope.freq_base"), 500.5);
  EXPECT_TRUE(**config.boolean("flag"));
  EXPECT_EQ(**config.integer("negative", -10), -4);
  EXPECT_FALSE(config.has("hash"));
  EXPECT_EQ(config.find("per_layer")->items[1].integer, 3);
  EXPECT_EQ(config.find("floats")->items[1].number, 2.0);
  auto tooSmall = config.integer("llama.block_count", 3);
  ASSERT_FALSE(bool(tooSmall));
  EXPECT_THAT(toText(tooSmall.takeError()),
              HasSubstr("m.gguf: at byte 98: error: expected "
                        "'llama.block_count' to be an integer from 3"));
}

TEST(Gguf, PartsOfAModelAreRefused) {
  TemporaryFolder folder;
  GgufWriter writer;
  writer.addU32("split.count", 3);
  std::string path = folder.file("m.gguf");
  ASSERT_EQ(toText(writer.write(path, {})), "");
  auto checkpoint = openGguf(path);
  ASSERT_FALSE(bool(checkpoint));
  EXPECT_THAT(toText(checkpoint.takeError()),
              HasSubstr("found one of 3 parts; merge them"));
}

TEST(Gguf, Tokenizer) {
  TemporaryFolder folder;
  GgufWriter writer;
  writer.addString("tokenizer.ggml.model", "llama");
  writer.addString("tokenizer.ggml.pre", "default");
  writer.addStrings("tokenizer.ggml.tokens", {"<unk>", "<s>", "a"});
  writer.addF32s("tokenizer.ggml.scores", {0, 0, -1.5f});
  writer.addI32s("tokenizer.ggml.token_type", {2, 3, 1});
  writer.addStrings("tokenizer.ggml.merges", {"a b"});
  writer.addU32("tokenizer.ggml.bos_token_id", 1);
  writer.addBool("tokenizer.ggml.add_bos_token", true);
  writer.addString("tokenizer.chat_template", "{{ x }}");
  std::string path = folder.file("m.gguf");
  ASSERT_EQ(toText(writer.write(path, {})), "");
  auto read = readGgufTokenizer(path);
  ASSERT_TRUE(bool(read));
  ASSERT_TRUE(read->has_value());
  const GgufTokenizerData &data = **read;
  EXPECT_EQ(data.model, "llama");
  EXPECT_EQ(data.pre, "default");
  EXPECT_EQ(data.tokens, (std::vector<std::string>{"<unk>", "<s>", "a"}));
  EXPECT_EQ(data.scores, (std::vector<float>{0, 0, -1.5f}));
  EXPECT_EQ(data.tokenTypes, (std::vector<int32_t>{2, 3, 1}));
  EXPECT_EQ(data.merges, std::vector<std::string>{"a b"});
  EXPECT_EQ(data.bos, 1);
  EXPECT_EQ(data.eos, std::nullopt);
  EXPECT_EQ(data.addBos, true);
  EXPECT_EQ(data.chatTemplate, "{{ x }}");
  EXPECT_EQ(data.location.file, path);
}

TEST(Gguf, TokenizersThatDoNotFit) {
  TemporaryFolder folder;
  auto failureOf = [&](const GgufWriter &writer) {
    std::string path = folder.file("m.gguf");
    EXPECT_EQ(toText(writer.write(path, {})), "");
    auto read = readGgufTokenizer(path);
    return read ? std::string(*read ? "(data)" : "(none)")
                : toText(read.takeError());
  };
  GgufWriter none;
  EXPECT_EQ(failureOf(none), "(none)");
  GgufWriter scores;
  scores.addStrings("tokenizer.ggml.tokens", {"a", "b"});
  scores.addF32s("tokenizer.ggml.scores", {1});
  EXPECT_THAT(failureOf(scores),
              HasSubstr("expected an item for each of the 2 tokens, found 1"));
  GgufWriter types;
  types.addStrings("tokenizer.ggml.tokens", {"a"});
  types.addF32s("tokenizer.ggml.token_type", {1e20f});
  EXPECT_THAT(failureOf(types), HasSubstr("expected 32-bit integers"));
  GgufWriter tokens;
  tokens.addU32("tokenizer.ggml.tokens", 3);
  EXPECT_THAT(failureOf(tokens),
              HasSubstr("expected an array of strings, found a u32"));
  GgufWriter id;
  id.addStrings("tokenizer.ggml.tokens", {"a"});
  id.addString("tokenizer.ggml.bos_token_id", "one");
  EXPECT_THAT(failureOf(id), HasSubstr("expected an integer"));
}
