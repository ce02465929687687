//===- Attention.cpp - causal attention over the paged cache --------------===//
//
// A task is a tile of tokens and one cache head; its rows are the query heads
// of that cache head, for each token. Runs of tokens that follow each other in
// one sequence go through the cache together, chunk by chunk of positions:
//
//   scores = Q K^T         rows share the loads of K
//   online softmax         new maximum, rescaled sum and accumulator
//   accumulator += P V     rows share the loads of V
//
// Chunks start at multiples of a constant, and a row sees of each chunk the
// slots that its own position admits, whether its neighbours see them or not:
// a row's bits depend on its sequence only. Slots it does not see are never
// read as values, so what they hold does not matter.
//
//===----------------------------------------------------------------------===//

#include "codegen/cpu/Emitter.h"
#include "codegen/cpu/Kernels.h"
#include "codegen/cpu/Paging.h"
#include "codegen/cpu/VectorMath.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>
#include <limits>
#include <utility>

using namespace llvm;
using namespace moec;
using namespace moec::cpu;
using kernel::AttentionSpec;

static constexpr int64_t kTokensPerTile = 8;
/// One softmax step covers so many positions, or one cache block if larger.
static constexpr int64_t kChunk = 128;

namespace {

/// c[row][column] = or += sum over k of a[row][k] * b[k][column], rows of a
/// and c in scratch as f32.
struct Product {
  StringRef name;
  int64_t columns;
  ElementType element; ///< of b
  int64_t aStride, bStride, cStride;
  bool accumulates;
};

class AttentionEmitter {
public:
  AttentionEmitter(Emitter &e, const AttentionSpec &spec);
  void emit();
  uint64_t scratchBytes() const { return scratchEnd; }

private:
  void defineProduct(const Product &product, SmallVectorImpl<Function *> &);
  void callProduct(const Product &product, ArrayRef<Function *> functions,
                   Value *rows, Value *a, Value *b, Value *c, Value *count);
  SmallVector<unsigned> rowSizes(int64_t partColumns) const;
  int64_t partColumns(int64_t columns) const;

  void emitChunk(ArrayRef<Value *> arguments);
  Value *windowStart(Value *own);
  std::pair<Value *, Value *> seen(Value *own, Value *base);
  void emitSoftmax(Value *row, Value *begin, Value *end);
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
  int64_t chunk; ///< positions of one softmax step
  int64_t cacheBlockBytes, cacheHeadBytes;
  int64_t qOffset, scoresOffset, sumOffset, statsOffset, scratchEnd;
  int64_t qStride, scoresStride;
  Product scores, values;
  SmallVector<Function *> scoreFunctions, valueFunctions;
  Function *chunkFunction = nullptr;
};

} // namespace

AttentionEmitter::AttentionEmitter(Emitter &e, const AttentionSpec &spec)
    : e(e), spec(spec), group(spec.heads / spec.kvHeads),
      chunk(std::max(kChunk / spec.blockSize, int64_t(1)) * spec.blockSize) {
  int64_t bytes = blockBytes(spec.cache);
  cacheHeadBytes = spec.headDim * spec.blockSize * bytes;
  cacheBlockBytes = spec.kvHeads * cacheHeadBytes;
  int64_t rows = kTokensPerTile * group;
  qStride = alignTo(spec.headDim * 4, 64);
  scoresStride = alignTo(chunk * 4, 64);
  qOffset = 0;
  scoresOffset = qOffset + rows * qStride;
  sumOffset = scoresOffset + rows * scoresStride;
  statsOffset = sumOffset + rows * qStride;
  scratchEnd = statsOffset + rows * 8;
  scores = {"scores", spec.blockSize,         spec.cache,
            qStride,  spec.blockSize * bytes, scoresStride,
            false};
  values = {"values",     spec.headDim,         spec.cache,
            scoresStride, spec.headDim * bytes, qStride,
            true};
}

//===- Small products -----------------------------------------------------===//

/// Columns that one function handles: up to four vectors.
int64_t AttentionEmitter::partColumns(int64_t columns) const {
  int64_t lanes = lanesDividing(columns, e.lanes);
  int64_t most = e.registers == 32 ? 4 : 2;
  while (columns / lanes % most)
    --most;
  return lanes * most;
}

SmallVector<unsigned> AttentionEmitter::rowSizes(int64_t part) const {
  int64_t vectors = part / lanesDividing(part, e.lanes);
  unsigned most = std::min<int64_t>((e.registers - 8) / vectors, 12);
  if (e.registers == 16)
    most = std::min(most, 6u);
  SmallVector<unsigned> sizes;
  for (; most > 1; most = (most + 1) / 2)
    sizes.push_back(most);
  sizes.push_back(1);
  return sizes;
}

void AttentionEmitter::defineProduct(const Product &product,
                                     SmallVectorImpl<Function *> &functions) {
  int64_t part = partColumns(product.columns);
  unsigned lanes = lanesDividing(part, e.lanes);
  unsigned vectors = part / lanes;
  unsigned bytes = blockBytes(product.element);
  for (unsigned rows : rowSizes(part))
    functions.push_back(e.define(
        (product.name + Twine(rows)).str(), {e.ptr, e.ptr, e.ptr, e.i64},
        [&](ArrayRef<Value *> arguments) {
          Value *a = arguments[0], *b = arguments[1], *c = arguments[2];
          auto place = [&](unsigned number) {
            return e.offset(c, number / vectors * product.cStride +
                                   number % vectors * lanes * 4);
          };
          Values sums;
          for (unsigned number = 0; number < rows * vectors; ++number)
            sums.push_back(product.accumulates
                               ? e.loadRaw(e.f32, place(number), lanes, nullptr)
                               : e.splat(0.0, lanes));
          sums = e.loop(e.index(0), arguments[3], 1, sums,
                        [&](Value *k, ArrayRef<Value *> carried) {
                          Values next;
                          Values columns;
                          Value *bRow = e.element(b, k, product.bStride);
                          for (unsigned v = 0; v < vectors; ++v)
                            columns.push_back(e.loadFloats(
                                product.element,
                                e.offset(bRow, v * lanes * bytes), lanes));
                          for (unsigned row = 0; row < rows; ++row) {
                            Value *scalar =
                                e.load(e.f32, e.offset(e.element(a, k, 4),
                                                       row * product.aStride));
                            Value *left = e.splat(scalar, lanes);
                            for (unsigned v = 0; v < vectors; ++v)
                              next.push_back(e.fma(left, columns[v],
                                                   carried[row * vectors + v]));
                          }
                          return next;
                        });
          for (auto [number, sum] : enumerate(sums))
            e.store(sum, place(number));
        }));
}

void AttentionEmitter::callProduct(const Product &product,
                                   ArrayRef<Function *> functions, Value *rows,
                                   Value *a, Value *b, Value *c, Value *count) {
  int64_t part = partColumns(product.columns);
  Value *row = e.index(0);
  for (auto [size, function] : zip_equal(rowSizes(part), functions)) {
    Value *left = e.b.CreateSub(rows, row);
    Value *end =
        e.b.CreateAdd(row, e.mul(e.b.CreateUDiv(left, e.index(size)), size));
    e.loop(row, end, size, [&](Value *at) {
      for (int64_t column = 0; column < product.columns; column += part)
        e.call(function,
               {e.element(a, at, product.aStride),
                e.offset(b, column * blockBytes(product.element)),
                e.offset(e.element(c, at, product.cStride), column * 4),
                count});
    });
    row = end;
  }
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

/// Takes a row's scores of slots [begin, end) into account: its maximum and
/// sum, its accumulator rescaled where the maximum grew, scores turned to
/// exponentials.
void AttentionEmitter::emitSoftmax(Value *row, Value *begin, Value *end) {
  IRBuilder<> &b = e.b;
  unsigned lanes = lanesDividing(chunk, e.lanes);
  Value *scoreRow = rowAt(scoresOffset, row, scoresStride);
  Value *stats = rowAt(statsOffset, row, 8);
  Value *oldMaximum = e.load(e.f32, stats);
  Value *first = b.CreateAnd(begin, e.index(-int64_t(lanes)));
  auto mask = [&](Value *slot) {
    Value *from = e.max(b.CreateSub(begin, slot), e.index(0));
    return b.CreateAnd(b.CreateNot(e.laneMask(from, lanes)),
                       e.laneMask(b.CreateSub(end, slot), lanes));
  };
  auto scoresAt = [&](Value *slot) { return e.element(scoreRow, slot, 4); };
  // NaN is not larger than anything: it shows in the sum.
  auto larger = [&](Value *most, Value *x) {
    return b.CreateSelect(b.CreateFCmpOGT(x, most), x, most);
  };
  double inf = std::numeric_limits<double>::infinity();
  Value *least = e.splat(-inf, lanes);
  Value *most =
      e.loop(first, end, lanes, {least},
             [&](Value *slot, ArrayRef<Value *> most) -> Values {
               Value *x = e.loadRaw(e.f32, scoresAt(slot), lanes, nullptr);
               return {larger(most[0], b.CreateSelect(mask(slot), x, least))};
             })[0];
  Value *maximum = larger(oldMaximum, e.maxLanes(most));
  Value *top = e.splat(maximum, lanes);
  Value *sums =
      e.loop(first, end, lanes, {e.splat(0.0, lanes)},
             [&](Value *slot, ArrayRef<Value *> sum) -> Values {
               Value *x = e.loadRaw(e.f32, scoresAt(slot), lanes, nullptr);
               Value *power = emitExp(e, b.CreateFSub(x, top));
               power = b.CreateSelect(mask(slot), power, e.splat(0.0, lanes));
               e.store(power, scoresAt(slot));
               return {b.CreateFAdd(sum[0], power)};
             })[0];
  Value *oldSum = e.load(e.f32, e.offset(stats, 4));
  // Where the maximum stays, the factor is exactly 1.
  Value *scaledSum = e.ifElse(
      b.CreateFCmpOGT(maximum, oldMaximum),
      [&]() -> Values {
        Value *alpha =
            emitExp(e, e.splat(b.CreateFSub(oldMaximum, maximum), e.lanes));
        Value *accumulator = rowAt(sumOffset, row, qStride);
        e.columns(spec.headDim, [&](Value *column, Value *mask) {
          Value *at = e.element(accumulator, column, 4);
          Value *x = e.loadFloats(ElementType::f32, at, e.lanes, mask);
          e.storeFloats(ElementType::f32, b.CreateFMul(x, alpha), at, mask);
        });
        e.store(maximum, stats);
        Value *factor = b.CreateExtractElement(alpha, uint64_t(0));
        return {b.CreateFMul(oldSum, factor)};
      },
      [&]() -> Values { return {oldSum}; })[0];
  e.store(b.CreateFAdd(scaledSum, e.sumLanes(sums)), e.offset(stats, 4));
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
  // Calls `body(the cache head's block, its first slot of the chunk)` for the
  // blocks that any row sees.
  auto forBlocks = [&](unsigned buffer,
                       function_ref<void(Value *, Value *)> body) {
    Value *from = b.CreateUDiv(unionBegin, blockSize);
    e.loop(from, e.ceilDiv(unionEnd, spec.blockSize), 1, [&](Value *number) {
      Value *block = pages.block(e, sequence, b.CreateAdd(firstBlock, number));
      Value *cache =
          e.offset(e.element(e.buffer(buffer), block, cacheBlockBytes),
                   e.mul(head, cacheHeadBytes));
      body(cache, e.mul(number, spec.blockSize));
    });
  };
  // Scores of slots that a row does not see are made and not used.
  forBlocks(1, [&](Value *keys, Value *slot) {
    callProduct(scores, scoreFunctions, rows, rowAt(qOffset, zero, qStride),
                keys,
                e.element(rowAt(scoresOffset, zero, scoresStride), slot, 4),
                e.index(spec.headDim));
  });
  e.loop(zero, rows, 1, [&](Value *row) {
    Value *own = b.CreateAdd(position, b.CreateUDiv(row, e.index(group)));
    auto [begin, end] = seen(own, base);
    e.ifThen(b.CreateICmpSLT(begin, end),
             [&, begin = begin, end = end] { emitSoftmax(row, begin, end); });
  });
  forBlocks(2, [&, commonBegin = commonBegin,
                commonEnd = commonEnd](Value *cache, Value *slot) {
    auto add = [&](Value *row, Value *rows, Value *from, Value *count) {
      Value *powers = e.element(rowAt(scoresOffset, row, scoresStride),
                                b.CreateAdd(slot, from), 4);
      callProduct(values, valueFunctions, rows, powers,
                  e.element(cache, from, values.bStride),
                  rowAt(sumOffset, row, qStride), count);
    };
    Value *allSee =
        b.CreateAnd(b.CreateICmpSLE(commonBegin, slot),
                    b.CreateICmpSLE(e.add(slot, spec.blockSize), commonEnd));
    e.ifElse(
        allSee,
        [&] {
          add(zero, rows, zero, blockSize);
          return Values();
        },
        [&] {
          e.loop(zero, count, 1, [&](Value *number) {
            auto [begin, end] = seen(b.CreateAdd(position, number), base);
            Value *from = e.max(b.CreateSub(begin, slot), zero);
            Value *to = e.min(b.CreateSub(end, slot), blockSize);
            e.ifThen(b.CreateICmpSLT(from, to), [&] {
              add(e.mul(number, group), e.index(group), from,
                  b.CreateSub(to, from));
            });
          });
          return Values();
        });
  });
}

//===- Runs of tokens -----------------------------------------------------===//

/// `count` tokens from `token` on, at consecutive positions of one sequence.
void AttentionEmitter::emitRun(Value *head, Value *token, Value *sequence,
                               Value *position, Value *count) {
  IRBuilder<> &b = e.b;
  int64_t rowElements = spec.heads * spec.headDim;
  Value *firstHead = e.mul(head, group);
  auto rowOf = [&](unsigned buffer, ElementType element, Value *row) {
    Value *at = b.CreateAdd(token, b.CreateUDiv(row, e.index(group)));
    Value *queryHead =
        b.CreateAdd(firstHead, b.CreateURem(row, e.index(group)));
    int64_t bytes = blockBytes(element);
    return e.element(e.element(e.buffer(buffer), at, rowElements * bytes),
                     queryHead, spec.headDim * bytes);
  };
  Value *rows = e.mul(count, group);
  e.loop(e.index(0), rows, 1, [&](Value *row) {
    Value *from = rowOf(0, spec.q, row);
    Value *to = rowAt(qOffset, row, qStride);
    Value *sum = rowAt(sumOffset, row, qStride);
    e.columns(spec.headDim, [&](Value *column, Value *mask) {
      Value *x = e.loadFloats(
          spec.q, e.element(from, column, blockBytes(spec.q)), e.lanes, mask);
      e.storeFloats(ElementType::f32,
                    b.CreateFMul(x, e.splat(spec.scale, e.lanes)),
                    e.element(to, column, 4), mask);
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
    Value *from = rowAt(sumOffset, row, qStride);
    Value *to = rowOf(6, spec.out, row);
    Value *total = e.load(e.f32, e.offset(rowAt(statsOffset, row, 8), 4));
    e.columns(spec.headDim, [&](Value *column, Value *mask) {
      Value *x = e.loadFloats(ElementType::f32, e.element(from, column, 4),
                              e.lanes, mask);
      e.storeFloats(spec.out, b.CreateFDiv(x, e.splat(total, e.lanes)),
                    e.element(to, column, blockBytes(spec.out)), mask);
    });
  });
}

void AttentionEmitter::emit() {
  IRBuilder<> &b = e.b;
  defineProduct(scores, scoreFunctions);
  defineProduct(values, valueFunctions);
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
