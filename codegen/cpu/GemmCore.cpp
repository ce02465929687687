//===- GemmCore.cpp -------------------------------------------------------===//

#include "codegen/cpu/GemmCore.h"
#include "codegen/cpu/VectorMath.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>

using namespace llvm;
using namespace moec;
using namespace moec::cpu;

/// A slab's chunk and the same chunk of a tile's rows stay in an L1 of 48 KiB,
/// almost; where L1 has 32 KiB, rows come from L2.
static constexpr int64_t kChunkBytes = 52 << 10;
/// A block's rows are read again for each panel, from L2 or at worst L3, and
/// the more there are, the less often weights are: this many, unless they take
/// more bytes than an L2 has.
static constexpr int64_t kBlockRows = 132;
static constexpr int64_t kBlockBytes = 2 << 20;
/// What rows may take of an L2 of 1 MiB.
static constexpr int64_t kGroupBytes = 896 << 10;

GemmCore::GemmCore(Emitter &e, const GemmTraits &traits)
    : e(e), traits(traits) {
  WeightLayout layout = weightLayout(traits.a, traits.w, traits.gated, e.level);
  panel = layout.panel;
  vectors = panel / e.lanes;
  slabsPerPanel = traits.gated ? 2 : 1;
  panelCount = divideCeil(uint64_t(traits.n), panel);

  bool dot = e.level >= CpuLevel::Avx512Bf16 && traits.a == ElementType::bf16;
  switch (traits.w) {
  case ElementType::bf16:
    inner = dot ? Inner::Bf16Dot : Inner::Bf16;
    stepElements = 2;
    if (dot && e.level == CpuLevel::Amx && traits.k % 32 == 0) {
      inner = Inner::Amx;
      stepElements = 32; // a row of a tile register
    }
    slabStepBytes = int64_t(panel) * stepElements * 2;
    break;
  case ElementType::f16:
    inner = Inner::F16;
    stepElements = 1;
    slabStepBytes = int64_t(panel) * 2;
    break;
  case ElementType::q8_0:
    inner = Inner::Q8;
    stepElements = 32;
    slabStepBytes = int64_t(panel) * (4 + 32);
    break;
  default:
    inner = Inner::F32;
    stepElements = 1;
    slabStepBytes = int64_t(panel) * 4;
  }
  bool inBf16 = inner == Inner::Bf16Dot || inner == Inner::Amx;
  compute = inBf16 ? ElementType::bf16 : ElementType::f32;
  steps = divideCeil(uint64_t(traits.k), uint64_t(stepElements));
  int64_t elementBytes = blockBytes(compute);
  aStepBytes = stepElements * elementBytes;
  slabBytes = steps * slabStepBytes;
  // Accumulators fill all registers but those of one step's operands.
  if (inner == Inner::Amx)
    tileRows = {32, 16}; // 2 by 2 or 1 by 2 tile registers of sums
  else if (e.registers == 32)
    tileRows = {12, 8, 4, 2, 1};
  else if (vectors == 2)
    tileRows = {6, 4, 2, 1};
  else
    tileRows = {2, 1};
  int64_t chunks =
      divideCeil(uint64_t(steps * (slabStepBytes + tileRows[0] * aStepBytes)),
                 uint64_t(kChunkBytes));
  chunkSteps = divideCeil(uint64_t(steps), uint64_t(chunks));
  int64_t direct = traits.k * elementBytes;
  bool aliases = direct % 2048 == 0;
  // Tile registers are always read whole: the rows below the last one are
  // whatever scratch holds there, and so are the sums that they make.
  packs = inner == Inner::Amx || traits.gathers || traits.a != compute ||
          aliases || traits.k % stepElements != 0;
  rowStride = direct;
  if (packs) // An odd number of cache lines spreads rows over L1's sets.
    rowStride = (divideCeil(uint64_t(steps * aStepBytes), 64) | 1) * 64;
  int64_t most = tileRows[0];
  rowsPerBlock = std::clamp(kBlockBytes / rowStride / most * most, 2 * most,
                            kBlockRows / most * most);
  tileStride = rowsPerBlock * panel * 4;
  tileOffset = packs ? alignTo(rowsPerBlock * rowStride, 64) : 0;
}

int64_t GemmCore::panelsPerTask() const {
  constexpr int64_t taskBytes = 64 << 10;
  int64_t worthwhile = taskBytes / (slabBytes * slabsPerPanel);
  return std::max<int64_t>(1, std::min(worthwhile, panelCount / 24));
}

int64_t GemmCore::blocksPerGroup() const {
  // Rows that are copied first are copied once for all panels of a task range.
  if (packs)
    return 1;
  return std::max<int64_t>(1, kGroupBytes / (rowsPerBlock * rowStride));
}

uint64_t GemmCore::scratchBytes() const {
  return tileOffset + tileStride * std::max(kStreams, slabsPerPanel);
}

//===- Rows of A ----------------------------------------------------------===//

Value *GemmCore::rowPointer(Value *row) {
  Value *source = traits.gathers ? traits.sourceRow(row) : row;
  return e.element(e.buffer(traits.aBuffer), source,
                   traits.k * blockBytes(traits.a));
}

/// Copies rows to scratch as `compute`, with zeros up to a whole step.
void GemmCore::emitPack(Value *rowBegin, Value *rows) {
  int64_t padded = steps * stepElements;
  e.loop(e.index(0), rows, 1, [&](Value *row) {
    Value *from = rowPointer(e.b.CreateAdd(rowBegin, row));
    Value *to = e.element(e.scratch, row, rowStride);
    if (traits.a == compute && padded == traits.k) {
      e.copyBytes(to, from, traits.k * blockBytes(compute));
      return;
    }
    e.columns(traits.k, [&](Value *column, Value *mask) {
      Value *values =
          e.loadFloats(traits.a, e.element(from, column, blockBytes(traits.a)),
                       e.lanes, mask);
      // Converting to the computed type is exact: it is a's own or f32.
      e.storeFloats(compute, values, e.element(to, column, blockBytes(compute)),
                    mask);
    });
    for (int64_t column = traits.k; column < padded; ++column)
      e.storeFloat(compute, ConstantFP::get(e.f32, 0),
                   e.offset(to, column * blockBytes(compute)));
  });
}

//===- Blocks -------------------------------------------------------------===//

/// Where the tile of rows from `row` on prefetches from: tiles share the chunk
/// at `next` by a line for every two steps that each computes.
Value *GemmCore::nextWeights(Value *next, Value *row, Value *count) {
  Value *tile = e.b.CreateUDiv(row, e.index(tileRows[0]));
  Value *at = e.b.CreateMul(tile, e.mul(count, kPrefetchPerStep));
  Value *end = e.mul(count, slabStepBytes - kPrefetchPerStep);
  return e.element(next, e.min(at, end), 1);
}

void GemmCore::emitOneRow(Value *rowBegin, Value *panelBegin, Value *panelEnd,
                          Value *weights, Value *expert) {
  Value *a = e.scratch;
  if (traits.a == compute && traits.k % stepElements == 0)
    a = rowPointer(rowBegin);
  else
    emitPack(rowBegin, e.index(1));
  Value *tile = e.offset(e.scratch, tileOffset);
  auto clear = [&](unsigned slabs) {
    for (unsigned slab = 0; slab < slabs; ++slab)
      for (unsigned v = 0; v < vectors; ++v)
        e.store(e.splat(0.0, e.lanes),
                e.offset(tile, slab * tileStride + v * e.lanes * 4));
  };
  int64_t panelBytes = slabBytes * slabsPerPanel;
  for (auto [slabs, function] : rowTiles) {
    unsigned together = slabs / slabsPerPanel;
    Value *count = e.b.CreateSub(panelEnd, panelBegin);
    Value *end = e.b.CreateAdd(
        panelBegin, e.b.CreateAnd(count, e.index(-int64_t(together))));
    e.loop(panelBegin, end, together,
           [&, slabs = slabs, function = function](Value *first) {
             clear(slabs);
             Value *w = e.element(weights, first, panelBytes);
             e.call(function, {a, w, tile, e.index(steps), w});
             for (unsigned i = 0; i < together; ++i)
               e.call(epilogue,
                      {e.offset(tile, i * slabsPerPanel * tileStride),
                       e.add(first, i), rowBegin, e.index(1), expert});
           });
    panelBegin = end;
  }
}

void GemmCore::emitManyRows(Value *rowBegin, Value *rows, Value *panelBegin,
                            Value *panelEnd, Value *weights, Value *expert) {
  Value *a = e.scratch;
  if (packs)
    emitPack(rowBegin, rows);
  else
    a = rowPointer(rowBegin);
  Value *tile = e.offset(e.scratch, tileOffset);
  int64_t rowBytes = int64_t(panel) * 4;
  // Whole tiles: a block has room for them, being a multiple of the largest.
  Value *computed = rows;
  if (unsigned least = tileRows.back(); least > 1)
    computed = e.mul(e.ceilDiv(rows, least), least);
  // Where K goes by chunks, a chunk of the rows, which L2 holds, serves several
  // panels before the next one comes from L3.
  int64_t together = chunkSteps < steps ? kStreams / slabsPerPanel : 1;
  // A single tile of rows uses nothing twice: a slab is then one stream.
  Value *isTile = e.b.CreateICmpSLE(rows, e.index(tileRows[0]));
  Value *mostSteps =
      e.b.CreateSelect(isTile, e.index(steps), e.index(chunkSteps));
  Value *chunks = e.b.CreateSelect(
      isTile, e.index(1),
      e.index(divideCeil(uint64_t(steps), uint64_t(chunkSteps))));
  int64_t panelBytes = slabBytes * slabsPerPanel;
  e.loop(panelBegin, panelEnd, together, [&](Value *first) {
    Value *panels = e.min(e.b.CreateSub(panelEnd, first), e.index(together));
    Value *slabs = e.mul(panels, slabsPerPanel);
    Value *groupWeights = e.element(weights, first, panelBytes);
    auto forSlabs = [&](function_ref<void(Value *, Value *)> body) {
      e.loop(e.index(0), slabs, 1, [&](Value *slab) {
        body(slab, e.element(tile, slab, tileStride));
      });
    };
    forSlabs([&](Value *, Value *slabTile) {
      e.loop(e.index(0), computed, 1, [&](Value *row) {
        for (unsigned v = 0; v < vectors; ++v)
          e.store(
              e.splat(0.0, e.lanes),
              e.offset(e.element(slabTile, row, rowBytes), v * e.lanes * 4));
      });
    });
    e.loop(e.index(0), chunks, 1, [&](Value *chunk) {
      Value *step = e.b.CreateNSWMul(chunk, mostSteps);
      Value *count = e.min(mostSteps, e.b.CreateSub(e.index(steps), step));
      Value *aChunk = e.element(a, step, aStepBytes);
      Value *groupChunk = e.element(groupWeights, step, slabStepBytes);
      forSlabs([&](Value *slab, Value *slabTile) {
        Value *wChunk = e.element(groupChunk, slab, slabBytes);
        // The chunk after this one: of the next slab, or the first slab's next
        // chunk, or what follows the group.
        Value *isLastSlab = e.b.CreateICmpEQ(e.add(slab, 1), slabs);
        Value *isLastChunk = e.b.CreateICmpEQ(e.add(chunk, 1), chunks);
        Value *next = e.b.CreateSelect(
            isLastSlab,
            e.b.CreateSelect(isLastChunk,
                             e.element(groupWeights, slabs, slabBytes),
                             e.element(groupChunk, count, slabStepBytes)),
            e.offset(wChunk, slabBytes));
        Value *row = e.index(0);
        for (auto [size, function] : zip_equal(tileRows, tiles)) {
          Value *left = e.b.CreateSub(computed, row);
          Value *end = e.b.CreateAdd(
              row, e.mul(e.b.CreateUDiv(left, e.index(size)), size));
          e.loop(row, end, size, [&](Value *at) {
            e.call(function, {e.element(aChunk, at, rowStride), wChunk,
                              e.element(slabTile, at, rowBytes), count,
                              nextWeights(next, at, count)});
          });
          row = end;
        }
      });
    });
    e.loop(e.index(0), panels, 1, [&](Value *number) {
      e.call(epilogue, {e.element(tile, number, tileStride * slabsPerPanel),
                        e.b.CreateAdd(first, number), rowBegin, rows, expert});
    });
  });
}

/// (tile, panel, rowBegin, rows, expert)
void GemmCore::emitEpilogue(ArrayRef<Value *> arguments) {
  IRBuilder<> &b = e.b;
  Value *tile = arguments[0], *rowBegin = arguments[2];
  Value *firstColumn = e.mul(arguments[1], panel);
  Value *out = e.buffer(traits.outBuffer);
  Value *bias = nullptr, *residual = nullptr, *rowWeights = nullptr;
  if (traits.biasBuffer >= 0)
    bias = e.element(e.buffer(traits.biasBuffer), arguments[4],
                     traits.n * slabsPerPanel * 4);
  if (traits.residualBuffer >= 0)
    residual = e.buffer(traits.residualBuffer);
  if (traits.weightBuffer >= 0)
    rowWeights = e.buffer(traits.weightBuffer);

  e.loop(e.index(0), arguments[3], 1, [&](Value *row) {
    Value *outRow = traits.outputRow(b.CreateAdd(rowBegin, row));
    Value *outBase = e.element(out, outRow, traits.n * blockBytes(traits.out));
    Value *residualBase = nullptr, *factor = nullptr;
    if (residual)
      residualBase =
          e.element(residual, outRow, traits.n * blockBytes(traits.residual));
    if (rowWeights)
      factor =
          e.splat(e.load(e.f32, e.element(rowWeights, outRow, 4)), e.lanes);
    for (unsigned v = 0; v < vectors; ++v) {
      Value *column = e.add(firstColumn, v * e.lanes);
      auto emit = [&](Value *mask) {
        auto slab = [&](unsigned number) {
          Value *at = e.offset(e.element(tile, row, int64_t(panel) * 4),
                               number * tileStride + v * e.lanes * 4);
          Value *sum = e.loadRaw(e.f32, at, e.lanes, nullptr);
          if (!bias)
            return sum;
          Value *from = e.offset(e.element(bias, column, 4),
                                 int64_t(number) * traits.n * 4);
          return b.CreateFAdd(sum, e.loadRaw(e.f32, from, e.lanes, mask));
        };
        Value *value = emitActivation(e, traits.activation, slab(0));
        if (traits.gated)
          value = b.CreateFMul(value, slab(1));
        if (factor)
          value = b.CreateFMul(value, factor);
        if (residual)
          value = b.CreateFAdd(
              value, e.loadFloats(traits.residual,
                                  e.element(residualBase, column,
                                            blockBytes(traits.residual)),
                                  e.lanes, mask));
        e.storeFloats(traits.out, value,
                      e.element(outBase, column, blockBytes(traits.out)), mask);
      };
      if (traits.n % panel == 0) {
        emit(nullptr);
        continue;
      }
      Value *valid = b.CreateSub(e.index(traits.n), column);
      e.ifThen(b.CreateICmpSGT(valid, e.index(0)), [&] {
        emit(traits.n % e.lanes ? e.laneMask(valid, e.lanes) : nullptr);
      });
    }
  });
}

void GemmCore::emitFunctions() {
  bool amx = inner == Inner::Amx;
  for (unsigned rows : tileRows)
    tiles.push_back(amx ? defineAmxTile(rows) : defineTile(rows, 1));
  for (unsigned slabs = kStreams; slabs >= slabsPerPanel && !amx; slabs /= 2)
    rowTiles.push_back(
        {slabs, slabs == 1 ? tiles.back() : defineTile(1, slabs)});
  epilogue =
      e.define("epilogue", {e.ptr, e.i64, e.i64, e.i64, e.i64},
               [&](ArrayRef<Value *> arguments) { emitEpilogue(arguments); });
  // (rowBegin, rows, panelBegin, panelEnd, expert)
  block = e.define("block", {e.i64, e.i64, e.i64, e.i64, e.i64},
                   [&](ArrayRef<Value *> arguments) {
                     Value *rows = arguments[1], *expert = arguments[4];
                     Value *weights =
                         e.element(e.buffer(traits.wBuffer), expert,
                                   panelCount * slabBytes * slabsPerPanel);
                     auto manyRows = [&] {
                       emitManyRows(arguments[0], rows, arguments[2],
                                    arguments[3], weights, expert);
                       return Values();
                     };
                     if (amx) {
                       manyRows();
                       return;
                     }
                     e.ifElse(
                         e.b.CreateICmpEQ(rows, e.index(1)),
                         [&] {
                           emitOneRow(arguments[0], arguments[2], arguments[3],
                                      weights, expert);
                           return Values();
                         },
                         manyRows);
                   });
}

void GemmCore::emitBlock(Value *rowBegin, Value *rows, Value *panelBegin,
                         Value *panelEnd, Value *expert) {
  e.call(block, {rowBegin, rows, panelBegin, panelEnd, expert});
}
