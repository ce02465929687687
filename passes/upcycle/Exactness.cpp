#include "passes/upcycle/Exactness.h"

#include "ir/interp/OpRunner.h"
#include "passes/upcycle/RouteOptions.h"
#include "passes/upcycle/Scaling.h"
#include "passes/upcycle/Upcycle.h"

#include <cmath>
#include <limits>
#include <tuple>

using namespace moec;

/// Relative error of a block in f32: sums of a few thousand products, each in
/// an order of its own, agree to about 2^-23 times the root of their number.
static constexpr double kRounding = 1e-6;
static constexpr double kNothing = std::numeric_limits<double>::infinity();

static Exactness none(std::string reason) {
  return {ExactnessClass::none, kNothing, kNothing, std::move(reason)};
}

double moec::megatronError(ActivationFn fn, double total, bool gated) {
  // The factors outside of the activation multiply to total / inner.
  double root = gated || fn == ActivationFn::squared_relu ? std::cbrt(total)
                                                          : std::sqrt(total);
  double outer = gated ? root * root / total : root / total;
  double worst = 0;
  for (double deviation = 1.0 / 16; deviation <= 16; deviation *= 1.25) {
    double error = 0, norm = 0;
    for (int i = -800; i <= 800; ++i) {
      double z = i * 0.01;
      double density = std::exp(-0.5 * z * z);
      double exact = interp::apply(unsigned(fn), z * deviation);
      double got = interp::apply(unsigned(fn), z * deviation * root) * outer;
      error += density * (got - exact) * (got - exact);
      norm += density * exact * exact;
    }
    worst = std::max(worst, std::sqrt(error / norm));
  }
  return worst;
}

static bool isPowerOfTwo(double factor) {
  int exponent;
  return std::frexp(factor, &exponent) == 0.5;
}

/// What rounding the scaled matrices costs.
static double scaleRounding(const ExpertScale &scale, ElementType weights) {
  double unit = 0;
  switch (weights) {
  case ElementType::f32:
  case ElementType::f64:
    return 0;
  case ElementType::bf16:
    unit = 0x1p-9;
    break;
  case ElementType::f16:
    unit = 0x1p-12;
    break;
  default: // Blocks of 8 bits and fewer.
    unit = 0x1p-7;
    break;
  }
  int matrices = 0;
  for (double factor : {scale.gate, scale.up, scale.down})
    matrices += !isPowerOfTwo(factor);
  return 2 * matrices * unit;
}

/// Whether the experts hold weights that the dense model does not have; why.
static std::string otherWeights(const UpcycleOptions &options) {
  bool drop =
      options.init == InitPolicy::drop || options.then == ThenPolicy::drop;
  bool noise =
      options.init == InitPolicy::noise || options.then == ThenPolicy::noise;
  if (drop && options.dropRatio > 0)
    return "a share of the neurons is redrawn";
  if (noise && options.noiseRatio > 0 &&
      (options.noiseStd > 0 || options.noiseReplace))
    return "a share of the neurons has noise";
  switch (options.init) {
  case InitPolicy::qwen2:
    return "experts are cut from shuffled copies";
  case InitPolicy::btx:
    return "experts and means are of several models";
  case InitPolicy::scratch:
    return "experts are drawn";
  default:
    return "";
  }
}

/// Whether tokens take whole copies of the FFN whatever the router's weights
/// are; otherwise why not.
static std::string lostSlices(const UpcycleOptions &options, int64_t slices) {
  RouteAttrs route = routeAttrs(options);
  if (slices == 1)
    return "";
  if (options.init == InitPolicy::split)
    return route.k == options.experts && (route.select == RouterSelect::topk ||
                                          route.select == RouterSelect::all)
               ? ""
               : "a token takes only some of the slices of the FFN";
  if (route.select == RouterSelect::topp)
    return "top-p may take only some of the slices of a copy";
  if (route.k % slices)
    return "top_k is no multiple of granularity, so that a token takes only "
           "some of the slices of a copy";
  if (route.groups > 1 && options.experts / route.groups % slices)
    return "groups of experts cut through the copies of the FFN";
  return "";
}

/// The largest sum of a token's weights, where they are softmax scores as they
/// are; at least it is what equal scores give. Nothing for other routers.
static std::optional<double> largestSum(const UpcycleOptions &options) {
  RouteAttrs route = routeAttrs(options);
  bool plain = route.score == RouterScore::softmax &&
               route.select == RouterSelect::topk && route.groups == 1 &&
               route.renorm == RouterRenorm::none && route.capacity == 0;
  if (!plain || options.init == InitPolicy::split ||
      options.weightAppliedTo == WeightAppliedTo::none)
    return std::nullopt;
  return route.scale;
}

Exactness moec::promisedExactness(const UpcycleOptions &options,
                                  const FfnAttrs &ffn, ElementType weights,
                                  int64_t width) {
  if (options.init == InitPolicy::low_rank) {
    if (options.adapterInit != AdapterInit::zero && options.adapterScale != 0)
      return none("adapters start with drawn weights");
    return {ExactnessClass::exact, kRounding, 0,
            "the dense FFN stays, and what the adapters add is zero"};
  }
  if (std::string reason = otherWeights(options); !reason.empty())
    return none(reason);
  int64_t slices = slicesOf(options);
  if (std::string reason = lostSlices(options, slices); !reason.empty())
    return none(reason);

  // The shared FFN: a copy of the dense one, or some of its neurons.
  bool shared = options.sharedExperts > 0 || options.sharedWidth > 0;
  bool whole = shared && options.sharedInit == SharedInit::copy &&
               (options.sharedWidth ? options.sharedWidth == width
                                    : options.sharedExperts == slices);
  if (shared && options.sharedInit == SharedInit::scratch)
    return none("the shared FFN is drawn");
  if (shared && options.sharedInit == SharedInit::copy && !whole)
    return none("the shared FFN adds a part of the dense one");
  if (shared && options.sharedInit == SharedInit::split &&
      sharedPart(options) != 1)
    return none("the shared slice is not added as it is");

  auto zero = zeroRouter(options);
  if (!zero)
    return none("the weights of the chosen experts differ between tokens");
  double part = routedPart(options, whole);
  auto scale = expertScale(options, ffn, part);
  if (!scale || zero->weight * zero->chosen <= 0)
    return none("a router of zeros gives weights of zero");
  int degree = degreeOf(ffn.fn);
  double sum = zero->weight * zero->chosen;
  double factor = scale->down;
  if (scale->gate == 1 || !ffn.gated) {
    factor *= ffn.gated                  ? scale->up
              : degree || scale->up == 1 ? std::pow(scale->up, degree)
                                         : kNothing;
  } else {
    factor *= degree ? scale->up * std::pow(scale->gate, degree) : kNothing;
  }
  if (factor == kNothing)
    return {ExactnessClass::approximate, kNothing,
            megatronError(ffn.fn, *compensation(options, part), ffn.gated),
            "the activation is not homogeneous, so that a factor before it is "
            "not one behind it"};
  double shares = whole ? sharedPart(options) : 0;
  double output = sum / slices * factor + shares;
  double bias =
      (options.weightAppliedTo == WeightAppliedTo::hidden ? double(zero->chosen)
                                                          : sum) *
          scale->downBias +
      shares;
  bool anyRouter = weightsAddUp(options) &&
                   (options.init != InitPolicy::split ||
                    options.weightAppliedTo == WeightAppliedTo::none);
  bool equal = anyRouter || options.routerInit == RouterInit::zero;
  // The error while scores are equal, and while one is all.
  double error = std::abs(output - 1), largest = kNothing;
  if (auto most = largestSum(options); most && !ffn.biased)
    largest =
        std::max(error, std::abs(*most / slices * factor + shares - 1)) * 1.001;
  if (error > 1e-9) {
    return {ExactnessClass::approximate,
            equal && !ffn.biased ? error * 1.001 : largest, error,
            "the sum of the experts is " + formatDouble(output) +
                " of the dense output; scaling=exact makes up for it"};
  }
  if (ffn.biased && std::abs(bias - 1) > 1e-9)
    return {ExactnessClass::approximate, kNothing, kNothing,
            "the biases of down add up to " + formatDouble(bias) +
                " of the dense one"};
  double bound = kRounding + scaleRounding(*scale, weights);
  if (anyRouter)
    return {ExactnessClass::exact, bound, 0,
            "the weights of the chosen experts add up to the same, and copies "
            "are chosen whole"};
  if (!equal)
    return {ExactnessClass::approximate, largest, kNothing,
            "the experts' weights follow the router's logits; router_init=zero "
            "makes them equal"};
  bool all = options.init == InitPolicy::split;
  return {all ? ExactnessClass::exact_all_experts
              : ExactnessClass::exact_zero_router,
          bound, 0, "all weights are equal while the router is zero"};
}

Exactness moec::promisedMixture(const UpcycleOptions &options,
                                const Operation &attention,
                                ElementType weights) {
  int64_t experts = headExperts(attention, options);
  if (options.attentionTopk && options.attentionTopk < experts)
    return none("a token takes only some of the attention's heads");
  // Calibrated rows are the FFN's alone.
  if (options.routerInit != RouterInit::zero &&
      options.routerInit != RouterInit::calibrated)
    return {ExactnessClass::approximate, kNothing, kNothing,
            "the weights of the attention's heads follow the router's logits; "
            "router_init=zero makes them equal"};
  if (options.scaling == WeightScaling::none)
    return {ExactnessClass::approximate, kNothing, 1 - 1.0 / experts,
            "the attention's heads are weighed by " +
                formatDouble(1.0 / experts) +
                "; scaling=exact makes up for it"};
  ExpertScale scale;
  scale.down = double(experts);
  return {ExactnessClass::exact_all_experts,
          kRounding + scaleRounding(scale, weights), 0,
          "all weights are equal while the router is zero"};
}

const Exactness &moec::weaker(const Exactness &a, const Exactness &b) {
  return std::tie(b.kind, b.bound, b.predicted) >
                 std::tie(a.kind, a.bound, a.predicted)
             ? b
             : a;
}
