//===- Upcycle.h - what all init policies share ---------------------------===//
#pragma once

#include "ir/core/Module.h"
#include "ir/ops/MoeOps.h"

namespace moec {

enum class InitPolicy : unsigned { copy, noise, drop };
inline llvm::ArrayRef<llvm::StringRef> enumNames(InitPolicy) {
  static const llvm::StringRef names[] = {"copy", "noise", "drop"};
  return names;
}
enum class DropSet : unsigned { shared, independent };
inline llvm::ArrayRef<llvm::StringRef> enumNames(DropSet) {
  static const llvm::StringRef names[] = {"shared", "independent"};
  return names;
}
/// The order of softmax and top-k, and what becomes of the chosen scores.
enum class RouterKind : unsigned {
  softmax_topk_renorm,
  softmax_topk,
  topk_softmax
};
inline llvm::ArrayRef<llvm::StringRef> enumNames(RouterKind) {
  static const llvm::StringRef names[] = {"softmax_topk_renorm", "softmax_topk",
                                          "topk_softmax"};
  return names;
}
enum class RouterInit : unsigned { uniform, normal, zero };
inline llvm::ArrayRef<llvm::StringRef> enumNames(RouterInit) {
  static const llvm::StringRef names[] = {"uniform", "normal", "zero"};
  return names;
}

struct UpcycleOptions final : AttrsOf<UpcycleOptions> {
  InitPolicy init = InitPolicy::copy;
  int64_t experts = 8;
  int64_t topk = 2;
  int64_t seed = 1;
  /// `all`, or layers and ranges such as `0-11,13`.
  std::string layers = "all";
  RouterKind router = RouterKind::softmax_topk_renorm;
  RouterInit routerInit = RouterInit::uniform;
  double routerStd = 0.02;
  /// drop: share of the neurons that are redrawn (spec 1.1), whether gate, up
  /// and down share the set (the paper) or not (the released code, spec 1.2),
  /// and over what mean and deviation are taken.
  double dropRatio = 0.5;
  DropSet dropSet = DropSet::shared;
  Statistics dropStatistics = Statistics::selected;
  /// noise: deviation, in deviations of the matrix if relative; share of the
  /// neurons that get it; added, or put in the place of the weights.
  double noiseStd = 0.02;
  bool noiseRelative = false;
  double noiseRatio = 1;
  bool noiseReplace = false;
  template <typename V> void fields(V &v) {
    v.field("init", init);
    v.field("experts", experts);
    v.field("top_k", topk);
    v.field("seed", seed);
    v.field("layers", layers);
    v.field("router", router);
    v.field("router_init", routerInit);
    v.field("router_std", routerStd);
    v.field("drop_ratio", dropRatio);
    v.field("drop_set", dropSet);
    v.field("drop_statistics", dropStatistics);
    v.field("noise_std", noiseStd);
    v.field("noise_relative", noiseRelative);
    v.field("noise_ratio", noiseRatio);
    v.field("noise_replace", noiseReplace);
  }
};

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
