//===- StreamRunner.h - the interpreter, a few matrices at a time ---------===//
//
// Runs ops one by one. A layer's weights live as long as its op runs; experts
// are loaded one after another, and only those that a token chose; rows of an
// embedding are read from the file where it is stored plainly. So a model that
// does not fit into memory can be probed.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/interp/Interpreter.h"
#include "ir/weights/Materialize.h"

namespace moec {

class StreamRunner {
public:
  using Values = llvm::DenseMap<Value, HostTensor>;

  /// Matrices (not routers) are rounded to `stored` when they are loaded, if it
  /// is set: the element type that a folder will hold.
  StreamRunner(TensorReader &reader, std::optional<ElementType> stored = {})
      : reader(reader), stored(stored) {}

  /// Reads the op's operands from `values` and adds its results.
  llvm::Error runOp(const Operation &op, Values &values,
                    Interpreter::Mode mode = Interpreter::Mode::typed);

  /// All numbers of a weight.
  llvm::Expected<HostTensor> load(const Weight &weight);

private:
  llvm::Error runAlone(const Operation &op, Values &values,
                       Interpreter::Mode mode);
  llvm::Error runEmbedding(const Operation &op, Values &values);
  llvm::Error runExperts(const Operation &op, Values &values,
                         Interpreter::Mode mode);

  TensorReader &reader;
  std::optional<ElementType> stored;
};

/// Numbers of index `index` of a weight's first dimension, as its type says.
/// Computes no more than that where the expression is a stack, a concatenation
/// or a plain tensor of a file.
llvm::Expected<std::vector<float>>
materializeRow(const Expr &expr, int64_t index, TensorReader &reader);

/// The expression of index `index` of the first dimension, where there is one.
const Expr *rowExpr(const Expr &expr, int64_t index);

} // namespace moec
