#include "runtime/hal/WeightLayout.h"

#include <gtest/gtest.h>

using namespace moec;
using namespace moec::runtime;
using Kind = WeightLayout::Kind;

namespace {

TEST(WeightLayout, CountsBytes) {
  using E = ElementType;
  EXPECT_EQ(packedBytes({Kind::rowMajor, E::f32, 0, 0}, {3, 5}), 60u);
  EXPECT_EQ(packedBytes({Kind::rowMajor, E::q8_0, 0, 0}, {3, 64}), 204u);
  EXPECT_EQ(packedBytes({Kind::rowMajor, E::f32, 0, 0}, {}), 4u);
  // 2 panels of 16 rows, 3 groups of 2 columns.
  EXPECT_EQ(packedBytes({Kind::panels, E::bf16, 16, 2}, {17, 5}),
            2u * 16 * 6 * 2);
  EXPECT_EQ(packedBytes({Kind::gatedPanels, E::bf16, 16, 2}, {4, 17, 5}),
            2u * 4 * 2 * 16 * 6 * 2);
  // 2 blocks of 32 columns: a scale and 32 bytes each.
  EXPECT_EQ(packedBytes({Kind::panels, E::q8_0, 16, 4}, {16, 33}),
            16u * 2 * 36);
  EXPECT_EQ(packedBytes({Kind::panels, E::f32, 16, 1}, {0, 5}), 0u);
}

TEST(WeightLayout, HasNoBytesWhereNoneCanBe) {
  using E = ElementType;
  int64_t huge = int64_t(1) << 40;
  EXPECT_EQ(packedBytes({Kind::rowMajor, E::f32, 0, 0}, {huge, huge}),
            std::nullopt);
  EXPECT_EQ(packedBytes({Kind::rowMajor, E::f64, 0, 0}, {huge << 21}),
            std::nullopt);
  EXPECT_EQ(packedBytes({Kind::rowMajor, E::q8_0, 0, 0}, {3, 5}), std::nullopt);
  EXPECT_EQ(packedBytes({Kind::panels, E::f32, 16, 1}, {5}), std::nullopt);
  EXPECT_EQ(packedBytes({Kind::panels, E::f32, 1024, 1}, {1, huge << 18}),
            std::nullopt);
  EXPECT_EQ(
      packedBytes({Kind::panels, E::f32, 1024, 1024}, {int64_t(1) << 54, 1}),
      std::nullopt);
}

} // namespace
