//===- GemmTiles.cpp - the innermost loops of GEMM ------------------------===//
//
// A tile of sums in registers, advanced along K. What a step of K is depends
// on the weight: one f32 or f16; a pair of bf16, multiplied as f32 or by
// vdpbf16ps; a block of q8_0; on AMX 32 bf16, which a tile register has in a
// row.
//
//===----------------------------------------------------------------------===//

#include "codegen/cpu/GemmCore.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/IR/Intrinsics.h"
#include "llvm/IR/IntrinsicsX86.h"
#include "llvm/Support/ErrorHandling.h"

using namespace llvm;
using namespace moec;
using namespace moec::cpu;

/// How far ahead of its loads a single row asks for each stream.
static constexpr int64_t kPrefetch = 3 << 10;

/// Advances `sums` [slab][row][vector] by `count` steps of K. Several rows ask
/// for kPrefetchPerStep bytes a step from `next` on.
Values GemmCore::tileSteps(unsigned rows, unsigned slabs, Value *a, Value *w,
                           Value *count, Value *next, Values sums) {
  IRBuilder<> &b = e.b;
  unsigned lanes = e.lanes;
  Type *ints = e.vector(e.i32, lanes);
  Type *floats = e.vector(e.f32, lanes);
  Type *pairs = e.vector(b.getBFloatTy(), lanes * 2);
  unsigned all = slabs * vectors;

  auto slabVector = [&](Value *base, unsigned column, int64_t vectorBytes) {
    return e.offset(base, column / vectors * slabBytes +
                              column % vectors * vectorBytes);
  };
  auto broadcast = [&](Type *type, Value *address) {
    return e.splat(e.load(type, address), lanes);
  };
  // One multiply-add of every sum: operands of A by row, of W by column.
  auto multiply = [&](MutableArrayRef<Value *> sums, ArrayRef<Value *> columns,
                      function_ref<Value *(unsigned row)> operand) {
    for (unsigned row = 0; row < rows; ++row) {
      Value *left = operand(row);
      for (unsigned column = 0; column < all; ++column) {
        Value *&sum =
            sums[(column / vectors * rows + row) * vectors + column % vectors];
        if (inner == Inner::Bf16Dot)
          sum = b.CreateIntrinsic(Intrinsic::x86_avx512bf16_dpbf16ps_512, {},
                                  {sum, left, columns[column]});
        else
          sum = e.fma(left, columns[column], sum);
      }
    }
  };
  auto step = [&](Value *aStep, Value *wStep, MutableArrayRef<Value *> sums) {
    Values words;
    for (unsigned column = 0; column < all; ++column) {
      if (inner == Inner::F16)
        words.push_back(e.loadFloats(
            ElementType::f16, slabVector(wStep, column, lanes * 2), lanes));
      else
        words.push_back(e.loadRaw(inner == Inner::F32 ? e.f32 : e.i32,
                                  slabVector(wStep, column, lanes * 4), lanes,
                                  nullptr));
    }
    auto convert = [&](function_ref<Value *(Value *)> part, Type *type) {
      return to_vector<8>(map_range(words, [&](Value *word) -> Value * {
        return b.CreateBitCast(part(word), type);
      }));
    };
    auto rowAt = [&](unsigned row, int64_t bytes) {
      return e.offset(aStep, row * rowStride + bytes);
    };
    switch (inner) {
    case Inner::F32:
    case Inner::F16:
      multiply(sums, words,
               [&](unsigned row) { return broadcast(e.f32, rowAt(row, 0)); });
      return;
    case Inner::Bf16Dot:
      multiply(sums, convert([](Value *word) { return word; }, pairs),
               [&](unsigned row) {
                 return b.CreateBitCast(broadcast(e.i32, rowAt(row, 0)), pairs);
               });
      return;
    case Inner::Bf16: {
      // A word holds k in its low half and k + 1 in its high half.
      auto low = [&](Value *word) { return b.CreateShl(word, 16); };
      auto high = [&](Value *word) {
        return b.CreateAnd(word, ConstantInt::get(ints, 0xffff0000u));
      };
      multiply(sums, convert(low, floats),
               [&](unsigned row) { return broadcast(e.f32, rowAt(row, 0)); });
      multiply(sums, convert(high, floats),
               [&](unsigned row) { return broadcast(e.f32, rowAt(row, 4)); });
      return;
    }
    case Inner::Q8:
    case Inner::Amx:
      llvm_unreachable("has steps of its own");
    }
  };
  // One row waits for memory. Conversions fill the reorder window before enough
  // loads are in flight; without them the window reaches far enough.
  bool converts =
      inner == Inner::Q8 || inner == Inner::Bf16 || inner == Inner::F16;
  bool ahead = rows == 1 && slabs > 1 && converts;
  auto prefetch = [&](Value *from, int64_t bytes) {
    for (unsigned slab = 0; slab < slabs; ++slab)
      for (int64_t line = 0; line < bytes; line += 64)
        e.prefetch(e.offset(from, slab * slabBytes + kPrefetch + line),
                   Emitter::Cache::L1);
  };
  // A block of 32: scales, then 32 rows of int8, each scaled in registers.
  auto blockOf32 = [&](Value *aStep, Value *wStep, ArrayRef<Value *> before) {
    Values scales;
    for (unsigned column = 0; column < all; ++column)
      scales.push_back(e.loadRaw(e.f32, slabVector(wStep, column, lanes * 4),
                                 lanes, nullptr));
    Value *quants = e.offset(wStep, int64_t(panel) * 4);
    constexpr int64_t unroll = 4;
    return e.loop(
        e.index(0), e.index(32), unroll, before,
        [&](Value *k, ArrayRef<Value *> carried) {
          Values sums(carried);
          Value *aBase = e.element(aStep, k, 4);
          Value *qBase = e.element(quants, k, panel);
          if (ahead)
            prefetch(qBase, unroll * panel);
          for (int64_t u = 0; u < unroll; ++u) {
            Values columns;
            for (unsigned column = 0; column < all; ++column) {
              Value *bytes = e.loadRaw(
                  e.i8, e.offset(slabVector(qBase, column, lanes), u * panel),
                  lanes, nullptr);
              Value *value = b.CreateSIToFP(b.CreateSExt(bytes, ints), floats);
              columns.push_back(b.CreateFMul(value, scales[column]));
            }
            multiply(sums, columns, [&](unsigned row) {
              return broadcast(e.f32, e.offset(aBase, row * rowStride + u * 4));
            });
          }
          return sums;
        });
  };

  auto oneStep = [&](Value *number, ArrayRef<Value *> carried) -> Values {
    Value *aStep = e.element(a, number, aStepBytes);
    Value *wStep = e.element(w, number, slabStepBytes);
    if (inner == Inner::Q8)
      return blockOf32(aStep, wStep, carried);
    Values sums(carried);
    step(aStep, wStep, sums);
    return sums;
  };
  if (inner == Inner::Q8)
    return e.loop(e.index(0), count, 1, sums, oneStep);

  // Enough steps a trip that the loop's own instructions do not count.
  int64_t unroll = rows * all >= 12 ? 2 : 4;
  Value *whole = b.CreateAnd(count, e.index(-unroll));
  sums = e.loop(e.index(0), whole, unroll, sums,
                [&](Value *number, ArrayRef<Value *> carried) {
                  Values sums(carried);
                  Value *aStep = e.element(a, number, aStepBytes);
                  Value *wStep = e.element(w, number, slabStepBytes);
                  if (ahead)
                    prefetch(wStep, unroll * slabStepBytes);
                  if (rows > 1)
                    e.prefetch(e.element(next, number, kPrefetchPerStep),
                               Emitter::Cache::L2);
                  for (int64_t u = 0; u < unroll; ++u)
                    step(e.offset(aStep, u * aStepBytes),
                         e.offset(wStep, u * slabStepBytes), sums);
                  return sums;
                });
  return e.loop(whole, count, 1, sums, oneStep);
}

/// tile[slab][row] += A[row] * W[slab], for `count` steps: (a, w, tile, count,
/// the weights to come).
Function *GemmCore::defineTile(unsigned rows, unsigned slabs) {
  std::string name = ("tile" + Twine(rows) + "x" + Twine(slabs * panel)).str();
  return e.define(
      name, {e.ptr, e.ptr, e.ptr, e.i64, e.ptr},
      [&](ArrayRef<Value *> arguments) {
        Value *tile = arguments[2];
        SmallVector<Value *, 24> places;
        Values sums;
        for (unsigned slab = 0; slab < slabs; ++slab)
          for (unsigned row = 0; row < rows; ++row)
            for (unsigned v = 0; v < vectors; ++v)
              places.push_back(e.offset(
                  tile, slab * tileStride + (row * panel + v * e.lanes) * 4));
        for (Value *place : places)
          sums.push_back(e.loadRaw(e.f32, place, e.lanes, nullptr));
        sums = tileSteps(rows, slabs, arguments[0], arguments[1], arguments[3],
                         arguments[4], sums);
        for (auto [place, sum] : zip_equal(places, sums))
          e.store(sum, place);
      });
}

/// The same with tile registers: 0 to 3 hold sums, 4 and 5 rows of A, 6 and 7
/// columns of W. Each has 16 rows of 64 bytes.
Function *GemmCore::defineAmxTile(unsigned rows) {
  std::string name = ("amx" + Twine(rows)).str();
  return e.define(
      name, {e.ptr, e.ptr, e.ptr, e.i64, e.ptr},
      [&](ArrayRef<Value *> arguments) {
        IRBuilder<> &b = e.b;
        unsigned down = rows / 16, across = panel / 16;
        int64_t sumStride = int64_t(panel) * 4;
        auto tile = [&](unsigned number) { return b.getInt8(number); };
        auto sumPlace = [&](unsigned i, unsigned j) {
          return e.offset(arguments[2], i * 16 * sumStride + j * 64);
        };
        auto load = [&](unsigned number, Value *from, int64_t stride) {
          b.CreateIntrinsic(Intrinsic::x86_tileloadd64, {},
                            {tile(number), from, e.index(stride)});
        };
        for (unsigned i = 0; i < down; ++i)
          for (unsigned j = 0; j < across; ++j)
            load(i * 2 + j, sumPlace(i, j), sumStride);
        e.loop(e.index(0), arguments[3], 1, [&](Value *step) {
          Value *a = e.element(arguments[0], step, aStepBytes);
          Value *w = e.element(arguments[1], step, slabStepBytes);
          for (unsigned i = 0; i < down; ++i)
            load(4 + i, e.offset(a, i * 16 * rowStride), rowStride);
          for (unsigned j = 0; j < across; ++j)
            load(6 + j, e.offset(w, j * 64), sumStride);
          for (unsigned i = 0; i < down; ++i)
            for (unsigned j = 0; j < across; ++j)
              b.CreateIntrinsic(Intrinsic::x86_tdpbf16ps, {},
                                {tile(i * 2 + j), tile(4 + i), tile(6 + j)});
        });
        for (unsigned i = 0; i < down; ++i)
          for (unsigned j = 0; j < across; ++j)
            b.CreateIntrinsic(
                Intrinsic::x86_tilestored64, {},
                {tile(i * 2 + j), sumPlace(i, j), e.index(sumStride)});
      });
}

void GemmCore::emitBegin() {
  if (inner != Inner::Amx)
    return;
  // Palette 1; bytes of a row from byte 16 on, rows from byte 48 on.
  SmallVector<uint8_t, 64> bytes(64, 0);
  bytes[0] = 1;
  for (unsigned tile = 0; tile < 8; ++tile) {
    bytes[16 + 2 * tile] = 64;
    bytes[48 + tile] = 16;
  }
  Constant *data = ConstantDataArray::get(e.context, bytes);
  auto *config = new GlobalVariable(*e.module, data->getType(),
                                    /*isConstant=*/true,
                                    GlobalValue::PrivateLinkage, data, "tiles");
  config->setAlignment(Align(64));
  e.b.CreateIntrinsic(Intrinsic::x86_ldtilecfg, {}, {config});
}

void GemmCore::emitEnd() {
  if (inner == Inner::Amx)
    e.b.CreateIntrinsic(Intrinsic::x86_tilerelease, {}, {});
}
