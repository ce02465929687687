#include "tools/driver/Align.h"

#include <gtest/gtest.h>

using namespace moec;

using Keys = std::vector<uint64_t>;
using Pairs = std::vector<std::pair<size_t, size_t>>;

TEST(AlignTest, equalListsMatchOneByOne) {
  EXPECT_EQ(alignKeys(Keys{1, 2, 1}, Keys{1, 2, 1}),
            (Pairs{{0, 0}, {1, 1}, {2, 2}}));
}

TEST(AlignTest, emptyListsMatchNothing) {
  EXPECT_EQ(alignKeys(Keys{}, Keys{1}), Pairs{});
  EXPECT_EQ(alignKeys(Keys{1}, Keys{}), Pairs{});
}

// What one key became is a gap between two matches.
TEST(AlignTest, rewritesAreGaps) {
  EXPECT_EQ(alignKeys(Keys{1, 2, 3}, Keys{1, 7, 8, 9, 3}),
            (Pairs{{0, 0}, {2, 4}}));
}

// Keys that occur once hold the order; repeated ones fill in between.
TEST(AlignTest, repeatedKeysMatchBetweenUniqueOnes) {
  EXPECT_EQ(alignKeys(Keys{8, 5, 5, 1, 5, 2, 6}, Keys{7, 5, 1, 5, 5, 2, 9}),
            (Pairs{{2, 1}, {3, 2}, {4, 3}, {5, 5}}));
}

// A key that moved in front of others stays unmatched, not the others.
TEST(AlignTest, matchesRiseOnBothSides) {
  EXPECT_EQ(alignKeys(Keys{1, 2, 3, 4}, Keys{4, 1, 2, 3}),
            (Pairs{{0, 1}, {1, 2}, {2, 3}}));
}

TEST(AlignTest, layersAreReadFromNames) {
  EXPECT_EQ(layerOfName("layers.12.ffn.up"), 12);
  EXPECT_EQ(layerOfName("model.layers.3.mlp"), 3);
  EXPECT_EQ(layerOfName("donor.1.layers.3.ffn.up"), 3);
  EXPECT_EQ(layerOfName("multilayers.3.up"), -1);
  EXPECT_EQ(layerOfName("layers.x.up"), -1);
  EXPECT_EQ(layerOfName("layers.99999999999999999999.up"), -1);
  EXPECT_EQ(layerOfName("embed"), -1);
}
