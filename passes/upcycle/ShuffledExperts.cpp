//===- ShuffledExperts.cpp - Qwen2-MoE ------------------------------------===//
//
// Spec 4.4: as many copies of the FFN as the experts need, each with its
// neurons in an order of its own, are joined and cut into experts of any width;
// the rest is left out. Then a share of each expert's neurons is redrawn as in
// Drop-Upcycling (the report does not say how).
//
//===----------------------------------------------------------------------===//

#include "passes/upcycle/Neurons.h"
#include "passes/upcycle/Upcycle.h"

#include <algorithm>

using namespace moec;

llvm::Expected<ExprRef> moec::shuffledExpert(const DenseFfn &ffn,
                                             const DenseMatrix &matrix,
                                             int64_t expert) {
  if (matrix.neuronAxis < 0)
    return refTo(matrix.weight);
  MOEC_ASSIGN(ExprRef dense,
              neurons(ffn, matrix, ffn.firstRouted, ffn.routedWidth()));
  MOEC_ASSIGN(dense, readable(dense));
  int64_t at = expert * ffn.expertWidth, end = at + ffn.expertWidth;
  std::vector<ExprRef> parts;
  while (at < end) {
    int64_t copy = at / ffn.routedWidth(), from = at % ffn.routedWidth();
    int64_t size = std::min(end - at, ffn.routedWidth() - from);
    MOEC_ASSIGN(ExprRef order,
                shuffled(dense, matrix.neuronAxis, ffn.options.seed, ffn.base,
                         /*number=*/copy));
    MOEC_ASSIGN(ExprRef part, sliced(order, matrix.neuronAxis, from, size));
    parts.push_back(std::move(part));
    at += size;
  }
  MOEC_ASSIGN(ExprRef cut, joined(std::move(parts), matrix.neuronAxis));
  return redrawn(ffn, matrix, std::move(cut), expert);
}
