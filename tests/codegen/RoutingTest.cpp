//===- RoutingTest.cpp - route, dispatch and combine ----------------------===//

#include "tests/codegen/KernelHarness.h"
#include "tests/conformance/Tolerances.h"
#include "llvm/ADT/STLExtras.h"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace moec;
using namespace moec::test;
using cpu::CpuLevel;
using kernel::CombineSpec;
using kernel::DispatchSpec;
using kernel::RouteSpec;

namespace {

class RouteTest : public testing::TestWithParam<CpuLevel> {};
class DispatchTest : public testing::TestWithParam<CpuLevel> {};
class CombineTest : public testing::TestWithParam<CpuLevel> {};

/// What RouteSpec says, in T.
template <typename T>
void routeReference(const RouteSpec &spec, const Array &logits,
                    const Array *bias, int64_t token,
                    std::vector<int64_t> &chosen, std::vector<T> &weights) {
  std::vector<T> x(spec.experts), scores(spec.experts), keys(spec.experts);
  for (int64_t e = 0; e < spec.experts; ++e)
    scores[e] = x[e] = T(logits.get(token * spec.experts + e));
  if (spec.score == RouteSpec::Score::Softmax) {
    T top = -std::numeric_limits<T>::infinity(), sum = 0;
    for (T value : x)
      top = value > top ? value : top;
    for (T &score : scores)
      sum += score = std::exp(score - top);
    for (T &score : scores)
      score /= sum;
  } else if (spec.score == RouteSpec::Score::Sigmoid) {
    for (T &score : scores)
      score = 1 / (1 + std::exp(-score));
  }
  for (int64_t e = 0; e < spec.experts; ++e)
    keys[e] = scores[e] + (bias ? T(bias->get(e)) : 0);
  std::vector<int64_t> order(spec.experts);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
    bool iNan = std::isnan(keys[i]), jNan = std::isnan(keys[j]);
    if (iNan || jNan)
      return iNan == jNan ? i < j : jNan;
    return keys[i] == keys[j] ? i < j : keys[i] > keys[j];
  });
  bool allNan = llvm::all_of(keys, [](T key) { return std::isnan(key); });
  chosen.assign(order.begin(), order.begin() + spec.topk);
  weights.clear();
  T sum = T(spec.renormEpsilon);
  T top = -std::numeric_limits<T>::infinity();
  for (int64_t e : chosen)
    top = x[e] > top ? x[e] : top;
  for (int64_t e : chosen) {
    bool softmax = spec.renorm == RouteSpec::Renorm::SoftmaxSelected;
    weights.push_back(softmax ? std::exp(x[e] - top) : scores[e]);
    sum += weights.back();
  }
  for (T &weight : weights) {
    if (spec.renorm == RouteSpec::Renorm::Sum)
      weight /= sum;
    if (spec.renorm == RouteSpec::Renorm::SoftmaxSelected)
      weight /= sum - T(spec.renormEpsilon);
    weight *= T(spec.scale);
    if (allNan)
      weight = std::numeric_limits<T>::quiet_NaN();
  }
}

void checkRoute(const RouteSpec &spec, const Array &logits, CpuLevel level) {
  SCOPED_TRACE(kernel::describe(spec));
  ASSERT_EQ(cpu::supports(spec, level), std::nullopt);
  Random random(2);
  int64_t tokens = logits.size() / spec.experts;
  Array bias(ElementType::f32, spec.experts);
  bias.fillNormal(random, 0.3);
  Array counters(ElementType::i64, spec.experts);
  for (int64_t e = 0; e < spec.experts; ++e)
    counters.set(e, double(100 * e));
  Array pairExpert(ElementType::i32, tokens * spec.topk);
  Array pairWeight(ElementType::f32, tokens * spec.topk);
  pairExpert.fillBytes(0xFF);
  pairWeight.fillBytes(0xFF);
  std::vector<const Array *> buffers = {&logits};
  if (spec.selectBias)
    buffers.push_back(&bias);
  buffers.insert(buffers.end(), {&counters, &pairExpert, &pairWeight});
  compiled(spec, level)
      .runSplit(buffers, {tokens}, {&counters, &pairExpert, &pairWeight},
                random);

  std::vector<double> exact, typed, counts(spec.experts);
  for (int64_t token = 0; token < tokens; ++token) {
    std::vector<int64_t> chosen, ignored;
    std::vector<double> weights;
    std::vector<float> rounded;
    const Array *used = spec.selectBias ? &bias : nullptr;
    routeReference<double>(spec, logits, used, token, chosen, weights);
    routeReference<float>(spec, logits, used, token, ignored, rounded);
    exact.insert(exact.end(), weights.begin(), weights.end());
    typed.insert(typed.end(), rounded.begin(), rounded.end());
    for (int64_t choice = 0; choice < spec.topk; ++choice) {
      EXPECT_EQ(pairExpert.getInt(token * spec.topk + choice), chosen[choice])
          << "token " << token << ", choice " << choice;
      ++counts[chosen[choice]];
    }
  }
  expectClose(pairWeight, exact, typed, kUnscaledWeights, "weights");
  for (int64_t e = 0; e < spec.experts; ++e)
    EXPECT_EQ(counters.get(e), 100 * e + counts[e]) << "counter " << e;
}

} // namespace

TEST_P(RouteTest, MatchesTheReferenceForEveryScoreAndNormalisation) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  using Score = RouteSpec::Score;
  using Renorm = RouteSpec::Renorm;
  for (auto [experts, topk] : {std::pair<int64_t, int64_t>(8, 2), {19, 8}})
    for (Score score : {Score::Softmax, Score::Sigmoid, Score::Identity})
      for (Renorm renorm :
           {Renorm::None, Renorm::Sum, Renorm::SoftmaxSelected}) {
        RouteSpec spec = {
            .experts = experts, .topk = topk, .score = score, .renorm = renorm};
        spec.selectBias = topk == 2;
        spec.scale = topk == 8 ? 2.5 : 1;
        spec.renormEpsilon = topk == 8 ? 1e-20 : 0;
        // Identity scores that nearly cancel have no accurate quotient.
        bool positive = renorm == Renorm::Sum && score == Score::Identity;
        Array logits(ElementType::f32, 21 * experts);
        Random random(9);
        for (size_t at = 0; at < logits.size(); ++at)
          logits.set(at,
                     positive ? random.uniform(0.5, 3) : random.normal() * 2);
        checkRoute(spec, logits, GetParam());
      }
}

TEST_P(RouteTest, TakesOneExpertAndMany) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (auto [experts, topk] :
       {std::pair<int64_t, int64_t>(1, 1), {64, 2}, {257, 6}}) {
    Array logits(ElementType::f32, 17 * experts);
    Random random(13);
    logits.fillNormal(random);
    checkRoute({.experts = experts, .topk = topk}, logits, GetParam());
  }
}

TEST_P(RouteTest, BreaksTiesByTheLowerExpert) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (auto score : {RouteSpec::Score::Softmax, RouteSpec::Score::Identity}) {
    Array logits(ElementType::f32, 3 * 8);
    for (int64_t e = 0; e < 8; ++e) {
      logits.set(e, 1);
      logits.set(8 + e, e % 2 ? 0.0 : -0.0); // equal zeros
      logits.set(16 + e, e >= 5 ? 2 : -3);
    }
    checkRoute({.experts = 8, .topk = 4, .score = score}, logits, GetParam());
  }
}

TEST_P(RouteTest, SortsNanLastAndAllNanToTheFirstExperts) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  Array logits(ElementType::f32, 4 * 6);
  double rows[4][6] = {{nan, 1, nan, -inf, 3, nan},
                       {nan, nan, nan, nan, nan, nan},
                       {-inf, -inf, nan, -inf, -inf, -inf},
                       {inf, 1, 2, inf, -inf, 0}};
  for (int64_t token = 0; token < 4; ++token)
    for (int64_t e = 0; e < 6; ++e)
      logits.set(token * 6 + e, rows[token][e]);
  for (auto score : {RouteSpec::Score::Softmax, RouteSpec::Score::Sigmoid,
                     RouteSpec::Score::Identity})
    checkRoute({.experts = 6, .topk = 2, .score = score}, logits, GetParam());
  // More choices than numbers: NaN experts fill up in order.
  Array few(ElementType::f32, 6);
  for (int64_t e = 0; e < 6; ++e)
    few.set(e, rows[0][e]);
  RouteSpec spec = {
      .experts = 6, .topk = 5, .score = RouteSpec::Score::Sigmoid};
  checkRoute(spec, few, GetParam());
}

MOEC_INSTANTIATE_LEVELS(RouteTest);

TEST_P(DispatchTest, LeavesOutWhatIsNoPair) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  Array pairExpert(ElementType::i32, 6), offsets(ElementType::i32, 4);
  Array order(ElementType::i32, 6);
  const int experts[] = {2, 0, 2, 0, -1, -1};
  for (int pair = 0; pair < 6; ++pair)
    pairExpert.set(pair, experts[pair]);
  order.fillBytes(0xFF);
  compiled(DispatchSpec{.experts = 3, .ragged = true}, GetParam())
      .run({&pairExpert, &offsets, &order}, {6});
  const int starts[] = {0, 2, 2, 4}, places[] = {1, 3, 0, 2, -1, -1};
  for (int expert = 0; expert < 4; ++expert)
    EXPECT_EQ(offsets.getInt(expert), starts[expert]);
  for (int place = 0; place < 6; ++place)
    EXPECT_EQ(order.getInt(place), places[place]);
}

TEST_P(DispatchTest, SortsPairsByExpertAndKeepsTheirOrder) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (int64_t experts : {1, 5, 64})
    for (int64_t pairs : {0, 1, 7, 300}) {
      Random random(4);
      Array pairExpert(ElementType::i32, pairs);
      for (int64_t pair = 0; pair < pairs; ++pair) // expert 2 stays empty
        pairExpert.set(
            pair, double(random.below(experts) == 2
                             ? 0
                             : random.below(std::min<int64_t>(experts, 2))));
      Array offsets(ElementType::i32, experts + 1);
      Array order(ElementType::i32, pairs);
      offsets.fillBytes(0xFF);
      compiled(DispatchSpec{experts}, GetParam())
          .run({&pairExpert, &offsets, &order}, {pairs});
      int64_t next = 0;
      for (int64_t expert = 0; expert < experts; ++expert) {
        EXPECT_EQ(offsets.getInt(expert), next);
        for (int64_t pair = 0; pair < pairs; ++pair)
          if (pairExpert.getInt(pair) == expert)
            EXPECT_EQ(order.getInt(next++), pair);
      }
      EXPECT_EQ(offsets.getInt(experts), pairs);
    }
}

MOEC_INSTANTIATE_LEVELS(DispatchTest);

TEST_P(CombineTest, AddsPairsInOrderToTheResidual) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (ElementType element : {ElementType::f32, ElementType::bf16})
    for (bool weighted : {false, true})
      for (bool withResidual : {false, true})
        for (int64_t topk : {0, 1, 2, 8}) // 0: ragged
          for (int64_t width : {topk == 2 ? 9 : 64}) {
            constexpr int64_t tokens = 37;
            CombineSpec spec = {.topk = topk,
                                .width = width,
                                .weighted = weighted,
                                .residual = withResidual,
                                .y = element,
                                .residualElement = element,
                                .out = element};
            ASSERT_EQ(cpu::supports(spec, GetParam()), std::nullopt);
            Random random(6);
            Array offsets(ElementType::i32, tokens + 1);
            for (int64_t token = 0; token < tokens; ++token)
              offsets.set(token + 1,
                          offsets.get(token) + double(topk ? topk : token % 4));
            int64_t pairs = offsets.getInt(tokens);
            Array y(element, pairs * width);
            Array weight(ElementType::f32, pairs);
            Array residual(element, tokens * width);
            Array out(element, tokens * width);
            y.fillNormal(random);
            weight.fillNormal(random);
            residual.fillNormal(random);
            out.fillBytes(0xFF);
            std::vector<const Array *> buffers = {&y};
            if (topk == 0)
              buffers.push_back(&offsets);
            if (weighted)
              buffers.push_back(&weight);
            if (withResidual)
              buffers.push_back(&residual);
            buffers.push_back(&out);
            compiled(spec, GetParam())
                .runSplit(buffers, {tokens}, {&out}, random);
            std::vector<double> exact, typed;
            for (int64_t at = 0; at < tokens * width; ++at) {
              int64_t token = at / width, column = at % width;
              double x = withResidual ? residual.get(at) : 0;
              float t = float(x);
              for (int64_t pair = offsets.getInt(token);
                   pair < offsets.getInt(token + 1); ++pair) {
                double term = y.get(pair * width + column);
                double factor = weighted ? weight.get(pair) : 1;
                x += factor * term;
                t += float(factor) * float(term);
              }
              exact.push_back(x);
              typed.push_back(roundTo(element, t));
            }
            expectClose(out, exact, typed, toleranceOf(spec),
                        kernel::describe(spec));
          }
}

MOEC_INSTANTIATE_LEVELS(CombineTest);
