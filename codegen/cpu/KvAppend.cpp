//===- KvAppend.cpp - rows of keys or values into the paged cache ---------===//
//
// A task is a block of tokens. Value rows are copied along headDim. Keys are
// stored transposed within a block (headDim by slot), so that attention reads
// the scores of neighbouring slots with one vector. Tokens that fill whole
// cache lines of slots are transposed in registers: written slot by slot, each
// line would come from another core again and again. Others go by scalars.
//
//===----------------------------------------------------------------------===//

#include "codegen/cpu/Emitter.h"
#include "codegen/cpu/Kernels.h"
#include "codegen/cpu/Paging.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"

using namespace llvm;
using namespace moec;
using namespace moec::cpu;

static constexpr int64_t kTokensPerTask = 32;
/// Columns of a transposed tile, and tokens of one of its halves.
static constexpr int64_t kTile = 16;

namespace {

class KvAppendEmitter {
public:
  KvAppendEmitter(Emitter &e, const kernel::KvAppendSpec &spec)
      : e(e), b(e.b), spec(spec), xBytes(blockBytes(spec.x)),
        cacheBytes(blockBytes(spec.cache)),
        headBytes(spec.headDim * spec.blockSize * cacheBytes),
        run(64 / cacheBytes) {}
  void emit();

private:
  bool transposes() const {
    return spec.key && e.lanes == kTile && spec.blockSize % run == 0 &&
           spec.headDim % kTile == 0 && run % kTile == 0;
  }
  Paging paging() {
    return {e.buffer(3), e.buffer(4), e.extent(1), e.extent(2)};
  }
  Value *rowOf(Value *token) {
    return e.element(e.buffer(1), token, spec.heads * spec.headDim * xBytes);
  }
  Value *positionOf(Value *token) { return e.loadIndex(e.buffer(2), token); }
  Value *blockOf(Value *token, Value *position);
  void emitToken(Value *token);
  Value *emitIsRun(Value *token, Value *end);
  void emitRun(Value *token);
  SmallVector<Value *, kTile> loadRows(Value *from);
  void transpose(SmallVectorImpl<Value *> &rows);

  Emitter &e;
  IRBuilder<> &b;
  const kernel::KvAppendSpec &spec;
  int64_t xBytes, cacheBytes, headBytes;
  int64_t run; ///< slots of a cache line
};

} // namespace

/// Where the cache block of a token at `position` begins.
Value *KvAppendEmitter::blockOf(Value *token, Value *position) {
  Paging pages = paging();
  Value *block = pages.block(e, pages.sequence(e, token),
                             b.CreateUDiv(position, e.index(spec.blockSize)));
  return e.element(e.buffer(0), block, spec.heads * headBytes);
}

void KvAppendEmitter::emitToken(Value *token) {
  Value *position = positionOf(token);
  Value *block = blockOf(token, position);
  Value *slot = b.CreateURem(position, e.index(spec.blockSize));
  Value *row = rowOf(token);
  e.loop(e.index(0), e.index(spec.heads), 1, [&](Value *head) {
    Value *from = e.element(row, head, spec.headDim * xBytes);
    Value *to = e.element(block, head, headBytes);
    if (spec.key) {
      Value *column = e.element(to, slot, cacheBytes);
      e.loop(e.index(0), e.index(spec.headDim), 1, [&](Value *d) {
        e.storeFloat(spec.cache,
                     e.loadFloat(spec.x, e.element(from, d, xBytes)),
                     e.element(column, d, spec.blockSize * cacheBytes));
      });
      return;
    }
    Value *slotRow = e.element(to, slot, spec.headDim * cacheBytes);
    e.columns(spec.headDim, [&](Value *d, Value *mask) {
      e.storeFloats(
          spec.cache,
          e.loadFloats(spec.x, e.element(from, d, xBytes), e.lanes, mask),
          e.element(slotRow, d, cacheBytes), mask);
    });
  });
}

/// Whether the tokens from `token` on fill a cache line of slots: `run` tokens
/// of one sequence, at consecutive positions, the first a multiple of `run`.
Value *KvAppendEmitter::emitIsRun(Value *token, Value *end) {
  Value *fits = b.CreateICmpSLE(e.add(token, run), end);
  return e.ifElse(
      fits,
      [&]() -> Values {
        Value *first = positionOf(token);
        Value *holds =
            b.CreateICmpEQ(b.CreateAnd(first, e.index(run - 1)), e.index(0));
        Paging pages = paging();
        holds = b.CreateAnd(
            holds, b.CreateICmpEQ(pages.sequence(e, token),
                                  pages.sequence(e, e.add(token, run - 1))));
        for (int64_t half = 0; half < run; half += kTile) {
          auto steps =
              to_vector(seq<uint32_t>(uint32_t(half), uint32_t(half + kTile)));
          Value *expected = b.CreateAdd(
              b.CreateVectorSplat(kTile, b.CreateTrunc(first, e.i32)),
              ConstantDataVector::get(e.context, steps));
          Value *found =
              e.loadRaw(e.i32, e.element(e.buffer(2), e.add(token, half), 4),
                        kTile, nullptr);
          Value *differs = b.CreateICmpNE(expected, found);
          Value *bits = b.CreateBitCast(differs, b.getIntNTy(kTile));
          holds = b.CreateAnd(
              holds,
              b.CreateICmpEQ(bits, Constant::getNullValue(bits->getType())));
        }
        return {holds};
      },
      [&]() -> Values { return {b.getFalse()}; })[0];
}

/// kTile columns of `run` tokens, the first of them at `from`, in the cache's
/// encoding: vector i has token i, and token kTile + i behind it if there is
/// room in a line.
SmallVector<Value *, kTile> KvAppendEmitter::loadRows(Value *from) {
  auto load = [&](int64_t token) {
    Value *at = e.offset(from, token * spec.heads * spec.headDim * xBytes);
    if (spec.x == spec.cache)
      return e.loadRaw(b.getIntNTy(unsigned(8 * cacheBytes)), at, kTile,
                       nullptr);
    return e.encode(spec.cache, e.loadFloats(spec.x, at, kTile));
  };
  SmallVector<Value *, kTile> rows;
  for (int64_t i = 0; i < kTile; ++i) {
    Value *row = load(i);
    if (run > kTile)
      row =
          b.CreateShuffleVector(row, load(kTile + i), to_vector(seq(int(run))));
    rows.push_back(row);
  }
  return rows;
}

/// Each half of kTile lanes is transposed on its own. A round interleaves
/// vector i with vector i + 8, which moves the address (row, lane) of every
/// element one bit to the left; after four rounds row and lane have changed
/// places.
void KvAppendEmitter::transpose(SmallVectorImpl<Value *> &rows) {
  auto order = [&](int from) {
    SmallVector<int> lanes;
    for (int half = 0; half < int(run); half += kTile)
      for (int lane : seq(int(kTile / 2))) {
        lanes.push_back(half + from + lane);
        lanes.push_back(half + from + lane + int(run));
      }
    return lanes;
  };
  SmallVector<int> low = order(0), high = order(kTile / 2);
  for (int64_t round = 1; round < kTile; round *= 2) {
    SmallVector<Value *, kTile> next;
    for (int64_t i = 0; i < kTile / 2; ++i)
      for (ArrayRef<int> lanes : {low, high})
        next.push_back(
            b.CreateShuffleVector(rows[i], rows[i + kTile / 2], lanes));
    rows.assign(next.begin(), next.end());
  }
}

void KvAppendEmitter::emitRun(Value *token) {
  Value *position = positionOf(token);
  Value *slot = b.CreateURem(position, e.index(spec.blockSize));
  Value *block = e.element(blockOf(token, position), slot, cacheBytes);
  Value *row = rowOf(token);
  // Columns of one head follow those of the one before, in x and in the cache.
  e.loop(e.index(0), e.index(spec.heads * spec.headDim), kTile, [&](Value *d) {
    SmallVector<Value *, kTile> rows = loadRows(e.element(row, d, xBytes));
    transpose(rows);
    Value *to = e.element(block, d, spec.blockSize * cacheBytes);
    for (auto [i, column] : enumerate(rows))
      e.store(column, e.offset(to, int64_t(i) * spec.blockSize * cacheBytes));
  });
}

void KvAppendEmitter::emit() {
  Value *end = e.min(e.mul(e.taskEnd, kTokensPerTask), e.extent(0));
  Value *begin = e.mul(e.taskBegin, kTokensPerTask);
  if (!transposes()) {
    e.loop(begin, end, 1, [&](Value *token) { emitToken(token); });
    return;
  }
  e.whileLoop(
      {begin},
      [&](ArrayRef<Value *> token) { return b.CreateICmpSLT(token[0], end); },
      [&](ArrayRef<Value *> token) -> Values {
        return e.ifElse(
            emitIsRun(token[0], end),
            [&]() -> Values {
              emitRun(token[0]);
              return {e.add(token[0], run)};
            },
            [&]() -> Values {
              emitToken(token[0]);
              return {e.add(token[0], 1)};
            });
      });
}

void cpu::emitKvAppend(Emitter &e, const kernel::KvAppendSpec &spec,
                       CpuKernel &result) {
  KvAppendEmitter(e, spec).emit();
  result.grid = {{.extent = 0, .divisor = kTokensPerTask}};
}
