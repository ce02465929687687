#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

using namespace corpus;

// Twice, since the counter must be back at zero after the first.
TEST(Corpus, LastBlockAddsUp) {
  const int count = 3001;
  const unsigned blocks = 6;
  Random random(11);
  auto values = random.floats(count, -1, 1);
  double want = 0;
  for (float value : values)
    want += value;
  Buffer<float> in(values), parts(blocks), total(1);
  for (int round = 0; round < 2; ++round) {
    launch(kernel("Reduce.cu", "sumLastBlock"), {blocks}, {128}, 0, in, parts,
           total, count);
    // A thread adds 4 values, then trees: below 3001 * 2^-24 in any order.
    expectClose(widen(total.download()), {want}, {2e-4, 0}, "sum");
  }
}

TEST(Corpus, CooperativeGridBarrier) {
  const int count = 250, rounds = 5;
  Random random(12);
  auto values = random.floats(count, -1, 1);
  std::vector<double> want = widen(values);
  for (int round = 0; round < rounds; ++round) {
    std::vector<double> next(count);
    for (int i = 0; i < count; ++i)
      next[i] =
          (want[(i + count - 1) % count] + want[i] + want[(i + 1) % count]) / 3;
    want = next;
  }
  Buffer<float> from(values), to(count);
  Buffer<uint32_t> barrier(2, 0u);
  launchCooperative(kernel("Reduce.cu", "ringMeans"), {4}, {64}, 0, from, to,
                    barrier, count, rounds);
  // Five means of values below 1, each off by two units in the last place.
  expectClose(widen(to.download()), want, {1e-6, 0}, "means");
}

TEST(Corpus, WarpSpecialisedNamedBarriers) {
  const int tiles = 7;
  Random random(13);
  auto values = random.floats(tiles * 256, -1, 1);
  std::vector<double> want(256);
  for (int tile = 0; tile < tiles; ++tile)
    for (int i = 0; i < 256; ++i)
      want[i] += double(values[tile * 256 + i]) * (tile + 1);
  Buffer<float> in(values), out(256);
  launch(kernel("Pipeline.cu", "producersAndConsumers"), {1}, {192}, 0, in, out,
         tiles);
  // Seven products below 7 and their sum.
  expectClose(widen(out.download()), want, {1e-5, 0}, "sums");
}
