//===- EditExpert.h - options of passes on models that have experts -------===//
#pragma once

#include "passes/upcycle/UpcycleOptions.h"

namespace moec {

/// What a new expert is made of: expert `from`, the mean of all, or nothing.
enum class ExpertSource : unsigned { expert, average, scratch };
inline llvm::ArrayRef<llvm::StringRef> enumNames(ExpertSource) {
  static const llvm::StringRef names[] = {"expert", "average", "scratch"};
  return names;
}
/// Its row of the router: that of expert `from`, the mean of all rows, normal,
/// or zero.
enum class RouterRow : unsigned { expert, average, normal, zero };
inline llvm::ArrayRef<llvm::StringRef> enumNames(RouterRow) {
  static const llvm::StringRef names[] = {"expert", "average", "normal",
                                          "zero"};
  return names;
}
enum class ExpertChange : unsigned { copy, noise, drop };
inline llvm::ArrayRef<llvm::StringRef> enumNames(ExpertChange) {
  static const llvm::StringRef names[] = {"copy", "noise", "drop"};
  return names;
}

struct EditExpertOptions final : AttrsOf<EditExpertOptions> {
  int64_t layer = 0;
  /// The expert to replace; -1, or the number of experts: a further one.
  int64_t expert = -1;
  ExpertSource source = ExpertSource::average;
  int64_t from = 0;
  ExpertChange init = ExpertChange::copy;
  RouterRow router = RouterRow::average;
  double routerStd = 0.02;
  int64_t seed = 1;
  /// As in pass upcycle.
  double dropRatio = 0.5;
  DropSet dropSet = DropSet::shared;
  Statistics dropStatistics = Statistics::selected;
  double noiseStd = 0.02;
  bool noiseRelative = false;
  double initStd = 0.02;
  template <typename V> void fields(V &v) {
    v.field("layer", layer);
    v.field("expert", expert);
    v.field("source", source);
    v.field("from", from);
    v.field("init", init);
    v.field("router", router);
    v.field("router_std", routerStd);
    v.field("seed", seed);
    v.field("drop_ratio", dropRatio);
    v.field("drop_set", dropSet);
    v.field("drop_statistics", dropStatistics);
    v.field("noise_std", noiseStd);
    v.field("noise_relative", noiseRelative);
    v.field("init_std", initStd);
  }
};

/// average: of all experts; expert: one; concat: all side by side, each with
/// the weight that a router of zeros gives it, which undoes a split.
enum class DenseBy : unsigned { average, expert, concat };
inline llvm::ArrayRef<llvm::StringRef> enumNames(DenseBy) {
  static const llvm::StringRef names[] = {"average", "expert", "concat"};
  return names;
}

struct ToDenseOptions final : AttrsOf<ToDenseOptions> {
  DenseBy how = DenseBy::average;
  int64_t expert = 0;
  /// `all`, or layers and ranges such as `0-11,13`.
  std::string layers = "all";
  template <typename V> void fields(V &v) {
    v.field("how", how);
    v.field("expert", expert);
    v.field("layers", layers);
  }
};

struct SelectExpertsOptions final : AttrsOf<SelectExpertsOptions> {
  RouterSelect select = RouterSelect::topk;
  /// Experts of a token, at most where a threshold decides; 0: no bound.
  int64_t topk = 0;
  /// As in moe.route.
  double threshold = 0;
  bool thresholdByExperts = false;
  /// `all`, or layers and ranges such as `0-11,13`.
  std::string layers = "all";
  template <typename V> void fields(V &v) {
    v.field("select", select);
    v.field("top_k", topk);
    v.field("threshold", threshold);
    v.field("threshold_by_experts", thresholdByExperts);
    v.field("layers", layers);
  }
};

} // namespace moec
