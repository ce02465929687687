#include "ir/ops/MoeOps.h"

#include "ir/core/Module.h"
#include "ir/ops/Verify.h"

using namespace moec;
using namespace moec::verify;

/// Weights and biases of one FFN, or of a bank with `experts` in front.
static llvm::Error checkFfnWeights(const Operation &op, unsigned first,
                                   Dim hidden, bool bank) {
  const auto &attrs = op.attrs<FfnAttrs>();
  unsigned weights = attrs.numWeights();
  unsigned expected = first + weights * (attrs.biased ? 2 : 1);
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

llvm::Error verify::checkMoeExperts(const Operation &op) {
  Value x = op.operand(0);
  MOEC_TRY(isFloatTensor(op, x, "x")); // C1
  MOEC_TRY(hasRank(op, x, "x", 2));
  MOEC_TRY(hasRank(op, op.result(), "a result", 2));
  Dim pairs = op.result().type().dim(0);
  MOEC_TRY(checkAssignment(op, 1, x.type().dim(0), pairs)); // C5
  MOEC_TRY(checkFfnWeights(op, 3, x.type().dim(1), /*bank=*/true));
  return hasShape(op, op.result(), "a result", {pairs, x.type().dim(1)});
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
  if (op.numOperands() == 2) // C3
    MOEC_TRY(hasShape(op, op.operand(1), "a select_bias", {experts}));
  Dim tokens = logits.type().dim(0);
  MOEC_TRY(isIndex(op, op.result(0), "token_offsets", {plusOne(tokens)})); // C4
  MOEC_TRY(hasRank(op, op.result(1), "expert", 1));
  Dim pairs = op.result(1).type().dim(0);
  if (pairs.polynomial().hostBound() !=
      Polynomial(attrs.k) * tokens.polynomial())
    return opError(op) << "expects pairs bounded by " << attrs.k << "*"
                       << tokens << ", got " << pairs << " bounded by "
                       << pairs.polynomial().hostBound();
  MOEC_TRY(isIndex(op, op.result(1), "expert", {pairs}));
  if (op.result(2).type() != TensorType({pairs}, ElementType::f32))
    return opError(op) << "expects weight f32 [" << pairs << "], got "
                       << op.result(2).type();
  return llvm::Error::success();
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

llvm::Error verify::checkMoeCombine(const Operation &op) {
  Value x = op.operand(0), offsets = op.operand(1), weight = op.operand(2);
  MOEC_TRY(isFloatTensor(op, x, "x")); // C1
  MOEC_TRY(hasRank(op, x, "x", 2));
  MOEC_TRY(hasRank(op, op.result(), "a result", 2));
  Dim tokens = op.result().type().dim(0);
  MOEC_TRY(isIndex(op, offsets, "token_offsets", {plusOne(tokens)}));
  if (weight.type() != TensorType({x.type().dim(0)}, ElementType::f32))
    return opError(op) << "expects weight f32 [" << x.type().dim(0) << "], got "
                       << weight.type();
  return hasShape(op, op.result(), "a result", {tokens, x.type().dim(1)}); // C2
}
