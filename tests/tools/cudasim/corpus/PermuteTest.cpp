#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

using namespace corpus;

TEST(Corpus, HistogramScanPermute) {
  const int tokens = 77, topk = 6, numExperts = 40, tile = 16;
  const int pairs = tokens * topk;
  Random random(5);
  std::vector<int> experts(pairs);
  for (int &expert : experts) // Expert 7 is empty, expert 3 is crowded.
    expert = random.below(3) == 0 ? 3 : int(random.below(numExperts));
  for (int &expert : experts)
    expert = expert == 7 ? 8 : expert;

  std::vector<uint32_t> wantCounts(numExperts);
  for (int expert : experts)
    ++wantCounts[expert];
  std::vector<int> wantOffsets = {0}, wantTiles;
  for (int expert = 0; expert < numExperts; ++expert) {
    int tiles = int(wantCounts[expert] + tile - 1) / tile;
    wantOffsets.push_back(wantOffsets.back() + tiles * tile);
    wantTiles.insert(wantTiles.end(), tiles, expert);
  }
  const int rows = wantOffsets.back();

  Buffer<int> chosen(experts);
  Buffer<uint32_t> counts(numExperts, 0u);
  Buffer<int> offsets(numExperts + 1), cursors(numExperts);
  Buffer<int> tileExpert(wantTiles.size());
  Buffer<int> rowToken(rows, -1), slotOfPair(pairs);
  launch(kernel("Permute.cu", "countExperts"), {2}, {256}, 0, chosen, counts,
         pairs, numExperts);
  launch(kernel("Permute.cu", "scanExperts"), {1}, {64}, 0, counts, offsets,
         cursors, tileExpert, numExperts, tile);
  launch(kernel("Permute.cu", "permutePairs"), {unsigned(pairs + 255) / 256},
         {256}, 0, chosen, cursors, rowToken, slotOfPair, pairs, topk);

  EXPECT_EQ(counts.download(), wantCounts);
  EXPECT_EQ(offsets.download(), wantOffsets);
  EXPECT_EQ(tileExpert.download(), wantTiles);
  // The order within an expert is free; the grouping is not.
  auto slots = slotOfPair.download(), tokensOf = rowToken.download();
  std::vector<bool> taken(rows);
  for (int pair = 0; pair < pairs; ++pair) {
    int slot = slots[pair], expert = experts[pair];
    ASSERT_GE(slot, wantOffsets[expert]) << "pair " << pair;
    ASSERT_LT(slot, wantOffsets[expert] + int(wantCounts[expert]));
    ASSERT_FALSE(taken[slot]) << "slot " << slot << " has two pairs";
    taken[slot] = true;
    ASSERT_EQ(tokensOf[slot], pair / topk);
  }
  for (int slot = 0; slot < rows; ++slot)
    ASSERT_TRUE(taken[slot] || tokensOf[slot] == -1) << "padding " << slot;
}
