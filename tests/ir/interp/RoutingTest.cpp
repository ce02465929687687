//===- RoutingTest.cpp - what moe.route means, by tables made by hand -----===//
//
// One test for each router of a published model, then one for each attribute.
// Logits are logarithms where softmax is the score, and log(p / (1 - p)) where
// sigmoid is, so that scores are numbers that one can add up.
//
// Long because: there is a table for each published router and each attribute.
//
//===----------------------------------------------------------------------===//

#include "ir/core/Builder.h"
#include "ir/interp/Interpreter.h"
#include "ir/ops/MoeOps.h"
#include "ir/verify/Verifier.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <cmath>

using namespace moec;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::IsNan;
using Row = std::vector<double>;

namespace {

constexpr double kNan = NAN, kInf = INFINITY;

/// Experts and weights of each token.
struct Routed {
  std::vector<std::vector<int64_t>> experts;
  std::vector<Row> weights;
};

Routed route(const RouteAttrs &attrs, const std::vector<Row> &logits,
             const Row &bias = {}) {
  int64_t tokens = logits.size(), experts = logits[0].size();
  Module module("m");
  Dim t = module.addDim("t", 64);
  Dim pairs = module.addRagged("pairs",
                               routePairsBound(attrs, experts, t.polynomial()));
  Program *program = module.addProgram("p");
  Builder b(program->body());
  llvm::SmallVector<Value, 2> operands{program->body().addArgument(
      TensorType({t, experts}, ElementType::f32), "logits")};
  if (!bias.empty())
    operands.push_back(program->body().addArgument(
        TensorType({experts}, ElementType::f32), "bias"));
  Operation *op = b.create(OpKind::MoeRoute, operands,
                           {TensorType({Dim(t.symbol(), 1)}, ElementType::i32),
                            TensorType({pairs}, ElementType::i32),
                            TensorType({pairs}, ElementType::f32)},
                           std::make_unique<RouteAttrs>(attrs));
  b.create(OpKind::Return, {op->result(0), op->result(1), op->result(2)}, {});
  program->resultNames = {"offsets", "expert", "weight"};
  EXPECT_EQ(toText(verify(module)), "");

  std::vector<HostTensor> arguments{
      HostTensor::ofFloats(ElementType::f32, {tokens, experts})};
  for (int64_t i = 0; i < tokens; ++i)
    std::copy(logits[i].begin(), logits[i].end(), arguments[0].row(i));
  if (!bias.empty()) {
    arguments.push_back(HostTensor::ofFloats(ElementType::f32, {experts}));
    arguments[1].floats = bias;
  }
  Interpreter interpreter(Interpreter::Mode::f64, nullptr);
  auto results =
      llvm::cantFail(interpreter.run(*program, std::move(arguments)));
  Routed routed;
  for (int64_t i = 0; i < tokens; ++i) {
    int64_t begin = results[0].ints[i], end = results[0].ints[i + 1];
    routed.experts.emplace_back(results[1].ints.begin() + begin,
                                results[1].ints.begin() + end);
    routed.weights.emplace_back(results[2].floats.begin() + begin,
                                results[2].floats.begin() + end);
  }
  EXPECT_EQ(results[0].ints.front(), 0);
  EXPECT_EQ(results[0].ints.back(), int64_t(results[1].ints.size()));
  return routed;
}

/// Logits whose softmax has the proportions of `weights`.
Row logs(Row weights) {
  for (double &weight : weights)
    weight = std::log(weight);
  return weights;
}

/// Logits whose sigmoid is `scores`.
Row logits(Row scores) {
  for (double &score : scores)
    score = std::log(score / (1 - score));
  return scores;
}

auto about(double number) { return DoubleNear(number, 1e-12); }

} // namespace

//===- Published routers --------------------------------------------------===//

TEST(Routing, MixtralIsSoftmaxTopkRenormalised) {
  RouteAttrs attrs;
  attrs.k = 2;
  attrs.renorm = RouterRenorm::sum;
  Routed routed = route(attrs, {logs({1, 4, 3, 2})});
  EXPECT_THAT(routed.experts[0], ElementsAre(1, 2));
  EXPECT_THAT(routed.weights[0], ElementsAre(about(4. / 7), about(3. / 7)));
}

TEST(Routing, Qwen2AndOlmoeKeepProbabilities) {
  RouteAttrs attrs;
  attrs.k = 2;
  Routed routed = route(attrs, {logs({1, 4, 3, 2})});
  EXPECT_THAT(routed.experts[0], ElementsAre(1, 2));
  EXPECT_THAT(routed.weights[0], ElementsAre(about(.4), about(.3)));
}

TEST(Routing, Qwen3RenormalisesManyOfMany) {
  RouteAttrs attrs;
  attrs.k = 4;
  attrs.renorm = RouterRenorm::sum;
  Routed routed = route(attrs, {logs({1, 8, 1, 2, 4, 1, 2, 1})});
  EXPECT_THAT(routed.experts[0], ElementsAre(1, 4, 3, 6));
  EXPECT_THAT(routed.weights[0],
              ElementsAre(about(.5), about(.25), about(.125), about(.125)));
}

TEST(Routing, GptOssGraniteAndJetMoeTakeTheSoftmaxOfTheChosen) {
  RouteAttrs attrs;
  attrs.k = 2;
  attrs.score = RouterScore::identity;
  attrs.renorm = RouterRenorm::softmax_selected;
  // Large logits, which a softmax without the maximum could not take.
  Routed routed = route(attrs, {{900 + std::log(3), -5, 900, 900 - 40}});
  EXPECT_THAT(routed.experts[0], ElementsAre(0, 2));
  EXPECT_THAT(routed.weights[0], ElementsAre(about(.75), about(.25)));
}

TEST(Routing, TopkOfLogitsThenSoftmaxIsSoftmaxThenRenormalise) {
  RouteAttrs mixtral, granite;
  mixtral.k = granite.k = 3;
  mixtral.renorm = RouterRenorm::sum;
  granite.score = RouterScore::identity;
  granite.renorm = RouterRenorm::softmax_selected;
  Row row = {.3, -1.2, 2.5, .7, .1, 1.9};
  Routed a = route(mixtral, {row}), b = route(granite, {row});
  EXPECT_EQ(a.experts, b.experts);
  for (int i = 0; i < 3; ++i)
    EXPECT_NEAR(a.weights[0][i], b.weights[0][i], 1e-15);
}

// Groups (0 1) (2 3) (4 5) (6 7) with maxima 9, 8, 2, 10: the first and the
// last stay, so the expert with 8 is not chosen.
TEST(Routing, DeepSeekV2TakesTheGroupsOfTheLargestProbability) {
  RouteAttrs attrs;
  attrs.k = 3;
  attrs.groups = 4;
  attrs.topGroups = 2;
  attrs.maskValue = MaskValue::zero;
  attrs.scale = 16;
  Routed routed = route(attrs, {logs({1, 9, 8, 1, 2, 2, 7, 10})});
  EXPECT_THAT(routed.experts[0], ElementsAre(7, 1, 6));
  EXPECT_THAT(routed.weights[0], ElementsAre(about(4), about(3.6), about(2.8)));
}

// Sums of two: 1, 1, 1.25, 0.375. The third group stays, and of the first two,
// which are equal, the lower one.
TEST(Routing, DeepSeekV3SumsTheTopTwoOfAGroup) {
  RouteAttrs attrs;
  attrs.k = 2;
  attrs.score = RouterScore::sigmoid;
  attrs.groups = 4;
  attrs.topGroups = 2;
  attrs.groupScore = GroupScore::sum_top2;
  attrs.maskValue = MaskValue::zero;
  attrs.renorm = RouterRenorm::sum;
  attrs.epsilon = 1e-20;
  attrs.scale = 2.5;
  Row row = logits({.5, .5, .75, .25, .625, .625, .1875, .1875});
  Routed routed = route(attrs, {row}, Row(8, 0));
  EXPECT_THAT(routed.experts[0], ElementsAre(4, 5));
  EXPECT_THAT(routed.weights[0], ElementsAre(about(1.25), about(1.25)));
  // The bias chooses, and is no part of the weight.
  routed = route(attrs, {row}, {.25, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_THAT(routed.experts[0], ElementsAre(0, 4));
  EXPECT_THAT(routed.weights[0],
              ElementsAre(about(2.5 * .5 / 1.125), about(2.5 * .625 / 1.125)));
}

// A negative bias makes keys negative, so that a mask of 0 lets experts of the
// masked groups win.
TEST(Routing, MaskOfZeroIsNoMaskForNegativeKeys) {
  RouteAttrs attrs;
  attrs.k = 1;
  attrs.score = RouterScore::sigmoid;
  attrs.groups = 2;
  attrs.groupScore = GroupScore::sum_top2;
  Row row = logits({.5, .5, .25, .25}), bias(4, -1);
  attrs.maskValue = MaskValue::zero;
  EXPECT_THAT(route(attrs, {row}, bias).experts[0], ElementsAre(2));
  attrs.maskValue = MaskValue::neg_inf;
  EXPECT_THAT(route(attrs, {row}, bias).experts[0], ElementsAre(0));
}

TEST(Routing, Glm4AndDots1HaveOneGroup) {
  RouteAttrs attrs;
  attrs.k = 2;
  attrs.score = RouterScore::sigmoid;
  attrs.renorm = RouterRenorm::sum;
  attrs.epsilon = 1e-20;
  Routed routed = route(attrs, {logits({.25, .75, .5, .625})}, {.5, 0, 0, -.5});
  EXPECT_THAT(routed.experts[0], ElementsAre(0, 1)); // equal keys of .75
  EXPECT_THAT(routed.weights[0], ElementsAre(about(.25), about(.75)));
}

TEST(Routing, ErnieClampsTheSum) {
  RouteAttrs attrs;
  attrs.k = 2;
  attrs.renorm = RouterRenorm::sum;
  attrs.minimum = 1e-12;
  Row row = logs({1, 4, 3, 2}), bias = {1, 0, 0, 0};
  Routed routed = route(attrs, {row}, bias);
  EXPECT_THAT(routed.experts[0], ElementsAre(0, 1));
  EXPECT_THAT(routed.weights[0], ElementsAre(about(.2), about(.8)));
  attrs.minimum = 2;
  EXPECT_THAT(route(attrs, {row}, bias).weights[0],
              ElementsAre(about(.05), about(.2)));
}

// Of the first choice two logits are close enough; of the second, one.
TEST(Routing, PhiMoeMixesSparsely) {
  RouteAttrs attrs;
  attrs.k = 2;
  attrs.score = RouterScore::identity;
  attrs.select = RouterSelect::sparse_mixer;
  attrs.threshold = 0.01;
  Routed routed = route(attrs, {{.5, 1, .99, -1}, {0, 0, 0, 0}});
  EXPECT_THAT(routed.experts[0], ElementsAre(1, 2));
  EXPECT_THAT(routed.weights[0],
              ElementsAre(about(1 / (1 + std::exp(-.01))), about(1)));
  // Equal logits, whose relative distance is 0 / 0, are close.
  EXPECT_THAT(routed.experts[1], ElementsAre(0, 1));
  EXPECT_THAT(routed.weights[1], ElementsAre(about(.25), about(1. / 3)));
  // A negative best: distances are relative to the larger absolute value.
  routed = route(attrs, {{-2, -1.97, -100, -1.9}});
  EXPECT_THAT(routed.experts[0], ElementsAre(3, 1));
  EXPECT_THAT(routed.weights[0],
              ElementsAre(about(1), about(1 / (1 + std::exp(-.03)))));
}

TEST(Routing, SkyworkNormalisesLogits) {
  RouteAttrs attrs;
  attrs.k = 2;
  attrs.logitNorm = LogitNorm::zscore;
  attrs.logitScale = 2;
  attrs.renorm = RouterRenorm::sum;
  Routed routed = route(attrs, {{1, 3}, {107, 109}});
  // Whatever the numbers, two become -1 and 1.
  for (int token = 0; token < 2; ++token) {
    EXPECT_THAT(routed.experts[token], ElementsAre(1, 0));
    EXPECT_THAT(routed.weights[token],
                ElementsAre(about(1 / (1 + std::exp(-4))),
                            about(1 / (1 + std::exp(4)))));
  }
  // Equal numbers, whose mean is rounded, become 0.
  routed = route(attrs, {{.1, .1, .1}});
  EXPECT_THAT(routed.experts[0], ElementsAre(0, 1));
  EXPECT_THAT(routed.weights[0], ElementsAre(.5, .5));
}

TEST(Routing, SwitchTakesOneProbability) {
  RouteAttrs attrs;
  Routed routed = route(attrs, {logs({1, 4, 3, 2})});
  EXPECT_THAT(routed.experts[0], ElementsAre(1));
  EXPECT_THAT(routed.weights[0], ElementsAre(about(.4)));
}

//===- Ways of selecting --------------------------------------------------===//

TEST(Routing, ReMoeTakesWhatIsPositive) {
  RouteAttrs attrs;
  attrs.k = 4;
  attrs.score = RouterScore::relu;
  attrs.select = RouterSelect::threshold;
  Routed routed = route(attrs, {{-1, 2, 0, 3}, {-1, -2, 0, -3}, {1, 1, 1, 1}});
  EXPECT_THAT(routed.experts[0], ElementsAre(3, 1));
  EXPECT_THAT(routed.weights[0], ElementsAre(3, 2));
  EXPECT_THAT(routed.experts[1], IsEmpty());
  EXPECT_THAT(routed.experts[2], ElementsAre(0, 1, 2, 3));
}

TEST(Routing, DsMoeTakesWhatIsAboveAThreshold) {
  RouteAttrs attrs;
  attrs.k = 4;
  attrs.select = RouterSelect::threshold;
  attrs.threshold = .48;
  attrs.thresholdByExperts = true; // 4 * score > .48, so score > .12
  std::vector<Row> rows = {logs({1, 4, 3, 2}), logs({1, 1, 1, 97})};
  Routed routed = route(attrs, rows);
  EXPECT_THAT(routed.experts[0], ElementsAre(1, 2, 3));
  EXPECT_THAT(routed.weights[0], ElementsAre(about(.4), about(.3), about(.2)));
  EXPECT_THAT(routed.experts[1], ElementsAre(3));
  attrs.thresholdByExperts = false;
  routed = route(attrs, rows);
  EXPECT_THAT(routed.experts[0], IsEmpty());
  EXPECT_THAT(routed.experts[1], ElementsAre(3));
  attrs.threshold = .12;
  attrs.k = 2;
  routed = route(attrs, rows);
  EXPECT_THAT(routed.experts[0], ElementsAre(1, 2)); // the best k at most
}

// Equal to the threshold is not above it.
TEST(Routing, ThresholdIsExclusive) {
  RouteAttrs attrs;
  attrs.k = 3;
  attrs.score = RouterScore::identity;
  attrs.select = RouterSelect::threshold;
  attrs.threshold = .1;
  double tenth = double(.1f);
  EXPECT_THAT(route(attrs, {{tenth, std::nextafterf(.1f, 1), -1}}).experts[0],
              ElementsAre(1));
}

TEST(Routing, ToppTakesUntilTheSumIsReached) {
  RouteAttrs attrs;
  attrs.k = 4;
  attrs.select = RouterSelect::topp;
  std::vector<Row> rows = {logs({1, 4, 3, 2}), logs({100, 1, 1, 1})};
  attrs.threshold = .6;
  Routed routed = route(attrs, rows);
  EXPECT_THAT(routed.experts[0], ElementsAre(1, 2));
  EXPECT_THAT(routed.experts[1], ElementsAre(0));
  EXPECT_THAT(routed.weights[0], ElementsAre(about(.4), about(.3)));
  attrs.threshold = .01; // at least one
  EXPECT_THAT(route(attrs, rows).experts[0], ElementsAre(1));
  attrs.threshold = 1;
  attrs.k = 3; // at most k
  EXPECT_THAT(route(attrs, rows).experts[0], ElementsAre(1, 2, 3));
}

TEST(Routing, AllAscends) {
  RouteAttrs attrs;
  attrs.k = 4;
  attrs.select = RouterSelect::all;
  Routed routed = route(attrs, {logs({1, 4, 3, 2})});
  EXPECT_THAT(routed.experts[0], ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(routed.weights[0],
              ElementsAre(about(.1), about(.4), about(.3), about(.2)));
}

// Two experts take two of four tokens each; both take token 2, none token 1.
TEST(Routing, ExpertsChooseTokens) {
  RouteAttrs attrs;
  attrs.k = 1;
  attrs.score = RouterScore::identity;
  attrs.select = RouterSelect::expert_choice;
  Routed routed = route(attrs, {{5, 1}, {2, 2}, {6, 7}, {1, 3}});
  EXPECT_THAT(routed.experts[0], ElementsAre(0));
  EXPECT_THAT(routed.experts[1], IsEmpty());
  EXPECT_THAT(routed.experts[2], ElementsAre(0, 1));
  EXPECT_THAT(routed.weights[2], ElementsAre(6, 7));
  EXPECT_THAT(routed.experts[3], ElementsAre(1));
  // Of equal tokens the lower one; a share is rounded up.
  routed = route(attrs, {{1, kNan}, {1, 2}, {1, kNan}});
  EXPECT_THAT(routed.experts[0], ElementsAre(0, 1)); // NaN, but before token 2
  EXPECT_THAT(routed.experts[1], ElementsAre(0, 1));
  EXPECT_THAT(routed.experts[2], IsEmpty());
  // One token is taken by all.
  EXPECT_THAT(route(attrs, {{1, 2}}).experts[0], ElementsAre(0, 1));
}

// ceil(4 * 1 * 0.75 / 2) = 2 pairs for each expert.
TEST(Routing, CapacityDropsByPositionOrWeight) {
  RouteAttrs attrs;
  attrs.k = 1;
  attrs.capacity = 0.75;
  std::vector<Row> rows = {logs({6, 4}), logs({7, 3}), logs({8, 2}),
                           logs({1, 9})};
  Routed routed = route(attrs, rows);
  EXPECT_THAT(routed.experts[0], ElementsAre(0));
  EXPECT_THAT(routed.experts[1], ElementsAre(0));
  EXPECT_THAT(routed.experts[2], IsEmpty());
  EXPECT_THAT(routed.experts[3], ElementsAre(1));
  attrs.drop = DropPolicy::weight;
  routed = route(attrs, rows);
  EXPECT_THAT(routed.experts[0], IsEmpty());
  EXPECT_THAT(routed.experts[1], ElementsAre(0));
  EXPECT_THAT(routed.experts[2], ElementsAre(0));
  EXPECT_THAT(routed.weights[2], ElementsAre(about(.8)));
  EXPECT_THAT(routed.experts[3], ElementsAre(1));
  // A token's other pairs keep their weights.
  attrs.k = 2;
  attrs.capacity = 0.5;
  attrs.renorm = RouterRenorm::sum;
  attrs.drop = DropPolicy::position;
  routed = route(attrs, rows);
  EXPECT_THAT(routed.experts[1], ElementsAre(0, 1));
  EXPECT_THAT(routed.weights[1], ElementsAre(about(.7), about(.3)));
  EXPECT_THAT(routed.experts[2], IsEmpty());
}

//===- Ties and NaN -------------------------------------------------------===//

TEST(Routing, TiesGoToTheLowerExpert) {
  RouteAttrs attrs;
  attrs.k = 3;
  Routed routed = route(
      attrs,
      {Row(8, 1), {0, -0., 0, -0., 0, -0., 0, 0}, {1, 5, 1, 5, 5, 1, 1, 5}});
  EXPECT_THAT(routed.experts[0], ElementsAre(0, 1, 2));
  EXPECT_THAT(routed.experts[1], ElementsAre(0, 1, 2));
  EXPECT_THAT(routed.experts[2], ElementsAre(1, 3, 4));
}

// Blocks of two experts with equal rows of the router: k = 2 takes one block.
TEST(Routing, VirtualGroupsAreChosenWhole) {
  RouteAttrs attrs;
  attrs.k = 2;
  attrs.renorm = RouterRenorm::softmax_selected;
  Routed routed = route(attrs, {{.3, .3, .7, .7, .7, .7, .1, .1},
                                {.3, .3, .7, .7, .8, .8, .1, .1}});
  EXPECT_THAT(routed.experts[0], ElementsAre(2, 3));
  EXPECT_THAT(routed.experts[1], ElementsAre(4, 5));
  EXPECT_THAT(routed.weights[1], ElementsAre(.5, .5));
}

// Scores that underflow in f32 are equal there, and so they are here.
TEST(Routing, KeysAreSingle) {
  RouteAttrs attrs;
  attrs.k = 2;
  EXPECT_THAT(route(attrs, {{-201, -200, 0}}).experts[0], ElementsAre(2, 0));
}

TEST(Routing, NanSortsLast) {
  RouteAttrs attrs;
  attrs.k = 2;
  attrs.score = RouterScore::sigmoid;
  Routed routed = route(attrs, {{kNan, 1, -kInf, 2}, {kNan, kNan, 1, kNan}});
  EXPECT_THAT(routed.experts[0], ElementsAre(3, 1));
  EXPECT_THAT(routed.experts[1], ElementsAre(2, 0));
  EXPECT_THAT(routed.weights[1],
              ElementsAre(about(1 / (1 + std::exp(-1.))), IsNan()));
}

TEST(Routing, AllNanTakesTheFirstExperts) {
  for (auto select : {RouterSelect::topk, RouterSelect::topp,
                      RouterSelect::threshold, RouterSelect::sparse_mixer})
    for (auto score : {RouterScore::softmax, RouterScore::sigmoid,
                       RouterScore::identity, RouterScore::relu}) {
      bool mixer = select == RouterSelect::sparse_mixer;
      if (mixer && score != RouterScore::identity)
        continue;
      RouteAttrs attrs;
      attrs.k = 2;
      attrs.select = select;
      attrs.score = score;
      if (select == RouterSelect::topp)
        attrs.threshold = .5;
      Routed routed = route(attrs, {Row(4, kNan)});
      EXPECT_THAT(routed.experts[0], ElementsAre(0, 1));
      EXPECT_THAT(routed.weights[0], ElementsAre(IsNan(), IsNan()));
    }
  // One NaN makes every softmax and every z-score NaN.
  RouteAttrs attrs;
  attrs.k = 2;
  EXPECT_THAT(route(attrs, {{1, 2, kNan}}).experts[0], ElementsAre(0, 1));
  attrs.score = RouterScore::identity;
  attrs.logitNorm = LogitNorm::zscore;
  EXPECT_THAT(route(attrs, {{1, 2, kNan}}).experts[0], ElementsAre(0, 1));
  // Groups mask numbers, not their absence.
  attrs = RouteAttrs();
  attrs.k = 2;
  attrs.groups = 2;
  EXPECT_THAT(route(attrs, {Row(6, kNan)}).experts[0], ElementsAre(0, 1));
}

TEST(Routing, NanIsAboveNoThreshold) {
  RouteAttrs attrs;
  attrs.k = 3;
  attrs.score = RouterScore::relu;
  attrs.select = RouterSelect::threshold;
  EXPECT_THAT(route(attrs, {{kNan, 1, -1}}).experts[0], ElementsAre(1));
  EXPECT_THAT(route(attrs, {{kNan, -2, -1}}).experts[0], IsEmpty());
}

// A group with NaN among its best is the last one.
TEST(Routing, GroupOfNanSortsLast) {
  RouteAttrs attrs;
  attrs.k = 1;
  attrs.score = RouterScore::identity;
  attrs.groups = 2;
  attrs.groupScore = GroupScore::sum_top2;
  EXPECT_THAT(route(attrs, {{9, kNan, 1, 2}}).experts[0], ElementsAre(3));
  attrs.groupScore = GroupScore::max;
  EXPECT_THAT(route(attrs, {{9, kNan, 1, 2}}).experts[0], ElementsAre(0));
}

// Groups of three; the best k / top_groups = 2 of each: 5 + 4 and 6 + 0.
TEST(Routing, GroupScoreSumsTheBest) {
  RouteAttrs attrs;
  attrs.k = 2;
  attrs.score = RouterScore::identity;
  attrs.groups = 2;
  attrs.groupScore = GroupScore::sum_top;
  EXPECT_THAT(route(attrs, {{5, 4, -9, 0, 6, 0}}).experts[0],
              ElementsAre(0, 1));
}
