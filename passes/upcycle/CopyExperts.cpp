//===- CopyExperts.cpp - every expert is the dense FFN --------------------===//
//
// Sparse upcycling (spec 4.1). With weights that sum to one the result computes
// the dense function until it is trained.
//
//===----------------------------------------------------------------------===//

#include "passes/upcycle/Upcycle.h"

using namespace moec;

llvm::Expected<ExprRef> moec::copyExpert(const UpcycleOptions &,
                                         const ExpertMatrix &matrix, int64_t) {
  return refTo(matrix.dense);
}
