//===- DropExperts.cpp - Drop-Upcycling -----------------------------------===//
//
// Spec 1.1: floor(ratio * width) neurons of each expert are redrawn from a
// normal distribution with the mean and deviation of what they replace. The
// paper draws one set for gate, up and down; the released code one for each
// (spec 1.2 b), which keeps (1-r)^3 of the neurons whole instead of 1-r.
// Biases stay.
//
//===----------------------------------------------------------------------===//

#include "passes/upcycle/Neurons.h"
#include "passes/upcycle/Upcycle.h"

using namespace moec;

llvm::Expected<ExprRef> moec::redrawn(const DenseFfn &ffn,
                                      const DenseMatrix &matrix, ExprRef expr,
                                      int64_t expert) {
  const UpcycleOptions &options = ffn.options;
  if (matrix.bias)
    return expr;
  auto attrs = std::make_unique<ResampleAttrs>();
  attrs->axis = matrix.neuronAxis;
  attrs->count =
      int64_t(expr->type.dim(matrix.neuronAxis).constant() * options.dropRatio);
  if (!attrs->count)
    return expr;
  attrs->statistics = options.dropStatistics;
  attrs->set = options.dropSet == DropSet::shared ? ffn.base : matrix.bank;
  attrs->seed = options.seed;
  attrs->weight = matrix.bank;
  attrs->matrix = matrix.matrix;
  attrs->expert = expert;
  MOEC_ASSIGN(expr, readable(expr));
  return Expr::make(ExprKind::Resample, {expr}, std::move(attrs));
}

llvm::Expected<ExprRef> moec::dropExpert(const DenseFfn &ffn,
                                         const DenseMatrix &matrix,
                                         int64_t expert) {
  MOEC_ASSIGN(ExprRef dense, routedNeurons(ffn, matrix, expert));
  return redrawn(ffn, matrix, std::move(dense), expert);
}
