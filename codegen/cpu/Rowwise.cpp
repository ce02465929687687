//===- Rowwise.cpp - fused row-wise bodies --------------------------------===//
//
// A task is a block of rows; rows are computed one after the other. A body is
// cut at norms, rotations and joins of heads, which do not give a column from
// the same one: what they read, and what they give piecewise, lies in
// scratch as f32, and everything between two cuts is one loop over columns
// with the expression in registers. Sums have four chains by position, so
// their order depends on the width alone.
//
// Long because: all operations share one plan of what lies in scratch.
//
//===----------------------------------------------------------------------===//

#include "codegen/cpu/Emitter.h"
#include "codegen/cpu/Kernels.h"
#include "codegen/cpu/VectorMath.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/IR/Intrinsics.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>
#include <map>

using namespace llvm;
using namespace moec;
using namespace moec::cpu;
using kernel::Activation;
using kernel::RowOp;
using kernel::RowwiseSpec;
using Kind = RowOp::Kind;

namespace {

class RowwiseEmitter {
public:
  RowwiseEmitter(Emitter &e, const RowwiseSpec &spec) : e(e), spec(spec) {}
  void emit(CpuKernel &result);

private:
  struct Stats {
    Value *mean = nullptr; ///< of a layer norm
    Value *inverse = nullptr;
  };

  void planScratch();
  void emitRow();
  Value *eval(int op, Value *column, Value *mask);
  Value *evalAfresh(int op, Value *column, Value *mask);
  Value *loadScratch(int op, Value *column);
  void keep(int op);
  Value *sumColumns(int64_t width, function_ref<Value *(Value *, Value *)>);
  Stats emitStats(const RowOp &op, Value *start, int64_t part);
  Value *normalized(const RowOp &op, const Stats &stats, Value *x,
                    Value *column, Value *mask);
  void emitGroupedNorm(int op);
  int64_t emitAngles(const RowOp &op);
  void emitRope(int op);
  void emitJoin(int op);
  void store(unsigned number, Value *column, Value *mask);
  void emitColumn(int op);

  /// Whether the right operand is one number a row.
  bool readsColumn(const RowOp &op) const {
    return (op.kind == Kind::Add || op.kind == Kind::Sub ||
            op.kind == Kind::Mul) &&
           op.width != 1 && spec.ops[op.inputs[1]].width == 1;
  }
  bool isLoad(int op) const {
    Kind kind = spec.ops[op].kind;
    return kind == Kind::Load || kind == Kind::LoadRow || kind == Kind::Gather;
  }
  bool isNorm(int op) const {
    Kind kind = spec.ops[op].kind;
    return kind == Kind::RmsNorm || kind == Kind::LayerNorm;
  }

  Emitter &e;
  const RowwiseSpec &spec;
  Value *row = nullptr;
  SmallVector<int64_t> slots; ///< scratch offset by op, -1: none
  int64_t scratchEnd = 0;
  SmallVector<bool> kept;   ///< the slot holds the row
  SmallVector<bool> stored; ///< by store
  SmallVector<Value *> bases;
  SmallVector<Stats> stats; ///< of norms with one group
  /// What ops of width 1 give, in every lane, where a wider op reads it.
  SmallVector<Value *> columnValues;
  /// Angles in scratch, by positions operand and frequencies.
  std::map<std::pair<int, std::vector<double>>, int64_t> angles;
  std::map<std::pair<int, std::vector<double>>, bool> anglesDone;
  DenseMap<std::pair<int, Value *>, Value *> evaluated; ///< in this loop body
};

} // namespace

/// What is read by a cut, unless a load can be read again, and what a cut
/// gives piecewise.
void RowwiseEmitter::planScratch() {
  slots.assign(spec.ops.size(), -1);
  // Loads of a whole vector, or two, may run past a row's end.
  auto reserve = [&](int64_t width) {
    int64_t offset = scratchEnd;
    scratchEnd += alignTo(width * 4, 64) + int64_t(e.lanes) * 8;
    scratchEnd = alignTo(scratchEnd, 64);
    return offset;
  };
  auto reserveOp = [&](int op) {
    if (slots[op] < 0)
      slots[op] = reserve(spec.ops[op].width);
  };
  for (auto [number, op] : enumerate(spec.ops)) {
    bool rope = op.kind == Kind::Rope, join = op.kind == Kind::JoinHeads;
    if (!rope && !join && !isNorm(number))
      continue;
    if (rope || join || op.groups > 1)
      reserveOp(number);
    if (op.interleaved || !isLoad(op.inputs[0]))
      reserveOp(op.inputs[0]);
    if (join && !isLoad(op.inputs[1]))
      reserveOp(op.inputs[1]);
    if (rope)
      angles.try_emplace(
          {op.index, op.inverseFrequencies},
          reserve(2 * alignTo(op.inverseFrequencies.size(), e.lanes)));
  }
}

Value *RowwiseEmitter::loadScratch(int op, Value *column) {
  return e.loadRaw(e.f32, e.element(e.offset(e.scratch, slots[op]), column, 4),
                   e.lanes, nullptr);
}

Value *RowwiseEmitter::eval(int op, Value *column, Value *mask) {
  Value *&value = evaluated[{op, column}];
  if (value)
    return value;
  Value *made =
      kept[op] ? loadScratch(op, column) : evalAfresh(op, column, mask);
  // The map may have grown.
  return evaluated[{op, column}] = made;
}

Value *RowwiseEmitter::evalAfresh(int number, Value *column, Value *mask) {
  IRBuilder<> &b = e.b;
  const RowOp &op = spec.ops[number];
  auto in = [&](unsigned input) {
    if (input == 1 && readsColumn(op))
      return columnValues[op.inputs[1]];
    return eval(op.inputs[input], column, mask);
  };
  auto activation = [&](Activation kind) {
    return emitActivation(e, kind, in(0));
  };
  switch (op.kind) {
  case Kind::Load:
  case Kind::LoadRow:
  case Kind::Gather: {
    ElementType element = spec.operands[op.buffer].element;
    return e.loadFloats(element,
                        e.element(bases[number], column, blockBytes(element)),
                        e.lanes, mask);
  }
  case Kind::Add:
    return b.CreateFAdd(in(0), in(1));
  case Kind::Sub:
    return b.CreateFSub(in(0), in(1));
  case Kind::Mul:
    return b.CreateFMul(in(0), in(1));
  case Kind::Scale:
    return b.CreateFMul(in(0), e.splat(op.scalar, e.lanes));
  case Kind::Silu:
    return activation(Activation::Silu);
  case Kind::GeluTanh:
    return activation(Activation::GeluTanh);
  case Kind::GeluErf:
    return activation(Activation::GeluErf);
  case Kind::QuickGelu:
    return activation(Activation::QuickGelu);
  case Kind::Relu:
    return activation(Activation::Relu);
  case Kind::SquaredRelu:
    return activation(Activation::SquaredRelu);
  case Kind::Sigmoid:
    return emitSigmoid(e, in(0));
  case Kind::Tanh:
    return emitTanh(e, in(0));
  case Kind::Clamp: {
    // Comparisons are false for NaN.
    Value *limit = e.splat(op.scalar, e.lanes);
    Value *x = in(0);
    x = b.CreateSelect(b.CreateFCmpOGT(x, limit), limit, x);
    limit = e.splat(-op.scalar, e.lanes);
    return b.CreateSelect(b.CreateFCmpOLT(x, limit), limit, x);
  }
  case Kind::Slice:
    return eval(op.inputs[0], e.add(column, op.start), mask);
  case Kind::Cast:
    return e.roundTo(op.element, in(0));
  case Kind::RmsNorm:
  case Kind::LayerNorm:
    return normalized(op, stats[number], in(0), column, mask);
  case Kind::Rope:
  case Kind::JoinHeads:
    break;
  }
  llvm_unreachable("what is made piecewise is kept in scratch");
}

void RowwiseEmitter::store(unsigned number, Value *column, Value *mask) {
  const RowwiseSpec::Store &target = spec.stores[number];
  int64_t bytes = blockBytes(target.element);
  Value *base = e.element(e.buffer(spec.operands.size() + number), row,
                          spec.ops[target.op].width * bytes);
  e.storeFloats(target.element, eval(target.op, column, mask),
                e.element(base, column, bytes), mask);
}

/// Writes `op` to its scratch slot, and to the results that are it.
void RowwiseEmitter::keep(int op) {
  if (kept[op])
    return;
  e.columns(spec.ops[op].width, [&](Value *column, Value *mask) {
    evaluated.clear();
    Value *value = eval(op, column, mask);
    e.store(value, e.element(e.offset(e.scratch, slots[op]), column, 4));
    for (auto [number, target] : enumerate(spec.stores))
      if (target.op == op) {
        store(number, column, mask);
        stored[number] = true;
      }
  });
  evaluated.clear();
  kept[op] = true;
}

Value *
RowwiseEmitter::sumColumns(int64_t width,
                           function_ref<Value *(Value *, Value *)> term) {
  int64_t trip = 4 * int64_t(e.lanes);
  int64_t whole = width / trip * trip;
  Values sums(4, e.splat(0.0, e.lanes));
  auto add = [&](Value *&sum, Value *column, Value *mask) {
    evaluated.clear();
    Value *value = term(column, mask);
    if (mask)
      value = e.b.CreateSelect(mask, value, e.splat(0.0, e.lanes));
    sum = e.b.CreateFAdd(sum, value);
  };
  if (whole)
    sums = e.loop(e.index(0), e.index(whole), trip, sums,
                  [&](Value *column, ArrayRef<Value *> carried) {
                    Values next(carried);
                    for (unsigned chain = 0; chain < 4; ++chain)
                      add(next[chain], e.add(column, chain * e.lanes), nullptr);
                    return next;
                  });
  for (int64_t column = whole, chain = 0; column < width;
       column += e.lanes, ++chain) {
    bool full = column + e.lanes <= width;
    add(sums[chain], e.index(column),
        full ? nullptr : e.constantMask(width - column, e.lanes));
  }
  evaluated.clear();
  return e.sumLanes(e.b.CreateFAdd(e.b.CreateFAdd(sums[0], sums[1]),
                                   e.b.CreateFAdd(sums[2], sums[3])));
}

/// Of columns [start, start + part) of the norm's input.
RowwiseEmitter::Stats RowwiseEmitter::emitStats(const RowOp &op, Value *start,
                                                int64_t part) {
  IRBuilder<> &b = e.b;
  auto input = [&](Value *column, Value *mask) {
    return eval(op.inputs[0], b.CreateAdd(start, column), mask);
  };
  Value *count = ConstantFP::get(e.f32, part);
  Stats result;
  if (op.kind == Kind::LayerNorm)
    result.mean = b.CreateFDiv(sumColumns(part, input), count);
  Value *squares = sumColumns(part, [&](Value *column, Value *mask) -> Value * {
    Value *x = input(column, mask);
    if (result.mean)
      x = b.CreateFSub(x, e.splat(result.mean, e.lanes));
    return b.CreateFMul(x, x);
  });
  Value *mean = b.CreateFDiv(squares, count);
  Value *root = b.CreateUnaryIntrinsic(
      Intrinsic::sqrt, b.CreateFAdd(mean, ConstantFP::get(e.f32, op.scalar)));
  result.inverse = b.CreateFDiv(ConstantFP::get(e.f32, 1), root);
  return result;
}

/// `column` is that of the weight: within its group.
Value *RowwiseEmitter::normalized(const RowOp &op, const Stats &stats, Value *x,
                                  Value *column, Value *mask) {
  IRBuilder<> &b = e.b;
  if (stats.mean)
    x = b.CreateFSub(x, e.splat(stats.mean, e.lanes));
  x = b.CreateFMul(x, e.splat(stats.inverse, e.lanes));
  if (op.inputs.size() > 1)
    x = b.CreateFMul(x, eval(op.inputs[1], column, mask));
  if (op.inputs.size() > 2)
    x = b.CreateFAdd(x, eval(op.inputs[2], column, mask));
  return x;
}

void RowwiseEmitter::emitGroupedNorm(int number) {
  const RowOp &op = spec.ops[number];
  int64_t part = op.width / op.groups;
  e.loop(e.index(0), e.index(op.groups), 1, [&](Value *group) {
    Value *start = e.mul(group, part);
    Stats groupStats = emitStats(op, start, part);
    e.columns(part, [&](Value *column, Value *mask) {
      evaluated.clear();
      Value *at = e.b.CreateAdd(start, column);
      Value *x = normalized(op, groupStats, eval(op.inputs[0], at, mask),
                            column, mask);
      e.storeFloats(ElementType::f32, x,
                    e.element(e.offset(e.scratch, slots[number]), at, 4), mask);
    });
  });
  evaluated.clear();
  kept[number] = true;
}

/// Sines, then cosines, of the row's position times each frequency, once a
/// row. Positions times frequencies are exact to f64, so large ones keep their
/// phase.
int64_t RowwiseEmitter::emitAngles(const RowOp &op) {
  std::pair<int, std::vector<double>> key = {op.index, op.inverseFrequencies};
  int64_t place = angles.at(key);
  if (std::exchange(anglesDone[key], true))
    return place;
  int64_t padded = alignTo(op.inverseFrequencies.size(), e.lanes);
  std::vector<double> values = op.inverseFrequencies;
  values.resize(padded, 0.0);
  Constant *table = ConstantDataArray::get(e.context, values);
  auto *global = new GlobalVariable(
      *e.module, table->getType(),
      /*isConstant=*/true, GlobalValue::PrivateLinkage, table, "frequencies");
  global->setAlignment(Align(64));
  Value *position = e.b.CreateSIToFP(
      e.load(e.i32, e.element(e.buffer(op.index), row, 4)), e.f64);
  e.loop(e.index(0), e.index(padded), e.lanes, [&](Value *pair) {
    Value *frequencies =
        e.loadRaw(e.f64, e.element(global, pair, 8), e.lanes, nullptr);
    auto [sine, cosine] =
        emitSinCos(e, e.b.CreateFMul(frequencies, e.splat(position, e.lanes)));
    Value *to = e.element(e.offset(e.scratch, place), pair, 4);
    e.store(sine, to);
    e.store(cosine, e.offset(to, padded * 4));
  });
  return place;
}

void RowwiseEmitter::emitRope(int number) {
  IRBuilder<> &b = e.b;
  const RowOp &op = spec.ops[number];
  int input = op.inputs[0];
  int64_t pairs = op.inverseFrequencies.size();
  int64_t headDim = op.width / op.groups;
  int64_t place = emitAngles(op);
  Value *sines = e.offset(e.scratch, place);
  Value *cosines = e.offset(sines, alignTo(pairs, e.lanes) * 4);
  Value *to = e.offset(e.scratch, slots[number]);
  SmallVector<int, 32> even, odd, mixed;
  for (unsigned lane = 0; lane < e.lanes; ++lane) {
    even.push_back(2 * lane);
    odd.push_back(2 * lane + 1);
    mixed.push_back(lane);
    mixed.push_back(lane + e.lanes);
  }
  e.loop(e.index(0), e.index(op.groups), 1, [&](Value *head) {
    Value *start = e.mul(head, headDim);
    e.columns(pairs, [&](Value *pair, Value *mask) {
      evaluated.clear();
      Value *sine =
          e.loadRaw(e.f32, e.element(sines, pair, 4), e.lanes, nullptr);
      Value *cosine =
          e.loadRaw(e.f32, e.element(cosines, pair, 4), e.lanes, nullptr);
      Value *first = b.CreateAdd(start, pair);
      Value *x, *y;
      if (op.interleaved) {
        first = b.CreateAdd(start, e.mul(pair, 2));
        Value *from = e.offset(e.scratch, slots[input]);
        Value *both =
            e.loadRaw(e.f32, e.element(from, first, 4), 2 * e.lanes, nullptr);
        x = b.CreateShuffleVector(both, even);
        y = b.CreateShuffleVector(both, odd);
      } else {
        x = eval(input, first, mask);
        y = eval(input, e.add(first, pairs), mask);
      }
      Value *rotatedX =
          b.CreateFSub(b.CreateFMul(x, cosine), b.CreateFMul(y, sine));
      Value *rotatedY =
          b.CreateFAdd(b.CreateFMul(y, cosine), b.CreateFMul(x, sine));
      if (op.magnitude != 1) {
        Value *magnitude = e.splat(op.magnitude, e.lanes);
        rotatedX = b.CreateFMul(rotatedX, magnitude);
        rotatedY = b.CreateFMul(rotatedY, magnitude);
      }
      Value *place = e.element(to, first, 4);
      if (!op.interleaved) {
        e.storeFloats(ElementType::f32, rotatedX, place, mask);
        e.storeFloats(ElementType::f32, rotatedY, e.offset(place, pairs * 4),
                      mask);
        return;
      }
      Value *both = b.CreateShuffleVector(rotatedX, rotatedY, mixed);
      if (mask)
        mask = e.constantMask(2 * (pairs % e.lanes), 2 * e.lanes);
      e.storeFloats(ElementType::f32, both, place, mask);
    });
    int64_t rest = headDim - 2 * pairs;
    Value *restStart = e.add(start, 2 * pairs);
    e.columns(rest, [&](Value *column, Value *mask) {
      evaluated.clear();
      Value *at = b.CreateAdd(restStart, column);
      e.storeFloats(ElementType::f32, eval(input, at, mask),
                    e.element(to, at, 4), mask);
    });
  });
  evaluated.clear();
  kept[number] = true;
}

/// Before the loops over columns that read it.
void RowwiseEmitter::emitColumn(int op) {
  if (columnValues[op])
    return;
  evaluated.clear();
  Value *value = eval(op, e.index(0), e.constantMask(1, e.lanes));
  columnValues[op] =
      e.splat(e.b.CreateExtractElement(value, uint64_t(0)), e.lanes);
  evaluated.clear();
}

void RowwiseEmitter::emitJoin(int number) {
  const RowOp &op = spec.ops[number];
  int64_t first = spec.ops[op.inputs[0]].width / op.groups;
  int64_t second = op.width / op.groups - first;
  bool isOnePart = spec.ops[op.inputs[1]].width == second;
  Value *to = e.offset(e.scratch, slots[number]);
  e.loop(e.index(0), e.index(op.groups), 1, [&](Value *head) {
    Value *start = e.mul(head, first + second);
    auto copy = [&](int input, Value *from, Value *place, int64_t count) {
      e.columns(count, [&](Value *column, Value *mask) {
        evaluated.clear();
        e.storeFloats(ElementType::f32,
                      eval(input, e.b.CreateAdd(from, column), mask),
                      e.element(to, e.b.CreateAdd(place, column), 4), mask);
      });
    };
    copy(op.inputs[0], e.mul(head, first), start, first);
    copy(op.inputs[1], isOnePart ? e.index(0) : e.mul(head, second),
         e.add(start, first), second);
  });
  evaluated.clear();
  kept[number] = true;
}

void RowwiseEmitter::emitRow() {
  columnValues.assign(spec.ops.size(), nullptr);
  kept.assign(spec.ops.size(), false);
  stored.assign(spec.stores.size(), false);
  stats.assign(spec.ops.size(), {});
  bases.assign(spec.ops.size(), nullptr);
  for (auto [number, op] : enumerate(spec.ops)) {
    if (!isLoad(number))
      continue;
    Value *base = e.buffer(op.buffer);
    int64_t rowBytes = op.width * blockBytes(spec.operands[op.buffer].element);
    if (op.kind == Kind::Load)
      base = e.element(base, row, rowBytes);
    if (op.kind == Kind::Gather)
      base = e.element(base, e.loadIndex(e.buffer(op.index), row), rowBytes);
    bases[number] = base;
  }
  for (auto [number, op] : enumerate(spec.ops)) {
    bool rope = op.kind == Kind::Rope, join = op.kind == Kind::JoinHeads;
    if (readsColumn(op))
      emitColumn(op.inputs[1]);
    if (!rope && !join && !isNorm(number))
      continue;
    if (slots[op.inputs[0]] >= 0)
      keep(op.inputs[0]);
    if (join && slots[op.inputs[1]] >= 0)
      keep(op.inputs[1]);
    if (rope)
      emitRope(number);
    else if (join)
      emitJoin(number);
    else if (op.groups > 1)
      emitGroupedNorm(number);
    else
      stats[number] = emitStats(op, e.index(0), op.width);
  }
  // What is left to store, one loop for each width.
  for (size_t first = 0; first < spec.stores.size(); ++first) {
    if (stored[first])
      continue;
    int64_t width = spec.ops[spec.stores[first].op].width;
    e.columns(width, [&](Value *column, Value *mask) {
      evaluated.clear();
      for (size_t number = first; number < spec.stores.size(); ++number) {
        if (spec.ops[spec.stores[number].op].width != width ||
            (stored[number] && number != first))
          continue;
        store(number, column, mask);
      }
    });
    evaluated.clear();
    for (size_t number = first; number < spec.stores.size(); ++number)
      if (spec.ops[spec.stores[number].op].width == width)
        stored[number] = true;
  }
}

void RowwiseEmitter::emit(CpuKernel &result) {
  planScratch();
  int64_t widest = 1;
  for (const RowOp &op : spec.ops)
    widest = std::max(widest, op.width);
  int64_t rowsPerTask = std::clamp<int64_t>((16 << 10) / widest, 1, 64);
  Value *end = e.min(e.mul(e.taskEnd, rowsPerTask), e.extent(0));
  e.loop(e.mul(e.taskBegin, rowsPerTask), end, 1, [&](Value *number) {
    row = number;
    emitRow();
  });
  result.grid = {{.extent = 0, .divisor = rowsPerTask}};
  result.scratchBytes = scratchEnd;
}

void cpu::emitRowwise(Emitter &e, const RowwiseSpec &spec, CpuKernel &result) {
  RowwiseEmitter(e, spec).emit(result);
}
