//===- CopyExperts.cpp - every expert is the dense FFN --------------------===//
//
// Sparse upcycling (spec 4.1). With weights that sum to one the result computes
// the dense function until it is trained, also where each expert has its
// neurons in an order of its own.
//
//===----------------------------------------------------------------------===//

#include "passes/upcycle/Neurons.h"
#include "passes/upcycle/Upcycle.h"

using namespace moec;

llvm::Expected<ExprRef> moec::copyExpert(const DenseFfn &ffn,
                                         const DenseMatrix &matrix,
                                         int64_t expert) {
  return routedNeurons(ffn, matrix, expert);
}
