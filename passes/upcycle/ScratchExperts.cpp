//===- ScratchExperts.cpp - experts that know nothing ---------------------===//
//
// The baseline of every study: normal weights, biases of zero.
//
//===----------------------------------------------------------------------===//

#include "passes/upcycle/Neurons.h"
#include "passes/upcycle/Upcycle.h"

using namespace moec;

llvm::Expected<ExprRef> moec::scratchExpert(const DenseFfn &ffn,
                                            const DenseMatrix &matrix,
                                            int64_t expert) {
  std::vector<int64_t> shape;
  for (const Dim &dim : matrix.weight->type().shape())
    shape.push_back(dim.constant());
  if (matrix.neuronAxis >= 0)
    shape[matrix.neuronAxis] = ffn.expertWidth;
  if (matrix.bias)
    return zeros(shape);
  auto attrs = std::make_unique<NormalAttrs>();
  attrs->shape = std::move(shape);
  attrs->deviation = ffn.options.initStd;
  attrs->seed = ffn.options.seed;
  attrs->weight = matrix.bank;
  attrs->matrix = matrix.matrix;
  attrs->expert = expert;
  return Expr::make(ExprKind::Normal, {}, std::move(attrs));
}
