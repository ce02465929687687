#include "ir/support/QuantizedBlocks.h"

#include "ir/support/Hash.h"
#include "gtest/gtest.h"

#include <limits>
#include <string>
#include <vector>

using namespace moec;

/// A fixed sequence of bytes.
static std::vector<uint8_t> sampleBytes(size_t count, uint64_t state) {
  std::vector<uint8_t> bytes(count);
  for (uint8_t &byte : bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = uint8_t(state >> 56);
  }
  return bytes;
}

static std::string digestOf(llvm::ArrayRef<float> values) {
  return toHex(sha256(llvm::ArrayRef<uint8_t>(
      reinterpret_cast<const uint8_t *>(values.data()), values.size() * 4)));
}

namespace {
struct Reference {
  ElementType type;
  uint64_t seed;
  /// Where each block keeps its f16 fields.
  std::vector<size_t> halves;
  /// SHA-256 of what the gguf Python package decodes from the same bytes.
  const char *digest;
};
} // namespace

static const Reference kReferences[] = {
    {ElementType::q8_0,
     4066,
     {0},
     "a45fb1dec309bffdb998bc274250a9c640c0a235e0ade702e3a0b439aeb67e09"},
    {ElementType::q4_0,
     4050,
     {0},
     "b5a380bb117afe4f407d4a56ae9df6dcd86aa31a865c5f4d3939dc6bca817c16"},
    {ElementType::q4_1,
     4052,
     {0, 2},
     "e1475c7f56357664646866c0bf18f34603aefd2667b6eed93514df156c66f0ba"},
    {ElementType::q5_0,
     4054,
     {0},
     "f7ad2f79fcf1f09e725ad39b5608677e1617ee03b117674af73071c5dc4d953e"},
    {ElementType::q5_1,
     4056,
     {0, 2},
     "37e1f4b87a9c00114da99f71af29e20e3b5951efac6e508df6e4e673068dd8d5"},
    {ElementType::q4_k,
     4400,
     {0, 2},
     "14b406872bdc177be4dd2668108577e88f8a5d12a897c369521acda8b1b3c254"},
    {ElementType::q5_k,
     4432,
     {0, 2},
     "a6cfef8dcc988e88995fa5f8616452a3d42961a107a35aa4d42ecdf277012eed"},
    {ElementType::q6_k,
     4466,
     {208},
     "39ab9bd7a93ff5ceb38530618833e47932135c7b2047f818e900f596bb55f2d9"},
};

static std::vector<uint8_t> sampleBlocks(const Reference &reference) {
  constexpr size_t kBlocks = 64;
  size_t step = blockBytes(reference.type);
  auto bytes = sampleBytes(kBlocks * step, reference.seed);
  // Finite scales: clears the upper bit of each exponent.
  for (size_t block = 0; block < kBlocks; ++block)
    for (size_t half : reference.halves)
      bytes[block * step + half + 1] &= 0xbf;
  return bytes;
}

TEST(QuantizedBlocks, DecodeIsBitExactToTheReference) {
  for (const Reference &reference : kReferences) {
    auto bytes = sampleBlocks(reference);
    std::vector<float> values(64 * blockElements(reference.type));
    decodeToF32(reference.type, bytes, values);
    EXPECT_EQ(digestOf(values), reference.digest)
        << elementTypeName(reference.type).str();
  }
}

TEST(QuantizedBlocks, RangesEqualPartsOfTheWhole) {
  for (const Reference &reference : kReferences) {
    auto bytes = sampleBlocks(reference);
    size_t count = 64 * blockElements(reference.type);
    std::vector<float> values(count);
    decodeToF32(reference.type, bytes, values);
    for (size_t first : {size_t(0), size_t(1), size_t(31), size_t(300)})
      for (size_t length :
           {size_t(0), size_t(1), size_t(40), size_t(700), count - first}) {
        std::vector<float> part(length);
        decodeRangeToF32(reference.type, bytes, first, part);
        EXPECT_TRUE(llvm::ArrayRef<float>(part).equals(
            llvm::ArrayRef<float>(values).slice(first, length)))
            << elementTypeName(reference.type).str() << " " << first << " "
            << length;
      }
  }
}

TEST(QuantizedBlocks, EncodeQ8IsBitExactToTheReference) {
  auto bytes = sampleBytes(32 * 256, 7);
  std::vector<float> values(bytes.size());
  for (size_t i = 0; i < bytes.size(); ++i)
    values[i] = (float(bytes[i]) - 127.5f) * 0.37f;
  std::vector<uint8_t> blocks(34 * 256);
  encodeFromF32(ElementType::q8_0, values, blocks);
  EXPECT_EQ(toHex(sha256(blocks)), "b38778e29e4cf4517da7406d9a98291b70752b4b0a2"
                                   "2a22a25bc2d88c4dd7658");
}

TEST(QuantizedBlocks, EncodeQ8HandlesZerosAndInfinities) {
  std::vector<float> values(64, 0.0f);
  values[40] = std::numeric_limits<float>::infinity();
  std::vector<uint8_t> blocks(68);
  encodeFromF32(ElementType::q8_0, values, blocks);
  EXPECT_EQ(std::vector<uint8_t>(blocks.begin(), blocks.begin() + 34),
            std::vector<uint8_t>(34, 0));
  EXPECT_EQ(blocks[35], 0x7c); // The scale is infinite, the elements 0.
  EXPECT_EQ(blocks[36 + 8], 0);
}

TEST(QuantizedBlocks, PlainTypesRoundTrip) {
  std::vector<float> values = {0.0f, -1.5f, 3.25f, 1024.0f, -0.0f};
  for (ElementType type : {ElementType::f32, ElementType::bf16,
                           ElementType::f16, ElementType::f64}) {
    ASSERT_TRUE(canEncodeFromF32(type));
    std::vector<uint8_t> bytes(*byteSize(type, values.size()));
    encodeFromF32(type, values, bytes);
    std::vector<float> back(values.size());
    decodeToF32(type, bytes, back);
    EXPECT_EQ(back, values) << elementTypeName(type).str();
    std::vector<float> part(2);
    decodeRangeToF32(type, bytes, 2, part);
    EXPECT_EQ(part, (std::vector<float>{3.25f, 1024.0f}));
  }
  EXPECT_FALSE(canEncodeFromF32(ElementType::q4_k));
}

TEST(QuantizedBlocks, IntegersConvert) {
  std::vector<uint8_t> bytes = {0xff, 0xff, 0xff, 0xff, 5, 0, 0, 0};
  std::vector<float> values(2);
  decodeToF32(ElementType::i32, bytes, values);
  EXPECT_EQ(values, (std::vector<float>{-1, 5}));
  std::vector<float> single(1);
  decodeToF32(ElementType::i8, llvm::ArrayRef<uint8_t>(bytes).take_front(1),
              single);
  EXPECT_EQ(single[0], -1);
  decodeToF32(ElementType::boolean,
              llvm::ArrayRef<uint8_t>(bytes).take_front(1), single);
  EXPECT_EQ(single[0], 1);
}
