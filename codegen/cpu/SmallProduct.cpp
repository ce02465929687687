//===- SmallProduct.cpp ---------------------------------------------------===//

#include "codegen/cpu/SmallProduct.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/IR/IntrinsicsX86.h"

#include <algorithm>

using namespace llvm;
using namespace moec;
using namespace moec::cpu;

/// Columns that one function handles: up to four vectors.
int64_t SmallProduct::partColumns() const {
  int64_t lanes = lanesDividing(shape.columns, e.lanes);
  int64_t most = e.registers == 32 ? 4 : 2;
  while (shape.columns / lanes % most)
    --most;
  return lanes * most;
}

/// Rows that one function handles, descending: what the registers hold beside
/// a step's operands, and enough chains to hide their latency.
SmallVector<unsigned> SmallProduct::rowSizes() const {
  int64_t part = partColumns();
  int64_t vectors = part / lanesDividing(part, e.lanes);
  int64_t cap = shape.pairs ? 24 : e.registers == 16 ? 6 : 12;
  SmallVector<unsigned> sizes;
  for (unsigned most = std::min((e.registers - 8) / vectors, cap); most > 1;
       most = (most + 1) / 2)
    sizes.push_back(most);
  sizes.push_back(1);
  return sizes;
}

/// The operands of one step: vectors of columns, or of pairs of them.
Values SmallProduct::loadStep(Value *bRow, unsigned vectors,
                              unsigned lanes) const {
  Values columns;
  if (!shape.pairs) {
    unsigned bytes = blockBytes(shape.element);
    for (unsigned v = 0; v < vectors; ++v)
      columns.push_back(e.loadFloats(shape.element,
                                     e.offset(bRow, v * lanes * bytes), lanes));
    return columns;
  }
  Type *pairs = e.vector(e.b.getBFloatTy(), 32);
  auto interleave = [&](Value *first, Value *second, int from, int distance) {
    SmallVector<int, 32> order;
    for (int lane = 0; lane < 16; ++lane) {
      order.push_back(from + lane);
      order.push_back(from + lane + distance);
    }
    columns.push_back(e.b.CreateBitCast(
        e.b.CreateShuffleVector(first, second, order), pairs));
  };
  auto load = [&](int64_t at, unsigned count) {
    return e.loadRaw(e.i16, e.offset(bRow, at), count, nullptr);
  };
  if (vectors == 1 && shape.bStride == 32) {
    // Both rows are neighbours.
    Value *both = load(0, 32);
    interleave(both, both, 0, 16);
    return columns;
  }
  unsigned v = 0;
  for (; v + 1 < vectors; v += 2) {
    Value *first = load(v * 32, 32);
    Value *second = load(shape.bStride + v * 32, 32);
    interleave(first, second, 0, 32);
    interleave(first, second, 16, 32);
  }
  if (v < vectors)
    interleave(load(v * 32, 16), load(shape.bStride + v * 32, 16), 0, 16);
  return columns;
}

/// Functions of (a, b, c, count, bytes to the first column).
void SmallProduct::define() {
  int64_t part = partColumns();
  unsigned lanes = lanesDividing(part, e.lanes);
  unsigned vectors = part / lanes;
  int64_t bStep = shape.bStride * (shape.pairs ? 2 : 1);
  auto body = [&](unsigned rows, ArrayRef<Value *> arguments) {
    Value *a = arguments[0], *b = arguments[1], *c = arguments[2];
    auto step = [&](Value *aStep, Value *bRow, ArrayRef<Value *> carried) {
      Values next;
      Values columns = loadStep(bRow, vectors, lanes);
      for (unsigned row = 0; row < rows; ++row) {
        // An f32, or a pair of bf16.
        Value *left = e.splat(e.load(shape.pairs ? e.i32 : e.f32,
                                     e.offset(aStep, row * shape.aStride)),
                              lanes);
        if (shape.pairs)
          left = e.b.CreateBitCast(left, columns[0]->getType());
        for (unsigned v = 0; v < vectors; ++v) {
          Value *sum = carried[row * vectors + v];
          if (shape.pairs)
            next.push_back(
                e.b.CreateIntrinsic(Intrinsic::x86_avx512bf16_dpbf16ps_512, {},
                                    {sum, left, columns[v]}));
          else
            next.push_back(e.fma(left, columns[v], sum));
        }
      }
      return next;
    };
    auto place = [&](unsigned number) {
      return e.offset(c, number / vectors * shape.cStride +
                             number % vectors * lanes * 4);
    };
    Values sums;
    for (unsigned number = 0; number < rows * vectors; ++number)
      sums.push_back(shape.accumulates
                         ? e.loadRaw(e.f32, place(number), lanes, nullptr)
                         : e.splat(0.0, lanes));
    auto steps = [&](Value *a, Value *b, Value *count, ArrayRef<Value *> sums) {
      return e.loop(
          e.index(0), count, 1, sums, [&](Value *k, ArrayRef<Value *> carried) {
            return step(e.element(a, k, 4), e.element(b, k, bStep), carried);
          });
    };
    if (shape.listedSteps)
      sums = e.loop(e.index(0), arguments[3], 1, sums,
                    [&](Value *number, ArrayRef<Value *> carried) {
                      Value *base = e.load(e.ptr, e.element(b, number, 8), 8);
                      return steps(e.element(a, number, shape.listedSteps * 4),
                                   e.offset(base, arguments[4]),
                                   e.index(shape.listedSteps), carried);
                    });
    else
      sums = steps(a, e.offset(b, arguments[4]), arguments[3], sums);
    for (auto [number, sum] : enumerate(sums))
      e.store(sum, place(number));
  };
  for (unsigned rows : rowSizes())
    functions.push_back(e.define(
        (shape.name + Twine(rows)).str(), {e.ptr, e.ptr, e.ptr, e.i64, e.i64},
        [&](ArrayRef<Value *> arguments) { body(rows, arguments); }));
}

void SmallProduct::call(Value *rows, Value *a, Value *b, Value *c,
                        Value *count) const {
  int64_t part = partColumns();
  Value *row = e.index(0);
  for (auto [size, function] : zip_equal(rowSizes(), functions)) {
    Value *left = e.b.CreateSub(rows, row);
    Value *end =
        e.b.CreateAdd(row, e.mul(e.b.CreateUDiv(left, e.index(size)), size));
    e.loop(row, end, size, [&](Value *at) {
      for (int64_t column = 0; column < shape.columns; column += part)
        e.call(function, {e.element(a, at, shape.aStride), b,
                          e.offset(e.element(c, at, shape.cStride), column * 4),
                          count, e.index(column * blockBytes(shape.element))});
    });
    row = end;
  }
}
