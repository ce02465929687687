#include "passes/upcycle/RouteOptions.h"

#include <algorithm>
#include <cmath>

using namespace moec;

namespace {
struct Kind {
  RouterScore score;
  RouterSelect select;
  RouterRenorm renorm;
};
} // namespace

static Kind kindOf(const UpcycleOptions &options) {
  using Score = RouterScore;
  using Select = RouterSelect;
  using Renorm = RouterRenorm;
  switch (options.router) {
  case RouterKind::softmax_topk_renorm:
    return {Score::softmax, Select::topk, Renorm::sum};
  case RouterKind::softmax_topk:
    return {Score::softmax, Select::topk, Renorm::none};
  case RouterKind::topk_softmax:
    return {Score::softmax, Select::topk, Renorm::softmax_selected};
  case RouterKind::softmax_all:
    return {Score::softmax, Select::all, Renorm::none};
  case RouterKind::softmax_threshold:
    return {Score::softmax, Select::threshold, Renorm::none};
  case RouterKind::softmax_topp:
    return {Score::softmax, Select::topp, Renorm::none};
  case RouterKind::sigmoid_topk:
    return {Score::sigmoid, Select::topk, Renorm::none};
  case RouterKind::sigmoid_topk_renorm:
    return {Score::sigmoid, Select::topk, Renorm::sum};
  case RouterKind::relu_threshold:
    return {Score::relu, Select::threshold, Renorm::none};
  case RouterKind::expert_choice:
    return {Score::softmax, Select::expert_choice, Renorm::none};
  case RouterKind::sparse_mixer:
    return {Score::identity, Select::sparse_mixer, Renorm::none};
  case RouterKind::custom:
    return {options.routerScore, options.routerSelect, options.routerRenorm};
  }
  llvm_unreachable("every kind of router has attributes");
}

RouteAttrs moec::routeAttrs(const UpcycleOptions &options) {
  Kind kind = kindOf(options);
  RouteAttrs attrs;
  attrs.k = kind.select == RouterSelect::all ? options.experts : options.topk;
  attrs.score = kind.score;
  attrs.select = kind.select;
  attrs.renorm = kind.renorm;
  attrs.logitNorm = options.logitNorm;
  attrs.logitScale = options.logitScale;
  attrs.groups = options.routerGroups;
  attrs.topGroups = options.topGroups;
  attrs.groupScore = options.groupScore;
  attrs.maskValue = options.maskValue;
  attrs.threshold = options.routerThreshold;
  attrs.thresholdByExperts = options.thresholdByExperts;
  attrs.epsilon = options.routerEpsilon;
  attrs.minimum = options.routerMinimum;
  attrs.scale = options.routerScale;
  attrs.capacity = options.capacity;
  attrs.drop = options.capacityDrop;
  return attrs;
}

std::optional<ZeroRouter> moec::zeroRouter(const UpcycleOptions &options) {
  RouteAttrs route = routeAttrs(options);
  double score = route.score == RouterScore::softmax   ? 1.0 / options.experts
                 : route.score == RouterScore::sigmoid ? 0.5
                                                       : 0;
  ZeroRouter zero;
  switch (route.select) {
  case RouterSelect::topk:
  case RouterSelect::all:
    zero.chosen = route.k;
    break;
  case RouterSelect::topp:
    if (score <= 0)
      return std::nullopt;
    // Sums of equal scores reach the threshold a rounding late or early.
    zero.chosen = std::clamp<int64_t>(std::ceil(route.threshold / score - 1e-9),
                                      1, route.k);
    break;
  case RouterSelect::threshold:
    zero.chosen =
        score > (route.thresholdByExperts ? route.threshold / options.experts
                                          : route.threshold)
            ? route.k
            : 0;
    break;
  case RouterSelect::expert_choice: // All experts take the first tokens.
  case RouterSelect::sparse_mixer:
    return std::nullopt;
  }
  if (route.capacity != 0)
    return std::nullopt;
  zero.weight = score;
  if (route.renorm == RouterRenorm::sum)
    zero.weight = score > 0
                      ? score / std::max(zero.chosen * score + route.epsilon,
                                         route.minimum)
                      : 0;
  if (route.renorm == RouterRenorm::softmax_selected && zero.chosen)
    zero.weight = 1.0 / zero.chosen;
  zero.weight *= route.scale;
  if (options.weightAppliedTo == WeightAppliedTo::none)
    zero.weight = 1;
  return zero;
}

bool moec::weightsAddUp(const UpcycleOptions &options) {
  RouteAttrs route = routeAttrs(options);
  bool always = route.select == RouterSelect::topk ||
                route.select == RouterSelect::all ||
                route.select == RouterSelect::topp;
  if (!always || route.capacity != 0)
    return false;
  if (options.weightAppliedTo == WeightAppliedTo::none)
    return route.select != RouterSelect::topp;
  if (route.renorm == RouterRenorm::softmax_selected)
    return true;
  if (route.renorm == RouterRenorm::sum)
    // Scores of softmax are about 1 / experts; an epsilon below f32's rounding
    // of their sum changes nothing.
    return route.score != RouterScore::identity &&
           route.score != RouterScore::relu && route.minimum == 0 &&
           route.epsilon < 1e-9;
  return route.score == RouterScore::softmax &&
         route.select == RouterSelect::all;
}
