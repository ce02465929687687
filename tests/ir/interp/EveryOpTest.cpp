//===- EveryOpTest.cpp - each op of the interpreter, in both modes --------===//
//
// Each op is run alone on small numbers. Mode `f64` gives what its header says,
// computed here by hand or by libm; mode `typed` gives that rounded once to the
// element type of the result.
//
//===----------------------------------------------------------------------===//

#include "ir/core/Module.h"
#include "ir/interp/Interpreter.h"
#include "ir/kernel/KernelOps.h"
#include "ir/ops/OpInfo.h"
#include "ir/text/Parser.h"
#include "ir/verify/Verifier.h"

#include "llvm/ADT/StringExtras.h"
#include "gtest/gtest.h"

#include <cmath>
#include <set>

using namespace moec;

namespace {
struct Case {
  /// Its op is the last one of the program that has the mnemonic.
  const char *mnemonic;
  /// After `program @p`; `E` is the element type of what is looked at.
  std::string program;
  std::vector<HostTensor> arguments;
  /// Of the result of that number.
  std::vector<double> expected;
  unsigned result = 0;
};
} // namespace

static HostTensor floats(std::vector<int64_t> shape,
                         std::vector<double> numbers) {
  HostTensor tensor = HostTensor::ofFloats(ElementType::f32, std::move(shape));
  EXPECT_EQ(tensor.floats.size(), numbers.size());
  tensor.floats = std::move(numbers);
  return tensor;
}

static HostTensor ints(std::vector<int64_t> shape,
                       std::vector<int64_t> numbers) {
  HostTensor tensor = HostTensor::ofInts(std::move(numbers));
  tensor.shape = std::move(shape);
  return tensor;
}

static double silu(double x) { return x / (1 + std::exp(-x)); }

static std::vector<Case> activations() {
  const std::vector<std::pair<const char *, double (*)(double)>> functions = {
      {"silu", silu},
      {"gelu_tanh",
       [](double x) {
         return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) *
                                  (x + 0.044715 * x * x * x)));
       }},
      {"gelu_erf", [](double x) { return x * std::erfc(-x / M_SQRT2) / 2; }},
      {"quick_gelu", [](double x) { return x / (1 + std::exp(-1.702 * x)); }},
      {"relu", [](double x) { return std::max(x, 0.0); }},
      {"squared_relu", [](double x) { return x > 0 ? x * x : 0; }},
      {"sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }},
      {"tanh", [](double x) { return std::tanh(x); }}};
  std::vector<Case> cases;
  for (auto [name, function] : functions) {
    std::string program = std::string("(%x: tensor<[t, 4], f32>) -> () {\n"
                                      "%y = activation %x {fn = ") +
                          name + "} : tensor<[t, 4], E>\nreturn\n}";
    std::vector<double> x{-2.5, -0.375, 0.0, 3.25}, y;
    for (double number : x)
      y.push_back(function(number));
    cases.push_back({"activation", program, {floats({1, 4}, x)}, y});
  }
  return cases;
}

static std::vector<Case> tensorOps() {
  const HostTensor a = floats({2, 2}, {1.001, 2, 3, -4});
  const HostTensor b = floats({2, 2}, {0.25, 1, -1, 8});
  const HostTensor row = floats({2}, {10, 0.003});
  const HostTensor column = floats({2, 1}, {0.5, 3});
  const HostTensor wide = floats({1, 4}, {1, 2, 3, 4.5});
  double mean = 10.5 / 4, variance = 0;
  for (double x : wide.floats)
    variance += (x - mean) * (x - mean) / 4;
  auto normed = [&](double x) {
    return (x - mean) / std::sqrt(variance + 0.5);
  };
  // Squares of the two halves: 1 + 4 and 9 + 20.25.
  double first = std::sqrt(2.5 + 0.5), second = std::sqrt(14.625 + 0.5);
  return {
      {"add",
       "(%a: tensor<[t, 2], f32>, %b: tensor<[t, 2], f32>) -> () {\n"
       "%y = add %a, %b : tensor<[t, 2], E>\nreturn\n}",
       {a, b},
       {1.251, 3, 2, 4}},
      {"add",
       "(%a: tensor<[t, 2], f32>, %b: tensor<[2], f32>) -> () {\n"
       "%y = add %a, %b : tensor<[t, 2], E>\nreturn\n}",
       {a, row},
       {11.001, 2.003, 13, -3.997}},
      {"sub",
       "(%a: tensor<[t, 2], f32>, %b: tensor<[t, 1], f32>) -> () {\n"
       "%y = sub %a, %b : tensor<[t, 2], E>\nreturn\n}",
       {a, column},
       {0.501, 1.5, 0, -7}},
      {"mul",
       "(%a: tensor<[t, 2], f32>, %b: tensor<[t, 2], f32>) -> () {\n"
       "%y = mul %a, %b : tensor<[t, 2], E>\nreturn\n}",
       {a, b},
       {0.25025, 2, -3, -32}},
      {"cast",
       "(%a: tensor<[t, 2], f32>) -> () {\n"
       "%y = cast %a : tensor<[t, 2], E>\nreturn\n}",
       {a},
       {1.001, 2, 3, -4}},
      {"clamp",
       "(%a: tensor<[t, 2], f32>) -> () {\n"
       "%y = clamp %a {limit = 2.7} : tensor<[t, 2], E>\nreturn\n}",
       {a},
       {1.001, 2, 2.7, -2.7}},
      {"scale",
       "(%a: tensor<[t, 2], f32>) -> () {\n"
       "%y = scale %a {factor = -0.3} : tensor<[t, 2], E>\nreturn\n}",
       {a},
       {-0.3003, -0.6, -0.9, 1.2}},
      {"slice",
       "(%a: tensor<[t, 4], f32>) -> () {\n"
       "%y = slice %a {start = 1, size = 2} : tensor<[t, 2], f32>\nreturn\n}",
       {wide},
       {2, 3}},
      {"embedding",
       "(%a: tensor<[2, 2], f32>, %i: tensor<[t], i32>) -> () {\n"
       "%y = embedding %a, %i : tensor<[t, 2], E>\nreturn\n}",
       {a, ints({3}, {1, 0, 1})},
       {3, -4, 1.001, 2, 3, -4}},
      {"gather_rows",
       "(%a: tensor<[t, 2], f32>, %i: tensor<[n], i32>) -> () {\n"
       "%y = gather_rows %a, %i : tensor<[n, 2], E>\nreturn\n}",
       {a, ints({1}, {1})},
       {3, -4}},
      {"layer_norm",
       "(%a: tensor<[t, 4], f32>, %w: tensor<[4], f32>, %b: tensor<[4], f32>) "
       "-> () {\n%y = layer_norm %a, %w, %b {epsilon = 0.5} : tensor<[t, 4], "
       "E>\nreturn\n}",
       {wide, floats({4}, {1, 2, -1, 0}), floats({4}, {0, 1, 0.5, 7})},
       {normed(1), 2 * normed(2) + 1, 0.5 - normed(3), 7}},
      {"rms_norm",
       "(%a: tensor<[t, 4], f32>, %w: tensor<[2], f32>) -> () {\n"
       "%y = rms_norm %a, %w {epsilon = 0.5, groups = 2} : tensor<[t, 4], "
       "E>\nreturn\n}",
       {wide, floats({2}, {1, 3})},
       {1 / first, 6 / first, 3 / second, 13.5 / second}},
      {"linear",
       "(%a: tensor<[t, 2], f32>, %w: tensor<[3, 2], f32>, %b: tensor<[3], "
       "f32>) -> () {\n%y = linear %a, %w, %b : tensor<[t, 3], E>\nreturn\n}",
       {a, floats({3, 2}, {1, 1, 2, 0, -1, 4}), floats({3}, {0, 1, 100})},
       {3.001, 3.002, 106.999, -1, 7, 81}}};
}

static std::vector<Case> attentionOps() {
  double c = std::cos(3.0), s = std::sin(3.0);
  double half = std::cos(1.5), halfSin = std::sin(1.5);
  auto rope = [&](bool interleaved) -> std::vector<double> {
    // Two heads of three columns, of which two turn; position 3.
    if (interleaved)
      return {2 * (1 * c - 2 * s), 2 * (1 * s + 2 * c), 5,
              2 * (3 * c - 4 * s), 2 * (3 * s + 4 * c), 6};
    return {};
  };
  // Softmax of a query of 2 over keys 1, 3, -1, with values 10, 20, 40.
  auto attend = [](std::vector<double> keys, std::vector<double> values,
                   double query, double scale, double cap) {
    double sum = 0, y = 0;
    for (size_t i = 0; i < keys.size(); ++i) {
      double score = query * keys[i] * scale;
      if (cap != 0)
        score = cap * std::tanh(score / cap);
      sum += std::exp(score);
      y += std::exp(score) * values[i];
    }
    return y / sum;
  };
  // Blocks of two slots: position 0 and 1 in block 1, position 2 in block 0.
  const HostTensor keys = floats({2, 1, 1, 2}, {-1, 99, 1, 3});
  const HostTensor values = floats({2, 1, 2, 1}, {40, 99, 10, 20});
  const HostTensor positions = ints({2}, {1, 2}), offsets = ints({2}, {0, 2}),
                   table = ints({1, 2}, {1, 0});
  return {
      {"rope",
       "(%x: tensor<[t, 6], f32>, %p: tensor<[t], i32>) -> () {\n"
       "%y = rope %x, %p {heads = 2, interleaved = true, inverse_frequencies = "
       "[1.0], magnitude = 2.0} : tensor<[t, 6], E>\nreturn\n}",
       {floats({1, 6}, {1, 2, 5, 3, 4, 6}), ints({1}, {3})},
       rope(true)},
      {"rope",
       "(%x: tensor<[t, 4], f32>, %p: tensor<[t], i32>) -> () {\n"
       "%y = rope %x, %p {inverse_frequencies = [1.0, 0.5]} : tensor<[t, 4], "
       "E>\nreturn\n}",
       {floats({1, 4}, {1, 2, 3, 4}), ints({1}, {3})},
       {1 * c - 3 * s, 2 * half - 4 * halfSin, 1 * s + 3 * c,
        2 * halfSin + 4 * half}},
      {"join_heads",
       "(%a: tensor<[t, 4], f32>, %b: tensor<[t, 2], f32>) -> () {\n"
       "%y = join_heads %a, %b {heads = 2} : tensor<[t, 6], E>\nreturn\n}",
       {floats({1, 4}, {1, 2, 3, 4}), floats({1, 2}, {5, 6})},
       {1, 2, 5, 3, 4, 6}},
      {"join_heads",
       "(%a: tensor<[t, 4], f32>, %b: tensor<[t, 1], f32>) -> () {\n"
       "%y = join_heads %a, %b {heads = 2} : tensor<[t, 6], E>\nreturn\n}",
       {floats({1, 4}, {1, 2, 3, 4}), floats({1, 1}, {5})},
       {1, 2, 5, 3, 4, 5}},
      {"kv_append",
       "(%k: state @keys, %x: tensor<[t, 1], f32>, %p: tensor<[t], i32>, %o: "
       "tensor<[s+1], i32>, %b: tensor<[s, n], i32>) -> (k: state @keys) {\n"
       "%k_1 = kv_append %k, %x, %p, %o, %b : state @keys\nreturn %k_1\n}",
       {keys, floats({2, 1}, {7.125, 8}), positions, offsets, table},
       {8, 99, 1, 7.125}},
      {"kv_append",
       "(%v: state @values, %x: tensor<[t, 1], f32>, %p: tensor<[t], i32>, "
       "%o: tensor<[s+1], i32>, %b: tensor<[s, n], i32>) -> (v: state @values) "
       "{\n%v_1 = kv_append %v, %x, %p, %o, %b {kind = value} : state @values\n"
       "return %v_1\n}",
       {values, floats({2, 1}, {7.125, 8}), positions, offsets, table},
       {8, 99, 10, 7.125}},
      {"attention",
       "(%q: tensor<[t, 2], f32>, %k: state @keys, %v: state @values, %p: "
       "tensor<[t], i32>, %o: tensor<[s+1], i32>, %b: tensor<[s, n], i32>) -> "
       "(k: state @keys, v: state @values) {\n"
       "%y = attention %q, %k, %v, %p, %o, %b {heads = 2, scale = 0.25, "
       "softcap = 4.0} : tensor<[t, 2], E>\nreturn %k, %v\n}",
       {floats({2, 2}, {2, -1, 0.5, 3}), keys, values, positions, offsets,
        table},
       {attend({1, 3}, {10, 20}, 2, 0.25, 4),
        attend({1, 3}, {10, 20}, -1, 0.25, 4),
        attend({1, 3, -1}, {10, 20, 40}, 0.5, 0.25, 4),
        attend({1, 3, -1}, {10, 20, 40}, 3, 0.25, 4)}},
      {"attention",
       "(%q: tensor<[t, 1], f32>, %k: state @keys, %v: state @values, %p: "
       "tensor<[t], i32>, %o: tensor<[s+1], i32>, %b: tensor<[s, n], i32>) -> "
       "(k: state @keys, v: state @values) {\n"
       "%y = attention %q, %k, %v, %p, %o, %b {window = 2} : tensor<[t, 1], E>"
       "\nreturn %k, %v\n}",
       {floats({2, 1}, {2, 0.5}), keys, values, positions, offsets, table},
       {attend({1, 3}, {10, 20}, 2, 1, 0),
        attend({3, -1}, {20, 40}, 0.5, 1, 0)}}};
}

// Tokens 0 and 1 choose experts 1 and 0 with the weights 3 and 2.
#define ROUTE                                                                  \
  "%o, %e, %w = moe.route %l {score = identity} : tensor<[t+1], i32>, "        \
  "tensor<[pairs], i32>, tensor<[pairs], f32>\n"

static std::vector<Case> moeOps() {
  const HostTensor x = floats({2, 2}, {1.001, 2, 3, -4});
  const HostTensor logits = floats({2, 2}, {1, 3, 2, -1});
  const HostTensor gate = floats({1, 2}, {1, 0.5}), up = floats({1, 2}, {2, 1}),
                   down = floats({2, 1}, {3, -0.1});
  auto hidden = [](double a, double b) {
    return silu(a + 0.5 * b) * (2 * a + b);
  };
  double h0 = hidden(1.001, 2), h1 = hidden(3, -4);
  // Of two experts; the second has half the first's down projection.
  const HostTensor gates = floats({2, 1, 2}, {1, 0.5, 1, 0.5}),
                   ups = floats({2, 1, 2}, {2, 1, 2, 1}),
                   downs = floats({2, 2, 1}, {3, -0.1, 1.5, -0.05});
  const HostTensor bank = floats({2, 1, 2}, {1, 1, 0, -2});
  double odds = std::exp(2.0);
  return {
      {"ffn",
       "(%x: tensor<[t, 2], f32>, %g: tensor<[1, 2], f32>, %u: tensor<[1, 2], "
       "f32>, %d: tensor<[2, 1], f32>) -> () {\n"
       "%y = ffn %x, %g, %u, %d : tensor<[t, 2], E>\nreturn\n}",
       {x, gate, up, down},
       {3 * h0, -0.1 * h0, 3 * h1, -0.1 * h1}},
      {"ffn",
       "(%x: tensor<[t, 2], f32>, %u: tensor<[1, 2], f32>, %d: tensor<[2, 1], "
       "f32>, %a: tensor<[1], f32>, %b: tensor<[2], f32>) -> () {\n"
       "%y = ffn %x, %u, %d, %a, %b {fn = relu, gated = false, biased = true} "
       ": tensor<[t, 2], E>\nreturn\n}",
       {x, up, down, floats({1}, {-3}), floats({2}, {0, 1})},
       {3 * 1.002, 1 - 0.1002, 0, 1}},
      {"moe.route",
       "(%l: tensor<[t, 2], f32>) -> () {\n"
       "%o, %e, %w = moe.route %l {k = 2, scale = 3.0} : tensor<[t+1], i32>, "
       "tensor<[many], i32>, tensor<[many], f32>\nreturn\n}",
       {floats({1, 2}, {1, 3})},
       {3 * odds / (1 + odds), 3 / (1 + odds)},
       /*result=*/2},
      {"moe.route",
       "(%l: tensor<[t, 2], f32>) -> () {\n" ROUTE "return\n}",
       {logits},
       {1, 0},
       /*result=*/1},
      {"moe.count",
       "(%l: tensor<[t, 2], f32>, %c: state @counts) -> (c: state @counts) "
       "{\n" ROUTE "%c_1 = moe.count %c, %e : state @counts\nreturn %c_1\n}",
       {floats({3, 2}, {1, 3, 2, -1, 0, 1}), ints({2}, {10, 20})},
       {11, 22}},
      {"moe.dispatch",
       "(%l: tensor<[t, 2], f32>) -> () {\n" ROUTE
       "%b, %order = moe.dispatch %e {experts = 2} : tensor<[3], i32>, "
       "tensor<[pairs], i32>\nreturn\n}",
       {floats({3, 2}, {1, 3, 2, -1, 0, 1})},
       {0, 1, 3}},
      {"moe.dispatch",
       "(%l: tensor<[t, 2], f32>) -> () {\n" ROUTE
       "%b, %order = moe.dispatch %e {experts = 2} : tensor<[3], i32>, "
       "tensor<[pairs], i32>\nreturn\n}",
       {floats({3, 2}, {1, 3, 2, -1, 0, 1})},
       {1, 0, 2},
       /*result=*/1},
      {"moe.grouped_linear",
       "(%l: tensor<[t, 2], f32>, %x: tensor<[t, 2], f32>, %m: tensor<[2, 1, "
       "2], f32>, %b: tensor<[2, 1], f32>) -> () {\n" ROUTE
       "%y = moe.grouped_linear %x, %o, %e, %m, %b {gather = true} : "
       "tensor<[pairs, 1], E>\nreturn\n}",
       {logits, x, bank, floats({2, 1}, {0.25, 100})},
       {96, -0.75}},
      {"moe.experts",
       "(%l: tensor<[t, 2], f32>, %x: tensor<[t, 2], f32>, %g: tensor<[2, 1, "
       "2], f32>, %u: tensor<[2, 1, 2], f32>, %d: tensor<[2, 2, 1], f32>) -> "
       "() {\n" ROUTE
       "%y = moe.experts %x, %o, %e, %g, %u, %d : tensor<[pairs, "
       "2], E>\nreturn\n}",
       {logits, x, gates, ups, downs},
       {1.5 * h0, -0.05 * h0, 3 * h1, -0.1 * h1}},
      {"moe.weigh",
       "(%l: tensor<[t, 2], f32>, %x: tensor<[t, 2], f32>, %m: tensor<[2, 1, "
       "2], f32>) -> () {\n" ROUTE
       "%h = moe.grouped_linear %x, %o, %e, %m {gather = true} : "
       "tensor<[pairs, 1], f32>\n"
       "%y = moe.weigh %h, %w : tensor<[pairs, 1], E>\nreturn\n}",
       {logits, floats({2, 2}, {1.0625, 2, 3, -4}), bank},
       {-12, -2}},
      {"moe.combine",
       "(%l: tensor<[t, 2], f32>, %x: tensor<[t, 2], f32>, %m: tensor<[2, 1, "
       "2], f32>) -> () {\n"
       "%o, %e, %w = moe.route %l {k = 2, score = identity} : tensor<[t+1], "
       "i32>, tensor<[many], i32>, tensor<[many], f32>\n"
       "%h = moe.grouped_linear %x, %o, %e, %m {gather = true} : "
       "tensor<[many, 1], f32>\n"
       "%y = moe.combine %h, %o, %w : tensor<[t, 1], E>\nreturn\n}",
       {logits, floats({2, 2}, {1.0625, 2, 3, -4}), bank},
       {3.0625 - 12, -2 - 8}},
      {"moe.gate_heads",
       "(%l: tensor<[t, 2], f32>, %x: tensor<[t, 2], f32>) -> () {\n" ROUTE
       "%y = moe.gate_heads %x, %o, %e, %w {heads = 2, experts = 2} : "
       "tensor<[t, 2], E>\nreturn\n}",
       {logits, x},
       {0, 6, 6, 0}}};
}
#undef ROUTE

static std::vector<Case> everyCase() {
  std::vector<Case> cases = activations();
  for (auto make : {tensorOps, attentionOps, moeOps})
    for (Case &one : make())
      cases.push_back(std::move(one));
  return cases;
}

/// The result that a case looks at. Arguments are rounded as their types say.
static HostTensor runCase(const Case &test, Interpreter::Mode mode,
                          llvm::StringRef element) {
  std::string program = test.program;
  for (size_t at; (at = program.find(" E>")) != std::string::npos;)
    program.replace(at + 1, 1, element.str());
  auto module = parseModule("module @m {\n"
                            "dim t <= 4\ndim n <= 4\ndim s <= 4\n"
                            "ragged pairs <= t\nragged many <= 2*t\n"
                            "state @keys : kv tensor<[2, 1, 1, 2], f32>\n"
                            "state @values : kv tensor<[2, 1, 2, 1], f32>\n"
                            "state @counts : counter tensor<[2], i64>\n"
                            "program @p" +
                                program + "\n}",
                            "test.moe");
  std::string problem = toText(module ? verify(**module) : module.takeError());
  if (!problem.empty()) {
    ADD_FAILURE() << problem;
    return {};
  }
  const Program &only = *(*module)->programs().front();
  std::vector<HostTensor> arguments = test.arguments;
  for (HostTensor &argument : arguments)
    for (double &number : argument.floats)
      number = roundTo(argument.element, number);
  Interpreter interpreter(mode, [](const Weight &) {
    return llvm::Expected<HostTensor>(error() << "there are no weights");
  });
  HostTensor seen;
  interpreter.observe = [&](const Operation &op, llvm::ArrayRef<HostTensor *>,
                            llvm::ArrayRef<HostTensor *> results) {
    if (op.mnemonic() == test.mnemonic)
      seen = *results[test.result];
  };
  auto results = interpreter.run(only, std::move(arguments));
  EXPECT_TRUE(bool(results)) << toText(results.takeError());
  return seen;
}

TEST(EveryOp, ComputesWhatItsHeaderSays) {
  for (const Case &test : everyCase()) {
    SCOPED_TRACE(std::string(test.mnemonic) + "\n" + test.program);
    HostTensor got = runCase(test, Interpreter::Mode::f64, "f32");
    std::vector<double> numbers = got.floats;
    if (!got.ints.empty())
      numbers.assign(got.ints.begin(), got.ints.end());
    ASSERT_EQ(numbers.size(), test.expected.size());
    // Arguments are floats: 1.001 is off by 5e-8, which grows with the op.
    for (size_t i = 0; i < numbers.size(); ++i)
      EXPECT_NEAR(numbers[i], test.expected[i],
                  1e-6 * (1 + std::abs(test.expected[i])))
          << i;
  }
}

TEST(EveryOp, RoundsOnceInTypedMode) {
  for (const Case &test : everyCase())
    for (const char *element : {"f32", "bf16", "f16"}) {
      SCOPED_TRACE(std::string(test.mnemonic) + " to " + element + "\n" +
                   test.program);
      HostTensor exact = runCase(test, Interpreter::Mode::f64, element);
      HostTensor typed = runCase(test, Interpreter::Mode::typed, element);
      EXPECT_EQ(typed.ints, exact.ints);
      ASSERT_EQ(typed.floats.size(), exact.floats.size());
      bool hasHidden = llvm::StringRef(test.mnemonic) == "ffn" ||
                       llvm::StringRef(test.mnemonic) == "moe.experts";
      for (size_t i = 0; i < exact.floats.size(); ++i) {
        double once = roundTo(exact.element, exact.floats[i]);
        // These round their hidden block to f32 too, here of one number.
        if (hasHidden)
          EXPECT_NEAR(typed.floats[i], once, 2e-7 * std::abs(once)) << i;
        else
          EXPECT_EQ(typed.floats[i], once) << i;
      }
    }
}

TEST(EveryOp, IsHere) {
  std::set<llvm::StringRef> tested;
  for (const Case &test : everyCase())
    tested.insert(test.mnemonic);
#define OP(Name, Mnemonic, ...)                                                \
  if (!isKernel(OpKind::Name) && OpKind::Name != OpKind::Return &&             \
      OpKind::Name != OpKind::Yield)                                           \
    EXPECT_TRUE(tested.count(Mnemonic)) << Mnemonic;
#include "ir/ops/Ops.def"
}

TEST(EveryOp, FfnRoundsItsHiddenBlockInTypedMode) {
  // 1 + 2^-8 is halfway between two numbers of bf16 and goes to the even one.
  const Case test = {
      "ffn",
      "(%x: tensor<[t, 1], f32>, %u: tensor<[1, 1], f32>, %d: tensor<[1, 1], "
      "f32>) -> () {\n%y = ffn %x, %u, %d {fn = relu, gated = false, hidden = "
      "bf16} : tensor<[t, 1], E>\nreturn\n}",
      {floats({1, 1}, {1 + 0x1p-8}), floats({1, 1}, {1}), floats({1, 1}, {8})},
      {}};
  EXPECT_EQ(runCase(test, Interpreter::Mode::f64, "f32").floats[0], 8 + 0x1p-5);
  EXPECT_EQ(runCase(test, Interpreter::Mode::typed, "f32").floats[0], 8);
}

TEST(RoundTo, RoundsOnce) {
  // Just above halfway between two numbers: through f32 it would be halfway.
  EXPECT_EQ(roundTo(ElementType::f16, 1 + 0x1p-11 + 0x1p-40), 1 + 0x1p-10);
  EXPECT_EQ(roundTo(ElementType::f16, 1 + 0x1p-11), 1);
  EXPECT_EQ(roundTo(ElementType::bf16, 1 + 0x1p-8 + 0x1p-40), 1 + 0x1p-7);
  EXPECT_EQ(roundTo(ElementType::bf16, 1 + 0x1p-8), 1);
  EXPECT_EQ(roundTo(ElementType::f16, -1 - 0x1p-11 - 0x1p-40), -1 - 0x1p-10);
  EXPECT_EQ(roundTo(ElementType::f16, 0x1p-25 + 0x1p-60), 0x1p-24);
  EXPECT_EQ(roundTo(ElementType::f16, 65520), INFINITY);
  EXPECT_EQ(roundTo(ElementType::bf16, 1e300), INFINITY);
  EXPECT_TRUE(std::isnan(roundTo(ElementType::f16, NAN)));
  EXPECT_EQ(roundTo(ElementType::f32, 1 + 0x1p-40), 1);
}

// An index outside of what it looks up is an error that names both.
TEST(EveryOp, IndexOutsideIsAnError) {
  auto module = llvm::cantFail(parseModule(
      "module @m {\ndim t <= 4\nprogram @p(%a: tensor<[2, 1], f32>, %i: "
      "tensor<[t], i32>) -> (y: tensor<[t, 1], f32>) {\n"
      "%y = embedding %a, %i : tensor<[t, 1], f32>\nreturn %y\n}\n}",
      "test.moe"));
  Interpreter interpreter(Interpreter::Mode::f64, nullptr);
  for (int64_t index : {int64_t(2), int64_t(-1)}) {
    auto result = interpreter.run(*module->programs().front(),
                                  {floats({2, 1}, {1, 2}), ints({1}, {index})});
    ASSERT_FALSE(bool(result));
    EXPECT_EQ(toText(result.takeError()),
              "test.moe:4:1: error: 'embedding' reads index " +
                  std::to_string(index) + ", outside [0, 2)");
  }
}
