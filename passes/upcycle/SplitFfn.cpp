//===- SplitFfn.cpp - every neuron in one expert --------------------------===//
//
// LLaMA-MoE (spec 4.19: drawn neurons), MoEfication (4.18: neurons that belong
// together, in the order that calibration found) and DS-MoE (3.1: one wide FFN
// whose blocks are gated). All experts together are the dense FFN.
//
//===----------------------------------------------------------------------===//

#include "passes/upcycle/Neurons.h"
#include "passes/upcycle/Upcycle.h"

using namespace moec;

llvm::Expected<ExprRef> moec::splitExpert(const DenseFfn &ffn,
                                          const DenseMatrix &matrix,
                                          int64_t expert) {
  return neurons(ffn, matrix, ffn.firstRouted + expert * ffn.expertWidth,
                 ffn.expertWidth);
}
