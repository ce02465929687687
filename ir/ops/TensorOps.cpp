#include "ir/ops/TensorOps.h"

#include "ir/ops/Verify.h"

using namespace moec;
using namespace moec::verify;

static llvm::Error elementwise(const Operation &op) {
  MOEC_TRY(isFloatTensor(op, op.operand(0), "x"));        // C1
  MOEC_TRY(isFloatTensor(op, op.result(), "the result")); // C2
  return hasShape(op, op.result(), "a result", op.operand(0).type().shape());
}

llvm::Error verify::checkActivation(const Operation &op) {
  return elementwise(op);
}
llvm::Error verify::checkCast(const Operation &op) { return elementwise(op); }
llvm::Error verify::checkClamp(const Operation &op) {
  MOEC_TRY(elementwise(op));
  double limit = op.attrs<ClampAttrs>().limit;
  if (!(limit > 0)) // C3
    return opError(op) << "has limit " << limit << ", expects more than 0";
  return llvm::Error::success();
}
llvm::Error verify::checkScale(const Operation &op) { return elementwise(op); }

static llvm::Error binary(const Operation &op) {
  MOEC_TRY(isFloatTensor(op, op.operand(0), "a")); // C1
  MOEC_TRY(isFloatTensor(op, op.operand(1), "b"));
  const TensorType &a = op.operand(0).type(), &b = op.operand(1).type();
  bool row = a.rank() && b.rank() == 1 && b.dim(0) == a.dim(-1);
  bool column = a.rank() == 2 && b.rank() == 2 && b.dim(0) == a.dim(0) &&
                b.dim(1) == Dim(1);
  if (a.shape() != b.shape() && !row && !column) // C2
    return opError(op) << "expects equal shapes, or a row or column on the "
                          "right, got "
                       << a << " and " << b;
  return hasShape(op, op.result(), "a result", a.shape()); // C3
}

llvm::Error verify::checkAdd(const Operation &op) { return binary(op); }
llvm::Error verify::checkSub(const Operation &op) { return binary(op); }
llvm::Error verify::checkMul(const Operation &op) { return binary(op); }

static llvm::Error pickRows(const Operation &op, llvm::StringRef from) {
  Value table = op.operand(0), index = op.operand(1);
  MOEC_TRY(isFloatTensor(op, table, from)); // C1
  MOEC_TRY(hasRank(op, table, from, 2));
  MOEC_TRY(hasRank(op, index, "the index", 1)); // C2
  MOEC_TRY(isIndex(op, index, "the index", index.type().shape()));
  return hasShape(op, op.result(), "a result", // C3
                  {index.type().dim(0), table.type().dim(1)});
}

llvm::Error verify::checkEmbedding(const Operation &op) {
  return pickRows(op, "the table");
}
llvm::Error verify::checkGatherRows(const Operation &op) {
  return pickRows(op, "x");
}

llvm::Error verify::checkLayerNorm(const Operation &op) {
  MOEC_TRY(isFloatTensor(op, op.operand(0), "x")); // C1
  const TensorType &x = op.operand(0).type();
  if (!x.rank())
    return opError(op) << "expects x of rank 1 or more, got " << x;
  MOEC_TRY(hasShape(op, op.operand(1), "a weight", {x.dim(-1)})); // C2
  MOEC_TRY(hasShape(op, op.operand(2), "a bias", {x.dim(-1)}));
  MOEC_TRY(hasShape(op, op.result(), "a result", x.shape())); // C3
  double epsilon = op.attrs<LayerNormAttrs>().epsilon;
  if (!(epsilon >= 0)) // C4
    return opError(op) << "has epsilon " << epsilon << ", expects 0 or more";
  return llvm::Error::success();
}

llvm::Error verify::checkLinear(const Operation &op) {
  Value x = op.operand(0), weight = op.operand(1);
  MOEC_TRY(isFloatTensor(op, x, "x")); // C1
  MOEC_TRY(isFloatTensor(op, weight, "the weight"));
  MOEC_TRY(hasRank(op, x, "x", 2));
  MOEC_TRY(hasRank(op, weight, "a weight", 2));
  if (x.type().dim(1) != weight.type().dim(1))
    return opError(op) << "multiplies " << x.type() << " by the transpose of "
                       << weight.type() << ": columns differ";
  if (op.numOperands() == 3) // C2
    MOEC_TRY(hasShape(op, op.operand(2), "a bias", {weight.type().dim(0)}));
  return hasShape(op, op.result(), "a result", // C3
                  {x.type().dim(0), weight.type().dim(0)});
}

llvm::Error verify::checkRmsNorm(const Operation &op) {
  MOEC_TRY(isFloatTensor(op, op.operand(0), "x")); // C1
  const TensorType &x = op.operand(0).type();
  if (!x.rank() || !x.dim(-1).isConstant())
    return opError(op) << "expects x with a constant last dimension, got " << x;
  const auto &attrs = op.attrs<RmsNormAttrs>();
  int64_t width = x.dim(-1).constant();
  if (attrs.groups < 1 || width % attrs.groups) // C2
    return opError(op) << "has " << attrs.groups
                       << " groups, which do not divide " << width;
  MOEC_TRY(hasShape(op, op.operand(1), "a weight", // C3
                    {width / attrs.groups}));
  MOEC_TRY(hasShape(op, op.result(), "a result", x.shape())); // C4
  if (!(attrs.epsilon >= 0))                                  // C5
    return opError(op) << "has epsilon " << attrs.epsilon
                       << ", expects 0 or more";
  return llvm::Error::success();
}

llvm::Error verify::checkSlice(const Operation &op) {
  Value x = op.operand(0);
  MOEC_TRY(isFloatTensor(op, x, "x")); // C1
  MOEC_TRY(hasRank(op, x, "x", 2));
  const auto &attrs = op.attrs<SliceAttrs>();
  int64_t columns =
      x.type().dim(1).isConstant() ? x.type().dim(1).constant() : -1;
  if (attrs.start < 0 || attrs.size < 1 || attrs.start > columns || // C2
      attrs.size > columns - attrs.start)
    return opError(op) << "takes " << attrs.size << " columns from "
                       << attrs.start << " of " << x.type();
  if (op.result().type().element() != x.type().element()) // C3
    return opError(op) << "keeps the element type, got " << x.type() << " and "
                       << op.result().type();
  return hasShape(op, op.result(), "a result",
                  {x.type().dim(0), Dim(attrs.size)});
}

// The order of ops in a block and the types of a terminator are checked by
// ir/verify, which sees the block.
llvm::Error verify::checkReturn(const Operation &) {
  return llvm::Error::success();
}
llvm::Error verify::checkYield(const Operation &) {
  return llvm::Error::success();
}
