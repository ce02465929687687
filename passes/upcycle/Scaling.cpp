//===- Scaling.cpp - what makes up for the router's weights ---------------===//
//
// Spec 2.3. A token takes T experts of weight w each, so that each of G slices
// is computed T/G times: the sum is w T/G of the FFN, and S = G / (w T) makes
// up for it. For w = 1/(E G) that is E G^2 / T, for w = 1/T it is G.
//
// A factor in gate changes the shape of silu and gelu, so that only up and down
// may carry it; an activation of degree p carries s^p.
//
//===----------------------------------------------------------------------===//

#include "passes/upcycle/Scaling.h"

#include "passes/upcycle/RouteOptions.h"

#include <cmath>

using namespace moec;

double ExpertScale::of(llvm::StringRef matrix, bool bias) const {
  if (matrix == "gate")
    return bias ? gateBias : gate;
  if (matrix == "up")
    return bias ? upBias : up;
  return bias ? downBias : down;
}

bool moec::hasShared(const UpcycleOptions &options) {
  return options.sharedExperts > 0 || options.sharedWidth > 0;
}

double moec::sharedFactor(const UpcycleOptions &options) {
  bool madeUp = options.scaling != WeightScaling::none && options.sharedGate &&
                options.sharedInit == SharedInit::split;
  return options.sharedScale * (madeUp ? 2 : 1);
}

double moec::sharedPart(const UpcycleOptions &options) {
  if (!hasShared(options))
    return 0;
  return sharedFactor(options) * (options.sharedGate ? 0.5 : 1);
}

double moec::routedPart(const UpcycleOptions &options, bool sharedIsWhole) {
  double shared = sharedIsWhole && options.sharedInit == SharedInit::copy
                      ? sharedPart(options)
                      : 0;
  return shared > 0 && shared < 1 ? 1 - shared : 1;
}

int64_t moec::slicesOf(const UpcycleOptions &options) {
  return options.init == InitPolicy::split           ? options.experts
         : options.init == InitPolicy::virtual_group ? options.granularity
                                                     : 1;
}

std::optional<double> moec::compensation(const UpcycleOptions &options,
                                         double part) {
  if (options.weightScale != 0)
    return options.weightScale;
  auto zero = zeroRouter(options);
  if (!zero || !(zero->weight * zero->chosen > 0))
    return std::nullopt;
  return part * slicesOf(options) / (zero->weight * zero->chosen);
}

int moec::degreeOf(ActivationFn fn) {
  switch (fn) {
  case ActivationFn::relu:
    return 1;
  case ActivationFn::squared_relu:
    return 2;
  default:
    return 0;
  }
}

/// Square roots and cube roots are what libraries round alike.
static double rootOf(double number, int degree) {
  return degree == 2   ? std::sqrt(number)
         : degree == 3 ? std::cbrt(number)
                       : std::sqrt(std::sqrt(number));
}

std::optional<ExpertScale> moec::expertScale(const UpcycleOptions &options,
                                             const FfnAttrs &ffn, double part) {
  ExpertScale scale;
  if (options.scaling == WeightScaling::none)
    return scale;
  auto total = compensation(options, part);
  if (!total)
    return std::nullopt;
  if (options.scaling == WeightScaling::megatron) {
    // Its biases of the second layer stay as they are.
    bool cube = ffn.gated || ffn.fn == ActivationFn::squared_relu;
    double root = rootOf(*total, cube ? 3 : 2);
    scale.gate = scale.up = scale.down = root;
    scale.gateBias = scale.upBias = root;
    return scale;
  }
  int degree = degreeOf(ffn.fn);
  if (options.scaling == WeightScaling::down || (!ffn.gated && !degree)) {
    scale.down = *total;
  } else if (degree) {
    double root = rootOf(*total, degree + (ffn.gated ? 2 : 1));
    scale.gate = scale.up = scale.down = root;
    scale.gateBias = scale.upBias = root;
  } else {
    scale.up = scale.down = std::sqrt(*total);
    scale.upBias = scale.up;
  }
  // Each of the chosen experts adds the bias, whatever slice it holds.
  scale.downBias = *total / slicesOf(options);
  if (options.weightAppliedTo == WeightAppliedTo::hidden)
    if (auto zero = zeroRouter(options))
      scale.downBias = part / zero->chosen;
  return scale;
}
