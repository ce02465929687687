#include "runtime/generate/BlockAllocator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace moec::runtime;
using testing::ElementsAre;

namespace {

TEST(BlockAllocator, HandsOutTheLowestFirst) {
  BlockAllocator allocator(5);
  std::vector<int32_t> first, second;
  EXPECT_TRUE(allocator.allocate(2, first));
  EXPECT_TRUE(allocator.allocate(2, second));
  EXPECT_THAT(first, ElementsAre(0, 1));
  EXPECT_THAT(second, ElementsAre(2, 3));
  EXPECT_EQ(allocator.available(), 1);
  allocator.release(first);
  EXPECT_EQ(allocator.available(), 3);
  std::vector<int32_t> third = {9};
  EXPECT_TRUE(allocator.allocate(3, third));
  EXPECT_THAT(third, ElementsAre(9, 0, 1, 4));
}

TEST(BlockAllocator, GivesAllOrNothing) {
  BlockAllocator allocator(3);
  std::vector<int32_t> blocks;
  EXPECT_FALSE(allocator.allocate(4, blocks));
  EXPECT_TRUE(blocks.empty());
  EXPECT_EQ(allocator.available(), 3);
  EXPECT_TRUE(allocator.allocate(3, blocks));
  EXPECT_FALSE(allocator.allocate(1, blocks));
  EXPECT_TRUE(allocator.allocate(0, blocks));
  EXPECT_EQ(blocks.size(), 3u);
}

TEST(BlockAllocator, MayBeEmpty) {
  BlockAllocator allocator(0);
  std::vector<int32_t> blocks;
  EXPECT_FALSE(allocator.allocate(1, blocks));
  EXPECT_EQ(allocator.total(), 0);
}

} // namespace
