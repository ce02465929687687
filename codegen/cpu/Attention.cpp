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

using namespace llvm;
using namespace moec;
using namespace moec::cpu;
using kernel::AttentionSpec;

static constexpr int64_t kTokensPerTile = 8;
/// One softmax step covers so many positions, or one cache block if larger.
static constexpr int64_t kChunk = 64;

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
  void emitSoftmax(Value *rowBegin, Value *rows, Value *begin, Value *end);
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

/// Takes the chunk's scores into account, of slots [begin, end): maximum and
/// sum of each row, its accumulator rescaled, scores turned to exponentials.
void AttentionEmitter::emitSoftmax(Value *rowBegin, Value *rows, Value *begin,
                                   Value *end) {
  IRBuilder<> &b = e.b;
  unsigned lanes = lanesDividing(chunk, e.lanes);
  double inf = std::numeric_limits<double>::infinity();
  Values masks;
  for (int64_t slot = 0; slot < chunk; slot += lanes) {
    Value *none = e.index(0);
    Value *from = e.max(e.add(begin, -slot), none);
    Value *to = e.max(e.add(end, -slot), none);
    masks.push_back(b.CreateAnd(b.CreateNot(e.laneMask(from, lanes)),
                                e.laneMask(to, lanes)));
  }
  e.loop(rowBegin, b.CreateAdd(rowBegin, rows), 1, [&](Value *row) {
    Value *scoreRow = rowAt(scoresOffset, row, scoresStride);
    Value *stats = rowAt(statsOffset, row, 8);
    Value *oldMaximum = e.load(e.f32, stats);
    Value *least = e.splat(-inf, lanes);
    Values loaded;
    Value *most = least;
    for (auto [number, mask] : enumerate(masks)) {
      Value *x = e.loadRaw(e.f32, e.offset(scoreRow, number * lanes * 4), lanes,
                           nullptr);
      loaded.push_back(b.CreateSelect(mask, x, least));
      most = e.maxNumber(most, loaded.back());
    }
    Value *maximum = e.maxNumber(oldMaximum, e.maxLanes(most));
    Value *top = e.splat(maximum, lanes);
    Value *sums = e.splat(0.0, lanes);
    for (auto [number, x] : enumerate(loaded)) {
      Value *power = emitExp(e, b.CreateFSub(x, top));
      power = b.CreateSelect(masks[number], power, e.splat(0.0, lanes));
      e.store(power, e.offset(scoreRow, number * lanes * 4));
      sums = b.CreateFAdd(sums, power);
    }
    Value *alpha = b.CreateExtractElement(
        emitExp(e, e.splat(b.CreateFSub(oldMaximum, maximum), 1)), uint64_t(0));
    Value *sum =
        e.fma(e.load(e.f32, e.offset(stats, 4)), alpha, e.sumLanes(sums));
    e.store(maximum, stats);
    e.store(sum, e.offset(stats, 4));
    Value *accumulator = rowAt(sumOffset, row, qStride);
    e.columns(spec.headDim, [&](Value *column, Value *mask) {
      Value *at = e.element(accumulator, column, 4);
      Value *x = e.loadFloats(ElementType::f32, at, e.lanes, mask);
      e.storeFloats(ElementType::f32, b.CreateFMul(x, e.splat(alpha, e.lanes)),
                    at, mask);
    });
  });
}

/// (head, sequence, first position of the chunk, rowBegin, rows, first slot
/// seen, end of slots seen)
void AttentionEmitter::emitChunk(ArrayRef<Value *> arguments) {
  Value *head = arguments[0], *sequence = arguments[1];
  Value *rowBegin = arguments[3], *rows = arguments[4];
  Value *begin = arguments[5], *end = arguments[6];
  Paging pages = paging();
  Value *firstBlock = e.b.CreateUDiv(arguments[2], e.index(spec.blockSize));
  // Calls `body(cache head's block, first slot of it seen, count, slot of the
  // chunk)` for the blocks that hold slots [begin, end).
  auto forBlocks =
      [&](unsigned buffer,
          function_ref<void(Value *, Value *, Value *, Value *)> body) {
        Value *from = e.b.CreateUDiv(begin, e.index(spec.blockSize));
        e.loop(from, e.ceilDiv(end, spec.blockSize), 1, [&](Value *number) {
          Value *block =
              pages.block(e, sequence, e.b.CreateAdd(firstBlock, number));
          Value *cache =
              e.offset(e.element(e.buffer(buffer), block, cacheBlockBytes),
                       e.mul(head, cacheHeadBytes));
          Value *blockBegin = e.mul(number, spec.blockSize);
          Value *slot = e.max(e.b.CreateSub(begin, blockBegin), e.index(0));
          Value *slotEnd =
              e.min(e.b.CreateSub(end, blockBegin), e.index(spec.blockSize));
          body(cache, slot, e.b.CreateSub(slotEnd, slot), blockBegin);
        });
      };
  forBlocks(1, [&](Value *keys, Value *, Value *, Value *blockBegin) {
    callProduct(
        scores, scoreFunctions, rows, rowAt(qOffset, rowBegin, qStride), keys,
        e.element(rowAt(scoresOffset, rowBegin, scoresStride), blockBegin, 4),
        e.index(spec.headDim));
  });
  emitSoftmax(rowBegin, rows, begin, end);
  forBlocks(2, [&](Value *cache, Value *slot, Value *count, Value *blockBegin) {
    Value *powers = e.element(rowAt(scoresOffset, rowBegin, scoresStride),
                              e.b.CreateAdd(blockBegin, slot), 4);
    callProduct(values, valueFunctions, rows, powers,
                e.element(cache, slot, values.bStride),
                rowAt(sumOffset, rowBegin, qStride), count);
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

  Value *zero = e.index(0), *whole = e.index(chunk);
  auto windowStart = [&](Value *at) -> Value * {
    return spec.window ? e.max(e.add(at, 1 - spec.window), zero) : zero;
  };
  Value *last = e.add(b.CreateAdd(position, count), -1);
  Value *start = e.mul(b.CreateUDiv(windowStart(position), whole), chunk);
  Value *lastStart = windowStart(last);
  e.loop(start, e.add(last, 1), chunk, [&](Value *base) {
    Value *allSee =
        b.CreateAnd(b.CreateICmpSLT(e.add(base, chunk - 1), e.add(position, 1)),
                    b.CreateICmpSLE(lastStart, base));
    e.ifElse(
        allSee,
        [&] {
          e.call(chunkFunction,
                 {head, sequence, base, zero, rows, zero, whole});
          return Values();
        },
        [&] {
          e.loop(zero, count, 1, [&](Value *number) {
            Value *own = b.CreateAdd(position, number);
            Value *begin = e.max(b.CreateSub(windowStart(own), base), zero);
            Value *end = e.min(e.add(b.CreateSub(own, base), 1), whole);
            e.ifThen(b.CreateICmpSLT(begin, end), [&] {
              e.call(chunkFunction, {head, sequence, base, e.mul(number, group),
                                     e.index(group), begin, end});
            });
          });
          return Values();
        });
  });

  e.loop(zero, rows, 1, [&](Value *row) {
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
      e.define("chunk", SmallVector<Type *>(7, e.i64),
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
