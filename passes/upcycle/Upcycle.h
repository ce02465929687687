//===- Upcycle.h - what all init policies share ---------------------------===//
#pragma once

#include "ir/core/Module.h"
#include "passes/upcycle/UpcycleOptions.h"

namespace moec {

class PassContext;

/// The first `count` dense models that a module holds beside its own weights:
/// `donor.1.<name>`, `donor.2.<name>`, ...
int64_t donorCount(const Module &module);

/// One dense FFN that becomes experts.
struct DenseFfn {
  const UpcycleOptions &options;
  Module &module;
  /// Errors name it.
  const Operation &op;
  int64_t layer;
  /// Canonical name of what it becomes: `layers.3.moe`.
  std::string base;
  /// Neurons of the dense FFN, of an expert and of the shared FFN (0: none).
  int64_t width = 0, expertWidth = 0, sharedWidth = 0;
  /// The first of the neurons that routed experts are made of, in the order
  /// that split_by says; those before are the shared FFN's alone.
  int64_t firstRouted = 0;
  int64_t routedWidth() const { return width - firstRouted; }
};

/// Widths of the experts and of the shared FFN; an error where they do not come
/// out even.
llvm::Error fitWidths(DenseFfn &ffn);

/// One matrix or bias of the dense FFN, and the bank that it becomes.
struct DenseMatrix {
  Weight *weight;
  /// `gate`, `up` or `down`.
  std::string matrix;
  /// Canonical name of the bank: `layers.3.moe.up`, `layers.3.moe.up.bias`.
  std::string bank;
  /// Axis along which neurons lie; -1 for the bias of down, which has none.
  int64_t neuronAxis;
  bool bias;
  ElementType element() const { return weight->type().element(); }
};

/// A policy gives expert `expert`'s matrix as an expression over the dense
/// ones, before scaling. Its type may have another element type.
using InitExpert = llvm::Expected<ExprRef> (*)(const DenseFfn &ffn,
                                               const DenseMatrix &matrix,
                                               int64_t expert);
llvm::Expected<ExprRef> copyExpert(const DenseFfn &, const DenseMatrix &,
                                   int64_t expert);
llvm::Expected<ExprRef> noiseExpert(const DenseFfn &, const DenseMatrix &,
                                    int64_t expert);
llvm::Expected<ExprRef> dropExpert(const DenseFfn &, const DenseMatrix &,
                                   int64_t expert);
llvm::Expected<ExprRef> virtualGroupExpert(const DenseFfn &,
                                           const DenseMatrix &, int64_t expert);
llvm::Expected<ExprRef> splitExpert(const DenseFfn &, const DenseMatrix &,
                                    int64_t expert);
llvm::Expected<ExprRef> shuffledExpert(const DenseFfn &, const DenseMatrix &,
                                       int64_t expert);
llvm::Expected<ExprRef> donorExpert(const DenseFfn &, const DenseMatrix &,
                                    int64_t expert);
llvm::Expected<ExprRef> scratchExpert(const DenseFfn &, const DenseMatrix &,
                                      int64_t expert);

/// A matrix of the shared FFN.
llvm::Expected<ExprRef> sharedMatrix(const DenseFfn &ffn,
                                     const DenseMatrix &matrix);

/// drop: `expr` with some of its neurons redrawn.
llvm::Expected<ExprRef> redrawn(const DenseFfn &ffn, const DenseMatrix &matrix,
                                ExprRef expr, int64_t expert);
/// noise: `expr` with noise on some of its neurons.
llvm::Expected<ExprRef> noisy(const DenseFfn &ffn, const DenseMatrix &matrix,
                              ExprRef expr, int64_t expert);

/// The first matrix of a router of two layers: [experts, hidden], f32.
llvm::Expected<ExprRef> initFirstRouter(const UpcycleOptions &options,
                                        const Module &module, int64_t layer,
                                        const std::string &name,
                                        int64_t hidden);
/// The router's matrix [experts, hidden], f32; of one of two layers the last.
llvm::Expected<ExprRef> initRouter(const UpcycleOptions &options,
                                   const Module &module, int64_t layer,
                                   const std::string &name, int64_t hidden);

/// Every weight of the list becomes the mean over the dense models; the donors'
/// weights leave the module. Remarks are about `at`.
llvm::Error averageDonors(Module &module, llvm::ArrayRef<Weight *> weights,
                          const Operation &at, PassContext &context);

/// Experts that the heads of an attention are shared out among, whether or not
/// their number fits.
int64_t headExperts(const Operation &attention, const UpcycleOptions &options);

/// Makes the heads of layer `layer` of a program a mixture, chosen by a router
/// `layers.L.attention.router` that reads what the projections read. Returns
/// the attention.
llvm::Expected<const Operation *> mixHeads(Module &module, Program &program,
                                           int64_t layer,
                                           const UpcycleOptions &options,
                                           PassContext &context);

} // namespace moec
