//===- MoeBlockTest.cpp - what is built is found again --------------------===//

#include "ir/ops/MoeBlock.h"
#include "ir/text/Parser.h"
#include "ir/text/Printer.h"
#include "ir/verify/Verifier.h"

#include "gtest/gtest.h"

using namespace moec;

namespace {

constexpr int64_t kHidden = 8, kExperts = 4, kWidth = 6;

struct MoeBlockTest : testing::Test {
  Module module{"m"};
  Program *program = module.addProgram("step");
  Dim tokens = module.addDim("tokens", 16);
  Value x = program->body().addArgument(
      TensorType({tokens, kHidden}, ElementType::f32), "x");
  Builder b{program->body()};
  RouteAttrs route;
  FfnAttrs ffn;
  MoeWeights weights;

  Value weight(const char *name, std::vector<int64_t> shape) {
    auto attrs = std::make_unique<FillAttrs>();
    attrs->shape = std::move(shape);
    return module
        .addWeight(name, llvm::cantFail(
                             Expr::make(ExprKind::Fill, {}, std::move(attrs))))
        ->value();
  }
  void SetUp() override {
    route.k = 2;
    weights.router = weight("layers.3.moe.router", {kExperts, kHidden});
    weights.experts = {weight("gate", {kExperts, kWidth, kHidden}),
                       weight("up", {kExperts, kWidth, kHidden}),
                       weight("down", {kExperts, kHidden, kWidth})};
  }
  void share(bool gated) {
    weights.shared = {weight("s.gate", {5, kHidden}),
                      weight("s.up", {5, kHidden}),
                      weight("s.down", {kHidden, 5})};
    if (gated)
      weights.sharedRouter = weight("s.router", {1, kHidden});
  }
  MoeBlock build(Value routed = {}) {
    MoeBlock block = buildMoeBlock(b, module, *program, x, weights, route, ffn,
                                   /*layer=*/3, routed);
    b.create(OpKind::Return, {block.output}, {});
    program->resultNames = {"y"};
    returnState(*program, block.counts, block.counted);
    EXPECT_EQ(toText(verify(module)), "");
    return block;
  }
  MoeBlockView only() {
    auto blocks = moeBlocks(*program);
    EXPECT_EQ(blocks.size(), 1u);
    return blocks.empty() ? MoeBlockView() : blocks[0];
  }
  void expectBuilt(const MoeBlock &block) {
    MoeBlockView view = only();
    ASSERT_TRUE(view.experts);
    EXPECT_EQ(view.layer, 3);
    EXPECT_EQ(view.input, x);
    EXPECT_EQ(view.output, block.output);
    EXPECT_EQ(view.count->result(), block.counted);
    EXPECT_EQ(view.expertCount(), kExperts);
    EXPECT_EQ(view.routeAttrs().str(), route.str());
    EXPECT_EQ(view.ffnAttrs().str(), ffn.str());
    MoeWeights found = view.weights();
    EXPECT_EQ(found.router, weights.router);
    EXPECT_EQ(found.firstRouter, weights.firstRouter);
    EXPECT_EQ(found.routerBias, weights.routerBias);
    EXPECT_EQ(found.selectBias, weights.selectBias);
    EXPECT_EQ(found.experts, weights.experts);
    EXPECT_EQ(found.shared, weights.shared);
    EXPECT_EQ(found.sharedRouter, weights.sharedRouter);
  }
  /// What text says of the module is found as well.
  void expectFoundInText() {
    auto copy = llvm::cantFail(parseModule(printModule(module), "copy"));
    auto blocks = moeBlocks(*copy->programs().front());
    ASSERT_EQ(blocks.size(), 1u);
    EXPECT_EQ(blocks[0].layer, 3);
    EXPECT_EQ(bool(blocks[0].shared), !weights.shared.empty());
  }
};

TEST_F(MoeBlockTest, Plain) { expectBuilt(build()); }

TEST_F(MoeBlockTest, Biases) {
  weights.routerBias = weight("router.bias", {kExperts});
  weights.selectBias = weight("select_bias", {kExperts});
  ffn.biased = true;
  weights.experts.append({weight("gate.bias", {kExperts, kWidth}),
                          weight("up.bias", {kExperts, kWidth}),
                          weight("down.bias", {kExperts, kHidden})});
  expectBuilt(build());
}

TEST_F(MoeBlockTest, WeightedHidden) {
  ffn.weightedHidden = true;
  MoeBlock block = build();
  expectBuilt(block);
  EXPECT_EQ(only().combine->numOperands(), 2u);
}

TEST_F(MoeBlockTest, Shared) {
  share(/*gated=*/false);
  expectBuilt(build());
  expectFoundInText();
}

TEST_F(MoeBlockTest, SharedGated) {
  share(/*gated=*/true);
  ffn.weightedHidden = true;
  expectBuilt(build());
  expectFoundInText();
}

TEST_F(MoeBlockTest, RouterOfTwoLayers) {
  weights.firstRouter = weight("layers.3.moe.first.router", {5, kHidden});
  weights.router = weight("second", {kExperts, 5});
  share(/*gated=*/true);
  expectBuilt(build());
  expectFoundInText();
  EXPECT_EQ(only().routed(), x);
}

// What the experts read as well is no layer of the router.
TEST_F(MoeBlockTest, InputBehindTanhIsNoLayerOfTheRouter) {
  ActivationAttrs tanh;
  tanh.fn = ActivationFn::tanh;
  Value h =
      b.make(OpKind::Linear, {x, weight("w", {kHidden, kHidden})}, x.type());
  x = b.make(OpKind::Activation, {h}, x.type(), tanh);
  expectBuilt(build());
  EXPECT_EQ(only().firstRouter, nullptr);
  EXPECT_EQ(only().routed(), x);
}

TEST_F(MoeBlockTest, ExpertChoiceHasRoomForRoundedShares) {
  route.select = RouterSelect::expert_choice;
  expectBuilt(build());
}

// Experts on top of an FFN: what they read is no shared expert's input.
TEST_F(MoeBlockTest, ExpertsBehindAnFfn) {
  Value dense = b.make(OpKind::Ffn,
                       {x, weight("g", {5, kHidden}), weight("u", {5, kHidden}),
                        weight("d", {kHidden, 5})},
                       x.type(), FfnAttrs());
  Value routed = x;
  x = dense;
  MoeBlock block =
      buildMoeBlock(b, module, *program, dense, weights, route, ffn, 3, routed);
  Value sum = b.make(OpKind::Add, {dense, block.output}, dense.type());
  b.create(OpKind::Return, {sum}, {});
  program->resultNames = {"y"};
  returnState(*program, block.counts, block.counted);
  EXPECT_EQ(toText(verify(module)), "");
  expectBuilt(block);
  EXPECT_EQ(only().router->operand(0), routed);
}

// A residual is no shared expert.
TEST_F(MoeBlockTest, ResidualIsNotPartOfIt) {
  MoeBlock block =
      buildMoeBlock(b, module, *program, x, weights, route, ffn, 3);
  Value sum = b.make(OpKind::Add, {x, block.output}, x.type());
  b.create(OpKind::Return, {sum}, {});
  program->resultNames = {"y"};
  returnState(*program, block.counts, block.counted);
  EXPECT_EQ(only().output, block.output);
  EXPECT_FALSE(only().shared);
}

// Outputs that are combined without the router's weights are something else.
TEST_F(MoeBlockTest, OtherWeightsAreNoBlock) {
  MoeBlock block = build();
  Operation *combine = block.output.definingOp();
  Value ones = b.make(OpKind::Activation, {combine->operand(2)},
                      combine->operand(2).type(), ActivationAttrs());
  combine->setOperand(2, ones);
  EXPECT_TRUE(moeBlocks(*program).empty());
  combine->setOperand(2, combine->operand(2).definingOp()->operand(0));
  EXPECT_EQ(moeBlocks(*program).size(), 1u);
}

} // namespace
