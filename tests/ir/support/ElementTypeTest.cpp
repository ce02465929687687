#include "ir/support/ElementType.h"

#include "gtest/gtest.h"

#include <cmath>
#include <limits>
#include <vector>

using namespace moec;

TEST(ElementType, NamesRoundTrip) {
  for (unsigned i = 0; i < kElementTypes; ++i) {
    ElementType type = ElementType(i);
    EXPECT_EQ(parseElementType(elementTypeName(type)), type);
  }
  EXPECT_EQ(parseElementType("q7_0"), std::nullopt);
  EXPECT_EQ(parseElementType(""), std::nullopt);
}

TEST(ElementType, ByteSizesOfWholeBlocksOnly) {
  EXPECT_EQ(byteSize(ElementType::f32, 3), 12u);
  EXPECT_EQ(byteSize(ElementType::q4_0, 64), 36u);
  EXPECT_EQ(byteSize(ElementType::q4_0, 63), std::nullopt);
  EXPECT_EQ(byteSize(ElementType::q6_k, 512), 420u);
  EXPECT_EQ(byteSize(ElementType::f64, uint64_t(1) << 61), std::nullopt);
}

TEST(ElementType, ElementCountOfHostileShapes) {
  EXPECT_EQ(elementCount({2, 3, 4}), 24u);
  EXPECT_EQ(elementCount({}), 1u);
  EXPECT_EQ(elementCount({5, 0}), 0u);
  EXPECT_EQ(elementCount({-1, 2}), std::nullopt);
  int64_t big = int64_t(1) << 40;
  EXPECT_EQ(elementCount({big, big}), std::nullopt);
  // A zero does not hide the overflow of the rest.
  EXPECT_EQ(elementCount({big, big, 0}), std::nullopt);
  EXPECT_EQ(elementCount({std::numeric_limits<int64_t>::max()}),
            uint64_t(std::numeric_limits<int64_t>::max()));
}

TEST(ElementType, F16RoundTripsEveryValue) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    float value = f16ToF32(uint16_t(bits));
    if (std::isnan(value)) {
      EXPECT_EQ(f32ToF16(value), bits | 0x200u);
      continue;
    }
    EXPECT_EQ(f32ToF16(value), bits);
  }
}

TEST(ElementType, F16RoundsToNearestEven) {
  auto convert = [](uint32_t bits) {
    return f32ToF16(llvm::bit_cast<float>(bits));
  };
  EXPECT_EQ(convert(0x477fefff), 0x7bff); // Just below the half way to 2^16.
  EXPECT_EQ(convert(0x477ff000), 0x7c00);
  EXPECT_EQ(convert(0x33000000), 0x0000); // A tie between 0 and 2^-24.
  EXPECT_EQ(convert(0x33000001), 0x0001);
  EXPECT_EQ(convert(0x387fffff), 0x0400); // A subnormal that becomes normal.
  EXPECT_EQ(convert(0x3f801000), 0x3c00); // Ties, to even below and above.
  EXPECT_EQ(convert(0x3f803000), 0x3c02);
  EXPECT_EQ(convert(0x80000000), 0x8000);
  EXPECT_EQ(convert(0xff800000), 0xfc00);
  EXPECT_EQ(convert(0x7f800001), 0x7e00); // A signalling NaN becomes quiet.
}

TEST(ElementType, F16AgreesWithExactRounding) {
  // Between neighbouring halves, the midpoint decides.
  for (uint32_t bits = 0; bits < 0x7bff; ++bits) {
    float low = f16ToF32(uint16_t(bits)), high = f16ToF32(uint16_t(bits + 1));
    float middle = float((double(low) + double(high)) / 2);
    EXPECT_EQ(f32ToF16(middle), bits + (bits & 1)) << bits;
    EXPECT_EQ(f32ToF16(std::nextafter(middle, low)), bits) << bits;
    EXPECT_EQ(f32ToF16(std::nextafter(middle, high)), bits + 1) << bits;
  }
}

TEST(ElementType, Bf16RoundsToNearestEven) {
  auto convert = [](uint32_t bits) {
    return f32ToBf16(llvm::bit_cast<float>(bits));
  };
  EXPECT_EQ(convert(0x3f808000), 0x3f80);
  EXPECT_EQ(convert(0x3f818000), 0x3f82);
  EXPECT_EQ(convert(0x3f808001), 0x3f81);
  EXPECT_EQ(convert(0x7f7fffff), 0x7f80);
  EXPECT_EQ(convert(0x7f800001), 0x7fc0);
  EXPECT_EQ(convert(0xffc12345), 0xffc1);
  for (uint32_t bits = 0; bits < 0x10000; ++bits)
    if (!std::isnan(bf16ToF32(uint16_t(bits))))
      EXPECT_EQ(f32ToBf16(bf16ToF32(uint16_t(bits))), bits);
}
