//===- Routers.cpp - routers as other programs know them ------------------===//

#include "frontend/exporter/Targets.h"

using namespace moec;

/// What the sigmoid routers of other programs do before k experts are chosen,
/// in groups or not.
static bool fitsSigmoid(const RouteAttrs &route, int64_t experts) {
  // They take the best two of a group, which must be there.
  bool groups =
      route.groups == 1 || (route.groupScore == GroupScore::sum_top2 &&
                            route.maskValue == MaskValue::neg_inf);
  return groups && experts / route.groups >= 2;
}

RouterView moec::viewRouter(const MoeConfig &moe) {
  const RouteAttrs &route = moe.route;
  RouterView view;
  auto lacks = [&](std::string reason, std::string change) {
    view.misfits.push_back({std::move(reason), std::move(change)});
  };
  view.logitScale = route.logitScale;
  view.outputScale = route.scale;
  if (moe.routerBias)
    lacks("its router's logits have a bias", "leaves the bias out");
  if (route.logitNorm == LogitNorm::zscore)
    lacks("its router normalises each token's logits (z-score)",
          "takes the logits as they are");
  if (route.capacity != 0)
    lacks("its experts have a capacity, beyond which they drop tokens",
          "drops no tokens");
  switch (route.select) {
  case RouterSelect::topk:
  case RouterSelect::all:
    break;
  case RouterSelect::topp:
    lacks("its router takes as many experts as reach a probability of " +
              formatDouble(route.threshold),
          "always takes " + std::to_string(route.k) + " experts");
    break;
  case RouterSelect::threshold:
    lacks("its router takes the experts above a threshold",
          "always takes " + std::to_string(route.k) + " experts");
    break;
  case RouterSelect::expert_choice:
    lacks("its experts choose tokens, which looks at later tokens",
          "lets each token take " + std::to_string(route.k) + " experts");
    break;
  case RouterSelect::sparse_mixer:
    lacks("its router is SparseMixer's",
          "takes the best two, with softmax weights");
    break;
  }
  bool isSum = route.renorm != RouterRenorm::none;
  if (route.renorm == RouterRenorm::sum &&
      (route.epsilon > 1e-20 || route.minimum != 0) && route.k > 0)
    lacks("its router holds the sum of the chosen scores away from zero by " +
              formatDouble(std::max(route.epsilon, route.minimum)),
          "divides by the sum alone");
  bool isSoftmax = route.score == RouterScore::softmax;
  switch (route.score) {
  case RouterScore::identity:
    // The softmax of the chosen logits is what softmax over all gives when it
    // is divided by the chosen ones' sum.
    if (route.renorm == RouterRenorm::softmax_selected)
      isSoftmax = true;
    else
      lacks("its router takes the logits themselves as weights",
            "takes their softmax");
    break;
  case RouterScore::relu:
    lacks("its router's weights are max(logit, 0)",
          "takes the softmax of the logits");
    break;
  case RouterScore::sigmoid:
    if (route.renorm == RouterRenorm::softmax_selected) {
      lacks("its router takes the softmax of logits that sigmoids chose", "");
      break;
    }
    view.outputScale = 1; // These routers have a factor of their own.
    if (fitsSigmoid(route, moe.experts))
      view.forms |= kSigmoid;
    else
      lacks("its groups of experts are chosen by another rule than the sum of "
            "their best two",
            "");
    return view;
  case RouterScore::softmax:
    break;
  }
  if (moe.selectBias)
    lacks("its router adds a bias to softmax scores for selection",
          "leaves the bias out");
  if (isSoftmax && route.groups > 1 && route.topGroups != route.groups)
    lacks("its router limits softmax scores to groups of experts",
          "chooses among all experts");
  bool isAll = route.k == moe.experts;
  if (isSum || isAll || !isSoftmax)
    view.forms |= kSoftmaxSum;
  if (isAll || (!isSum && isSoftmax))
    view.forms |= kSoftmaxRaw;
  return view;
}

RouteAttrs moec::routeOf(unsigned form, const MoeConfig &moe) {
  RouteAttrs route;
  route.k = moe.route.k;
  switch (form) {
  case kSoftmaxSum:
    route.renorm = RouterRenorm::sum;
    break;
  case kSoftmaxRaw:
    break;
  case kSigmoid:
    route.score = RouterScore::sigmoid;
    route.groups = moe.route.groups;
    route.topGroups = moe.route.topGroups;
    route.groupScore =
        moe.route.groups == 1 ? GroupScore::max : GroupScore::sum_top2;
    route.renorm = moe.route.renorm;
    route.epsilon = route.renorm == RouterRenorm::sum ? 1e-20 : 0;
    route.scale = moe.route.scale;
    break;
  }
  return route;
}
