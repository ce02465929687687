//===- Attention.cpp - causal attention over the paged cache --------------===//
//
// A task is a tile of tokens and one cache head; its rows are the query heads
// of that cache head, for each token. Runs of tokens that follow each other in
// one sequence go through the cache together, chunk by chunk of positions:
//
//   scores = Q K^T         rows share the loads of K
//   softcap                if there is one
//   online softmax         new maximum, rescaled sum and accumulator
//   accumulator += P V     rows share the loads of V
//
// With bf16 queries and caches, and products of bf16 pairs to make them with,
// both products take two k at a time; P is rounded to bf16 for it. Pairs of
// positions start at even ones; a slot whose pair a row does not see as a whole
// is multiplied alone, in f32.
//
// Chunks start at multiples of a constant, and a row sees of each chunk the
// slots that its own position admits, whether its neighbours see them or not:
// a row's bits depend on its sequence only. Slots it does not see are never
// read as values, so what they hold does not matter.
//
// Long because: these are the steps of one kernel, and share its scratch.
//
//===----------------------------------------------------------------------===//

#include "codegen/cpu/Emitter.h"
#include "codegen/cpu/Kernels.h"
#include "codegen/cpu/Paging.h"
#include "codegen/cpu/SmallProduct.h"
#include "codegen/cpu/VectorMath.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

using namespace llvm;
using namespace moec;
using namespace moec::cpu;
using kernel::AttentionSpec;

static constexpr int64_t kTokensPerTile = 8;
/// One softmax step covers so many positions, or one cache block if larger.
static constexpr int64_t kChunk = 128;
/// How many positions ahead of its loads a single token asks for keys.
static constexpr int64_t kAhead = 64;

namespace {

class AttentionEmitter {
public:
  AttentionEmitter(Emitter &e, const AttentionSpec &spec);
  void emit();
  uint64_t scratchBytes() const { return scratchEnd; }

private:
  void emitChunk(ArrayRef<Value *> arguments);
  void emitValues(Value *row, Value *cache, Value *slot, Value *from,
                  Value *to);
  Value *windowStart(Value *own);
  std::pair<Value *, Value *> seen(Value *own, Value *base);
  void emitSoftmax(Value *firstRow, Value *begin, Value *end);
  void emitRun(Value *head, Value *token, Value *sequence, Value *position,
               Value *count);
  Value *rowAt(int64_t base, Value *row, int64_t stride) {
    return e.element(e.offset(e.scratch, base), row, stride);
  }
  Paging paging() {
    return {e.buffer(4), e.buffer(5), e.extent(1), e.extent(2)};
  }

  Emitter &e;
  const AttentionSpec &spec;
  int64_t group; ///< query heads of a cache head
  int64_t together =
      1;         ///< rows of a token whose softmax is one stretch of code
  int64_t chunk; ///< positions of one softmax step
  bool pairs;    ///< bf16 products
  int64_t valueDim;
  /// Bytes of one head in a block of keys, and of values.
  int64_t keyBytes, valueBytes;
  int64_t qOffset, scoresOffset, powersOffset, sumOffset, statsOffset;
  int64_t listOffset;
  int64_t qStride, scoresStride, powersStride, sumStride, scratchEnd;
  std::optional<SmallProduct> scores, values, valuePairs, wholeBlocks;
  Function *chunkFunction = nullptr;
};

bool takesPairs(const Emitter &e, const AttentionSpec &spec) {
  return e.level >= CpuLevel::Avx512Bf16 && spec.q == ElementType::bf16 &&
         spec.cache == ElementType::bf16 && spec.headDim % 2 == 0 &&
         spec.scale > 0 && // so that the largest score stays the largest
         SmallProduct::fitsPairs(spec.valueWidth()) &&
         SmallProduct::fitsPairs(spec.blockSize);
}

} // namespace

AttentionEmitter::AttentionEmitter(Emitter &e, const AttentionSpec &spec)
    : e(e), spec(spec), group(spec.heads / spec.kvHeads),
      chunk(std::max(kChunk / spec.blockSize, int64_t(1)) * spec.blockSize),
      pairs(takesPairs(e, spec)) {
  // Enough to hide the latency of one row's maximum behind the others'.
  for (int64_t rows : {2, 3, 4})
    if (group % rows == 0)
      together = rows;
  int64_t bytes = blockBytes(spec.cache);
  valueDim = spec.valueWidth();
  keyBytes = spec.headDim * spec.blockSize * bytes;
  valueBytes = valueDim * spec.blockSize * bytes;
  int64_t rows = kTokensPerTile * group;
  qStride = alignTo(spec.headDim * (pairs ? 2 : 4), 64);
  scoresStride = alignTo(chunk * 4, 64);
  powersStride = pairs ? alignTo(chunk * 2, 64) : 0;
  sumStride = alignTo(valueDim * 4, 64);
  qOffset = 0;
  scoresOffset = qOffset + rows * qStride;
  powersOffset = scoresOffset + rows * scoresStride;
  sumOffset = powersOffset + rows * powersStride;
  statsOffset = sumOffset + rows * sumStride;
  listOffset = statsOffset + rows * 8;
  scratchEnd = listOffset + chunk / spec.blockSize * 8;

  ProductShape shape;
  shape.name = "scores";
  shape.columns = spec.blockSize;
  shape.element = spec.cache;
  shape.aStride = qStride;
  shape.bStride = spec.blockSize * bytes;
  shape.cStride = scoresStride;
  shape.pairs = pairs;
  scores.emplace(e, shape);
  shape.name = "values";
  shape.columns = valueDim;
  shape.aStride = scoresStride;
  shape.bStride = valueDim * bytes;
  shape.cStride = sumStride;
  shape.accumulates = true;
  shape.pairs = false;
  values.emplace(e, shape);
  if (pairs) {
    shape.name = "pairs";
    shape.aStride = powersStride;
    shape.pairs = true;
    valuePairs.emplace(e, shape);
  }
  shape.name = "blocks";
  shape.listedSteps = spec.blockSize / (pairs ? 2 : 1);
  wholeBlocks.emplace(e, shape);
}

//===- One chunk of positions ---------------------------------------------===//

/// The first position that a token at `own` sees.
Value *AttentionEmitter::windowStart(Value *own) {
  if (!spec.window)
    return e.index(0);
  return e.max(e.add(own, 1 - spec.window), e.index(0));
}

/// The slots that it sees of the chunk that starts at `base`.
std::pair<Value *, Value *> AttentionEmitter::seen(Value *own, Value *base) {
  Value *begin = e.max(e.b.CreateSub(windowStart(own), base), e.index(0));
  Value *end = e.min(e.add(e.b.CreateSub(own, base), 1), e.index(chunk));
  return {begin, end};
}

/// Takes the scores of slots [begin, end) into account, for `together` rows of
/// one token from `firstRow` on: maxima and sums, accumulators rescaled where a
/// maximum grew, scores turned to exponentials.
void AttentionEmitter::emitSoftmax(Value *firstRow, Value *begin, Value *end) {
  IRBuilder<> &b = e.b;
  unsigned lanes = lanesDividing(chunk, e.lanes);
  auto numbers = seq(int64_t(0), together);
  auto forRows = [&](function_ref<Value *(int64_t)> make) {
    return to_vector<4>(map_range(numbers, make));
  };
  auto rows = forRows([&](int64_t i) { return e.add(firstRow, i); });
  Value *first = b.CreateAnd(begin, e.index(-int64_t(lanes)));
  auto scoresAt = [&](int64_t i, Value *slot) {
    return e.element(rowAt(scoresOffset, rows[i], scoresStride), slot, 4);
  };
  auto load = [&](int64_t i, Value *slot) {
    return e.loadRaw(e.f32, scoresAt(i, slot), lanes, nullptr);
  };
  double inf = std::numeric_limits<double>::infinity();
  Value *least = e.splat(-inf, lanes);
  // NaN is not larger than anything: it shows in the sum.
  auto larger = [&](Value *most, Value *x) {
    return b.CreateSelect(b.CreateFCmpOGT(x, most), x, most);
  };
  if (spec.softcap)
    e.loop(first, end, lanes, [&](Value *slot) {
      for (int64_t i : numbers) {
        double scale = (pairs ? spec.scale : 1) / spec.softcap;
        Value *x = b.CreateFMul(load(i, slot), e.splat(scale, lanes));
        x = b.CreateFMul(emitTanh(e, x), e.splat(spec.softcap, lanes));
        e.store(x, scoresAt(i, slot));
      }
    });
  // Slots that the token does not see get a score of -infinity: they are in the
  // vectors at either end.
  auto hide = [&](Value *slot, Value *isHidden) {
    for (int64_t i : numbers)
      e.store(b.CreateSelect(isHidden, least, load(i, slot)),
              scoresAt(i, slot));
  };
  Value *last = b.CreateAnd(e.add(end, -1), e.index(-int64_t(lanes)));
  hide(last, b.CreateNot(e.laneMask(b.CreateSub(end, last), lanes)));
  if (spec.window)
    hide(first, e.laneMask(b.CreateSub(begin, first), lanes));
  Values most = e.loop(first, end, lanes, Values(together, least),
                       [&](Value *slot, ArrayRef<Value *> most) -> Values {
                         return forRows([&](int64_t i) {
                           return larger(most[i], load(i, slot));
                         });
                       });
  // Powers of 2 of scaled scores where they are rounded to bf16 anyway.
  double factor = 1;
  if (pairs)
    factor = (spec.softcap ? 1 : spec.scale) * 1.44269504088896341;
  auto power = [&](Value *x) {
    return pairs ? emitShortExp2(e, x) : emitExp(e, x);
  };
  auto stats =
      forRows([&](int64_t i) { return rowAt(statsOffset, rows[i], 8); });
  auto oldMaxima = forRows([&](int64_t i) { return e.load(e.f32, stats[i]); });
  auto maxima = forRows([&](int64_t i) {
    Value *maximum = e.maxLanesNoNan(most[i]);
    if (pairs)
      maximum = b.CreateFMul(maximum, ConstantFP::get(e.f32, factor));
    return larger(oldMaxima[i], maximum);
  });
  auto tops = forRows([&](int64_t i) { return e.splat(maxima[i], lanes); });
  Values sums = e.loop(
      first, end, lanes, Values(together, e.splat(0.0, lanes)),
      [&](Value *slot, ArrayRef<Value *> sums) -> Values {
        return forRows([&](int64_t i) {
          Value *x = load(i, slot);
          Value *below =
              pairs ? e.fma(x, e.splat(factor, lanes), b.CreateFNeg(tops[i]))
                    : b.CreateFSub(x, tops[i]);
          Value *y = b.CreateSelect(b.CreateFCmpUNE(x, least), power(below),
                                    e.splat(0.0, lanes));
          e.store(y, scoresAt(i, slot));
          if (pairs)
            e.storeFloats(
                ElementType::bf16, y,
                e.element(rowAt(powersOffset, rows[i], powersStride), slot, 2));
          return b.CreateFAdd(sums[i], y);
        });
      });
  for (int64_t i : numbers) {
    Value *oldSum = e.load(e.f32, e.offset(stats[i], 4));
    // Where the maximum stays, the factor is exactly 1.
    Value *scaledSum = e.ifElse(
        b.CreateFCmpOGT(maxima[i], oldMaxima[i]),
        [&]() -> Values {
          Value *alpha =
              power(e.splat(b.CreateFSub(oldMaxima[i], maxima[i]), e.lanes));
          Value *accumulator = rowAt(sumOffset, rows[i], sumStride);
          e.columns(valueDim, [&](Value *column, Value *mask) {
            Value *at = e.element(accumulator, column, 4);
            Value *x = e.loadFloats(ElementType::f32, at, e.lanes, mask);
            e.storeFloats(ElementType::f32, b.CreateFMul(x, alpha), at, mask);
          });
          e.store(maxima[i], stats[i]);
          Value *first = b.CreateExtractElement(alpha, uint64_t(0));
          return {b.CreateFMul(oldSum, first)};
        },
        [&]() -> Values { return {oldSum}; })[0];
    e.store(b.CreateFAdd(scaledSum, e.sumLanes(sums[i])),
            e.offset(stats[i], 4));
  }
}

/// Adds slots [from, to) of a block, which begins at `slot` of the chunk, to
/// the accumulators of a token's rows, which begin at `row`.
void AttentionEmitter::emitValues(Value *row, Value *cache, Value *slot,
                                  Value *from, Value *to) {
  IRBuilder<> &b = e.b;
  Value *rows = e.index(group), *sums = rowAt(sumOffset, row, sumStride);
  int64_t cacheRow = valueDim * blockBytes(spec.cache);
  auto add = [&](Value *at, Value *count) {
    Value *powers = e.element(rowAt(scoresOffset, row, scoresStride),
                              b.CreateAdd(slot, at), 4);
    values->call(rows, powers, e.element(cache, at, cacheRow), sums, count);
  };
  if (!pairs) {
    add(from, b.CreateSub(to, from));
    return;
  }
  Value *begin = b.CreateAnd(e.add(from, 1), e.index(-2));
  Value *end = b.CreateAnd(to, e.index(-2));
  e.ifThen(b.CreateTrunc(from, e.i1), [&] { add(from, e.index(1)); });
  e.ifThen(b.CreateICmpSLT(begin, end), [&] {
    Value *powers = e.element(rowAt(powersOffset, row, powersStride),
                              b.CreateAdd(slot, begin), 2);
    valuePairs->call(rows, powers, e.element(cache, begin, cacheRow), sums,
                     b.CreateLShr(b.CreateSub(end, begin), 1));
  });
  e.ifThen(b.CreateTrunc(to, e.i1), [&] { add(end, e.index(1)); });
}

/// (head, sequence, first position of the chunk, position of the first token,
/// tokens)
void AttentionEmitter::emitChunk(ArrayRef<Value *> arguments) {
  IRBuilder<> &b = e.b;
  Value *head = arguments[0], *sequence = arguments[1], *base = arguments[2];
  Value *position = arguments[3], *count = arguments[4];
  Value *rows = e.mul(count, group), *zero = e.index(0);
  Value *blockSize = e.index(spec.blockSize);
  Value *last = e.add(b.CreateAdd(position, count), -1);
  auto [unionBegin, commonEnd] = seen(position, base);
  auto [commonBegin, unionEnd] = seen(last, base);
  Paging pages = paging();
  Value *firstBlock = b.CreateUDiv(base, blockSize);
  auto cacheOf = [&](unsigned buffer, Value *number) {
    int64_t bytes = buffer == 1 ? keyBytes : valueBytes;
    Value *block = pages.block(e, sequence, b.CreateAdd(firstBlock, number));
    return e.offset(e.element(e.buffer(buffer), block, spec.kvHeads * bytes),
                    e.mul(head, bytes));
  };
  Value *begin = b.CreateUDiv(unionBegin, blockSize);
  Value *end = e.ceilDiv(unionEnd, spec.blockSize);
  // A single token waits for memory, and blocks are too short and scattered for
  // a processor to foresee. The chunk's values come meanwhile.
  auto prefetch = [&](unsigned buffer, Value *number) {
    Value *from = cacheOf(buffer, number);
    e.loop(e.index(0), e.index(buffer == 1 ? keyBytes : valueBytes), 64,
           [&](Value *byte) {
             e.prefetch(e.offset(from, byte), Emitter::Cache::L2);
           });
  };
  Value *isSingle = b.CreateICmpEQ(count, e.index(1));
  Value *lastBlock = b.CreateUDiv(b.CreateSub(last, base), blockSize);
  // Scores of slots that a row does not see are made and not used.
  e.loop(begin, end, 1, [&](Value *number) {
    e.ifThen(isSingle, [&] {
      int64_t ahead = divideCeil(uint64_t(kAhead), uint64_t(spec.blockSize));
      prefetch(1, e.min(e.add(number, ahead), lastBlock));
      prefetch(2, number);
    });
    Value *slot = e.mul(number, spec.blockSize);
    scores->call(rows, rowAt(qOffset, zero, qStride), cacheOf(1, number),
                 e.element(rowAt(scoresOffset, zero, scoresStride), slot, 4),
                 e.index(pairs ? spec.headDim / 2 : spec.headDim));
  });
  e.loop(zero, rows, together, [&](Value *row) {
    Value *own = b.CreateAdd(position, b.CreateUDiv(row, e.index(group)));
    auto [begin, end] = seen(own, base);
    e.ifThen(b.CreateICmpSLT(begin, end),
             [&, begin = begin, end = end] { emitSoftmax(row, begin, end); });
  });
  // Blocks that some rows see in part, row by row.
  auto partly = [&](Value *number) {
    Value *cache = cacheOf(2, number);
    Value *slot = e.mul(number, spec.blockSize);
    e.loop(zero, count, 1, [&](Value *token) {
      auto [begin, end] = seen(b.CreateAdd(position, token), base);
      Value *from = e.max(b.CreateSub(begin, slot), zero);
      Value *to = e.min(b.CreateSub(end, slot), blockSize);
      e.ifThen(b.CreateICmpSLT(from, to),
               [&] { emitValues(e.mul(token, group), cache, slot, from, to); });
    });
  };
  // Between them, blocks that all rows see.
  Value *wholeBegin =
      e.min(e.max(e.ceilDiv(commonBegin, spec.blockSize), begin), end);
  Value *wholeEnd =
      e.max(b.CreateSDiv(e.max(commonEnd, zero), blockSize), wholeBegin);
  e.loop(begin, wholeBegin, 1, partly);
  e.ifThen(b.CreateICmpSLT(wholeBegin, wholeEnd), [&] {
    Value *list = e.offset(e.scratch, listOffset);
    e.loop(wholeBegin, wholeEnd, 1, [&](Value *number) {
      e.store(cacheOf(2, number),
              e.element(list, b.CreateSub(number, wholeBegin), 8), 8);
    });
    Value *slot = e.mul(wholeBegin, spec.blockSize);
    Value *powers =
        pairs ? e.element(rowAt(powersOffset, zero, powersStride), slot, 2)
              : e.element(rowAt(scoresOffset, zero, scoresStride), slot, 4);
    wholeBlocks->call(rows, powers, list, rowAt(sumOffset, zero, sumStride),
                      b.CreateSub(wholeEnd, wholeBegin));
  });
  e.loop(wholeEnd, end, 1, partly);
}

//===- Runs of tokens -----------------------------------------------------===//

/// `count` tokens from `token` on, at consecutive positions of one sequence.
void AttentionEmitter::emitRun(Value *head, Value *token, Value *sequence,
                               Value *position, Value *count) {
  IRBuilder<> &b = e.b;
  Value *firstHead = e.mul(head, group);
  auto rowOf = [&](unsigned buffer, ElementType element, int64_t headDim,
                   Value *row) {
    Value *at = b.CreateAdd(token, b.CreateUDiv(row, e.index(group)));
    Value *queryHead =
        b.CreateAdd(firstHead, b.CreateURem(row, e.index(group)));
    int64_t bytes = headDim * blockBytes(element);
    return e.element(e.element(e.buffer(buffer), at, spec.heads * bytes),
                     queryHead, bytes);
  };
  Value *rows = e.mul(count, group);
  e.loop(e.index(0), rows, 1, [&](Value *row) {
    Value *from = rowOf(0, spec.q, spec.headDim, row);
    Value *to = rowAt(qOffset, row, qStride);
    Value *sum = rowAt(sumOffset, row, sumStride);
    e.columns(spec.headDim, [&](Value *column, Value *mask) {
      Value *x = e.loadFloats(
          spec.q, e.element(from, column, blockBytes(spec.q)), e.lanes, mask);
      // Pairs are scaled once they are multiplied.
      if (pairs)
        e.storeFloats(spec.q, x, e.element(to, column, 2), mask);
      else
        e.storeFloats(ElementType::f32,
                      b.CreateFMul(x, e.splat(spec.scale, e.lanes)),
                      e.element(to, column, 4), mask);
    });
    e.columns(valueDim, [&](Value *column, Value *mask) {
      e.storeFloats(ElementType::f32, e.splat(0.0, e.lanes),
                    e.element(sum, column, 4), mask);
    });
    Value *stats = rowAt(statsOffset, row, 8);
    e.store(ConstantFP::getInfinity(e.f32, /*Negative=*/true), stats);
    e.store(ConstantFP::get(e.f32, 0), e.offset(stats, 4));
  });

  Value *end = b.CreateAdd(position, count);
  Value *start =
      e.mul(b.CreateUDiv(windowStart(position), e.index(chunk)), chunk);
  e.loop(start, end, chunk, [&](Value *base) {
    e.call(chunkFunction, {head, sequence, base, position, count});
  });

  e.loop(e.index(0), rows, 1, [&](Value *row) {
    Value *from = rowAt(sumOffset, row, sumStride);
    Value *to = rowOf(6, spec.out, valueDim, row);
    Value *total = e.load(e.f32, e.offset(rowAt(statsOffset, row, 8), 4));
    e.columns(valueDim, [&](Value *column, Value *mask) {
      Value *x = e.loadFloats(ElementType::f32, e.element(from, column, 4),
                              e.lanes, mask);
      e.storeFloats(spec.out, b.CreateFDiv(x, e.splat(total, e.lanes)),
                    e.element(to, column, blockBytes(spec.out)), mask);
    });
  });
}

void AttentionEmitter::emit() {
  IRBuilder<> &b = e.b;
  scores->define();
  values->define();
  if (valuePairs)
    valuePairs->define();
  wholeBlocks->define();
  chunkFunction =
      e.define("chunk", SmallVector<Type *>(5, e.i64),
               [&](ArrayRef<Value *> arguments) { emitChunk(arguments); });
  Function *run = e.define("run", SmallVector<Type *>(5, e.i64),
                           [&](ArrayRef<Value *> arguments) {
                             emitRun(arguments[0], arguments[1], arguments[2],
                                     arguments[3], arguments[4]);
                           });

  Value *tokens = e.extent(0);
  Value *tiles = e.ceilDiv(tokens, kTokensPerTile);
  Value *positions = e.buffer(3);
  Paging pages = paging();
  e.loop(e.taskBegin, e.taskEnd, 1, [&](Value *task) {
    Value *head = b.CreateUDiv(task, tiles);
    // Late tiles see more of the cache than early ones: taking them from both
    // ends by turns gives equal ranges of tasks equal work.
    Value *number = b.CreateURem(task, tiles);
    Value *half = b.CreateLShr(number, 1);
    Value *fromEnd = b.CreateSub(e.add(tiles, -1), half);
    Value *odd = b.CreateTrunc(number, e.i1);
    Value *tile = b.CreateSelect(odd, fromEnd, half);
    Value *begin = e.mul(tile, kTokensPerTile);
    Value *end = e.min(e.add(begin, kTokensPerTile), tokens);
    e.whileLoop(
        {begin},
        [&](ArrayRef<Value *> token) { return b.CreateICmpSLT(token[0], end); },
        [&](ArrayRef<Value *> token) -> Values {
          Value *sequence = pages.sequence(e, token[0]);
          Value *stop =
              e.min(end, e.loadIndex(pages.seqOffsets, e.add(sequence, 1)));
          Value *position = e.loadIndex(positions, token[0]);
          Value *most = b.CreateSub(stop, token[0]);
          Values count = e.whileLoop(
              {e.index(1)},
              [&](ArrayRef<Value *> count) -> Value * {
                Value *inside = b.CreateICmpSLT(count[0], most);
                // Loads a token of the tile in any case: the first again.
                Value *next = b.CreateSelect(inside, count[0], e.index(0));
                Value *at = e.loadIndex(positions, b.CreateAdd(token[0], next));
                return b.CreateAnd(
                    inside,
                    b.CreateICmpEQ(at, b.CreateAdd(position, count[0])));
              },
              [&](ArrayRef<Value *> count) -> Values {
                return {e.add(count[0], 1)};
              });
          e.call(run, {head, token[0], sequence, position, count[0]});
          return {b.CreateAdd(token[0], count[0])};
        });
  });
}

void cpu::emitAttention(Emitter &e, const AttentionSpec &spec,
                        CpuKernel &result) {
  AttentionEmitter attention(e, spec);
  attention.emit();
  result.grid = {{.extent = 0, .divisor = kTokensPerTile},
                 {.constant = spec.kvHeads}};
  result.scratchBytes = attention.scratchBytes();
}
