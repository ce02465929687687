//===- SharedExperts.cpp - the FFN that every token takes -----------------===//
//
// Spec 4.4, 4.5: experts that no router chooses, fused to one FFN. With split
// they have neurons of their own, so that with the routed experts they add up
// to the dense FFN; its bias is then the routed experts'.
//
//===----------------------------------------------------------------------===//

#include "passes/upcycle/Neurons.h"
#include "passes/upcycle/Upcycle.h"

#include <algorithm>

using namespace moec;

llvm::Expected<ExprRef> moec::sharedMatrix(const DenseFfn &ffn,
                                           const DenseMatrix &matrix) {
  if (ffn.options.sharedInit == SharedInit::scratch) {
    DenseFfn shared = ffn;
    shared.expertWidth = ffn.sharedWidth;
    return scratchExpert(shared, matrix, /*expert=*/-1);
  }
  if (ffn.options.sharedInit == SharedInit::split) {
    if (matrix.neuronAxis < 0)
      return zeros({matrix.weight->type().dim(0).constant()});
    return neurons(ffn, matrix, 0, ffn.sharedWidth);
  }
  if (matrix.neuronAxis < 0)
    return refTo(matrix.weight);
  MOEC_ASSIGN(ExprRef dense, refTo(matrix.weight));
  if (ffn.sharedWidth != ffn.width) {
    MOEC_ASSIGN(dense, readable(dense));
  }
  std::vector<ExprRef> parts;
  for (int64_t left = ffn.sharedWidth; left > 0; left -= ffn.width) {
    MOEC_ASSIGN(ExprRef part,
                sliced(dense, matrix.neuronAxis, 0, std::min(left, ffn.width)));
    parts.push_back(std::move(part));
  }
  return joined(std::move(parts), matrix.neuronAxis);
}
