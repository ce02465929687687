//===- NoiseExperts.cpp - the dense FFN with noise ------------------------===//
//
// Spec 1.3, RNU: normal noise on a share of the neurons of each matrix, the set
// drawn for each matrix and expert.
//
//===----------------------------------------------------------------------===//

#include "passes/upcycle/Upcycle.h"

using namespace moec;

llvm::Expected<ExprRef> moec::noiseExpert(const UpcycleOptions &options,
                                          const ExpertMatrix &matrix,
                                          int64_t expert) {
  auto attrs = std::make_unique<NoiseAttrs>();
  attrs->deviation = options.noiseStd;
  attrs->relative = options.noiseRelative;
  attrs->replace = options.noiseReplace;
  attrs->axis = matrix.neuronAxis;
  attrs->count = options.noiseRatio < 1
                     ? int64_t(matrix.neurons() * options.noiseRatio)
                     : -1;
  attrs->seed = options.seed;
  attrs->weight = matrix.bank;
  attrs->matrix = matrix.matrix;
  attrs->expert = expert;
  MOEC_ASSIGN(ExprRef dense, refTo(matrix.dense));
  return Expr::make(ExprKind::Noise, {dense}, std::move(attrs), nullptr,
                    nullptr, matrix.dense->loc);
}
