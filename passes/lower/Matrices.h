//===- Matrices.h - which operands of an op are matrices ------------------===//
#pragma once

#include "ir/ops/MoeOps.h"

namespace moec {

/// Operands [first, first + count) of an op are matrices, or banks of them,
/// that it multiplies or looks up rows in. Other weights, such as biases, are
/// vectors to it.
struct MatrixOperands {
  unsigned first = 0, count = 0;

  bool contains(unsigned operand) const {
    return operand >= first && operand - first < count;
  }
};

inline MatrixOperands matrixOperands(const Operation &op) {
  switch (op.kind()) {
  case OpKind::Embedding:
    return {0, 1};
  case OpKind::Linear:
    return {1, 1};
  case OpKind::MoeGroupedLinear:
    return {3, 1};
  case OpKind::Ffn:
    return {1, op.attrs<FfnAttrs>().numWeights()};
  case OpKind::MoeExperts:
    return {3, op.attrs<FfnAttrs>().numWeights()};
  default:
    return {};
  }
}

} // namespace moec
