//===- Upcycle.h - what all init policies share ---------------------------===//
#pragma once

#include "ir/core/Module.h"
#include "passes/upcycle/UpcycleOptions.h"

namespace moec {

/// One matrix of one expert-to-be.
struct ExpertMatrix {
  /// The dense FFN's matrix.
  Weight *dense;
  /// `gate`, `up` or `down`.
  std::string matrix;
  /// Canonical name of the bank: `layers.3.moe.up`.
  std::string bank;
  /// Axis along which neurons lie: 0, for down 1.
  int64_t neuronAxis;
  int64_t neurons() const { return dense->type().dim(neuronAxis).constant(); }
};

/// A policy gives expert `expert`'s matrix as an expression over the dense one.
using InitExpert = llvm::Expected<ExprRef> (*)(const UpcycleOptions &options,
                                               const ExpertMatrix &matrix,
                                               int64_t expert);
llvm::Expected<ExprRef> copyExpert(const UpcycleOptions &, const ExpertMatrix &,
                                   int64_t expert);
llvm::Expected<ExprRef> noiseExpert(const UpcycleOptions &,
                                    const ExpertMatrix &, int64_t expert);
llvm::Expected<ExprRef> dropExpert(const UpcycleOptions &, const ExpertMatrix &,
                                   int64_t expert);

/// The router's matrix [experts, hidden], f32.
llvm::Expected<ExprRef> initRouter(const UpcycleOptions &options,
                                   const std::string &name, int64_t hidden);

/// A reference to a weight, as an expression.
llvm::Expected<ExprRef> refTo(Weight *weight);

} // namespace moec
