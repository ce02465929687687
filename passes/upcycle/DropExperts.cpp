//===- DropExperts.cpp - Drop-Upcycling -----------------------------------===//
//
// Spec 1.1: floor(ratio * width) neurons of each expert are redrawn from a
// normal distribution with the mean and deviation of what they replace. The
// paper draws one set for gate, up and down; the released code one for each
// (spec 1.2 b), which keeps (1-r)^3 of the neurons whole instead of 1-r.
//
//===----------------------------------------------------------------------===//

#include "passes/upcycle/Upcycle.h"

using namespace moec;

llvm::Expected<ExprRef> moec::dropExpert(const UpcycleOptions &options,
                                         const ExpertMatrix &matrix,
                                         int64_t expert) {
  auto attrs = std::make_unique<ResampleAttrs>();
  attrs->axis = matrix.neuronAxis;
  attrs->count = int64_t(matrix.neurons() * options.dropRatio);
  attrs->statistics = options.dropStatistics;
  std::string layer = matrix.bank.substr(0, matrix.bank.rfind('.'));
  attrs->set = options.dropSet == DropSet::shared ? layer : matrix.bank;
  attrs->seed = options.seed;
  attrs->weight = matrix.bank;
  attrs->matrix = matrix.matrix;
  attrs->expert = expert;
  MOEC_ASSIGN(ExprRef dense, refTo(matrix.dense));
  if (!attrs->count)
    return dense;
  return Expr::make(ExprKind::Resample, {dense}, std::move(attrs), nullptr,
                    nullptr, matrix.dense->loc);
}
