#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

using namespace corpus;

namespace {
/// As in Atomics.cu.
struct Words {
  uint32_t add, sub, minimum, maximum, bitAnd, bitOr, bitXor, inc, dec,
      exchanged;
  int32_t signedMinimum, signedMaximum;
  float product, sum;
  uint64_t add64, max64, or64, packed;
};
} // namespace

static const Words kStart = {5,  9,  ~0u,  0,     ~0u, 1, 3, 0, 0,
                             77, 99, -999, 0.25f, 0,   0, 0, 0, 0};

/// What the threads [first, first + values.size()) leave behind, in whatever
/// order they come.
static Words expected(const std::vector<uint32_t> &values, uint32_t first) {
  Words words = kStart;
  for (size_t i = 0; i < values.size(); ++i) {
    uint32_t value = values[i];
    words.add += value;
    words.sub -= value;
    words.minimum = std::min(words.minimum, value);
    words.maximum = std::max(words.maximum, value);
    words.bitAnd &= value | 0x80000001u;
    words.bitOr |= value & 0xff00u;
    words.bitXor ^= value;
    words.inc = words.inc >= 36 ? 0 : words.inc + 1;
    words.dec = words.dec == 0 || words.dec > 52 ? 52 : words.dec - 1;
    words.signedMinimum = std::min(words.signedMinimum, int(value) - 900);
    words.signedMaximum = std::max(words.signedMaximum, int(value) - 900);
    words.product *= value & 1 ? 2.0f : 0.5f;
    words.sum += float(value) * 0.5f; // Below 2^24 halves: exact in any order.
    words.add64 += uint64_t(value) << 20;
    words.max64 = std::max(words.max64, uint64_t(value) << 33);
    words.or64 |= 1ull << (value & 63);
    words.packed =
        std::max(words.packed, uint64_t(value) << 32 | (first + uint32_t(i)));
  }
  return words;
}

static void expectWords(const Words &got, const Words &want,
                        const std::string &where) {
  EXPECT_EQ(got.add, want.add) << where;
  EXPECT_EQ(got.sub, want.sub) << where;
  EXPECT_EQ(got.minimum, want.minimum) << where;
  EXPECT_EQ(got.maximum, want.maximum) << where;
  EXPECT_EQ(got.bitAnd, want.bitAnd) << where;
  EXPECT_EQ(got.bitOr, want.bitOr) << where;
  EXPECT_EQ(got.bitXor, want.bitXor) << where;
  EXPECT_EQ(got.inc, want.inc) << where;
  EXPECT_EQ(got.dec, want.dec) << where;
  EXPECT_EQ(got.exchanged, want.exchanged) << where;
  EXPECT_EQ(got.signedMinimum, want.signedMinimum) << where;
  EXPECT_EQ(got.signedMaximum, want.signedMaximum) << where;
  EXPECT_EQ(got.product, want.product) << where;
  EXPECT_EQ(got.sum, want.sum) << where;
  EXPECT_EQ(got.add64, want.add64) << where;
  EXPECT_EQ(got.max64, want.max64) << where;
  EXPECT_EQ(got.or64, want.or64) << where;
  EXPECT_EQ(got.packed, want.packed) << where;
}

TEST(Corpus, AtomicWords) {
  const unsigned blocks = 2, threads = 128;
  Random random(23);
  std::vector<uint32_t> values(blocks * threads);
  // As many odd as even numbers: the product of at most 128 doublings, or
  // halvings, of the first quarter is a float in any order.
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = random.below(30000) * 2 + i % 2;
  Buffer<uint32_t> in(values);
  Buffer<Words> global(1, kStart), perBlock(blocks, kStart);
  launch(kernel("Atomics.cu", "atomicWords"), {blocks}, {threads}, 0, in,
         global, perBlock);
  expectWords(global.download()[0], expected(values, 0), "global");
  auto local = perBlock.download();
  for (unsigned block = 0; block < blocks; ++block)
    expectWords(local[block],
                expected({values.begin() + block * threads,
                          values.begin() + (block + 1) * threads},
                         block * threads),
                "block " + std::to_string(block));
}

// Every id is exchanged in once and out once, but for the last, which stays.
TEST(Corpus, LocksAndExchanges) {
  const unsigned blocks = 3, threads = 64, all = blocks * threads;
  Buffer<uint32_t> lock(1, 0u), counter(1, 0u), exchanged(1, 0u);
  Buffer<uint32_t> collected(1, 0u);
  launch(kernel("Atomics.cu", "lockedCounter"), {blocks}, {threads}, 0, lock,
         counter, exchanged, collected);
  EXPECT_EQ(lock.download()[0], 0u);
  EXPECT_EQ(counter.download()[0], all);
  EXPECT_EQ(collected.download()[0] + exchanged.download()[0],
            all * (all + 1) / 2);
}

TEST(Corpus, HandOverBetweenBlocks) {
  std::vector<float> values(64), want(64);
  for (int i = 0; i < 64; ++i) {
    values[i] = float(i) + 0.5f;
    want[63 - i] = values[i] * 2.0f;
  }
  Buffer<float> in(values), slots(64), out(64);
  Buffer<uint32_t> flag(1, 0u);
  launchCooperative(kernel("Atomics.cu", "handOver"), {2}, {64}, 0, in, slots,
                    flag, out);
  EXPECT_EQ(out.download(), want);
  EXPECT_EQ(flag.download()[0], 2u);
}
