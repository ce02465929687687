//===- Interpreter.h - the slow, plain meaning of every op ----------------===//
//
// Plain loops over doubles. Mode `typed` rounds every result to its element
// type; mode `f64` never rounds (weights and inputs stay as they are stored).
// A kernel is right when its error against `f64` is at most c times the typed
// mode's plus a floor (design.md, 2.2).
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Module.h"
#include "ir/interp/HostTensor.h"
#include "ir/support/Diagnostic.h"
#include "llvm/ADT/DenseMap.h"

#include <functional>

namespace moec {

class Interpreter {
public:
  enum class Mode { typed, f64 };
  /// Gives a weight's numbers; called once per weight and run.
  using WeightFn = std::function<llvm::Expected<HostTensor>(const Weight &)>;

  Interpreter(Mode mode, WeightFn weights)
      : mode(mode), weights(std::move(weights)) {}

  /// Runs a program. Arguments are in the order of the block's; symbols get
  /// their values from the arguments' shapes, and a shape that contradicts the
  /// types is an error. Results are in the order of `return`.
  llvm::Expected<std::vector<HostTensor>>
  run(const Program &program, std::vector<HostTensor> arguments);

  /// Called after every op with what it read and made, if set.
  std::function<void(const Operation &, llvm::ArrayRef<HostTensor *> inputs,
                     llvm::ArrayRef<HostTensor *> results)>
      observe;

private:
  friend class OpRunner;
  llvm::Error bindShape(const TensorType &type, const HostTensor &tensor,
                        const Location &loc);
  llvm::Expected<HostTensor *> lookup(Value value);
  llvm::Error runBlock(const Block &block, std::vector<HostTensor> *results);
  llvm::Error runOp(const Operation &op);
  int64_t valueOf(Dim dim) const;

  Mode mode;
  WeightFn weights;
  llvm::DenseMap<Value, HostTensor> values;
  llvm::DenseMap<const DimSymbol *, int64_t> symbols;
};

} // namespace moec
