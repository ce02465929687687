#include "ir/ops/MoeOps.h"

#include "ir/core/Module.h"
#include "ir/ops/Verify.h"

#include <cmath>

using namespace moec;
using namespace moec::verify;

/// Weights and biases of one FFN, or of a bank with `experts` in front.
static llvm::Error checkFfnWeights(const Operation &op, unsigned first,
                                   Dim hidden, bool bank) {
  const auto &attrs = op.attrs<FfnAttrs>();
  unsigned weights = attrs.numWeights();
  unsigned expected =
      first + weights * (attrs.biased ? 2 : 1) + attrs.weightedHidden;
  if (op.numOperands() != expected) // C2
    return opError(op) << "expects " << expected << " operands, got "
                       << op.numOperands();
  Value up = op.operand(first + weights - 2);
  MOEC_TRY(hasRank(op, up, "up", bank ? 3 : 2));
  Dim width = up.type().dim(-2);
  llvm::SmallVector<Dim> prefix;
  if (bank)
    prefix.push_back(up.type().dim(0));
  auto with = [&](std::initializer_list<Dim> tail) {
    llvm::SmallVector<Dim> shape(prefix);
    shape.append(tail);
    return shape;
  };
  for (unsigned i = 0; i < weights; ++i) { // C1, C3
    bool isDown = i + 1 == weights;
    llvm::StringRef name = isDown ? "down" : i + 2 == weights ? "up" : "gate";
    MOEC_TRY(isFloatTensor(op, op.operand(first + i), name));
    MOEC_TRY(hasShape(op, op.operand(first + i), name,
                      isDown ? with({hidden, width}) : with({width, hidden})));
    if (attrs.biased)
      MOEC_TRY(hasShape(op, op.operand(first + weights + i), "a bias",
                        with({isDown ? hidden : width})));
  }
  return llvm::Error::success();
}

llvm::Error verify::checkFfn(const Operation &op) {
  Value x = op.operand(0);
  MOEC_TRY(isFloatTensor(op, x, "x")); // C1
  MOEC_TRY(hasRank(op, x, "x", 2));
  MOEC_TRY(checkFfnWeights(op, 1, x.type().dim(1), /*bank=*/false));
  if (op.attrs<FfnAttrs>().weightedHidden) // C5
    return opError(op) << "has no pairs whose weight its hidden block could "
                          "be multiplied by";
  return hasShape(op, op.result(), "a result", x.type().shape()); // C4
}

static Dim plusOne(Dim dim) {
  return dim.isConstant() ? Dim(dim.constant() + 1)
                          : Dim(dim.symbol(), dim.addend() + 1);
}

/// Operands (token_offsets, expert) from `first` on.
static llvm::Error checkAssignment(const Operation &op, unsigned first,
                                   std::optional<Dim> tokens, Dim pairs) {
  Value offsets = op.operand(first), expert = op.operand(first + 1);
  MOEC_TRY(hasRank(op, offsets, "token_offsets", 1));
  MOEC_TRY(isIndex(op, offsets, "token_offsets",
                   tokens ? llvm::ArrayRef<Dim>{plusOne(*tokens)}
                          : offsets.type().shape()));
  return isIndex(op, expert, "expert", {pairs});
}

static llvm::Error checkPairWeight(const Operation &op, Value weight,
                                   Dim pairs) {
  if (weight.type() != TensorType({pairs}, ElementType::f32))
    return opError(op) << "expects weight f32 [" << pairs << "], got "
                       << weight.type();
  return llvm::Error::success();
}

llvm::Error verify::checkMoeExperts(const Operation &op) {
  Value x = op.operand(0);
  MOEC_TRY(isFloatTensor(op, x, "x")); // C1
  MOEC_TRY(hasRank(op, x, "x", 2));
  MOEC_TRY(hasRank(op, op.result(), "a result", 2));
  Dim pairs = op.result().type().dim(0);
  MOEC_TRY(checkAssignment(op, 1, x.type().dim(0), pairs)); // C5
  MOEC_TRY(checkFfnWeights(op, 3, x.type().dim(1), /*bank=*/true));
  if (op.attrs<FfnAttrs>().weightedHidden)
    MOEC_TRY(checkPairWeight(op, op.operand(op.numOperands() - 1), pairs));
  return hasShape(op, op.result(), "a result", {pairs, x.type().dim(1)});
}

Polynomial moec::routePairsBound(const RouteAttrs &attrs, int64_t experts,
                                 const Polynomial &tokens) {
  Polynomial bound = Polynomial(attrs.k) * tokens;
  // Each expert rounds its share up.
  if (attrs.select == RouterSelect::expert_choice)
    bound += Polynomial(experts);
  return bound;
}

/// C5: the best groups have room for k.
static llvm::Error checkGroups(const Operation &op, const RouteAttrs &attrs,
                               int64_t experts) {
  if (attrs.groups < 1 || attrs.groups > experts || experts % attrs.groups)
    return opError(op) << "has " << attrs.groups
                       << " groups, which do not divide " << experts
                       << " experts";
  if (attrs.topGroups < 1 || attrs.topGroups > attrs.groups)
    return opError(op) << "keeps top_groups = " << attrs.topGroups
                       << " groups, outside [1, " << attrs.groups << "]";
  if (attrs.groups == 1)
    return llvm::Error::success();
  if (attrs.select != RouterSelect::topk &&
      attrs.select != RouterSelect::topp &&
      attrs.select != RouterSelect::threshold)
    return opError(op) << "has groups, expects select = topk, topp or "
                          "threshold";
  int64_t room = attrs.topGroups * (experts / attrs.groups);
  if (attrs.k > room)
    return opError(op) << "chooses " << attrs.k << " experts, but the best "
                       << attrs.topGroups << " groups hold " << room;
  if (attrs.groupScore == GroupScore::sum_top && attrs.k % attrs.topGroups)
    return opError(op) << "chooses " << attrs.k
                       << " experts, which top_groups = " << attrs.topGroups
                       << " does not divide";
  return llvm::Error::success();
}

/// C6 to C9: numbers that fit the way of selecting.
static llvm::Error checkRouteNumbers(const Operation &op,
                                     const RouteAttrs &attrs) {
  llvm::StringRef select = enumNames(attrs.select)[unsigned(attrs.select)];
  double threshold = attrs.threshold;
  auto badThreshold = [&](llvm::StringRef expected) {
    return llvm::Error(opError(op) << "has threshold " << threshold
                                   << " with select = " << select
                                   << ", expects " << expected);
  };
  switch (attrs.select) { // C6
  case RouterSelect::topp:
    if (!(threshold > 0 && threshold <= 1))
      return badThreshold("above 0 and at most 1");
    break;
  case RouterSelect::sparse_mixer:
    if (!(threshold >= 0 && std::isfinite(threshold)))
      return badThreshold("0 or more");
    break;
  case RouterSelect::threshold:
    if (!std::isfinite(threshold))
      return badThreshold("a finite number");
    break;
  default:
    if (threshold != 0)
      return badThreshold("0");
  }
  if (attrs.thresholdByExperts && attrs.select != RouterSelect::threshold)
    return opError(op) << "has threshold_by_experts with select = " << select
                       << ", expects select = threshold";
  auto number = [&](llvm::StringRef name, double value,
                    bool mayBeNegative) -> llvm::Error {
    if (std::isfinite(value) && (mayBeNegative || value >= 0))
      return llvm::Error::success();
    return opError(op) << "has " << name << " " << value << ", expects "
                       << (mayBeNegative ? "a finite number"
                                         : "a finite number of 0 or more");
  };
  MOEC_TRY(number("epsilon", attrs.epsilon, false)); // C7
  MOEC_TRY(number("minimum", attrs.minimum, false));
  MOEC_TRY(number("capacity", attrs.capacity, false));
  MOEC_TRY(number("scale", attrs.scale, true));
  MOEC_TRY(number("logit_scale", attrs.logitScale, true));
  if (attrs.capacity != 0 && attrs.select == RouterSelect::expert_choice) // C8
    return opError(op) << "has a capacity with select = expert_choice, where "
                          "every expert takes the same number of tokens";
  if (attrs.select == RouterSelect::sparse_mixer && // C9
      (attrs.score != RouterScore::identity ||
       attrs.renorm != RouterRenorm::none))
    return opError(op) << "makes its own weights with select = sparse_mixer, "
                          "expects score = identity and renorm = none";
  return llvm::Error::success();
}

llvm::Error verify::checkMoeRoute(const Operation &op) {
  Value logits = op.operand(0);
  const auto &attrs = op.attrs<RouteAttrs>();
  MOEC_TRY(hasRank(op, logits, "logits", 2)); // C1
  if (logits.type().element() != ElementType::f32 ||
      !logits.type().dim(1).isConstant())
    return opError(op) << "expects logits f32 [tokens, experts], got "
                       << logits.type();
  int64_t experts = logits.type().dim(1).constant();
  if (attrs.k < 1 || attrs.k > experts) // C2
    return opError(op) << "k is " << attrs.k << ", outside [1, " << experts
                       << "]";
  if (attrs.select == RouterSelect::all && attrs.k != experts)
    return opError(op) << "takes all " << experts << " experts, but k is "
                       << attrs.k;
  if (attrs.select == RouterSelect::sparse_mixer && attrs.k != 2)
    return opError(op) << "takes two experts with select = sparse_mixer, but "
                          "k is "
                       << attrs.k;
  if (op.numOperands() == 2) { // C3
    MOEC_TRY(hasShape(op, op.operand(1), "a select_bias", {experts}));
    if (attrs.select == RouterSelect::sparse_mixer)
      return opError(op) << "has a select_bias, which select = sparse_mixer "
                            "has no use for";
  }
  Dim tokens = logits.type().dim(0);
  MOEC_TRY(isIndex(op, op.result(0), "token_offsets", {plusOne(tokens)})); // C4
  MOEC_TRY(hasRank(op, op.result(1), "expert", 1));
  Dim pairs = op.result(1).type().dim(0);
  Polynomial bound = routePairsBound(attrs, experts, tokens.polynomial());
  if (pairs.polynomial().hostBound() != bound)
    return opError(op) << "expects pairs bounded by " << bound << ", got "
                       << pairs << " bounded by "
                       << pairs.polynomial().hostBound();
  MOEC_TRY(isIndex(op, op.result(1), "expert", {pairs}));
  MOEC_TRY(checkPairWeight(op, op.result(2), pairs));
  MOEC_TRY(checkGroups(op, attrs, experts)); // C5
  return checkRouteNumbers(op, attrs);       // C6, C7, C8, C9
}

llvm::Error verify::checkMoeCount(const Operation &op) {
  Value counter = op.operand(0), expert = op.operand(1);
  if (!counter.state() || counter.state()->kind != StateKind::counter) // C1
    return opError(op) << "expects a version of a counter state, got "
                       << counter.type();
  const TensorType &type = counter.type();
  MOEC_TRY(hasRank(op, counter, "a counter", 1));
  if (type.element() != ElementType::i64 || !type.isStatic())
    return opError(op) << "expects counter i64 [experts], got " << type;
  MOEC_TRY(hasRank(op, expert, "expert", 1)); // C2
  MOEC_TRY(isIndex(op, expert, "expert", expert.type().shape()));
  if (op.result().type() != type || // C3
      op.result().state() != counter.state())
    return opError(op) << "makes the next version of its counter, got "
                       << op.result().type();
  return llvm::Error::success();
}

llvm::Error verify::checkMoeDispatch(const Operation &op) {
  Value expert = op.operand(0);
  int64_t experts = op.attrs<MoeDispatchAttrs>().experts;
  if (experts < 1 || experts > (1 << 20))
    return opError(op) << "has " << experts << " experts, expects 1 to "
                       << (1 << 20);
  MOEC_TRY(hasRank(op, expert, "expert", 1)); // C1
  MOEC_TRY(isIndex(op, expert, "expert", expert.type().shape()));
  MOEC_TRY(isIndex(op, op.result(0), "expert_offsets", {experts + 1})); // C2
  return isIndex(op, op.result(1), "order", expert.type().shape());
}

llvm::Error verify::checkMoeGroupedLinear(const Operation &op) {
  Value x = op.operand(0), weight = op.operand(3);
  MOEC_TRY(isFloatTensor(op, x, "x")); // C1
  MOEC_TRY(isFloatTensor(op, weight, "the weight"));
  MOEC_TRY(hasRank(op, x, "x", 2));
  MOEC_TRY(hasRank(op, weight, "a weight", 3));
  MOEC_TRY(hasRank(op, op.result(), "a result", 2));
  Dim pairs = op.result().type().dim(0);
  bool gather = op.attrs<GroupedLinearAttrs>().gather;
  MOEC_TRY(checkAssignment(
      op, 1, gather ? std::optional<Dim>(x.type().dim(0)) : std::nullopt,
      pairs));
  if (!gather && x.type().dim(0) != pairs)
    return opError(op) << "expects x with a row per pair, got " << x.type();
  if (x.type().dim(1) != weight.type().dim(2))
    return opError(op) << "multiplies " << x.type() << " by the transpose of "
                       << weight.type() << ": columns differ";
  if (op.numOperands() == 5) // C2
    MOEC_TRY(hasShape(op, op.operand(4), "a bias",
                      {weight.type().dim(0), weight.type().dim(1)}));
  return hasShape(op, op.result(), "a result", {pairs, weight.type().dim(1)});
}

llvm::Error verify::checkMoeWeigh(const Operation &op) {
  Value x = op.operand(0);
  MOEC_TRY(isFloatTensor(op, x, "x")); // C1
  MOEC_TRY(hasRank(op, x, "x", 2));
  MOEC_TRY(checkPairWeight(op, op.operand(1), x.type().dim(0)));
  MOEC_TRY(isFloatTensor(op, op.result(), "the result"));
  return hasShape(op, op.result(), "a result", x.type().shape()); // C2
}

llvm::Error verify::checkMoeCombine(const Operation &op) {
  Value x = op.operand(0), offsets = op.operand(1);
  MOEC_TRY(isFloatTensor(op, x, "x")); // C1
  MOEC_TRY(hasRank(op, x, "x", 2));
  MOEC_TRY(hasRank(op, op.result(), "a result", 2));
  Dim tokens = op.result().type().dim(0);
  MOEC_TRY(isIndex(op, offsets, "token_offsets", {plusOne(tokens)}));
  if (op.numOperands() == 3)
    MOEC_TRY(checkPairWeight(op, op.operand(2), x.type().dim(0)));
  return hasShape(op, op.result(), "a result", {tokens, x.type().dim(1)}); // C2
}

llvm::Error verify::checkMoeGateHeads(const Operation &op) {
  const auto &attrs = op.attrs<GateHeadsAttrs>();
  Value x = op.operand(0);
  MOEC_TRY(isFloatTensor(op, x, "x")); // C1
  MOEC_TRY(hasRank(op, x, "x", 2));
  Dim columns = x.type().dim(1);
  if (attrs.heads < 1 || !columns.isConstant() ||
      columns.constant() % attrs.heads)
    return opError(op) << "has " << attrs.heads
                       << " heads, which do not divide the columns of "
                       << x.type();
  MOEC_TRY(hasRank(op, op.operand(2), "expert", 1)); // C2
  Dim pairs = op.operand(2).type().dim(0);
  MOEC_TRY(checkAssignment(op, 1, x.type().dim(0), pairs));
  MOEC_TRY(checkPairWeight(op, op.operand(3), pairs));
  if (attrs.experts < 1 || attrs.heads % attrs.experts) // C3
    return opError(op) << "has " << attrs.experts
                       << " experts, which do not divide " << attrs.heads
                       << " heads";
  MOEC_TRY(isFloatTensor(op, op.result(), "the result"));
  return hasShape(op, op.result(), "a result", x.type().shape()); // C4
}
