//===- RoutingTest.cpp - every form of a mixture of experts, compiled -----===//
//
// Each FFN of the tiny decoder becomes a mixture of experts of some form; the
// compiled model is compared with the interpreter, in one step and in several,
// which take the programs for large and small batches.
//
//===----------------------------------------------------------------------===//

#include "ir/ops/MoeBlock.h"
#include "passes/driver/PassManager.h"
#include "passes/pipeline/Registry.h"
#include "tests/e2e/TinyDecoder.h"

#include "llvm/ADT/STLExtras.h"
#include "gtest/gtest.h"

#include <cmath>
#include <cstring>
#include <random>

using namespace moec;
using namespace moec::test;

namespace {
constexpr int64_t kExperts = 6, kWidth = 20;

struct Form {
  std::string name;
  RouteAttrs route;
  bool gated = true, biased = false, weightedHidden = false;
  /// The experts' outputs are added without weights.
  bool unweighted = false;
  bool routerBias = false, selectBias = false, twoLayers = false;
  bool shared = false, sharedGate = false;
  /// Each layer's attention becomes a mixture of heads as well.
  bool heads = false;
  /// Selection across tokens depends on how a prompt is cut into steps.
  bool splits = true;
  Precision precision = Precision::f32;
};

std::vector<Form> everyForm() {
  std::vector<Form> forms;
  auto add = [&](const char *name, auto configure) {
    Form form{name, RouteAttrs()};
    form.route.k = 2;
    configure(form);
    forms.push_back(std::move(form));
  };
  add("plain", [](Form &) {});
  add("router_bias", [](Form &f) {
    f.routerBias = true;
    f.route.score = RouterScore::identity;
    f.route.renorm = RouterRenorm::softmax_selected;
  });
  add("biased_experts", [](Form &f) { f.biased = true; });
  add("not_gated", [](Form &f) { f.gated = false; });
  add("weighted_hidden", [](Form &f) { f.weightedHidden = true; });
  add("unweighted", [](Form &f) { f.unweighted = true; });
  add("weighted_hidden_biased", [](Form &f) {
    f.weightedHidden = f.biased = true;
    f.gated = false;
  });
  add("shared", [](Form &f) {
    f.shared = f.selectBias = true;
    f.route.score = RouterScore::sigmoid;
    f.route.groups = 3;
    f.route.topGroups = 2;
    f.route.groupScore = GroupScore::sum_top2;
    f.route.maskValue = MaskValue::zero;
    f.route.renorm = RouterRenorm::sum;
    f.route.scale = 2.5;
  });
  add("shared_gated", [](Form &f) { f.shared = f.sharedGate = true; });
  add("shared_biased",
      [](Form &f) { f.shared = f.sharedGate = f.biased = true; });
  add("relu", [](Form &f) {
    f.route.k = kExperts;
    f.route.score = RouterScore::relu;
    f.route.select = RouterSelect::threshold;
  });
  add("relu_weighted_hidden", [](Form &f) {
    f.weightedHidden = true;
    f.route.k = kExperts;
    f.route.score = RouterScore::relu;
    f.route.select = RouterSelect::threshold;
  });
  add("nothing_chosen", [](Form &f) {
    f.route.select = RouterSelect::threshold;
    f.route.threshold = 2;
    f.shared = true;
  });
  add("threshold", [](Form &f) {
    f.biased = true;
    f.route.k = kExperts;
    f.route.select = RouterSelect::threshold;
    f.route.threshold = 1;
    f.route.thresholdByExperts = true;
  });
  add("topp", [](Form &f) {
    f.route.k = kExperts;
    f.route.select = RouterSelect::topp;
    f.route.threshold = 0.5;
    f.route.renorm = RouterRenorm::sum;
  });
  add("all", [](Form &f) {
    f.weightedHidden = true;
    f.route.k = kExperts;
    f.route.select = RouterSelect::all;
  });
  add("sparse_mixer", [](Form &f) {
    f.route.score = RouterScore::identity;
    f.route.select = RouterSelect::sparse_mixer;
    f.route.threshold = 0.2;
  });
  add("zscore", [](Form &f) {
    f.routerBias = true;
    f.route.logitNorm = LogitNorm::zscore;
    f.route.renorm = RouterRenorm::sum;
  });
  add("two_layers", [](Form &f) {
    f.twoLayers = f.routerBias = true;
    f.route.renorm = RouterRenorm::softmax_selected;
  });
  add("expert_choice", [](Form &f) {
    f.splits = false;
    f.route.select = RouterSelect::expert_choice;
  });
  add("capacity", [](Form &f) {
    f.splits = false;
    f.route.capacity = 0.9;
  });
  add("capacity_weight", [](Form &f) {
    f.splits = false;
    f.route.capacity = 0.6;
    f.route.drop = DropPolicy::weight;
  });
  add("heads", [](Form &f) {
    f.heads = true;
    f.route.renorm = RouterRenorm::sum;
  });
  // Rounding does not choose where all experts are chosen.
  for (auto [name, precision] :
       {std::pair("all_bf16", Precision::bf16), {"all_q8_0", Precision::q8_0}})
    add(name, [precision = precision](Form &f) {
      f.precision = precision;
      f.weightedHidden = f.shared = f.sharedGate = f.heads = true;
      f.twoLayers = precision == Precision::bf16;
      f.route.k = kExperts;
      f.route.select = RouterSelect::all;
    });
  return forms;
}

/// Gates the two heads of each of two experts, by what attention gives.
void gateHeads(Module &module, const RouteAttrs &attrs) {
  Program &program = *module.findProgram("step");
  int64_t layer = 0;
  for (Operation &op : llvm::make_early_inc_range(program.body().ops())) {
    if (!op.is(OpKind::Attention))
      continue;
    std::string number = std::to_string(layer++);
    std::string name = "layers." + number + ".heads.router";
    addNormal(module, name, {2, kTinyHidden}, 0, 0.3);
    Value x = op.result();
    Dim tokens = x.type().dim(0);
    Dim pairs = module.addRagged(
        "heads." + number, routePairsBound(attrs, 2, tokens.polynomial()));
    Builder b(op.next());
    b.setLoc(op.loc());
    Value logits = b.make(OpKind::Linear, {x, module.findWeight(name)->value()},
                          TensorType({tokens, 2}, ElementType::f32));
    Operation *route =
        b.create(OpKind::MoeRoute, {logits},
                 {TensorType({Dim(tokens.symbol(), 1)}, ElementType::i32),
                  TensorType({pairs}, ElementType::i32),
                  TensorType({pairs}, ElementType::f32)},
                 std::make_unique<RouteAttrs>(attrs));
    GateHeadsAttrs heads;
    heads.heads = 4;
    heads.experts = 2;
    Value gated =
        b.make(OpKind::MoeGateHeads,
               {x, route->result(0), route->result(1), route->result(2)},
               x.type(), heads);
    x.replaceAllUsesWith(gated);
    logits.definingOp()->setOperand(0, x);
    gated.definingOp()->setOperand(0, x);
  }
}

/// Replaces the FFN of each layer.
void addExperts(Module &module, const Form &form) {
  if (form.heads) {
    RouteAttrs attrs;
    attrs.select = form.route.select;
    attrs.k = attrs.select == RouterSelect::all ? 2 : 1;
    gateHeads(module, attrs);
  }
  Program &program = *module.findProgram("step");
  int64_t layer = 0, hidden = kTinyHidden;
  for (Operation &ffn : llvm::make_early_inc_range(program.body().ops())) {
    if (!ffn.is(OpKind::Ffn))
      continue;
    std::string base = "layers." + std::to_string(layer) + ".moe.";
    auto weight = [&](const std::string &name, std::vector<int64_t> shape,
                      double deviation = 0.2) {
      addNormal(module, base + name, std::move(shape), 0, deviation);
      return module.findWeight(base + name)->value();
    };
    MoeWeights weights;
    if (form.twoLayers)
      weights.firstRouter = weight("first.router", {kExperts, hidden}, 0.3);
    weights.router = form.twoLayers ? weight("router", {kExperts, kExperts}, 1)
                                    : weight("router", {kExperts, hidden}, 0.3);
    if (form.routerBias)
      weights.routerBias = weight("router.bias", {kExperts});
    if (form.selectBias)
      weights.selectBias = weight("select_bias", {kExperts});
    if (form.gated)
      weights.experts.push_back(weight("gate", {kExperts, kWidth, hidden}));
    weights.experts.push_back(weight("up", {kExperts, kWidth, hidden}));
    weights.experts.push_back(weight("down", {kExperts, hidden, kWidth}));
    if (form.biased) {
      if (form.gated)
        weights.experts.push_back(weight("gate.bias", {kExperts, kWidth}));
      weights.experts.push_back(weight("up.bias", {kExperts, kWidth}));
      weights.experts.push_back(weight("down.bias", {kExperts, hidden}));
    }
    if (form.shared) {
      weights.shared = {weight("shared.gate", {28, hidden}),
                        weight("shared.up", {28, hidden}),
                        weight("shared.down", {hidden, 28})};
      if (form.biased)
        weights.shared.append({weight("shared.gate.bias", {28}),
                               weight("shared.up.bias", {28}),
                               weight("shared.down.bias", {hidden})});
      if (form.sharedGate)
        weights.sharedRouter = weight("shared.router", {1, hidden});
    }
    FfnAttrs attrs;
    attrs.gated = form.gated;
    attrs.biased = form.biased;
    attrs.weightedHidden = form.weightedHidden;
    Builder b(&ffn);
    b.setLoc(ffn.loc());
    MoeBlock block = buildMoeBlock(b, module, program, ffn.operand(0), weights,
                                   form.route, attrs, layer++);
    returnState(program, block.counts, block.counted);
    if (form.unweighted) {
      Operation *combine = block.output.definingOp();
      block.output =
          b.make(OpKind::MoeCombine, {combine->operand(0), combine->operand(1)},
                 block.output.type());
      combine->erase();
    }
    ffn.result().replaceAllUsesWith(block.output);
    ffn.erase();
  }
}

class RoutedModel : public testing::TestWithParam<Form> {};
std::ostream &operator<<(std::ostream &os, const Form &form) {
  return os << form.name;
}
} // namespace

TEST_P(RoutedModel, AgreesWithTheInterpreter) {
  const Form &form = GetParam();
  std::vector<int32_t> tokens(37);
  std::mt19937 random(2);
  for (int32_t &token : tokens)
    token = random() % kTinyVocab;
  auto make = [&] {
    auto module = tinyModule();
    addExperts(*module, form);
    return module;
  };
  // What the compiler sees after types were converted.
  auto reference = make();
  PassManager manager;
  std::string types = form.precision == Precision::bf16
                          ? "convert-types{weights=bf16,activations=bf16}"
                      : form.precision == Precision::q8_0
                          ? "convert-types{weights=q8_0,activations=f32}"
                          : "convert-types";
  manager.add(llvm::cantFail(parsePipeline(types, allPasses())));
  ASSERT_EQ(toText(manager.run(*reference)), "");
  auto exact = interpret(*reference, Interpreter::Mode::f64, tokens);
  auto typed = interpret(*reference, Interpreter::Mode::typed, tokens);
  ASSERT_EQ(exact.size(), tokens.size() * kTinyVocab);
  double largest = 0, typedError = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    largest = std::max(largest, std::abs(exact[i]));
    typedError = std::max(typedError, std::abs(typed[i] - exact[i]));
  }
  // As in CompileTest.cpp.
  double floor = form.precision == Precision::bf16 ? 1e-3 : 2e-6;
  double bound = 4 * typedError + floor * largest;
  for (cpu::CpuLevel level : hostLevels()) {
    SCOPED_TRACE(cpu::variantName(level).str());
    auto model = loadVariant(make(), form.precision, level, 2);
    ASSERT_TRUE(model);
    std::vector<float> whole = runChunks(model, tokens, {37});
    ASSERT_EQ(whole.size(), exact.size());
    double worst = 0;
    for (size_t i = 0; i < exact.size(); ++i)
      worst = std::max(worst, std::abs(whole[i] - exact[i]));
    EXPECT_LE(worst, bound);
    std::vector<float> again = runChunks(model, tokens, {37});
    EXPECT_EQ(0, memcmp(whole.data(), again.data(), whole.size() * 4));
    if (!form.splits)
      continue;
    std::vector<float> parts = runChunks(model, tokens, {1, 1, 9, 8, 1, 17});
    double apart = 0;
    for (size_t i = 0; i < whole.size(); ++i)
      apart = std::max<double>(apart, std::abs(whole[i] - parts[i]));
    EXPECT_LE(apart, bound);
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, RoutedModel, testing::ValuesIn(everyForm()),
                         [](const auto &info) { return info.param.name; });

// Experts that are slices of one FFN, the number of experts folded into their
// down projections: all of them under a router of zeros are that FFN, whether
// the weight applies before or after the down projection.
TEST(DenseTraining, SlicesOfAnFfnAreTheFfn) {
  std::vector<int32_t> tokens{1, 5, 9, 33, 2, 60, 7, 7, 41};
  auto dense = interpret(*tinyModule(), Interpreter::Mode::f64, tokens);
  for (bool weightedHidden : {false, true}) {
    auto module = tinyModule();
    Program &program = *module->findProgram("step");
    int64_t layer = 0, experts = 4, width = 13; // of 52
    for (Operation &ffn : llvm::make_early_inc_range(program.body().ops())) {
      if (!ffn.is(OpKind::Ffn))
        continue;
      auto slices = [&](unsigned operand, int64_t axis, double factor) {
        const Weight *from = ffn.operand(operand).weight();
        std::vector<ExprRef> parts;
        for (int64_t e = 0; e < experts; ++e) {
          auto ref = llvm::cantFail(Expr::make(ExprKind::Ref, {}, nullptr,
                                               const_cast<Weight *>(from)));
          auto range = std::make_unique<SliceExprAttrs>();
          range->axis = axis;
          range->start = e * width;
          range->size = width;
          auto part = llvm::cantFail(
              Expr::make(ExprKind::Slice, {ref}, std::move(range)));
          auto scale = std::make_unique<FactorAttrs>();
          scale->factor = factor;
          parts.push_back(llvm::cantFail(
              Expr::make(ExprKind::Scale, {part}, std::move(scale))));
        }
        std::string name =
            "slices." + std::to_string(layer) + "." + std::to_string(operand);
        return module
            ->addWeight(name, llvm::cantFail(Expr::make(
                                  ExprKind::Stack, std::move(parts), nullptr)))
            ->value();
      };
      MoeWeights weights;
      auto zeros = std::make_unique<FillAttrs>();
      zeros->shape = {experts, kTinyHidden};
      weights.router =
          module
              ->addWeight("router." + std::to_string(layer),
                          llvm::cantFail(
                              Expr::make(ExprKind::Fill, {}, std::move(zeros))))
              ->value();
      weights.experts = {slices(1, 0, 1), slices(2, 0, 1),
                         slices(3, 1, double(experts))};
      RouteAttrs route;
      route.k = experts;
      route.select = RouterSelect::all;
      FfnAttrs attrs = ffn.attrs<FfnAttrs>();
      attrs.weightedHidden = weightedHidden;
      Builder b(&ffn);
      b.setLoc(ffn.loc());
      MoeBlock block = buildMoeBlock(b, *module, program, ffn.operand(0),
                                     weights, route, attrs, layer++);
      returnState(program, block.counts, block.counted);
      ffn.result().replaceAllUsesWith(block.output);
      ffn.erase();
    }
    auto sparse = interpret(*module, Interpreter::Mode::f64, tokens);
    ASSERT_EQ(sparse.size(), dense.size());
    for (size_t i = 0; i < dense.size(); ++i)
      ASSERT_NEAR(sparse[i], dense[i], 1e-9);
  }
}
