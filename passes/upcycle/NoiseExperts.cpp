//===- NoiseExperts.cpp - the dense FFN with noise ------------------------===//
//
// Spec 1.3, RNU: normal noise on a share of the neurons of each matrix, the set
// drawn for each matrix and expert; added, or in the place of the weights.
// Biases stay.
//
//===----------------------------------------------------------------------===//

#include "passes/upcycle/Neurons.h"
#include "passes/upcycle/Upcycle.h"

using namespace moec;

llvm::Expected<ExprRef> moec::noisy(const DenseFfn &ffn,
                                    const DenseMatrix &matrix, ExprRef expr,
                                    int64_t expert) {
  const UpcycleOptions &options = ffn.options;
  if (matrix.bias)
    return expr;
  auto attrs = std::make_unique<NoiseAttrs>();
  attrs->deviation = options.noiseStd;
  attrs->relative = options.noiseRelative;
  attrs->replace = options.noiseReplace;
  attrs->axis = matrix.neuronAxis;
  attrs->count = options.noiseRatio < 1
                     ? int64_t(expr->type.dim(matrix.neuronAxis).constant() *
                               options.noiseRatio)
                     : -1;
  attrs->seed = options.seed;
  attrs->weight = matrix.bank;
  attrs->matrix = matrix.matrix;
  attrs->expert = expert;
  MOEC_ASSIGN(expr, readable(expr));
  return Expr::make(ExprKind::Noise, {expr}, std::move(attrs));
}

llvm::Expected<ExprRef> moec::noiseExpert(const DenseFfn &ffn,
                                          const DenseMatrix &matrix,
                                          int64_t expert) {
  MOEC_ASSIGN(ExprRef dense, routedNeurons(ffn, matrix, expert));
  return noisy(ffn, matrix, std::move(dense), expert);
}
