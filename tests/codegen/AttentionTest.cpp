//===- AttentionTest.cpp - the paged cache and attention over it ----------===//

#include "tests/codegen/KernelHarness.h"
#include "tests/conformance/Tolerances.h"
#include "llvm/ADT/STLExtras.h"

#include <algorithm>
#include <cmath>

using namespace moec;
using namespace moec::test;
using cpu::CpuLevel;
using kernel::AttentionSpec;
using kernel::KvAppendSpec;

namespace {

class AttentionTest : public testing::TestWithParam<CpuLevel> {};

/// Sequences at different positions, some of their tokens in this step.
struct Batch {
  struct Sequence {
    int64_t before; ///< positions already in the cache
    int64_t tokens; ///< in this step
  };
  std::vector<Sequence> sequences;
  int64_t blockSize;
  int64_t tokens = 0, blocksPerRow = 1, blocks = 0;
  Array positions, seqOffsets, blockTable;

  Batch(std::vector<Sequence> given, int64_t blockSize)
      : sequences(std::move(given)), blockSize(blockSize),
        positions(ElementType::i32, count(sequences)),
        seqOffsets(ElementType::i32, sequences.size() + 1),
        blockTable(ElementType::i32,
                   sequences.size() * row(sequences, blockSize)) {
    tokens = count(sequences);
    blocksPerRow = row(sequences, blockSize);
    // 7 and the number of blocks have no common divisor.
    blocks = int64_t(sequences.size()) * blocksPerRow + 3;
    blocks += blocks % 7 == 0;
    int64_t token = 0;
    for (auto [number, sequence] : llvm::enumerate(sequences)) {
      seqOffsets.set(number, double(token));
      for (int64_t i = 0; i < sequence.tokens; ++i)
        positions.set(token++, double(sequence.before + i));
      // Blocks of all sequences are dealt out in a mixed order.
      for (int64_t i = 0; i < blocksPerRow; ++i)
        blockTable.set(number * blocksPerRow + i,
                       double((number + i * sequences.size()) * 7 % blocks));
    }
    seqOffsets.set(sequences.size(), double(token));
  }
  static int64_t count(const std::vector<Sequence> &sequences) {
    int64_t tokens = 0;
    for (const Sequence &sequence : sequences)
      tokens += sequence.tokens;
    return tokens;
  }
  static int64_t row(const std::vector<Sequence> &sequences,
                     int64_t blockSize) {
    int64_t most = 1;
    for (const Sequence &s : sequences)
      most = std::max(most, (s.before + s.tokens + blockSize - 1) / blockSize);
    return most;
  }
  int64_t slot(size_t sequence, int64_t position) const {
    return blockTable.getInt(sequence * blocksPerRow + position / blockSize) *
               blockSize +
           position % blockSize;
  }
  size_t sequenceOf(int64_t token) const {
    size_t sequence = 0;
    while (seqOffsets.getInt(sequence + 1) <= token)
      ++sequence;
    return sequence;
  }
};

/// Where (slot, head, d) lies in a cache of keys or values.
size_t cacheIndex(bool key, int64_t slot, int64_t head, int64_t d,
                  int64_t heads, int64_t headDim, int64_t blockSize) {
  int64_t block = slot / blockSize, inBlock = slot % blockSize;
  int64_t base = (block * heads + head) * headDim * blockSize;
  return base + (key ? d * blockSize + inBlock : inBlock * headDim + d);
}

template <typename T>
std::vector<T> attend(const AttentionSpec &spec, const Batch &batch,
                      const Array &q, const Array &keys, const Array &values,
                      int64_t token, int64_t head) {
  size_t sequence = batch.sequenceOf(token);
  int64_t position = batch.positions.getInt(token);
  int64_t kvHead = head / (spec.heads / spec.kvHeads);
  int64_t first =
      spec.window ? std::max<int64_t>(0, position - spec.window + 1) : 0;
  std::vector<T> scores;
  T top = -std::numeric_limits<T>::infinity(), sum = 0;
  for (int64_t at = first; at <= position; ++at) {
    T score = 0;
    for (int64_t d = 0; d < spec.headDim; ++d)
      score +=
          T(q.get((token * spec.heads + head) * spec.headDim + d)) *
          T(keys.get(cacheIndex(true, batch.slot(sequence, at), kvHead, d,
                                spec.kvHeads, spec.headDim, spec.blockSize)));
    score *= T(spec.scale);
    if (spec.softcap)
      score = T(spec.softcap) * std::tanh(score / T(spec.softcap));
    scores.push_back(score);
    top = std::max(top, scores.back());
  }
  std::vector<T> out(spec.valueWidth(), T(0));
  for (T &score : scores)
    sum += score = std::exp(score - top);
  for (int64_t d = 0; d < spec.valueWidth(); ++d) {
    for (int64_t at = first; at <= position; ++at)
      out[d] += scores[at - first] *
                T(values.get(cacheIndex(false, batch.slot(sequence, at), kvHead,
                                        d, spec.kvHeads, spec.valueWidth(),
                                        spec.blockSize)));
    out[d] /= sum;
  }
  return out;
}

/// A cache that is NaN but for what the batch's sequences hold.
Array makeCache(bool key, ElementType element, const Batch &batch,
                int64_t heads, int64_t headDim, Random &random) {
  Array cache(element, batch.blocks * heads * headDim * batch.blockSize);
  cache.fillBytes(0xFF);
  for (auto [number, sequence] : llvm::enumerate(batch.sequences))
    for (int64_t at = 0; at < sequence.before + sequence.tokens; ++at)
      for (int64_t head = 0; head < heads; ++head)
        for (int64_t d = 0; d < headDim; ++d)
          cache.set(cacheIndex(key, batch.slot(number, at), head, d, heads,
                               headDim, batch.blockSize),
                    random.normal());
  return cache;
}

std::vector<uint8_t> checkAttention(AttentionSpec spec, const Batch &batch,
                                    CpuLevel level) {
  SCOPED_TRACE(kernel::describe(spec));
  EXPECT_EQ(cpu::supports(spec, level), std::nullopt);
  Random random(8);
  Array keys =
      makeCache(true, spec.cache, batch, spec.kvHeads, spec.headDim, random);
  Array values = makeCache(false, spec.cache, batch, spec.kvHeads,
                           spec.valueWidth(), random);
  Array q(spec.q, batch.tokens * spec.heads * spec.headDim),
      out(spec.out, batch.tokens * spec.heads * spec.valueWidth());
  q.fillNormal(random, 1.5);
  out.fillBytes(0xFF);
  compiled(spec, level)
      .runSplit(
          {&q, &keys, &values, &batch.positions, &batch.seqOffsets,
           &batch.blockTable, &out},
          {batch.tokens, int64_t(batch.sequences.size()), batch.blocksPerRow},
          {&out}, random);
  std::vector<double> exact, typed;
  for (int64_t token = 0; token < batch.tokens; ++token)
    for (int64_t head = 0; head < spec.heads; ++head) {
      for (double x : attend<double>(spec, batch, q, keys, values, token, head))
        exact.push_back(x);
      for (float x : attend<float>(spec, batch, q, keys, values, token, head))
        typed.push_back(roundTo(spec.out, x));
    }
  expectClose(out, exact, typed, toleranceOf(spec), "out");
  return out.copyBytes();
}

AttentionSpec makeSpec(int64_t heads, int64_t kvHeads, int64_t headDim,
                       int64_t blockSize) {
  AttentionSpec spec;
  spec.heads = heads;
  spec.kvHeads = kvHeads;
  spec.headDim = headDim;
  spec.blockSize = blockSize;
  spec.scale = 1 / std::sqrt(double(headDim));
  return spec;
}

} // namespace

TEST_P(AttentionTest, MatchesTheReferenceInPrefillDecodeAndMixedBatches) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (auto [heads, kvHeads, headDim] :
       {std::tuple(4, 4, 8), std::tuple(9, 3, 64), std::tuple(4, 1, 80)}) {
    AttentionSpec spec = makeSpec(heads, kvHeads, headDim, 16);
    checkAttention(spec, Batch({{0, 1}}, 16), GetParam());
    checkAttention(spec, Batch({{0, 150}}, 16), GetParam());
    checkAttention(spec, Batch({{203, 1}, {15, 1}, {64, 1}}, 16), GetParam());
    checkAttention(spec, Batch({{0, 5}, {70, 0}, {130, 40}, {63, 1}}, 16),
                   GetParam());
  }
}

TEST_P(AttentionTest, ReadsCachesOfEveryTypeAndBlockSize) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (ElementType element :
       {ElementType::f32, ElementType::bf16, ElementType::f16}) {
    if (element == ElementType::f16 && GetParam() == CpuLevel::Generic)
      continue;
    for (int64_t blockSize : {1, 8, 32, 128}) {
      AttentionSpec spec = makeSpec(6, 2, 32, blockSize);
      spec.q = spec.cache = spec.out = element;
      checkAttention(spec, Batch({{33, 20}, {90, 1}}, blockSize), GetParam());
    }
  }
}

TEST_P(AttentionTest, KeepsToItsWindow) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (int64_t window : {1, 20, 64, 100}) {
    AttentionSpec spec = makeSpec(4, 2, 16, 16);
    spec.window = window;
    checkAttention(spec, Batch({{0, 140}, {250, 1}}, 16), GetParam());
  }
}

// Heads of values may be shorter or longer than those of keys.
TEST_P(AttentionTest, TakesValuesOfAnotherSize) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (auto [headDim, valueDim] :
       {std::pair(24, 16), std::pair(12, 40), std::pair(16, 3)}) {
    AttentionSpec spec = makeSpec(4, 2, headDim, 16);
    spec.valueDim = valueDim;
    checkAttention(spec, Batch({{0, 150}, {70, 1}}, 16), GetParam());
    spec.cache = spec.q = spec.out = ElementType::bf16;
    checkAttention(spec, Batch({{3, 40}, {130, 1}}, 16), GetParam());
  }
}

TEST_P(AttentionTest, CapsScores) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (double softcap : {0.5, 2.0, 50.0}) {
    AttentionSpec spec = makeSpec(4, 2, 16, 16);
    spec.softcap = softcap;
    spec.scale = 1;
    checkAttention(spec, Batch({{0, 140}, {250, 1}}, 16), GetParam());
    spec.window = 20;
    checkAttention(spec, Batch({{30, 40}, {99, 1}}, 16), GetParam());
  }
}

// A token's bits are the same alone, in a prefill and in a batch.
TEST_P(AttentionTest, RowsDoNotDependOnTheBatch) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  AttentionSpec spec = makeSpec(6, 2, 32, 16);
  const Compiled &kernel = compiled(spec, GetParam());
  constexpr int64_t length = 100, width = 6 * 32;
  Batch together({{0, length}}, 16);
  Random random(12);
  Array keys = makeCache(true, spec.cache, together, 2, 32, random);
  Array values = makeCache(false, spec.cache, together, 2, 32, random);
  Array q(ElementType::f32, length * width), all(spec.out, length * width);
  q.fillNormal(random);
  kernel.run({&q, &keys, &values, &together.positions, &together.seqOffsets,
              &together.blockTable, &all},
             {length, 1, together.blocksPerRow});
  for (int64_t position : {0, 3, 15, 16, 63, 64, 77, 99}) {
    Array positions(ElementType::i32, 1), offsets(ElementType::i32, 2);
    positions.set(0, double(position));
    offsets.set(1, 1);
    Array one(ElementType::f32, width), out(ElementType::f32, width);
    for (int64_t i = 0; i < width; ++i)
      one.set(i, q.get(position * width + i));
    kernel.run({&one, &keys, &values, &positions, &offsets,
                &together.blockTable, &out},
               {1, 1, together.blocksPerRow});
    for (int64_t i = 0; i < width; ++i)
      ASSERT_EQ(out.get(i), all.get(position * width + i))
          << "position " << position;
  }
}

TEST_P(AttentionTest, AppendsKeysAndValuesInPlace) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (bool key : {false, true})
    for (ElementType x : {ElementType::f32, ElementType::bf16})
      for (ElementType cacheElement : {ElementType::f32, ElementType::bf16})
        for (auto [headDim, blockSize] : {std::pair<int64_t, int64_t>(8, 16),
                                          {20, 16},
                                          {64, 16},
                                          {32, 32},
                                          {64, 64}}) {
          KvAppendSpec spec = {.key = key,
                               .heads = 3,
                               .headDim = headDim,
                               .blockSize = blockSize,
                               .x = x,
                               .cache = cacheElement};
          ASSERT_EQ(cpu::supports(spec, GetParam()), std::nullopt);
          // Some sequences fill cache lines of slots, from tokens on that begin
          // anywhere in a task; others never do.
          Batch batch({{0, 5}, {30, 0}, {17, 33}, {15, 1}, {32, 69}, {0, 32}},
                      blockSize);
          Random random(10);
          Array rows(x, batch.tokens * 3 * headDim);
          rows.fillNormal(random);
          Array cache(cacheElement, batch.blocks * 3 * headDim * blockSize);
          for (size_t at = 0; at < cache.size(); ++at)
            cache.set(at, double(at % 128));
          Array expected(cacheElement, cache.size());
          expected.setBytes(cache.copyBytes());
          for (int64_t token = 0; token < batch.tokens; ++token)
            for (int64_t head = 0; head < 3; ++head)
              for (int64_t d = 0; d < headDim; ++d)
                expected.set(
                    cacheIndex(key,
                               batch.slot(batch.sequenceOf(token),
                                          batch.positions.getInt(token)),
                               head, d, 3, headDim, blockSize),
                    rows.get((token * 3 + head) * headDim + d));
          compiled(spec, GetParam())
              .runSplit({&cache, &rows, &batch.positions, &batch.seqOffsets,
                         &batch.blockTable},
                        {batch.tokens, int64_t(batch.sequences.size()),
                         batch.blocksPerRow},
                        {&cache}, random);
          EXPECT_EQ(cache.copyBytes(), expected.copyBytes())
              << kernel::describe(spec);
        }
}

MOEC_INSTANTIATE_LEVELS(AttentionTest);
