//===- UpcycleOptions.h - what a recipe may choose ------------------------===//
//
// The options of pass `upcycle`. What the letters of the papers mean: N =
// experts, T = top_k, G = granularity, E = N / G copies of the dense FFN, S =
// the factor by which routing shrinks the sum of the experts (spec 2.3).
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Expr.h"
#include "ir/ops/MoeOps.h"

namespace moec {

/// Where an expert's weights come from.
///   copy           the dense FFN (spec 4.1)
///   noise          with noise on a share of its neurons (1.3, RNU)
///   drop           with a share of its neurons redrawn (1.1)
///   virtual_group  expert e*G + g is slice g of the FFN, in each of E copies
///                  (2.2)
///   split          every neuron in one expert (3, 4.18, 4.19)
///   qwen2          copies of the FFN, each shuffled, joined and cut into
///                  experts of any width, drop_ratio of them redrawn (4.4)
///   btx            the FFNs of several dense models; all other weights are
///                  averaged (4.2)
///   scratch        normal
///   low_rank       the dense FFN, which stays, and adapters on its output,
///                  which are the experts (4.14)
enum class InitPolicy : unsigned {
  copy,
  noise,
  drop,
  virtual_group,
  split,
  qwen2,
  btx,
  scratch,
  low_rank
};
inline llvm::ArrayRef<llvm::StringRef> enumNames(InitPolicy) {
  static const llvm::StringRef names[] = {
      "copy",  "noise", "drop",    "virtual_group", "split",
      "qwen2", "btx",   "scratch", "low_rank"};
  return names;
}
/// What is done to each expert afterwards, by the options of the policy of that
/// name; so drop and noise also go with slices, donors and each other.
enum class ThenPolicy : unsigned { none, noise, drop };
inline llvm::ArrayRef<llvm::StringRef> enumNames(ThenPolicy) {
  static const llvm::StringRef names[] = {"none", "noise", "drop"};
  return names;
}
enum class DropSet : unsigned { shared, independent };
inline llvm::ArrayRef<llvm::StringRef> enumNames(DropSet) {
  static const llvm::StringRef names[] = {"shared", "independent"};
  return names;
}
/// What makes up for S.
///   none      nothing
///   exact     sqrt(S) on up and down; where the activation is homogeneous of
///             degree p, the root of S of the FFN's degree on every matrix;
///             without a gate and such an activation, S on down
///   megatron  the cube root of S on every matrix (square root without a gate,
///             but for squared ReLU), as Megatron does
///   down      S on down
enum class WeightScaling : unsigned { none, exact, megatron, down };
inline llvm::ArrayRef<llvm::StringRef> enumNames(WeightScaling) {
  static const llvm::StringRef names[] = {"none", "exact", "megatron", "down"};
  return names;
}
/// Which neurons make an expert of a split: the next ones, drawn ones, or those
/// that the calibration file's `layers.L.order` names next.
enum class SplitBy : unsigned { contiguous, random, order };
inline llvm::ArrayRef<llvm::StringRef> enumNames(SplitBy) {
  static const llvm::StringRef names[] = {"contiguous", "random", "order"};
  return names;
}
/// copy: the first neurons of the FFN, again from the first after the last;
/// split: the first neurons, which the routed experts then do not have.
enum class SharedInit : unsigned { copy, split, scratch };
inline llvm::ArrayRef<llvm::StringRef> enumNames(SharedInit) {
  static const llvm::StringRef names[] = {"copy", "split", "scratch"};
  return names;
}
enum class AdapterInit : unsigned { zero, normal };
inline llvm::ArrayRef<llvm::StringRef> enumNames(AdapterInit) {
  static const llvm::StringRef names[] = {"zero", "normal"};
  return names;
}
/// mixture: heads are chosen by a router of their own (3.3).
enum class AttentionInit : unsigned { dense, mixture };
inline llvm::ArrayRef<llvm::StringRef> enumNames(AttentionInit) {
  static const llvm::StringRef names[] = {"dense", "mixture"};
  return names;
}

/// Score, selection and what becomes of the chosen scores, by the names in use.
/// `..._renorm` divides the chosen scores by their sum; `all` takes every
/// expert whatever top_k is; `custom` is router_score, router_select and
/// router_renorm.
enum class RouterKind : unsigned {
  softmax_topk_renorm,
  softmax_topk,
  topk_softmax,
  softmax_all,
  softmax_threshold,
  softmax_topp,
  sigmoid_topk,
  sigmoid_topk_renorm,
  relu_threshold,
  expert_choice,
  sparse_mixer,
  custom
};
inline llvm::ArrayRef<llvm::StringRef> enumNames(RouterKind) {
  static const llvm::StringRef names[] = {
      "softmax_topk_renorm", "softmax_topk",        "topk_softmax",
      "softmax_all",         "softmax_threshold",   "softmax_topp",
      "sigmoid_topk",        "sigmoid_topk_renorm", "relu_threshold",
      "expert_choice",       "sparse_mixer",        "custom"};
  return names;
}
/// calibrated: the calibration file's `layers.L.router`, and
/// `layers.L.router.first` of a router of two layers. zero: its last layer.
enum class RouterInit : unsigned { uniform, normal, zero, calibrated };
inline llvm::ArrayRef<llvm::StringRef> enumNames(RouterInit) {
  static const llvm::StringRef names[] = {"uniform", "normal", "zero",
                                          "calibrated"};
  return names;
}
/// linear: one matrix; tanh: two, with tanh between them and as many numbers as
/// experts (4.18, 4.19).
enum class RouterForm : unsigned { linear, tanh };
inline llvm::ArrayRef<llvm::StringRef> enumNames(RouterForm) {
  static const llvm::StringRef names[] = {"linear", "tanh"};
  return names;
}
/// What a pair's weight multiplies; none: nothing, as in MoEfication (4.18).
enum class WeightAppliedTo : unsigned { output, hidden, none };
inline llvm::ArrayRef<llvm::StringRef> enumNames(WeightAppliedTo) {
  static const llvm::StringRef names[] = {"output", "hidden", "none"};
  return names;
}

struct UpcycleOptions final : AttrsOf<UpcycleOptions> {
  InitPolicy init = InitPolicy::copy;
  ThenPolicy then = ThenPolicy::none;
  /// Routed experts a layer, all of them.
  int64_t experts = 8;
  int64_t topk = 2;
  int64_t seed = 1;
  /// `all`, or layers and ranges such as `0-11,13`.
  std::string layers = "all";

  RouterKind router = RouterKind::softmax_topk_renorm;
  RouterForm routerForm = RouterForm::linear;
  RouterInit routerInit = RouterInit::uniform;
  double routerStd = 0.02;
  /// `custom` only; the rest is as in RouteAttrs, for every kind.
  RouterScore routerScore = RouterScore::softmax;
  RouterSelect routerSelect = RouterSelect::topk;
  RouterRenorm routerRenorm = RouterRenorm::none;
  LogitNorm logitNorm = LogitNorm::none;
  double logitScale = 1;
  int64_t routerGroups = 1;
  int64_t topGroups = 1;
  GroupScore groupScore = GroupScore::max;
  MaskValue maskValue = MaskValue::neg_inf;
  double routerThreshold = 0;
  bool thresholdByExperts = false;
  double routerEpsilon = 0;
  double routerMinimum = 0;
  double routerScale = 1;
  double capacity = 0;
  DropPolicy capacityDrop = DropPolicy::position;
  /// A bias of the logits, and one that only selection sees; both start as 0.
  bool routerBias = false;
  bool selectBias = false;
  WeightAppliedTo weightAppliedTo = WeightAppliedTo::output;

  /// drop and qwen2: share of the neurons that are redrawn (spec 1.1), whether
  /// gate, up and down share the set (the paper) or not (the released code,
  /// spec 1.2), and over what mean and deviation are taken.
  double dropRatio = 0.5;
  DropSet dropSet = DropSet::shared;
  Statistics dropStatistics = Statistics::selected;
  /// noise: deviation, in deviations of the matrix if relative; share of the
  /// neurons that get it; added, or put in the place of the weights.
  double noiseStd = 0.02;
  bool noiseRelative = false;
  double noiseRatio = 1;
  bool noiseReplace = false;

  /// virtual_group: slices of one copy of the FFN.
  int64_t granularity = 1;
  /// qwen2: neurons of an expert; 0: the FFN's width / granularity.
  int64_t expertWidth = 0;
  WeightScaling scaling = WeightScaling::none;
  /// S; 0: computed from router, N, T and G.
  double weightScale = 0;
  SplitBy splitBy = SplitBy::contiguous;
  /// copy, noise, drop: each expert's neurons in an order of its own, which
  /// gate, up and down share, so that the function stays.
  bool permute = false;

  /// One FFN of shared_width neurons (0: shared_experts times an expert's)
  /// beside the routed experts, times shared_scale, and behind sigmoid of a
  /// linear of the token if shared_gate, which starts as zero.
  int64_t sharedExperts = 0;
  int64_t sharedWidth = 0;
  SharedInit sharedInit = SharedInit::copy;
  double sharedScale = 1;
  bool sharedGate = false;

  /// scratch, low_rank: deviation of normal weights.
  double initStd = 0.02;
  /// low_rank: width of an adapter, what its up projection starts as and its
  /// constant factor.
  int64_t rank = 64;
  AdapterInit adapterInit = AdapterInit::zero;
  double adapterScale = 1;

  /// mixture: groups of heads (0: heads for each head of the KV cache), and
  /// how many a token takes (0: all).
  AttentionInit attention = AttentionInit::dense;
  int64_t attentionExperts = 0;
  int64_t attentionTopk = 0;

  template <typename V> void fields(V &v) {
    v.field("init", init);
    v.field("then", then);
    v.field("experts", experts);
    v.field("top_k", topk);
    v.field("seed", seed);
    v.field("layers", layers);
    v.field("router", router);
    v.field("router_form", routerForm);
    v.field("router_init", routerInit);
    v.field("router_std", routerStd);
    v.field("router_score", routerScore);
    v.field("router_select", routerSelect);
    v.field("router_renorm", routerRenorm);
    v.field("router_norm", logitNorm);
    v.field("router_logit_scale", logitScale);
    v.field("router_groups", routerGroups);
    v.field("router_top_groups", topGroups);
    v.field("router_group_score", groupScore);
    v.field("router_mask_value", maskValue);
    v.field("router_threshold", routerThreshold);
    v.field("router_threshold_by_experts", thresholdByExperts);
    v.field("router_epsilon", routerEpsilon);
    v.field("router_minimum", routerMinimum);
    v.field("router_scale", routerScale);
    v.field("capacity", capacity);
    v.field("capacity_drop", capacityDrop);
    v.field("router_bias", routerBias);
    v.field("select_bias", selectBias);
    v.field("weight_applied_to", weightAppliedTo);
    v.field("drop_ratio", dropRatio);
    v.field("drop_set", dropSet);
    v.field("drop_statistics", dropStatistics);
    v.field("noise_std", noiseStd);
    v.field("noise_relative", noiseRelative);
    v.field("noise_ratio", noiseRatio);
    v.field("noise_replace", noiseReplace);
    v.field("granularity", granularity);
    v.field("expert_width", expertWidth);
    v.field("scaling", scaling);
    v.field("weight_scale", weightScale);
    v.field("split_by", splitBy);
    v.field("permute", permute);
    v.field("shared_experts", sharedExperts);
    v.field("shared_width", sharedWidth);
    v.field("shared_init", sharedInit);
    v.field("shared_scale", sharedScale);
    v.field("shared_gate", sharedGate);
    v.field("init_std", initStd);
    v.field("rank", rank);
    v.field("adapter_init", adapterInit);
    v.field("adapter_scale", adapterScale);
    v.field("attention", attention);
    v.field("attention_experts", attentionExperts);
    v.field("attention_top_k", attentionTopk);
  }
};

} // namespace moec
