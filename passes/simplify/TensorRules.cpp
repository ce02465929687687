#include "passes/simplify/TensorRules.h"

#include "ir/core/Module.h"
#include "ir/ops/TensorOps.h"
#include "passes/rewrite/Match.h"

using namespace moec;

/// Replaces `op` by its first operand, if that has the same type.
static bool forward(Operation &op, Rewriter &rewriter) {
  Value x = op.operand(0);
  if (x.type() != op.result().type() || x.state() != op.result().state())
    return false;
  rewriter.replace(op, x);
  return true;
}

/// A weight that is one number everywhere.
static bool isFilledWith(Value value, double expected) {
  const Expr *expr = value.weight() ? value.weight()->expr.get() : nullptr;
  while (expr && expr->kind == ExprKind::Ref)
    expr = expr->weight->expr.get();
  return expr && expr->kind == ExprKind::Fill &&
         llvm::bit_cast<uint64_t>(expr->attrs<FillAttrs>().value) ==
             llvm::bit_cast<uint64_t>(expected);
}

/// Every value of `narrow` is one of `wide`.
static bool holdsAll(ElementType wide, ElementType narrow) {
  if (wide == narrow || wide == ElementType::f64)
    return true;
  return wide == ElementType::f32 && narrow != ElementType::f64;
}

static bool dropReluOfRelu(Operation &op, Rewriter &rewriter) {
  Operation *inner = op.operand(0).definingOp();
  if (op.attrs<ActivationAttrs>().fn != ActivationFn::relu || !inner ||
      !inner->is(OpKind::Activation) ||
      inner->attrs<ActivationAttrs>().fn != ActivationFn::relu)
    return false;
  return forward(op, rewriter);
}

// x + (-0) is x for every x; (-0) + (+0) is +0, so that zeros stay.
static bool dropAddOfNegativeZeros(Operation &op, Rewriter &rewriter) {
  return isFilledWith(op.operand(1), -0.0) && forward(op, rewriter);
}

static bool dropCastToSame(Operation &op, Rewriter &rewriter) {
  return forward(op, rewriter);
}

/// A version of a state must be read where it is read: later it may have been
/// written over.
static bool mayReadLater(Value value) { return !value.state(); }

/// cast(cast(x)) is one cast where the inner one is exact.
static bool joinCasts(Operation &op, Rewriter &rewriter) {
  Value x;
  if (!match(op.operand(0), m_Op<OpKind::Cast>(m_Bind(x))) ||
      !holdsAll(op.operand(0).type().element(), x.type().element()) ||
      !isFloat(x.type().element()) || !mayReadLater(x))
    return false;
  if (x.type() == op.result().type()) {
    rewriter.replace(op, x);
    return true;
  }
  Value joined =
      rewriter.before(op).make(OpKind::Cast, {x}, op.result().type());
  rewriter.replace(op, joined);
  return true;
}

static bool dropMulByOnes(Operation &op, Rewriter &rewriter) {
  return isFilledWith(op.operand(1), 1.0) && forward(op, rewriter);
}

static bool dropScaleByOne(Operation &op, Rewriter &rewriter) {
  return op.attrs<ScaleAttrs>().factor == 1 && forward(op, rewriter);
}

static bool dropSliceOfWhole(Operation &op, Rewriter &rewriter) {
  // Of equal type is of equal width.
  return forward(op, rewriter);
}

static bool joinSlices(Operation &op, Rewriter &rewriter) {
  Value x;
  if (!match(op.operand(0), m_Op<OpKind::Slice>(m_Bind(x))) || !mayReadLater(x))
    return false;
  SliceAttrs attrs = op.attrs<SliceAttrs>();
  attrs.start += op.operand(0).definingOp()->attrs<SliceAttrs>().start;
  Value joined =
      rewriter.before(op).make(OpKind::Slice, {x}, op.result().type(), attrs);
  rewriter.replace(op, joined);
  return true;
}

static bool dropSubOfZeros(Operation &op, Rewriter &rewriter) {
  return isFilledWith(op.operand(1), 0.0) && forward(op, rewriter);
}

llvm::ArrayRef<RewriteRule> moec::tensorRules() {
  // Sorted by root; of one root, the rule that removes more comes first.
  static constexpr RewriteRule rules[] = {
      {OpKind::Activation, "relu of relu", dropReluOfRelu},
      {OpKind::Add, "addition of -0", dropAddOfNegativeZeros},
      {OpKind::Cast, "cast to the same type", dropCastToSame},
      {OpKind::Cast, "cast of an exact cast", joinCasts},
      {OpKind::Mul, "product with 1", dropMulByOnes},
      {OpKind::Scale, "scale by 1", dropScaleByOne},
      {OpKind::Slice, "slice of the whole", dropSliceOfWhole},
      {OpKind::Slice, "slice of a slice", joinSlices},
      {OpKind::Sub, "subtraction of 0", dropSubOfZeros},
  };
  return rules;
}
