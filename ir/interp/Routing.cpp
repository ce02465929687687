//===- Routing.cpp - what moe.route chooses -------------------------------===//
//
// Scores and weights are computed in double. What decides about a choice - the
// keys, sums of keys, limits - is f32 with one rounding an operation, so equal
// scores give equal choices on every target.
//
//===----------------------------------------------------------------------===//

#include "ir/interp/OpRunner.h"
#include "ir/ops/MoeOps.h"
#include "llvm/ADT/STLExtras.h"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace moec;
using namespace moec::interp;

namespace {
/// A token's way through moe.route.
struct TokenRouter {
  const RouteAttrs &attrs;
  std::vector<double> logits, scores;
  std::vector<float> keys;
  bool allNan = false;

  TokenRouter(const RouteAttrs &attrs, const double *row, int64_t experts,
              const double *bias);
  void maskGroups();
  std::vector<int64_t> choose() const;
  std::vector<double> weigh(llvm::ArrayRef<int64_t> chosen) const;

private:
  void normalizeLogits();
  void computeScores();
  double mixerWeight(int64_t expert, int64_t without) const;
};
} // namespace

/// Whether `a` goes before `b`, whatever their numbers.
static bool better(float a, float b) {
  if (std::isnan(a) || std::isnan(b))
    return !std::isnan(a) && std::isnan(b);
  return a > b;
}

/// Numbers 0 .. keys - 1, best first.
static std::vector<int64_t> ranked(llvm::ArrayRef<float> keys) {
  std::vector<int64_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  llvm::sort(order, [&](int64_t a, int64_t b) {
    return better(keys[a], keys[b]) || (!better(keys[b], keys[a]) && a < b);
  });
  return order;
}

TokenRouter::TokenRouter(const RouteAttrs &attrs, const double *row,
                         int64_t experts, const double *bias)
    : attrs(attrs), logits(row, row + experts) {
  normalizeLogits();
  computeScores();
  for (int64_t e = 0; e < experts; ++e)
    keys.push_back(float(scores[e]) + (bias ? float(bias[e]) : 0));
  allNan = llvm::all_of(keys, [](float key) { return std::isnan(key); });
}

void TokenRouter::normalizeLogits() {
  if (attrs.logitNorm == LogitNorm::zscore) {
    double mean = 0, squares = 0;
    for (double x : logits)
      mean += x;
    mean /= logits.size();
    for (double x : logits)
      squares += (x - mean) * (x - mean);
    double deviation = std::sqrt(squares / logits.size());
    // The mean of equal numbers may be rounded.
    bool equal = llvm::all_of(logits, [&](double x) { return x == logits[0]; });
    for (double &x : logits)
      x = equal || deviation == 0 ? 0 : (x - mean) / deviation;
  }
  for (double &x : logits)
    x *= attrs.logitScale;
}

void TokenRouter::computeScores() {
  scores = logits;
  switch (attrs.score) {
  case RouterScore::softmax: {
    double highest = -INFINITY, sum = 0;
    for (double x : logits)
      highest = std::max(highest, x); // skips NaN
    for (double &s : scores)
      sum += s = std::exp(s - highest);
    for (double &s : scores)
      s /= sum;
    return;
  }
  case RouterScore::sigmoid:
    for (double &s : scores)
      s = apply(unsigned(ActivationFn::sigmoid), s);
    return;
  case RouterScore::relu:
    for (double &s : scores)
      s = apply(unsigned(ActivationFn::relu), s);
    return;
  case RouterScore::identity:
    return;
  }
}

void TokenRouter::maskGroups() {
  if (attrs.groups == 1)
    return;
  size_t size = keys.size() / attrs.groups;
  size_t summed = attrs.groupScore == GroupScore::max ? 1
                  : attrs.groupScore == GroupScore::sum_top2
                      ? 2
                      : size_t(attrs.k / attrs.topGroups);
  std::vector<float> groups;
  for (int64_t g = 0; g < attrs.groups; ++g) {
    llvm::ArrayRef<float> run(keys.data() + g * size, size);
    std::vector<int64_t> order = ranked(run);
    float sum = 0;
    for (size_t i = 0; i < std::min(summed, size); ++i)
      sum += run[order[i]];
    groups.push_back(sum);
  }
  std::vector<int64_t> order = ranked(groups);
  float masked = attrs.maskValue == MaskValue::zero ? 0 : -INFINITY;
  for (int64_t i = attrs.topGroups; i < attrs.groups; ++i)
    std::fill_n(keys.begin() + order[i] * size, size, masked);
}

std::vector<int64_t> TokenRouter::choose() const {
  std::vector<int64_t> order = ranked(keys);
  if (allNan || attrs.select == RouterSelect::all) {
    std::iota(order.begin(), order.end(), 0);
    order.resize(attrs.k);
    return order;
  }
  int64_t count = attrs.k;
  if (attrs.select == RouterSelect::topp) {
    float sum = 0;
    for (count = 0; count < attrs.k && !(sum >= float(attrs.threshold));
         ++count)
      sum += float(scores[order[count]]);
  } else if (attrs.select == RouterSelect::threshold) {
    double experts = attrs.thresholdByExperts ? keys.size() : 1;
    float limit = float(attrs.threshold / experts);
    for (count = 0; count < attrs.k && keys[order[count]] > limit; ++count) {
    }
  }
  order.resize(count);
  return order;
}

/// The softmax of `expert`, the best but for `without`, over the logits close
/// to it.
double TokenRouter::mixerWeight(int64_t expert, int64_t without) const {
  float best = float(logits[expert]), most = float(2 * attrs.threshold);
  double sum = 0;
  for (size_t e = 0; e < logits.size(); ++e) {
    float x = float(logits[e]);
    bool close = x == best || (best - x) / std::max(std::abs(x), best) <= most;
    if (close && int64_t(e) != without)
      sum += std::exp(logits[e] - logits[expert]);
  }
  return std::exp(logits[expert] - logits[expert]) / sum;
}

std::vector<double> TokenRouter::weigh(llvm::ArrayRef<int64_t> chosen) const {
  std::vector<double> weights;
  if (attrs.select == RouterSelect::sparse_mixer) {
    weights = {mixerWeight(chosen[0], -1), mixerWeight(chosen[1], chosen[0])};
  } else if (attrs.renorm == RouterRenorm::softmax_selected) {
    double highest = -INFINITY;
    for (int64_t e : chosen)
      highest = std::max(highest, logits[e]);
    for (int64_t e : chosen)
      weights.push_back(std::exp(logits[e] - highest));
  } else {
    for (int64_t e : chosen)
      weights.push_back(scores[e]);
  }
  double divisor = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (attrs.renorm == RouterRenorm::none)
    divisor = 1;
  if (attrs.renorm == RouterRenorm::sum) {
    divisor += attrs.epsilon;
    if (divisor < attrs.minimum)
      divisor = attrs.minimum;
  }
  bool nan = allNan && attrs.select != RouterSelect::expert_choice;
  for (double &weight : weights)
    weight = nan ? NAN : weight / divisor * attrs.scale;
  return weights;
}

namespace {
struct Pair {
  int64_t expert;
  double weight;
};
using Assignment = std::vector<std::vector<Pair>>; // by token
} // namespace

/// The tokens that each expert takes, as experts by token.
static std::vector<std::vector<int64_t>>
chooseTokens(llvm::ArrayRef<TokenRouter> tokens, const RouteAttrs &attrs,
             int64_t experts) {
  std::vector<std::vector<int64_t>> chosen(tokens.size());
  int64_t share = (int64_t(tokens.size()) * attrs.k + experts - 1) / experts;
  std::vector<float> keys(tokens.size());
  for (int64_t e = 0; e < experts; ++e) {
    for (size_t t = 0; t < tokens.size(); ++t)
      keys[t] = tokens[t].keys[e];
    std::vector<int64_t> order = ranked(keys);
    for (int64_t i = 0; i < std::min<int64_t>(share, order.size()); ++i)
      chosen[order[i]].push_back(e);
  }
  return chosen;
}

/// Removes the pairs that overflow their expert.
static void dropOverflow(Assignment &tokens, const RouteAttrs &attrs,
                         int64_t experts) {
  double most = std::ceil(double(int64_t(tokens.size()) * attrs.k) *
                          attrs.capacity / double(experts));
  for (int64_t e = 0; e < experts; ++e) {
    std::vector<size_t> takers; // of this expert
    std::vector<float> keys;
    for (size_t t = 0; t < tokens.size(); ++t)
      for (const Pair &pair : tokens[t])
        if (pair.expert == e) {
          takers.push_back(t);
          keys.push_back(attrs.drop == DropPolicy::weight ? float(pair.weight)
                                                          : 0);
        }
    std::vector<int64_t> order = ranked(keys);
    for (size_t i = 0; i < order.size(); ++i)
      if (double(i) >= most)
        llvm::erase_if(tokens[takers[order[i]]],
                       [&](const Pair &pair) { return pair.expert == e; });
  }
}

llvm::Error interp::runMoeRoute(OpRunner &r) {
  const auto &attrs = r.op.attrs<RouteAttrs>();
  const HostTensor &logits = r.in(0);
  int64_t tokens = logits.dim(0), experts = logits.dim(1);
  std::vector<TokenRouter> routers;
  for (int64_t t = 0; t < tokens; ++t) {
    routers.emplace_back(attrs, logits.row(t), experts,
                         r.inputs.size() == 2 ? r.in(1).floats.data()
                                              : nullptr);
    routers.back().maskGroups();
  }
  std::vector<std::vector<int64_t>> chosen;
  if (attrs.select == RouterSelect::expert_choice)
    chosen = chooseTokens(routers, attrs, experts);
  else
    for (const TokenRouter &router : routers)
      chosen.push_back(router.choose());

  Assignment assignment(tokens);
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<double> weights = routers[t].weigh(chosen[t]);
    for (size_t i = 0; i < weights.size(); ++i)
      assignment[t].push_back({chosen[t][i], weights[i]});
  }
  if (attrs.capacity != 0)
    dropOverflow(assignment, attrs, experts);

  std::vector<int64_t> offsets{0}, expert;
  std::vector<double> weight;
  for (const std::vector<Pair> &pairs : assignment) {
    for (const Pair &pair : pairs) {
      expert.push_back(pair.expert);
      weight.push_back(pair.weight);
    }
    offsets.push_back(expert.size());
  }
  r.makeInts({tokens + 1}).ints = std::move(offsets);
  r.makeInts({int64_t(expert.size())}).ints = std::move(expert);
  r.makeFloats({int64_t(weight.size())}).floats = std::move(weight);
  return llvm::Error::success();
}
