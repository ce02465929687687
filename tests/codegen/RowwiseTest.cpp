//===- RowwiseTest.cpp - row-wise bodies against double references --------===//
//
// Long because: the reference of each operation stands beside its tests.
//
//===----------------------------------------------------------------------===//

#include "ir/support/QuantizedBlocks.h"
#include "tests/codegen/KernelHarness.h"
#include "tests/conformance/Tolerances.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/bit.h"

#include <cmath>
#include <numeric>

using namespace moec;
using namespace moec::test;
using cpu::CpuLevel;
using kernel::RowOp;
using kernel::RowwiseSpec;
using Kind = RowOp::Kind;

namespace {

class RowwiseTest : public testing::TestWithParam<CpuLevel> {};

/// Writes a spec as one reads it.
struct Body {
  RowwiseSpec spec;

  int operand(ElementType element) {
    spec.operands.push_back({element});
    return int(spec.operands.size()) - 1;
  }
  int op(RowOp op) {
    spec.ops.push_back(std::move(op));
    return int(spec.ops.size()) - 1;
  }
  int load(int buffer, int64_t width) {
    return op(
        {.kind = Kind::Load, .inputs = {}, .buffer = buffer, .width = width});
  }
  int loadRow(int buffer, int64_t width) {
    return op({.kind = Kind::LoadRow,
               .inputs = {},
               .buffer = buffer,
               .width = width});
  }
  int unary(Kind kind, int input) {
    return op({.kind = kind, .inputs = {input}, .width = widthOf(input)});
  }
  int binary(Kind kind, int x, int y) {
    return op({.kind = kind, .inputs = {x, y}, .width = widthOf(x)});
  }
  int norm(Kind kind, std::vector<int> inputs, int64_t groups = 1) {
    return op({.kind = kind,
               .inputs = inputs,
               .width = widthOf(inputs[0]),
               .groups = groups,
               .scalar = 1e-5});
  }
  int64_t widthOf(int op) const { return spec.ops[op].width; }
  Body &store(int op, ElementType element = ElementType::f32) {
    spec.stores.push_back({op, element});
    return *this;
  }
};

/// All rows of all operations, in double or rounded to f32 at each result.
template <typename T> struct Interpreter {
  const RowwiseSpec &spec;
  llvm::ArrayRef<const Array *> operands;
  std::vector<std::vector<T>> values;

  void run(int64_t row) {
    values.assign(spec.ops.size(), {});
    for (size_t number = 0; number < spec.ops.size(); ++number) {
      const RowOp &op = spec.ops[number];
      std::vector<T> &out = values[number];
      out.resize(op.width);
      if (op.kind == Kind::RmsNorm || op.kind == Kind::LayerNorm) {
        norm(op, out);
        continue;
      }
      if (op.kind == Kind::Rope) {
        rope(op, row, out);
        continue;
      }
      if (op.kind == Kind::JoinHeads) {
        join(op, out);
        continue;
      }
      for (int64_t column = 0; column < op.width; ++column)
        out[column] = element(op, row, column);
    }
  }
  T element(const RowOp &op, int64_t row, int64_t column) {
    auto in = [&](int input) {
      const std::vector<T> &row = values[op.inputs[input]];
      return row[row.size() == 1 ? 0 : column];
    };
    auto load = [&](int64_t at) {
      return T(operands[op.buffer]->get(at * op.width + column));
    };
    using kernel::Activation;
    auto act = [&](Activation activation) -> T {
      if constexpr (std::is_same_v<T, float>)
        return activateTyped(activation, in(0));
      else
        return activate(activation, in(0));
    };
    switch (op.kind) {
    case Kind::Load:
      return load(row);
    case Kind::LoadRow:
      return load(0);
    case Kind::Gather:
      return load(operands[op.index]->getInt(row));
    case Kind::Add:
      return in(0) + in(1);
    case Kind::Sub:
      return in(0) - in(1);
    case Kind::Mul:
      return in(0) * in(1);
    case Kind::Scale:
      return in(0) * T(op.scalar);
    case Kind::Silu:
      return act(Activation::Silu);
    case Kind::GeluTanh:
      return act(Activation::GeluTanh);
    case Kind::GeluErf:
      return act(Activation::GeluErf);
    case Kind::QuickGelu:
      return act(Activation::QuickGelu);
    case Kind::Relu:
      return act(Activation::Relu);
    case Kind::SquaredRelu:
      return act(Activation::SquaredRelu);
    case Kind::Sigmoid:
      return 1 / (1 + std::exp(-in(0)));
    case Kind::Tanh:
      return std::tanh(in(0));
    case Kind::Clamp:
      return in(0) > T(op.scalar)    ? T(op.scalar)
             : in(0) < -T(op.scalar) ? -T(op.scalar)
                                     : in(0);
    case Kind::Slice:
      return values[op.inputs[0]][op.start + column];
    case Kind::Cast:
      return T(roundTo(op.element, in(0)));
    default:
      return 0;
    }
  }
  void norm(const RowOp &op, std::vector<T> &out) {
    const std::vector<T> &x = values[op.inputs[0]];
    int64_t part = op.width / op.groups;
    for (int64_t start = 0; start < op.width; start += part) {
      T mean = 0, squares = 0;
      if (op.kind == Kind::LayerNorm) {
        for (int64_t i = 0; i < part; ++i)
          mean += x[start + i];
        mean /= T(part);
      }
      for (int64_t i = 0; i < part; ++i)
        squares += (x[start + i] - mean) * (x[start + i] - mean);
      T inverse = 1 / std::sqrt(squares / T(part) + T(op.scalar));
      for (int64_t i = 0; i < part; ++i) {
        T value = (x[start + i] - mean) * inverse;
        if (op.inputs.size() > 1)
          value *= values[op.inputs[1]][i];
        if (op.inputs.size() > 2)
          value += values[op.inputs[2]][i];
        out[start + i] = value;
      }
    }
  }
  void rope(const RowOp &op, int64_t row, std::vector<T> &out) {
    out = values[op.inputs[0]];
    int64_t headDim = op.width / op.groups;
    int64_t pairs = op.inverseFrequencies.size();
    for (int64_t head = 0; head < op.groups; ++head)
      for (int64_t pair = 0; pair < pairs; ++pair) {
        double angle = double(operands[op.index]->getInt(row)) *
                       op.inverseFrequencies[pair];
        T sine = T(std::sin(angle)), cosine = T(std::cos(angle));
        int64_t i = head * headDim + (op.interleaved ? 2 * pair : pair);
        int64_t j = op.interleaved ? i + 1 : i + pairs;
        T x = out[i], y = out[j];
        out[i] = (x * cosine - y * sine) * T(op.magnitude);
        out[j] = (y * cosine + x * sine) * T(op.magnitude);
      }
  }
  void join(const RowOp &op, std::vector<T> &out) {
    const std::vector<T> &a = values[op.inputs[0]], &b = values[op.inputs[1]];
    size_t first = a.size() / op.groups, all = op.width / op.groups;
    for (size_t column = 0; column < out.size(); ++column) {
      size_t head = column / all, at = column % all;
      bool isOnePart = b.size() == all - first;
      out[column] =
          at < first ? a[head * first + at]
                     : b[at - first + (isOnePart ? 0 : head * (all - first))];
    }
  }
};

/// Runs `spec` over rows of operands and compares all its results.
void checkRowwise(const RowwiseSpec &spec,
                  llvm::ArrayRef<const Array *> operands, int64_t rows,
                  CpuLevel level,
                  Tolerance tolerance = toleranceOf(RowwiseSpec())) {
  SCOPED_TRACE(kernel::describe(spec));
  ASSERT_EQ(cpu::supports(spec, level), std::nullopt);
  Random random(1);
  std::vector<Array> results;
  for (const RowwiseSpec::Store &store : spec.stores)
    results.emplace_back(store.element, rows * spec.ops[store.op].width)
        .fillBytes(0xFF);
  std::vector<const Array *> buffers(operands.begin(), operands.end());
  std::vector<Array *> outputs;
  for (Array &result : results) {
    buffers.push_back(&result);
    outputs.push_back(&result);
  }
  compiled(spec, level).runSplit(buffers, {rows}, outputs, random);

  Interpreter<double> exactly{spec, operands, {}};
  Interpreter<float> typed{spec, operands, {}};
  std::vector<std::vector<double>> exact(results.size()), rounded = exact;
  for (int64_t row = 0; row < rows; ++row) {
    exactly.run(row);
    typed.run(row);
    for (size_t number = 0; number < results.size(); ++number) {
      int op = spec.stores[number].op;
      for (double value : exactly.values[op])
        exact[number].push_back(value);
      for (float value : typed.values[op])
        rounded[number].push_back(roundTo(spec.stores[number].element, value));
    }
  }
  for (size_t number = 0; number < results.size(); ++number)
    expectClose(results[number], exact[number], rounded[number], tolerance,
                "result " + std::to_string(number));
}

constexpr int64_t kRows = 9;

Array normalArray(ElementType element, int64_t count, double deviation = 1) {
  Random random{uint64_t(count) * 31 + uint64_t(element)};
  Array array(element, count);
  array.fillNormal(random, deviation);
  return array;
}

std::vector<ElementType> floatTypes(CpuLevel level) {
  std::vector<ElementType> types = {ElementType::f32, ElementType::bf16};
  if (level != CpuLevel::Generic)
    types.push_back(ElementType::f16);
  return types;
}

} // namespace

TEST_P(RowwiseTest, ComputesEachElementwiseOperation) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (int64_t width : {1, 16, 77}) {
    Array x = normalArray(ElementType::f32, kRows * width, 3);
    Array y = normalArray(ElementType::f32, kRows * width, 2);
    Body body;
    int a = body.load(body.operand(ElementType::f32), width);
    int b = body.load(body.operand(ElementType::f32), width);
    for (Kind kind : {Kind::Add, Kind::Sub, Kind::Mul})
      body.store(body.binary(kind, a, b));
    for (Kind kind :
         {Kind::Silu, Kind::GeluTanh, Kind::GeluErf, Kind::QuickGelu,
          Kind::Relu, Kind::SquaredRelu, Kind::Sigmoid, Kind::Tanh})
      body.store(body.unary(kind, a));
    body.store(body.op(
        {.kind = Kind::Scale, .inputs = {b}, .width = width, .scalar = 0.125}));
    body.store(body.op(
        {.kind = Kind::Clamp, .inputs = {a}, .width = width, .scalar = 1.5}));
    body.store(body.op({.kind = Kind::Cast,
                        .inputs = {b},
                        .width = width,
                        .element = ElementType::bf16}));
    checkRowwise(body.spec, {&x, &y}, kRows, GetParam());
  }
}

// NaN compares with nothing, so no limit takes its place.
TEST_P(RowwiseTest, ClampKeepsNaN) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  Array x(ElementType::f32, 3), out(ElementType::f32, 3);
  x.set(0, NAN);
  x.set(1, INFINITY);
  x.set(2, -INFINITY);
  Body body;
  int a = body.load(body.operand(ElementType::f32), 3);
  body.store(
      body.op({.kind = Kind::Clamp, .inputs = {a}, .width = 3, .scalar = 2}));
  compiled(body.spec, GetParam()).run({&x, &out}, {1});
  EXPECT_TRUE(std::isnan(out.get(0)));
  EXPECT_EQ(out.get(1), 2);
  EXPECT_EQ(out.get(2), -2);
}

// Latent attention: a part of each head turns, and keys share that part. Joins
// read loads, sums, rotations and slices, and what reads them is a store, a
// norm or a sum.
TEST_P(RowwiseTest, JoinsPartsOfHeads) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (auto [heads, first, second] :
       {std::tuple(1, 5, 3), std::tuple(3, 16, 8), std::tuple(4, 7, 18)})
    for (double magnitude : {1.0, 1.25}) {
      int64_t all = heads * (first + second);
      Array a = normalArray(ElementType::f32, kRows * heads * first);
      Array b = normalArray(ElementType::bf16, kRows * heads * second);
      Array one = normalArray(ElementType::f32, kRows * second);
      Array gain = normalArray(ElementType::f32, all);
      Array positions(ElementType::i32, kRows);
      for (int64_t row = 0; row < kRows; ++row)
        positions.set(row, double(3 * row));
      Body body;
      int left = body.load(body.operand(ElementType::f32), heads * first);
      int right = body.load(body.operand(ElementType::bf16), heads * second);
      int part = body.load(body.operand(ElementType::f32), second);
      int weight = body.loadRow(body.operand(ElementType::f32), all);
      int at = body.operand(ElementType::i32);
      auto join = [&](int x, int y) {
        return body.op({.kind = Kind::JoinHeads,
                        .inputs = {x, y},
                        .width = all,
                        .groups = heads});
      };
      int plain = join(left, right);
      body.store(plain);
      int turned = body.op({.kind = Kind::Rope,
                            .inputs = {part},
                            .index = at,
                            .width = second,
                            .inverseFrequencies = {0.7},
                            .magnitude = magnitude});
      int shared = join(body.binary(Kind::Add, left, left), turned);
      body.store(shared, ElementType::bf16);
      body.store(body.norm(Kind::RmsNorm, {shared, weight}));
      body.store(body.binary(Kind::Add, plain, shared));
      checkRowwise(body.spec, {&a, &b, &one, &gain, &positions}, kRows,
                   GetParam());
    }
}

TEST_P(RowwiseTest, ConvertsBetweenElementTypes) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (ElementType from : floatTypes(GetParam()))
    for (ElementType to : floatTypes(GetParam()))
      for (int64_t width : {from == to ? 32 : 21}) {
        Array x = normalArray(from, kRows * width);
        Body body;
        int a = body.load(body.operand(from), width);
        body.store(body.unary(Kind::Relu, a), to);
        checkRowwise(body.spec, {&x}, kRows, GetParam());
      }
}

// Rounding to bf16 is to nearest even; NaN stays NaN, infinity infinity.
// Every target reads f16, also the base of x86-64, which has no instruction for
// it: infinities, NaN and subnormals included.
TEST_P(RowwiseTest, WidensEveryF16) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  constexpr int64_t rows = 256, width = 256;
  RowwiseSpec spec;
  spec.operands = {{ElementType::f16}};
  spec.ops = {{.kind = RowOp::Kind::Load, .buffer = 0, .width = width}};
  spec.stores = {{0, ElementType::f32}};
  ASSERT_EQ(cpu::supports(spec, GetParam()), std::nullopt);
  Array x(ElementType::f16, rows * width), y(ElementType::f32, rows * width);
  std::vector<uint16_t> all(rows * width);
  std::iota(all.begin(), all.end(), 0);
  x.setBytes({reinterpret_cast<const uint8_t *>(all.data()), 2 * all.size()});
  compiled(spec, GetParam()).run({&x, &y}, {rows});
  for (size_t bits = 0; bits < all.size(); ++bits) {
    float expected = f16ToF32(all[bits]), got = y.getFloat(bits);
    if (std::isnan(expected))
      EXPECT_TRUE(std::isnan(got)) << bits;
    else
      EXPECT_EQ(llvm::bit_cast<uint32_t>(got),
                llvm::bit_cast<uint32_t>(expected))
          << bits;
  }
}

TEST_P(RowwiseTest, RoundsToBf16AsElementTypeDoes) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  constexpr int64_t width = 48;
  Array x(ElementType::f32, width), out(ElementType::bf16, width);
  auto put = [&](int64_t at, uint32_t bits) {
    x.set(at, llvm::bit_cast<float>(bits));
  };
  Random random(5);
  for (int64_t at = 0; at < width; ++at)
    put(at, 0x3f800000u + uint32_t(random.below(1 << 20)));
  put(0, 0x3f808000u); // half way, even below
  put(1, 0x3f818000u); // half way, odd below
  put(2, 0x7f7fffffu); // overflows to infinity
  put(3, 0xff800000u);
  put(4, 0x7fc00001u);
  put(5, 0x80000000u);
  put(47, 0xffc12345u);
  Body body;
  body.store(body.load(body.operand(ElementType::f32), width),
             ElementType::bf16);
  compiled(body.spec, GetParam()).run({&x, &out}, {1});
  const auto *bits = static_cast<const uint16_t *>(out.data());
  for (int64_t at = 0; at < width; ++at)
    EXPECT_EQ(bits[at], f32ToBf16(x.getFloat(at))) << at;
}

TEST_P(RowwiseTest, GathersRowsOfATable) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  constexpr int64_t width = 40, entries = 13;
  for (ElementType element : {ElementType::f32, ElementType::bf16}) {
    Array table = normalArray(element, entries * width);
    Array index(ElementType::i32, kRows);
    for (int64_t row = 0; row < kRows; ++row)
      index.set(row, double(row * 5 % entries));
    Body body;
    int tableOperand = body.operand(element);
    int indexOperand = body.operand(ElementType::i32);
    int x = body.op({.kind = Kind::Gather,
                     .inputs = {},
                     .buffer = tableOperand,
                     .index = indexOperand,
                     .width = width});
    body.store(x, element);
    checkRowwise(body.spec, {&table, &index}, kRows, GetParam());
  }
}

// The usual start of a layer: the residual sum is stored and normalised.
TEST_P(RowwiseTest, AddsThenNormalises) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (Kind kind : {Kind::RmsNorm, Kind::LayerNorm})
    for (ElementType element : {ElementType::f32, ElementType::bf16})
      for (int64_t width : {7, 200}) {
        Array x = normalArray(element, kRows * width);
        Array y = normalArray(element, kRows * width, 0.5);
        Array weight = normalArray(element, width);
        Array bias = normalArray(ElementType::f32, width);
        Body body;
        int a = body.load(body.operand(element), width);
        int b = body.load(body.operand(element), width);
        int w = body.loadRow(body.operand(element), width);
        int c = body.loadRow(body.operand(ElementType::f32), width);
        int sum = body.binary(Kind::Add, a, b);
        std::vector<int> inputs = {sum, w};
        if (kind == Kind::LayerNorm)
          inputs.push_back(c);
        int normed = body.norm(kind, inputs);
        body.store(sum, element).store(normed, element);
        checkRowwise(body.spec, {&x, &y, &weight, &bias}, kRows, GetParam());
      }
}

TEST_P(RowwiseTest, NormalisesGroupsByThemselves) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (Kind kind : {Kind::RmsNorm, Kind::LayerNorm})
    for (int64_t part : {8, 64, 80}) {
      Array x = normalArray(ElementType::f32, kRows * 3 * part);
      Array weight = normalArray(ElementType::f32, part);
      Body body;
      int a = body.load(body.operand(ElementType::f32), 3 * part);
      int w = body.loadRow(body.operand(ElementType::f32), part);
      body.store(body.norm(kind, {a, w}, 3));
      checkRowwise(body.spec, {&x, &weight}, kRows, GetParam());
    }
}

static std::vector<double> frequencies(int64_t pairs, double base) {
  std::vector<double> result;
  for (int64_t pair = 0; pair < pairs; ++pair)
    result.push_back(std::pow(base, -double(pair) / double(pairs)));
  return result;
}

// Fused query, key and value: slices, a norm by head, rotation, three results.
TEST_P(RowwiseTest, RotatesQueriesAndKeysOfAFusedRow) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (bool interleaved : {false, true})
    for (bool normed : {false, true})
      for (int64_t headDim : {normed ? 80 : 8})
        for (int64_t pairs : {headDim / 2, headDim / 4 - 1}) {
          constexpr int64_t heads = 3, kvHeads = 2;
          int64_t width = (heads + 2 * kvHeads) * headDim;
          Array x = normalArray(ElementType::f32, kRows * width);
          Array positions(ElementType::i32, kRows);
          for (int64_t row = 0; row < kRows; ++row)
            positions.set(row, double(row * row * 13));
          positions.set(7, 999999);
          positions.set(8, 131071);
          Array weight = normalArray(ElementType::f32, headDim);
          Body body;
          int a = body.load(body.operand(ElementType::f32), width);
          int positionOperand = body.operand(ElementType::i32);
          int w = body.loadRow(body.operand(ElementType::f32), headDim);
          auto part = [&](int64_t start, int64_t count) {
            return body.op({.kind = Kind::Slice,
                            .inputs = {a},
                            .width = count * headDim,
                            .start = start * headDim});
          };
          auto rotate = [&](int input, int64_t groups) {
            if (normed)
              input = body.norm(Kind::RmsNorm, {input, w}, groups);
            return body.op({.kind = Kind::Rope,
                            .inputs = {input},
                            .index = positionOperand,
                            .width = groups * headDim,
                            .groups = groups,
                            .inverseFrequencies = frequencies(pairs, 1e4),
                            .interleaved = interleaved});
          };
          body.store(rotate(part(0, heads), heads));
          body.store(rotate(part(heads, kvHeads), kvHeads), ElementType::bf16);
          body.store(part(heads + kvHeads, kvHeads), ElementType::bf16);
          checkRowwise(body.spec, {&x, &positions, &weight}, kRows, GetParam());
        }
}

//===- Elementary functions -----------------------------------------------===//

/// The largest error in units in the last place over `count` inputs.
static double worstUlp(CpuLevel level, Kind kind, double low, double high,
                       llvm::function_ref<double(double)> reference,
                       double absolute = 0) {
  constexpr int64_t width = 1 << 12;
  Array x(ElementType::f32, width), out(ElementType::f32, width);
  Random random{uint64_t(kind)};
  for (int64_t at = 0; at < width; ++at)
    x.set(at, random.uniform(low, high));
  Body body;
  body.store(
      body.unary(kind, body.load(body.operand(ElementType::f32), width)));
  compiled(body.spec, level).run({&x, &out}, {1});
  double worst = 0;
  for (int64_t at = 0; at < width; ++at) {
    double exact = reference(x.get(at));
    float near = std::abs(float(exact));
    double ulp =
        std::max(double(std::nextafter(near, 1e38f)) - double(near), absolute);
    worst = std::max(worst, std::abs(out.get(at) - exact) / ulp);
  }
  return worst;
}

TEST_P(RowwiseTest, KeepsElementaryFunctionsWithinTwoUlp) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  // Without fused operations a polynomial rounds once more a term.
  double slack = GetParam() == CpuLevel::Generic ? 2 : 0;
  auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  auto tanh = [](double x) { return std::tanh(x); };
  EXPECT_LE(worstUlp(GetParam(), Kind::Sigmoid, -85, 20, sigmoid), 2 + slack);
  EXPECT_LE(worstUlp(GetParam(), Kind::Tanh, -0.6, 0.6, tanh), 2 + slack);
  EXPECT_LE(worstUlp(GetParam(), Kind::Tanh, -10, 10, tanh), 2 + slack);
}

TEST_P(RowwiseTest, SaturatesAndPropagatesNan) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  constexpr int64_t width = 16;
  Array x(ElementType::f32, width);
  double inf = std::numeric_limits<double>::infinity();
  double inputs[] = {inf, -inf, std::nan(""), 0, -0.0, 1e30, -1e30, 88.8, -110};
  for (auto [at, value] : llvm::enumerate(inputs))
    x.set(at, value);
  Array sigmoids(ElementType::f32, width), tanhs(ElementType::f32, width);
  Body body;
  int a = body.load(body.operand(ElementType::f32), width);
  body.store(body.unary(Kind::Sigmoid, a)).store(body.unary(Kind::Tanh, a));
  compiled(body.spec, GetParam()).run({&x, &sigmoids, &tanhs}, {1});
  for (auto [at, value] : llvm::enumerate(inputs)) {
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(sigmoids.get(at)));
      EXPECT_TRUE(std::isnan(tanhs.get(at)));
      continue;
    }
    EXPECT_NEAR(sigmoids.get(at), 1 / (1 + std::exp(-value)), 1e-7) << value;
    EXPECT_NEAR(tanhs.get(at), std::tanh(value), 1e-7) << value;
  }
  EXPECT_TRUE(std::signbit(tanhs.get(4))) << "tanh(-0) is -0";
}

// A shared expert's gate: a number a row, from memory or computed in the row.
TEST_P(RowwiseTest, RepeatsAColumnAlongTheRow) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (int64_t width : {1, 7, 32, 100}) {
    Body body;
    int x = body.load(body.operand(ElementType::bf16), width);
    int number = body.load(body.operand(ElementType::f32), 1);
    int gate = body.unary(Kind::Sigmoid, number);
    int weight = body.loadRow(body.operand(ElementType::f32), width);
    int gated = body.binary(Kind::Mul, x, gate);
    int normed = body.norm(Kind::RmsNorm, {gated, weight});
    int first = body.op(
        {.kind = Kind::Slice, .inputs = {normed}, .width = 1, .start = 0});
    int sum = body.binary(Kind::Add, normed, first);
    body.store(body.binary(Kind::Sub, sum, number)).store(gate).store(gated);
    Array from = normalArray(ElementType::bf16, kRows * width);
    Array numbers = normalArray(ElementType::f32, kRows);
    Array weights = normalArray(ElementType::f32, width);
    checkRowwise(body.spec, {&from, &numbers, &weights}, kRows, GetParam());
  }
}

MOEC_INSTANTIATE_LEVELS(RowwiseTest);
