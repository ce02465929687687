#include "runtime/cpu/Pack.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/QuantizedBlocks.h"
#include "runtime/cpu/ThreadPool.h"
#include "runtime/cpu/Transpose.h"

#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace moec;
using namespace moec::runtime;
using Kind = WeightLayout::Kind;

namespace {

/// A weight of reproducible numbers, of both signs.
HostTensor makeWeight(ElementType encoding, std::vector<int64_t> shape,
                      unsigned seed = 1) {
  std::vector<float> numbers(*elementCount(shape));
  uint32_t state = seed;
  for (float &number : numbers) {
    state = state * 1664525u + 1013904223u;
    number = float(int32_t(state)) * 0x1p-31f;
  }
  auto bytes = std::make_shared<std::vector<uint8_t>>(
      *byteSize(encoding, numbers.size()));
  if (canEncodeFromF32(encoding)) {
    encodeFromF32(encoding, numbers, *bytes);
  } else {
    // Any bytes are blocks, but scales must be finite: clear the top bits of
    // each half where the scales of these types lie.
    for (uint8_t &byte : *bytes) {
      state = state * 1664525u + 1013904223u;
      byte = uint8_t(state >> 24);
    }
    for (size_t block = 0; block < bytes->size(); block += blockBytes(encoding))
      (*bytes)[block + 1] &= 0x3f, (*bytes)[block + 3] &= 0x3f;
  }
  return {*bytes, encoding, std::move(shape), bytes};
}

std::vector<float> numbersOf(const HostTensor &weight) {
  std::vector<float> numbers(*elementCount(weight.shape));
  decodeToF32(weight.encoding, weight.bytes, numbers);
  return numbers;
}

std::vector<uint8_t> pack(const WeightLayout &layout,
                          llvm::ArrayRef<HostTensor> weights,
                          unsigned threads = 1) {
  ThreadPool pool(threads);
  std::vector<uint8_t> out(*packedBytes(layout, weights[0].shape), 0xee);
  llvm::Error err = packWeight(layout, weights, out, pool);
  EXPECT_FALSE(bool(err)) << toText(std::move(err));
  return out;
}

/// The layout of plan.fbs, written as directly as possible.
std::vector<uint8_t> packReference(const WeightLayout &layout,
                                   llvm::ArrayRef<HostTensor> weights) {
  const std::vector<int64_t> &shape = weights[0].shape;
  size_t columns = size_t(shape.back()), rows = size_t(shape[shape.size() - 2]);
  size_t outer = 1;
  for (size_t d = 0; d + 2 < shape.size(); ++d)
    outer *= size_t(shape[d]);
  size_t panel = layout.panel, group = layout.group;
  size_t panels = (rows + panel - 1) / panel;
  std::vector<std::vector<float>> numbers;
  for (const HostTensor &weight : weights)
    numbers.push_back(numbersOf(weight));
  auto at = [&](size_t w, size_t o, size_t n, size_t k) {
    return n < rows && k < columns ? numbers[w][(o * rows + n) * columns + k]
                                   : 0.0f;
  };
  std::vector<uint8_t> out;
  auto put = [&](const auto &value) {
    auto *bytes = reinterpret_cast<const uint8_t *>(&value);
    out.insert(out.end(), bytes, bytes + sizeof(value));
  };
  auto putElement = [&](float number) {
    if (layout.element == ElementType::f32)
      put(number);
    else if (layout.element == ElementType::bf16)
      put(f32ToBf16(number));
    else
      put(f32ToF16(number));
  };
  for (size_t o = 0; o < outer; ++o)
    for (size_t p = 0; p < panels; ++p)
      for (size_t w = 0; w < weights.size(); ++w) {
        if (layout.element != ElementType::q8_0) {
          for (size_t g = 0; g < (columns + group - 1) / group; ++g)
            for (size_t r = 0; r < panel; ++r)
              for (size_t i = 0; i < group; ++i)
                putElement(at(w, o, p * panel + r, g * group + i));
          continue;
        }
        for (size_t b = 0; b < (columns + 31) / 32; ++b) {
          std::vector<float> scales(panel, 0.0f);
          std::vector<std::vector<int8_t>> quants(panel,
                                                  std::vector<int8_t>(32, 0));
          for (size_t r = 0; r < panel && p * panel + r < rows; ++r) {
            std::vector<float> block(32);
            for (size_t i = 0; i < 32; ++i)
              block[i] = at(w, o, p * panel + r, b * 32 + i);
            std::vector<uint8_t> encoded(34);
            if (weights[w].encoding == ElementType::q8_0)
              std::memcpy(encoded.data(),
                          weights[w].bytes.data() +
                              ((o * rows + p * panel + r) * columns / 32 + b) *
                                  34,
                          34);
            else
              encodeFromF32(ElementType::q8_0, block, encoded);
            uint16_t half;
            std::memcpy(&half, encoded.data(), 2);
            scales[r] = f16ToF32(half);
            std::memcpy(quants[r].data(), encoded.data() + 2, 32);
          }
          for (float scale : scales)
            put(scale);
          for (size_t g = 0; g < 32 / group; ++g)
            for (size_t r = 0; r < panel; ++r)
              for (size_t i = 0; i < group; ++i)
                put(quants[r][g * group + i]);
        }
      }
  return out;
}

TEST(Pack, AgreesWithTheDefinition) {
  struct Case {
    ElementType encoding, element;
    unsigned panel, group;
    std::vector<int64_t> shape;
  };
  using E = ElementType;
  const Case cases[] = {
      {E::f32, E::f32, 16, 1, {48, 64}},
      {E::f32, E::f32, 16, 1, {33, 70}},
      {E::f32, E::f32, 8, 1, {2, 9, 5}},
      {E::f32, E::f32, 4, 4, {2, 9, 5}},
      {E::bf16, E::bf16, 16, 2, {3, 17, 33}},
      {E::bf16, E::bf16, 32, 2, {64, 4100}},
      {E::bf16, E::bf16, 16, 1, {17, 9}},
      {E::f32, E::bf16, 16, 2, {2, 2, 20, 2049}},
      {E::f16, E::f32, 16, 1, {16, 2050}},
      {E::f32, E::f16, 16, 2, {16, 31}},
      {E::q4_1, E::f32, 16, 1, {20, 96}},
      {E::q4_0, E::bf16, 16, 2, {20, 96}},
      {E::q6_k, E::f32, 16, 1, {5, 512}},
      {E::q8_0, E::q8_0, 16, 4, {2, 33, 96}},
      {E::q8_0, E::q8_0, 8, 8, {8, 2080}},
      {E::f32, E::q8_0, 16, 4, {18, 64}},
      {E::f32, E::q8_0, 16, 4, {18, 70}},
      {E::q4_1, E::q8_0, 16, 32, {18, 64}},
      {E::q8_0, E::f32, 16, 1, {18, 64}},
      {E::f32, E::f32, 16, 1, {0, 64}},
      {E::f32, E::f32, 16, 1, {4, 0}},
  };
  for (const Case &c : cases) {
    HostTensor weight = makeWeight(c.encoding, c.shape);
    WeightLayout layout{Kind::panels, c.element, c.panel, c.group};
    std::vector<uint8_t> expected = packReference(layout, weight);
    std::string what = elementTypeName(c.encoding).str() + " to " +
                       elementTypeName(c.element).str() + ", panel " +
                       std::to_string(c.panel) + ", group " +
                       std::to_string(c.group) + ", columns " +
                       std::to_string(c.shape.back());
    EXPECT_EQ(*packedBytes(layout, c.shape), expected.size()) << what;
    EXPECT_TRUE(pack(layout, weight) == expected) << what;
    EXPECT_TRUE(pack(layout, weight, 3) == expected) << what;
    layout.kind = Kind::gatedPanels;
    HostTensor pair[] = {weight, makeWeight(c.encoding, c.shape, 2)};
    EXPECT_TRUE(pack(layout, pair, 2) == packReference(layout, pair))
        << "gated " << what;
  }
}

TEST(Pack, ReadsWeightsInPieces) {
  // The same rows as one weight, and as three pieces of two encodings.
  HostTensor whole = makeWeight(ElementType::bf16, {2, 15, 64});
  HostTensor split;
  split.shape = whole.shape;
  constexpr size_t kRowBytes = 128;
  split.pieces = {
      {whole.bytes.take_front(7 * kRowBytes), ElementType::bf16, whole.owner},
      {{}, ElementType::f32, nullptr},
      {whole.bytes.slice(7 * kRowBytes, 13 * kRowBytes), ElementType::bf16,
       whole.owner}};
  std::vector<float> last(10 * 64);
  decodeToF32(ElementType::bf16, whole.bytes.take_back(10 * kRowBytes), last);
  auto lastBytes = std::make_shared<std::vector<uint8_t>>(last.size() * 4);
  std::memcpy(lastBytes->data(), last.data(), lastBytes->size());
  split.pieces.push_back({*lastBytes, ElementType::f32, lastBytes});
  for (WeightLayout layout :
       {WeightLayout{Kind::rowMajor, ElementType::bf16, 0, 0},
        WeightLayout{Kind::rowMajor, ElementType::f32, 0, 0},
        WeightLayout{Kind::panels, ElementType::bf16, 8, 2},
        WeightLayout{Kind::panels, ElementType::f32, 16, 1},
        WeightLayout{Kind::panels, ElementType::q8_0, 16, 4}}) {
    EXPECT_FALSE(isPackedAlready(layout, split));
    EXPECT_TRUE(pack(layout, split, 2) == pack(layout, whole));
  }
  ThreadPool pool(1);
  WeightLayout layout{Kind::rowMajor, ElementType::f32, 0, 0};
  std::vector<uint8_t> out(*packedBytes(layout, split.shape));
  split.pieces.pop_back();
  EXPECT_THAT(toText(packWeight(layout, split, out, pool)),
              testing::HasSubstr("expects 1920 elements, got 1280"));
  split.pieces[0].bytes = split.pieces[0].bytes.drop_back(2);
  EXPECT_THAT(toText(packWeight(layout, split, out, pool)),
              testing::HasSubstr("expects whole rows of 64 elements of bf16, "
                                 "got 894 bytes"));
}

TEST(Pack, TakesRotaryRowsInTheirOrder) {
  // Two heads of 6 rows; row j of a head is stored as row 2 (j % 3) + j / 3.
  HostTensor stored = makeWeight(ElementType::f32, {12, 40});
  auto ordered = std::make_shared<std::vector<uint8_t>>();
  for (size_t head = 0; head < 2; ++head)
    for (size_t j : {0, 2, 4, 1, 3, 5})
      ordered->insert(ordered->end(),
                      stored.bytes.data() + (head * 6 + j) * 160,
                      stored.bytes.data() + (head * 6 + j + 1) * 160);
  HostTensor expected{*ordered, ElementType::f32, {12, 40}, ordered};
  HostTensor rotary;
  rotary.shape = {12, 40};
  rotary.pieces = {{stored.bytes, ElementType::f32, stored.owner, 2}};
  for (WeightLayout layout :
       {WeightLayout{Kind::rowMajor, ElementType::f32, 0, 0},
        WeightLayout{Kind::rowMajor, ElementType::bf16, 0, 0},
        WeightLayout{Kind::panels, ElementType::bf16, 8, 2},
        WeightLayout{Kind::panels, ElementType::f32, 16, 1},
        WeightLayout{Kind::panels, ElementType::q8_0, 16, 4}})
    EXPECT_TRUE(pack(layout, rotary, 2) == pack(layout, expected));
  ThreadPool pool(1);
  WeightLayout layout{Kind::rowMajor, ElementType::f32, 0, 0};
  std::vector<uint8_t> out(*packedBytes(layout, rotary.shape));
  rotary.pieces[0].rotaryHeads = 4;
  EXPECT_THAT(toText(packWeight(layout, rotary, out, pool)),
              testing::HasSubstr("expects the rows of 4 heads, in pairs, got "
                                 "12"));
}

TEST(Pack, JoinsVectors) {
  // A fused projection's bias: vectors of different lengths and encodings.
  HostTensor joined, parts[] = {makeWeight(ElementType::f32, {48}),
                                makeWeight(ElementType::bf16, {16})};
  joined.shape = {64};
  std::vector<float> expected;
  for (HostTensor &part : parts) {
    joined.pieces.push_back({part.bytes, part.encoding, part.owner});
    llvm::append_range(expected, numbersOf(part));
  }
  WeightLayout layout{Kind::rowMajor, ElementType::f32, 0, 0};
  std::vector<uint8_t> out = pack(layout, joined);
  ASSERT_EQ(out.size(), expected.size() * 4);
  EXPECT_EQ(std::memcmp(out.data(), expected.data(), out.size()), 0);
  ThreadPool pool(1);
  layout.element = ElementType::q8_0;
  out.resize(*packedBytes(layout, joined.shape));
  EXPECT_THAT(toText(packWeight(layout, joined, out, pool)),
              testing::HasSubstr("a piece that ends behind element 48 splits "
                                 "a block of q8_0"));
}

TEST(Pack, ConvertsRowMajorWeights) {
  for (ElementType encoding : {ElementType::q4_1, ElementType::bf16}) {
    HostTensor weight = makeWeight(encoding, {2, 300, 512});
    WeightLayout layout{Kind::rowMajor, ElementType::f32, 0, 0};
    std::vector<uint8_t> out = pack(layout, weight, 2);
    std::vector<float> expected = numbersOf(weight);
    ASSERT_EQ(out.size(), expected.size() * 4);
    EXPECT_EQ(std::memcmp(out.data(), expected.data(), out.size()), 0);
  }
}

TEST(Pack, MakesAnyPart) {
  HostTensor matrix = makeWeight(ElementType::bf16, {3, 37, 96});
  HostTensor pair[] = {matrix, makeWeight(ElementType::bf16, {3, 37, 96}, 2)};
  // Enough for several units, over pieces of two encodings and rotated rows.
  HostTensor rows = makeWeight(ElementType::f32, {1400, 96});
  HostTensor pieces;
  pieces.shape = {1400 + 1404, 96};
  pieces.pieces = {{rows.bytes, rows.encoding, rows.owner, 7}};
  HostTensor more = makeWeight(ElementType::q4_0, {1404, 96});
  pieces.pieces.push_back({more.bytes, more.encoding, more.owner, 0});
  struct Case {
    WeightLayout layout;
    llvm::ArrayRef<HostTensor> weights;
  };
  using E = ElementType;
  for (const Case &c : {Case{{Kind::panels, E::bf16, 16, 2}, matrix},
                        Case{{Kind::gatedPanels, E::bf16, 16, 2}, pair},
                        Case{{Kind::panels, E::q8_0, 16, 4}, matrix},
                        Case{{Kind::rowMajor, E::f32, 0, 0}, pieces},
                        Case{{Kind::rowMajor, E::q8_0, 0, 0}, pieces}}) {
    std::vector<uint8_t> whole = pack(c.layout, c.weights);
    auto packer = WeightPacker::create(c.layout, c.weights);
    ASSERT_TRUE(bool(packer)) << toText(packer.takeError());
    ASSERT_EQ(packer->bytes(), whole.size());
    ASSERT_GT(packer->unitBytes(), 0u);
    for (uint64_t step : {uint64_t(4096), uint64_t(5000),
                          packer->unitBytes() * 2, packer->bytes()}) {
      std::vector<uint8_t> parts(whole.size(), 0xee);
      for (uint64_t at = 0; at < parts.size(); at += step)
        packer->pack(at, llvm::MutableArrayRef<uint8_t>(parts).slice(
                             at, std::min<uint64_t>(step, parts.size() - at)));
      EXPECT_TRUE(parts == whole) << step;
    }
    packer->pack(whole.size(), {});
  }
}

TEST(Pack, UsesAlignedWeightsAsTheyAre) {
  HostTensor weight = makeWeight(ElementType::f32, {4, 8});
  WeightLayout layout{Kind::rowMajor, ElementType::f32, 0, 0};
  EXPECT_TRUE(isPackedAlready(layout, weight));
  HostTensor shifted = weight;
  shifted.bytes = llvm::ArrayRef<uint8_t>(weight.bytes.data() + 1, 16);
  EXPECT_FALSE(isPackedAlready(layout, shifted));
  layout.element = ElementType::bf16;
  EXPECT_FALSE(isPackedAlready(layout, weight));
  layout.kind = Kind::panels;
  layout.element = ElementType::f32;
  EXPECT_FALSE(isPackedAlready(layout, weight));
}

TEST(Pack, RefusesWhatCannotBe) {
  ThreadPool pool(1);
  HostTensor weight = makeWeight(ElementType::f32, {4, 32});
  WeightLayout layout{Kind::rowMajor, ElementType::q4_0, 0, 0};
  std::vector<uint8_t> out(*packedBytes(layout, weight.shape));
  EXPECT_THAT(toText(packWeight(layout, weight, out, pool)),
              testing::HasSubstr("in f32 cannot be converted to q4_0"));
  layout = {Kind::gatedPanels, ElementType::f32, 4, 1};
  EXPECT_THAT(toText(packWeight(layout, weight, out, pool)),
              testing::HasSubstr("expects 2 weights, got 1"));
  HostTensor shorter = weight;
  shorter.bytes = weight.bytes.drop_back(4);
  layout.kind = Kind::panels;
  EXPECT_THAT(toText(packWeight(layout, shorter, out, pool)),
              testing::HasSubstr("expects whole rows of 32 elements of f32, "
                                 "got 508 bytes"));
  int64_t huge = int64_t(1) << 58;
  layout.panel = 1024;
  EXPECT_EQ(packedBytes(layout, {1, huge}), std::nullopt);
}

TEST(Transpose, WorksForAnyShape) {
  for (unsigned unitBytes : {1u, 2u, 4u, 8u, 12u})
    for (size_t rowCount : {1, 7, 8, 16, 19})
      for (size_t units : {0, 1, 8, 21, 64}) {
        std::vector<std::vector<uint8_t>> rows(rowCount);
        std::vector<const uint8_t *> pointers;
        for (size_t r = 0; r < rowCount; ++r) {
          rows[r].resize(units * unitBytes + 1);
          for (size_t i = 0; i < rows[r].size(); ++i)
            rows[r][i] = uint8_t(r * 31 + i * 7);
          pointers.push_back(rows[r].data());
        }
        std::vector<uint8_t> out(rowCount * units * unitBytes);
        transposeUnits(pointers, units, unitBytes, out.data());
        for (size_t u = 0; u < units; ++u)
          for (size_t r = 0; r < rowCount; ++r)
            ASSERT_EQ(std::memcmp(out.data() + (u * rowCount + r) * unitBytes,
                                  rows[r].data() + u * unitBytes, unitBytes),
                      0)
                << unitBytes << ", " << rowCount << ", " << u << ", " << r;
      }
}

} // namespace
