//===- VirtualGroups.cpp - slices of the FFN in copies --------------------===//
//
// Spec 2.2: the FFN is cut into G slices along its neurons, and the list of
// slices is repeated E times: expert e*G + g holds slice g. The G experts of a
// copy have equal router rows (InitRouter.cpp), so that a token that chooses
// one of them chooses all: ties go to the lower expert, and a copy's experts
// follow one another.
//
//===----------------------------------------------------------------------===//

#include "passes/upcycle/Neurons.h"
#include "passes/upcycle/Upcycle.h"

using namespace moec;

llvm::Expected<ExprRef> moec::virtualGroupExpert(const DenseFfn &ffn,
                                                 const DenseMatrix &matrix,
                                                 int64_t expert) {
  int64_t slice = expert % ffn.options.granularity;
  return neurons(ffn, matrix, ffn.firstRouted + slice * ffn.expertWidth,
                 ffn.expertWidth);
}
