//===- RouteKernelTest.cpp - every way of routing, compiled ---------------===//
//
// A moe.route goes through form-kernels and bindKernel to machine code of each
// level, and is compared with the interpreter: choices, offsets and counters
// number by number, weights within rounding.
//
//===----------------------------------------------------------------------===//

#include "codegen/package/BindKernel.h"
#include "ir/core/Builder.h"
#include "ir/core/Module.h"
#include "ir/interp/Interpreter.h"
#include "ir/ops/MoeOps.h"
#include "ir/verify/Verifier.h"
#include "passes/driver/PassManager.h"
#include "passes/pipeline/Registry.h"
#include "tests/codegen/KernelHarness.h"
#include "tests/conformance/Tolerances.h"

#include <cmath>

using namespace moec;
using namespace moec::test;
using cpu::CpuLevel;
using kernel::RouteSpec;

namespace {

struct Way {
  std::string name;
  RouteAttrs attrs;
  bool bias = false;
};

/// Ways to route to `experts`, a multiple of 4 where there are groups.
std::vector<Way> everyWay(int64_t experts) {
  std::vector<Way> ways;
  auto add = [&](const char *name, auto configure) -> Way & {
    ways.push_back({name, RouteAttrs()});
    ways.back().attrs.k = 3;
    configure(ways.back().attrs);
    return ways.back();
  };
  using A = RouteAttrs;
  add("mixtral", [](A &a) { a.renorm = RouterRenorm::sum; });
  add("qwen2", [](A &) {});
  add("switch", [](A &a) { a.k = 1; });
  add("gpt_oss", [](A &a) {
    a.score = RouterScore::identity;
    a.renorm = RouterRenorm::softmax_selected;
  });
  add("glm4", [](A &a) {
    a.score = RouterScore::sigmoid;
    a.renorm = RouterRenorm::sum;
    a.epsilon = 1e-20;
    a.scale = 2.5;
  }).bias = true;
  add("ernie", [](A &a) {
    a.renorm = RouterRenorm::sum;
    a.minimum = 0.4;
  }).bias = true;
  add("skywork", [](A &a) {
    a.logitNorm = LogitNorm::zscore;
    a.logitScale = 1.5;
    a.renorm = RouterRenorm::sum;
  });
  add("scaled_selected", [](A &a) {
    a.logitScale = 0.5;
    a.renorm = RouterRenorm::softmax_selected;
  });
  add("phimoe", [](A &a) {
    a.k = 2;
    a.score = RouterScore::identity;
    a.select = RouterSelect::sparse_mixer;
    a.threshold = 0.1;
  });
  add("all", [&](A &a) {
    a.k = experts;
    a.select = RouterSelect::all;
  });
  add("relu", [&](A &a) {
    a.k = experts;
    a.score = RouterScore::relu;
    a.select = RouterSelect::threshold;
  });
  add("threshold", [&](A &a) {
    a.k = experts;
    a.select = RouterSelect::threshold;
    a.threshold = 0.9;
    a.thresholdByExperts = true;
    a.renorm = RouterRenorm::sum;
  });
  add("threshold_best", [](A &a) {
    a.score = RouterScore::sigmoid;
    a.select = RouterSelect::threshold;
    a.threshold = 0.5;
  }).bias = true;
  add("topp", [&](A &a) {
    a.k = experts;
    a.select = RouterSelect::topp;
    a.threshold = 0.6;
  });
  add("topp_best", [](A &a) {
    a.select = RouterSelect::topp;
    a.threshold = 0.9;
    a.renorm = RouterRenorm::softmax_selected;
  });
  add("expert_choice", [](A &a) { a.select = RouterSelect::expert_choice; });
  add("expert_choice_renorm", [](A &a) {
    a.select = RouterSelect::expert_choice;
    a.score = RouterScore::sigmoid;
    a.renorm = RouterRenorm::sum;
  });
  add("capacity_position", [](A &a) { a.capacity = 0.8; });
  add("capacity_weight", [](A &a) {
    a.capacity = 0.8;
    a.drop = DropPolicy::weight;
    a.renorm = RouterRenorm::sum;
  });
  add("capacity_plenty", [](A &a) { a.capacity = 1e9; });
  add("threshold_capacity", [&](A &a) {
    a.score = RouterScore::relu;
    a.select = RouterSelect::threshold;
    a.capacity = 0.5;
    a.drop = DropPolicy::weight;
  });
  if (experts % 4)
    return ways;
  add("deepseek_v2", [](A &a) {
    a.groups = 4;
    a.topGroups = 2;
    a.maskValue = MaskValue::zero;
    a.scale = 16;
  });
  add("deepseek_v3", [](A &a) {
    a.score = RouterScore::sigmoid;
    a.groups = 4;
    a.topGroups = 2;
    a.groupScore = GroupScore::sum_top2;
    a.maskValue = MaskValue::zero;
    a.renorm = RouterRenorm::sum;
    a.epsilon = 1e-20;
    a.scale = 2.5;
  }).bias = true;
  add("groups_sum_top", [](A &a) {
    a.k = 4;
    a.score = RouterScore::identity;
    a.groups = 4;
    a.topGroups = 2;
    a.groupScore = GroupScore::sum_top;
  });
  add("groups_threshold", [](A &a) {
    a.groups = 2;
    a.select = RouterSelect::threshold;
    a.threshold = 0.1;
  });
  add("groups_topp", [](A &a) {
    a.groups = 2;
    a.select = RouterSelect::topp;
    a.threshold = 0.5;
  });
  return ways;
}

/// Rows that decide by ties, NaN and infinities, then random ones.
Array makeLogits(int64_t experts, int64_t tokens, Random &random) {
  constexpr double nan = NAN, inf = INFINITY;
  Array logits(ElementType::f32, tokens * experts);
  for (int64_t token = 0; token < tokens; ++token)
    for (int64_t e = 0; e < experts; ++e) {
      double x = random.normal() * 2;
      const double special[] = {1,
                                e % 2 ? 0.0 : -0.0,
                                e >= experts / 2 ? 2.0 : -3.0,
                                nan,
                                e % 3 ? x : nan,
                                e == 1 ? 1.0 : nan,
                                e % 2 ? -inf : x,
                                e == 2 ? inf : x,
                                double(e / 2),
                                -1 - double(e % 3)};
      if (token % 2 == 0 && token / 2 < 10)
        x = special[token / 2];
      logits.set(token * experts + e, x);
    }
  return logits;
}

/// `program p(logits[, bias], counts) -> (offsets, expert, weight, counts)`.
std::unique_ptr<Module> makeModule(const Way &way, int64_t experts) {
  auto module = std::make_unique<Module>("m");
  Dim t = module->addDim("t", 4096);
  Dim pairs = module->addRagged(
      "pairs", routePairsBound(way.attrs, experts, t.polynomial()));
  Program *program = module->addProgram("p");
  Builder b(program->body());
  llvm::SmallVector<Value, 2> operands{program->body().addArgument(
      TensorType({t, experts}, ElementType::f32), "logits")};
  if (way.bias)
    operands.push_back(program->body().addArgument(
        TensorType({experts}, ElementType::f32), "bias"));
  State *counts = module->addState("counts", StateKind::counter,
                                   TensorType({experts}, ElementType::i64));
  Value before = program->body().addArgument(counts->type, "counts", counts);
  Operation *route =
      b.create(OpKind::MoeRoute, operands,
               {TensorType({Dim(t.symbol(), 1)}, ElementType::i32),
                TensorType({pairs}, ElementType::i32),
                TensorType({pairs}, ElementType::f32)},
               std::make_unique<RouteAttrs>(way.attrs));
  Value counted =
      b.make(OpKind::MoeCount, {before, route->result(1)}, counts->type);
  counted.setState(counts);
  b.create(OpKind::Return,
           {route->result(0), route->result(1), route->result(2), counted}, {});
  program->resultNames = {"offsets", "expert", "weight", "counts"};
  return module;
}

std::vector<HostTensor> interpret(const Module &module, const Way &way,
                                  Interpreter::Mode mode, const Array &logits,
                                  const Array &bias) {
  int64_t experts = bias.size(), tokens = logits.size() / experts;
  std::vector<HostTensor> arguments{
      HostTensor::ofFloats(ElementType::f32, {tokens, experts})};
  for (size_t i = 0; i < logits.size(); ++i)
    arguments[0].floats[i] = logits.get(i);
  if (way.bias) {
    arguments.push_back(HostTensor::ofFloats(ElementType::f32, {experts}));
    for (int64_t e = 0; e < experts; ++e)
      arguments[1].floats[e] = bias.get(e);
  }
  arguments.push_back(
      HostTensor::ofInts(ElementType::i64, std::vector<int64_t>{experts}));
  Interpreter interpreter(mode, nullptr);
  return llvm::cantFail(
      interpreter.run(*module.programs().front(), std::move(arguments)));
}

class RouteKernelTest : public testing::TestWithParam<CpuLevel> {};

void check(const Way &way, int64_t experts, int64_t tokens, CpuLevel level) {
  SCOPED_TRACE(way.name + " experts=" + std::to_string(experts));
  auto module = makeModule(way, experts);
  ASSERT_EQ(toText(verify(*module)), "");
  Random random(7);
  Array logits = makeLogits(experts, tokens, random);
  Array bias(ElementType::f32, experts);
  bias.fillNormal(random, 0.3);
  std::vector<HostTensor> exact =
      interpret(*module, way, Interpreter::Mode::f64, logits, bias);
  std::vector<HostTensor> typed =
      interpret(*module, way, Interpreter::Mode::typed, logits, bias);

  PassManager manager;
  manager.add(llvm::cantFail(parsePipeline("form-kernels", allPasses())));
  ASSERT_EQ(toText(manager.run(*module)), "");
  BoundKernel bound = llvm::cantFail(
      bindKernel(module->programs().front()->body().ops().front()));
  const auto &spec = std::get<RouteSpec>(bound.spec);
  EXPECT_EQ(spec.ragged(), !way.attrs.constantStride());
  ASSERT_EQ(cpu::supports(spec, level), std::nullopt);

  std::vector<int64_t> extents;
  for (const Polynomial &extent : bound.extents)
    extents.push_back(
        *extent.evaluate([&](const DimSymbol *) { return tokens; }));
  int64_t most = *routePairsBound(way.attrs, experts, tokens).constant();
  Array counters(ElementType::i64, experts);
  Array offsets(ElementType::i32, tokens + 1);
  Array pairExpert(ElementType::i32, most), pairWeight(ElementType::f32, most);
  for (Array *out : {&offsets, &pairExpert, &pairWeight})
    out->fillBytes(0xEE);
  std::vector<const Array *> buffers{&logits};
  if (way.bias)
    buffers.push_back(&bias);
  buffers.push_back(&counters);
  if (spec.ragged())
    buffers.push_back(&offsets);
  buffers.insert(buffers.end(), {&pairExpert, &pairWeight});
  ASSERT_EQ(buffers.size(), bound.buffers.size());
  compiled(spec, level)
      .runSplit(buffers, extents,
                {&counters, &offsets, &pairExpert, &pairWeight}, random);

  int64_t pairs = exact[1].ints.size();
  Array weights(ElementType::f32, pairs);
  for (int64_t pair = 0; pair < pairs; ++pair) {
    EXPECT_EQ(pairExpert.getInt(pair), exact[1].ints[pair]) << "pair " << pair;
    weights.set(pair, pairWeight.get(pair));
  }
  expectClose(weights, exact[2].floats, typed[2].floats, toleranceOf(spec),
              "weights");
  for (int64_t token = 0; spec.ragged() && token <= tokens; ++token)
    EXPECT_EQ(offsets.getInt(token), exact[0].ints[token]) << "token " << token;
  for (int64_t pair = pairs; pair < most; ++pair)
    EXPECT_EQ(pairExpert.getInt(pair), -1) << "behind the last pair";
  for (int64_t e = 0; e < experts; ++e)
    EXPECT_EQ(counters.get(e), exact[3].ints[e]) << "counter " << e;
}

} // namespace

TEST_P(RouteKernelTest, AgreesWithTheInterpreter) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (int64_t experts : {8, 19})
    for (const Way &way : everyWay(experts))
      check(way, experts, /*tokens=*/37, GetParam());
}

TEST_P(RouteKernelTest, TakesManyExpertsAndManyTokens) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (const Way &way : everyWay(64))
    check(way, 64, /*tokens=*/1, GetParam());
  for (const Way &way : everyWay(12))
    check(way, 12, /*tokens=*/300, GetParam());
}

MOEC_INSTANTIATE_LEVELS(RouteKernelTest);
