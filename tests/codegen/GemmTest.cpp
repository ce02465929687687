//===- GemmTest.cpp - dense and ragged GEMM against double references -----===//

#include "tests/codegen/KernelHarness.h"
#include "tests/conformance/Tolerances.h"
#include "llvm/ADT/STLExtras.h"

#include <cmath>

using namespace moec;
using namespace moec::test;
using cpu::CpuLevel;
using kernel::Activation;
using kernel::GemmSpec;
using kernel::RaggedGemmSpec;

namespace {

class GemmTest : public testing::TestWithParam<CpuLevel> {};

} // namespace

static double product(const Array &a, int64_t row, const std::vector<double> &w,
                      int64_t column, int64_t k) {
  double sum = 0;
  for (int64_t i = 0; i < k; ++i)
    sum += a.get(row * k + i) * w[column * k + i];
  return sum;
}

static float productTyped(const Array &a, int64_t row,
                          const std::vector<double> &w, int64_t column,
                          int64_t k) {
  float sum = 0;
  for (int64_t i = 0; i < k; ++i)
    sum += float(a.get(row * k + i)) * float(w[column * k + i]);
  return sum;
}

/// Runs `spec` on `m` rows and compares with the references; the bytes.
static std::vector<uint8_t> checkGemm(const GemmSpec &spec, int64_t m,
                                      CpuLevel level, uint64_t seed = 7) {
  SCOPED_TRACE(kernel::describe(spec) + " m=" + std::to_string(m));
  EXPECT_EQ(cpu::supports(spec, level), std::nullopt);
  Random random(seed);
  const Compiled &kernel = compiled(spec, level);
  int64_t n = spec.n, k = spec.k, slabs = spec.gated ? 2 : 1;
  double deviation = 1 / std::sqrt(double(k));
  std::vector<std::vector<double>> w(slabs);
  std::vector<Array> weights;
  std::vector<const Array *> weightPointers;
  for (int64_t slab = 0; slab < slabs; ++slab)
    weights.push_back(randomWeights(spec.w, n * k, deviation, random, w[slab]));
  for (const Array &weight : weights)
    weightPointers.push_back(&weight);
  Array packed = packWeights(weightPointers, 1, n, k, *kernel.kernel.weight);
  Array bias(ElementType::f32, slabs * n);
  bias.fillNormal(random);
  // Row r of a has the same numbers for every m.
  Array a(spec.a, (m + 3) * k);
  a.fillNormal(random);
  Array residual(spec.residualElement, m * n);
  residual.fillNormal(random);
  Array index(ElementType::i32, m);
  for (int64_t row = 0; row < m; ++row)
    index.set(row, double((row * 7 + 2) % (m + 3)));
  Array out(spec.out, m * n);
  out.fillBytes(0xFF);

  std::vector<const Array *> buffers = {&a};
  if (spec.rowIndex)
    buffers.push_back(&index);
  buffers.push_back(&packed);
  if (spec.bias)
    buffers.push_back(&bias);
  if (spec.residual)
    buffers.push_back(&residual);
  buffers.push_back(&out);
  kernel.runSplit(buffers, {m}, {&out}, random);

  std::vector<double> exact, typed;
  for (int64_t row = 0; row < m; ++row) {
    int64_t from = spec.rowIndex ? index.getInt(row) : row;
    for (int64_t column = 0; column < n; ++column) {
      double x = product(a, from, w[0], column, k);
      float t = productTyped(a, from, w[0], column, k);
      if (spec.bias) {
        x += bias.get(column);
        t += bias.getFloat(column);
      }
      x = activate(spec.activation, x);
      t = activateTyped(spec.activation, t);
      if (spec.gated) {
        double up = product(a, from, w[1], column, k);
        float upTyped = productTyped(a, from, w[1], column, k);
        x *= up + (spec.bias ? bias.get(n + column) : 0);
        t *= upTyped + (spec.bias ? bias.getFloat(n + column) : 0);
      }
      if (spec.residual) {
        x += residual.get(row * n + column);
        t += residual.getFloat(row * n + column);
      }
      exact.push_back(x);
      typed.push_back(roundTo(spec.out, t));
    }
  }
  expectClose(out, exact, typed, toleranceOf(spec), "out");
  return out.copyBytes();
}

static const std::pair<ElementType, ElementType> kTypes[] = {
    {ElementType::f32, ElementType::f32},
    {ElementType::bf16, ElementType::bf16},
    {ElementType::f32, ElementType::bf16},
    {ElementType::bf16, ElementType::f32},
    {ElementType::f32, ElementType::f16},
    {ElementType::bf16, ElementType::f16},
    {ElementType::f32, ElementType::q8_0},
    {ElementType::bf16, ElementType::q8_0}};

TEST_P(GemmTest, MatchesTheReferenceForEveryTypeAndRemainder) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (auto [a, w] : kTypes) {
    int64_t odd = w == ElementType::q8_0 ? 32 : 5;
    for (auto [n, k] :
         {std::pair<int64_t, int64_t>(1, odd), {37, 64}, {200, odd}})
      for (int64_t m : {1, 2, 3, 29})
        checkGemm({.n = n, .k = k, .a = a, .w = w, .out = a}, m, GetParam());
  }
}

TEST_P(GemmTest, CutsALongKIntoChunks) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (auto [a, w] : kTypes)
    for (int64_t m : {1, 13})
      checkGemm({.n = 40, .k = 2048, .a = a, .w = w, .out = a}, m, GetParam());
}

TEST_P(GemmTest, TakesSeveralBlocksOfRows) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (auto [a, w] : kTypes)
    checkGemm({.n = 33, .k = 32, .a = a, .w = w, .out = a}, 203, GetParam());
}

TEST_P(GemmTest, AppliesTheEpilogueInOrder) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (Activation activation :
       {Activation::None, Activation::Silu, Activation::GeluTanh,
        Activation::GeluErf, Activation::QuickGelu, Activation::Relu,
        Activation::SquaredRelu})
    for (bool gated : {false, true})
      for (bool extra : {gated, activation == Activation::Silu}) {
        GemmSpec spec = {.n = 70, .k = 32};
        spec.activation = activation;
        spec.gated = gated;
        spec.bias = spec.residual = spec.rowIndex = extra;
        checkGemm(spec, 1, GetParam());
        checkGemm(spec, 9, GetParam());
      }
}

TEST_P(GemmTest, ReadsResidualAndWritesOutputInTheirOwnTypes) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  GemmSpec spec = {.n = 48, .k = 64};
  spec.a = spec.w = ElementType::bf16;
  spec.residual = true;
  spec.residualElement = ElementType::f32;
  spec.out = ElementType::f32;
  checkGemm(spec, 5, GetParam());
  spec.residualElement = ElementType::bf16;
  spec.gated = true;
  checkGemm(spec, 5, GetParam());
}

// One row's bits are the same alone, in a small batch and in a large one.
TEST_P(GemmTest, RowsDoNotDependOnTheBatch) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (auto [a, w] : kTypes)
    for (int64_t k : {96, 1024}) {
      GemmSpec spec = {.n = 75, .k = k, .a = a, .w = w, .out = a};
      const Compiled &kernel = compiled(spec, GetParam());
      Random random(3);
      std::vector<double> values;
      Array weights = randomWeights(w, 75 * k, 0.1, random, values);
      Array packed = packWeights({&weights}, 1, 75, k, *kernel.kernel.weight);
      constexpr int64_t most = 111;
      Array rows(a, most * k);
      rows.fillNormal(random);
      Array all(a, most * 75);
      kernel.run({&rows, &packed, &all}, {most});
      std::vector<uint8_t> expected = all.copyBytes();
      size_t rowBytes = 75 * blockBytes(a);
      for (int64_t m : {1, 2, 5, 11, 12, 17}) {
        Array first(a, m * 75);
        kernel.run({&rows, &packed, &first}, {m});
        expected.resize(m * rowBytes);
        EXPECT_EQ(first.copyBytes(), expected)
            << kernel::describe(spec) << " m=" << m;
        expected = all.copyBytes();
      }
    }
}

// Numbers of a narrower type are widened in registers, which is exact: the bits
// are those of the same numbers in f32, which passes rely on.
TEST_P(GemmTest, NarrowWeightsGiveTheBitsOfWideOnes) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  constexpr int64_t n = 75;
  for (ElementType w : {ElementType::bf16, ElementType::f16, ElementType::q8_0})
    for (int64_t k : {w == ElementType::q8_0 ? 32 : 5, 96, 2048})
      for (bool gated : {false, true}) {
        GemmSpec spec = {.n = n, .k = k, .gated = gated};
        Random random(5);
        std::vector<Array> stored, widened;
        for (int slab = 0; slab <= int(gated); ++slab) {
          std::vector<double> values;
          stored.push_back(randomWeights(w, n * k, 0.1, random, values));
          Array wide(ElementType::f32, n * k);
          for (auto [i, value] : llvm::enumerate(values))
            wide.set(i, value);
          widened.push_back(std::move(wide));
        }
        constexpr int64_t most = 140; // rows of two blocks
        Array rows(ElementType::f32, most * k);
        rows.fillNormal(random);
        auto product = [&](ElementType element, std::vector<Array> &weights,
                           int64_t m) {
          spec.w = element;
          const Compiled &kernel = compiled(spec, GetParam());
          std::vector<const Array *> pointers;
          for (const Array &weight : weights)
            pointers.push_back(&weight);
          Array packed = packWeights(pointers, 1, n, k, *kernel.kernel.weight);
          Array out(ElementType::f32, m * n);
          kernel.run({&rows, &packed, &out}, {m});
          return out.copyBytes();
        };
        for (int64_t m : {int64_t(1), int64_t(2), int64_t(17), most})
          EXPECT_EQ(product(w, stored, m),
                    product(ElementType::f32, widened, m))
              << elementTypeName(w).str() << " k=" << k << " m=" << m
              << " gated=" << gated;
      }
}

// Equal rows of weights give equal bits, wherever in the matrix they stand and
// whatever the batch: experts of a group have equal rows in the router, and
// what is chosen hangs on ties.
TEST_P(GemmTest, EqualRowsOfWeightsGiveEqualBits) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  constexpr int64_t n = 75, k = 96, distinct = 5;
  for (auto [a, w] : kTypes) {
    GemmSpec spec = {.n = n, .k = k, .a = a, .w = w, .out = ElementType::f32};
    const Compiled &kernel = compiled(spec, GetParam());
    Random random(5);
    std::vector<double> values;
    Array weights = randomWeights(w, n * k, 0.1, random, values);
    std::vector<uint8_t> bytes = weights.copyBytes();
    size_t rowBytes = bytes.size() / n;
    for (int64_t row = distinct; row < n; ++row)
      std::copy_n(bytes.begin() + row % distinct * rowBytes, rowBytes,
                  bytes.begin() + row * rowBytes);
    weights.setBytes(bytes);
    Array packed = packWeights({&weights}, 1, n, k, *kernel.kernel.weight);
    for (int64_t m : {1, 2, 5, 12, 17, 111}) {
      Array rows(a, m * k), scores(ElementType::f32, m * n);
      rows.fillNormal(random);
      kernel.run({&rows, &packed, &scores}, {m});
      std::vector<uint8_t> found = scores.copyBytes();
      for (int64_t i = 0; i < m * n; ++i) {
        int64_t first = i / n * n + i % n % distinct;
        ASSERT_TRUE(std::equal(found.begin() + i * 4, found.begin() + i * 4 + 4,
                               found.begin() + first * 4))
            << kernel::describe(spec) << " m=" << m << " row " << i / n
            << " columns " << i % n << " and " << first % n;
      }
    }
  }
}

MOEC_INSTANTIATE_LEVELS(GemmTest);

//===- Ragged -------------------------------------------------------------===//

namespace {

class RaggedGemmTest : public testing::TestWithParam<CpuLevel> {};

/// Pairs, their experts and what Dispatch makes of them.
struct Assignment {
  Array pairExpert, pairToken, tokenOffsets, offsets, order;
  int64_t pairs;

  /// Expert of pair p is chosen(p).
  Assignment(int64_t pairs, int64_t tokens, int64_t experts, int64_t topk,
             llvm::function_ref<int64_t(int64_t)> chosen)
      : pairExpert(ElementType::i32, pairs), pairToken(ElementType::i32, pairs),
        tokenOffsets(ElementType::i32, tokens + 1),
        offsets(ElementType::i32, experts + 1), order(ElementType::i32, pairs),
        pairs(pairs) {
    for (int64_t pair = 0; pair < pairs; ++pair)
      pairExpert.set(pair, double(chosen(pair)));
    // Ragged: none, two, none, two, ... and the rest to the last token.
    for (int64_t token = 0, pair = 0; token < tokens; ++token) {
      int64_t end = topk ? pair + topk : pair + token % 2 * 2;
      end = token + 1 == tokens ? pairs : end;
      for (; pair < end; ++pair)
        pairToken.set(pair, double(token));
      tokenOffsets.set(token + 1, double(end));
    }
    int64_t next = 0;
    for (int64_t expert = 0; expert < experts; ++expert) {
      offsets.set(expert, double(next));
      for (int64_t pair = 0; pair < pairs; ++pair)
        if (pairExpert.getInt(pair) == expert)
          order.set(next++, double(pair));
    }
    offsets.set(experts, double(next));
  }
};

} // namespace

/// Runs both forms, compares them with the references and with each other.
static void checkRagged(RaggedGemmSpec spec, int64_t tokens, CpuLevel level,
                        llvm::function_ref<int64_t(int64_t)> chosen) {
  SCOPED_TRACE(kernel::describe(spec) + " tokens=" + std::to_string(tokens));
  Random random(11);
  int64_t n = spec.n, k = spec.k, slabs = spec.gated ? 2 : 1;
  int64_t pairs = spec.topk ? tokens * spec.topk : tokens + 5;
  Assignment assignment(pairs, tokens, spec.experts, spec.topk, chosen);
  std::vector<std::vector<double>> w(slabs);
  std::vector<Array> weights;
  std::vector<const Array *> weightPointers;
  for (int64_t slab = 0; slab < slabs; ++slab)
    weights.push_back(randomWeights(spec.w, spec.experts * n * k,
                                    1 / std::sqrt(double(k)), random, w[slab]));
  for (const Array &weight : weights)
    weightPointers.push_back(&weight);
  Array packed =
      packWeights(weightPointers, spec.experts, n, k,
                  cpu::weightLayout(spec.a, spec.w, spec.gated, level));
  Array a(spec.a, (spec.gather ? tokens : pairs) * k);
  a.fillNormal(random);
  Array bias(ElementType::f32, spec.experts * slabs * n);
  bias.fillNormal(random);
  Array pairWeight(ElementType::f32, pairs);
  pairWeight.fillNormal(random);

  std::vector<double> exact, typed;
  for (int64_t pair = 0; pair < pairs; ++pair) {
    int64_t expert = assignment.pairExpert.getInt(pair);
    int64_t row = spec.gather ? assignment.pairToken.getInt(pair) : pair;
    for (int64_t column = 0; column < n; ++column) {
      double x[2];
      float t[2];
      for (int64_t slab = 0; slab < slabs; ++slab) {
        x[slab] = product(a, row, w[slab], expert * n + column, k);
        t[slab] = productTyped(a, row, w[slab], expert * n + column, k);
        if (spec.bias) {
          size_t at = (expert * slabs + slab) * n + column;
          x[slab] += bias.get(at);
          t[slab] += bias.getFloat(at);
        }
      }
      double value = activate(spec.activation, x[0]);
      float rounded = activateTyped(spec.activation, t[0]);
      if (spec.gated) {
        value *= x[1];
        rounded *= t[1];
      }
      if (spec.weighted) {
        value *= pairWeight.get(pair);
        rounded *= pairWeight.getFloat(pair);
      }
      exact.push_back(value);
      typed.push_back(roundTo(spec.out, rounded));
    }
  }

  std::vector<uint8_t> bytes[2];
  for (auto form :
       {RaggedGemmSpec::Form::Grouped, RaggedGemmSpec::Form::Direct}) {
    spec.form = form;
    ASSERT_EQ(cpu::supports(spec, level), std::nullopt);
    Array out(spec.out, pairs * n);
    out.fillBytes(0xFF);
    std::vector<const Array *> buffers = {&a};
    if (form == RaggedGemmSpec::Form::Grouped) {
      buffers.push_back(&assignment.offsets);
      buffers.push_back(&assignment.order);
    } else {
      buffers.push_back(&assignment.pairExpert);
    }
    std::vector<int64_t> extents = {pairs};
    if (spec.searchesToken()) {
      buffers.push_back(&assignment.tokenOffsets);
      extents.push_back(tokens);
    }
    buffers.push_back(&packed);
    if (spec.bias)
      buffers.push_back(&bias);
    if (spec.weighted)
      buffers.push_back(&pairWeight);
    buffers.push_back(&out);
    compiled(spec, level).runSplit(buffers, extents, {&out}, random);
    expectClose(out, exact, typed, toleranceOf(spec), "out");
    bytes[int(form)] = out.copyBytes();
  }
  EXPECT_EQ(bytes[0], bytes[1]) << "the forms differ";
}

TEST_P(RaggedGemmTest, MatchesTheReferenceForEveryType) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (auto [a, w] : kTypes) {
    RaggedGemmSpec spec = {.experts = 4, .topk = 2, .n = 70, .k = 64};
    spec.a = spec.out = a;
    spec.w = w;
    spec.gather = spec.gated = true;
    spec.activation = Activation::Silu;
    for (int64_t tokens : {1, 3, 40})
      checkRagged(spec, tokens, GetParam(),
                  [](int64_t pair) { return (pair * 5 + 1) % 4; });
  }
}

TEST_P(RaggedGemmTest, LeavesEmptyExpertsAloneAndTakesOneThatHasAll) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  RaggedGemmSpec spec = {.experts = 8, .topk = 2, .n = 96, .k = 33};
  spec.weighted = spec.bias = true;
  checkRagged(spec, 150, GetParam(), [](int64_t) { return 5; });
  checkRagged(spec, 20, GetParam(), [](int64_t pair) { return pair % 2 * 7; });
}

TEST_P(RaggedGemmTest, TakesTheTokenOfAPairFromATable) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  RaggedGemmSpec spec = {.experts = 3, .topk = 0, .n = 40, .k = 16};
  spec.gather = true;
  for (bool gated : {false, true}) {
    spec.gated = gated;
    spec.bias = gated;
    checkRagged(spec, 9, GetParam(), [](int64_t pair) { return pair % 3; });
  }
}

TEST_P(RaggedGemmTest, RunsNothingForNoPairs) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  RaggedGemmSpec spec = {.experts = 4, .topk = 2, .n = 32, .k = 32};
  const Compiled &kernel = compiled(spec, GetParam());
  Array a(ElementType::f32, 0), out(ElementType::f32, 0);
  Array offsets(ElementType::i32, 5), order(ElementType::i32, 0);
  Array packed(ElementType::f32, 4 * 32 * 32);
  kernel.run({&a, &offsets, &order, &packed, &out}, {0});
}

MOEC_INSTANTIATE_LEVELS(RaggedGemmTest);
