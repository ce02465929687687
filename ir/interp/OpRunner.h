//===- OpRunner.h - one op at a time, for the files of the interpreter ----===//
#pragma once

#include "ir/interp/Interpreter.h"

namespace moec {

/// What the function of an op sees: its operands, and where results go.
class OpRunner {
public:
  OpRunner(const Operation &op, llvm::SmallVector<HostTensor *, 8> inputs,
           bool typed)
      : op(op), inputs(std::move(inputs)), typed(typed) {}

  const Operation &op;
  llvm::SmallVector<HostTensor *, 8> inputs;
  /// Whether numbers inside of an op that have an element type of their own
  /// are rounded to it.
  bool typed;
  /// Unrounded; the interpreter rounds them as the mode says.
  std::vector<HostTensor> results;

  const HostTensor &in(unsigned i) const { return *inputs[i]; }
  /// A float result of this shape, zeroed.
  HostTensor &makeFloats(std::vector<int64_t> shape);
  HostTensor &makeInts(std::vector<int64_t> shape);
  /// Index `i` of an index operand, checked against [0, bound).
  llvm::Expected<int64_t> index(unsigned operand, int64_t i,
                                int64_t bound) const;
};

namespace interp {
#define OP(Name, ...) llvm::Error run##Name(OpRunner &r);
#include "ir/ops/Ops.def"

double apply(unsigned activationFn, double x);
/// Eight partial sums, so that compilers can use vectors.
double dot(const double *a, const double *b, int64_t count);
} // namespace interp

} // namespace moec
