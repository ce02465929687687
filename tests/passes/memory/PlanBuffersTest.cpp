#include "passes/memory/PlanBuffers.h"

#include "gtest/gtest.h"

using namespace moec;

namespace {
class PlanBuffers : public testing::Test {
protected:
  Polynomial tokens(int64_t bytes) { return Polynomial::of(&tokensDim, bytes); }
  Polynomial rows(int64_t bytes) { return Polynomial::of(&rowsDim, bytes); }
  int64_t at(const Polynomial &poly, int64_t tokenCount, int64_t rowCount) {
    return *poly.evaluate([&](const DimSymbol *symbol) {
      return symbol == &tokensDim ? tokenCount : rowCount;
    });
  }

  DimSymbol tokensDim{"tokens", 0, 512};
  DimSymbol rowsDim{"rows", 1, 512};
};
} // namespace

TEST_F(PlanBuffers, SharesSlotsOfDeadBuffers) {
  BufferPlan plan = planBuffers(
      {{tokens(256), 0, 1}, {tokens(128), 1, 2}, {tokens(256), 2, 3}});
  EXPECT_EQ(plan.offsets[0], plan.offsets[2]);
  EXPECT_NE(plan.offsets[0], plan.offsets[1]);
  EXPECT_EQ(plan.arenaBytes, tokens(384));
  EXPECT_EQ(plan.unsharedBytes, tokens(640));
}

// Which of the two is larger is known only at launch.
TEST_F(PlanBuffers, DoesNotShareAcrossSymbols) {
  BufferPlan plan = planBuffers({{tokens(64), 0, 0}, {rows(64), 1, 1}});
  EXPECT_EQ(plan.arenaBytes, tokens(64) + rows(64));
}

TEST_F(PlanBuffers, RoundsEveryTermUp) {
  BufferPlan plan =
      planBuffers({{tokens(4) + Polynomial(4), 0, 1}, {tokens(4), 0, 1}});
  for (const Polynomial &offset : plan.offsets)
    for (int64_t count : {1, 3, 7})
      EXPECT_EQ(at(offset, count, 1) % 64, 0);
}

// No two buffers that live at the same time may overlap, whatever the sizes.
TEST_F(PlanBuffers, NeverOverlapsLiveBuffers) {
  std::vector<LiveBuffer> buffers;
  for (unsigned i = 0; i < 60; ++i) {
    unsigned width = (i * 37 % 11 + 1) * 4;
    buffers.push_back(
        {i % 3 ? tokens(width) : rows(width), i / 2, i / 2 + i * 7 % 5});
  }
  BufferPlan plan = planBuffers(buffers);
  for (auto [tokenCount, rowCount] :
       {std::pair<int64_t, int64_t>(1, 1), {512, 1}, {1, 512}, {33, 17}})
    for (size_t a = 0; a < buffers.size(); ++a)
      for (size_t b = a + 1; b < buffers.size(); ++b) {
        if (buffers[a].last < buffers[b].first ||
            buffers[b].last < buffers[a].first)
          continue;
        int64_t startA = at(plan.offsets[a], tokenCount, rowCount);
        int64_t startB = at(plan.offsets[b], tokenCount, rowCount);
        int64_t endA = startA + at(buffers[a].bytes, tokenCount, rowCount);
        int64_t endB = startB + at(buffers[b].bytes, tokenCount, rowCount);
        EXPECT_TRUE(endA <= startB || endB <= startA) << a << " and " << b;
        EXPECT_LE(endA, at(plan.arenaBytes, tokenCount, rowCount));
      }
}
