//===- MoeOps.h - feed-forward networks, routing and experts --------------===//
//
// A routing assignment is ragged and token-major: the pairs of token t are
// [token_offsets[t], token_offsets[t+1]); pair p chose expert[p] with
// weight[p].
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Attribute.h"
#include "ir/core/Dim.h"
#include "ir/ops/TensorOps.h"

namespace moec {

/// `%y = ffn %x[, @gate], @up, @down[, biases]`: the node that upcycling
/// rewrites. With gate: down (fn(gate x) * up x); without: down fn(up x).
/// Biases, if `biased`, follow in the same order.
///
///   (C1) x is [tokens, hidden]; gate and up are [width, hidden], down is
///        [hidden, width]
///   (C2) as many weights and biases as `gated` and `biased` say, and the
///        weight of each pair if `weighted_hidden`
///   (C3) biases are [width] and [hidden]
///   (C4) the result has the shape of x
///   (C5) not weighted_hidden
///
/// `%y = moe.experts %x, %token_offsets, %expert[, @gate], @up, @down[,
/// biases][, %weight]`: the same per pair, with the weights of its expert;
/// weights and biases have `experts` as a further first dimension, the result
/// is [pairs, hidden]. If `weighted_hidden`, a pair's weight multiplies its
/// hidden block: down (weight[p] * (fn(gate x) * up x)) + bias, and the
/// moe.combine behind has no weight.
///
///   (C5) token_offsets is i32 [tokens+1], expert i32 [pairs], weight f32
///        [pairs]
struct FfnAttrs final : AttrsOf<FfnAttrs> {
  ActivationFn fn = ActivationFn::silu;
  bool gated = true;
  bool biased = false;
  /// moe.experts only: the weight applies before the down projection.
  bool weightedHidden = false;
  /// Element type of fn(gate x) * up x before the down projection.
  ElementType hidden = ElementType::f32;
  template <typename V> void fields(V &v) {
    v.field("fn", fn);
    v.field("gated", gated);
    v.field("biased", biased);
    v.field("weighted_hidden", weightedHidden);
    v.field("hidden", hidden);
  }
  unsigned numWeights() const { return gated ? 3 : 2; }
};

enum class RouterScore : unsigned { softmax, sigmoid, identity, relu };
inline llvm::ArrayRef<llvm::StringRef> enumNames(RouterScore) {
  static const llvm::StringRef names[] = {"softmax", "sigmoid", "identity",
                                          "relu"};
  return names;
}
enum class LogitNorm : unsigned { none, zscore };
inline llvm::ArrayRef<llvm::StringRef> enumNames(LogitNorm) {
  static const llvm::StringRef names[] = {"none", "zscore"};
  return names;
}
enum class GroupScore : unsigned { max, sum_top2, sum_top };
inline llvm::ArrayRef<llvm::StringRef> enumNames(GroupScore) {
  static const llvm::StringRef names[] = {"max", "sum_top2", "sum_top"};
  return names;
}
enum class MaskValue : unsigned { neg_inf, zero };
inline llvm::ArrayRef<llvm::StringRef> enumNames(MaskValue) {
  static const llvm::StringRef names[] = {"neg_inf", "zero"};
  return names;
}
enum class RouterSelect : unsigned {
  topk,
  topp,
  threshold,
  all,
  expert_choice,
  sparse_mixer
};
inline llvm::ArrayRef<llvm::StringRef> enumNames(RouterSelect) {
  static const llvm::StringRef names[] = {
      "topk", "topp", "threshold", "all", "expert_choice", "sparse_mixer"};
  return names;
}
enum class RouterRenorm : unsigned { none, sum, softmax_selected };
inline llvm::ArrayRef<llvm::StringRef> enumNames(RouterRenorm) {
  static const llvm::StringRef names[] = {"none", "sum", "softmax_selected"};
  return names;
}
enum class DropPolicy : unsigned { position, weight };
inline llvm::ArrayRef<llvm::StringRef> enumNames(DropPolicy) {
  static const llvm::StringRef names[] = {"position", "weight"};
  return names;
}

/// `%token_offsets, %expert, %weight = moe.route %logits[, @select_bias]`:
/// which experts a token goes to, and with what weight. In this order:
///
/// 1. Logits: with `logit_norm = zscore` (x - mean) / deviation over the
///    token's experts, the deviation being that of the population (a row of
///    equal numbers becomes 0); then times `logit_scale`. Below, "logit" is
///    this number.
/// 2. Scores: softmax over all experts, sigmoid, the logit itself (identity),
///    or max(logit, 0) (relu).
/// 3. Keys, by which experts are chosen: score + select_bias, in f32.
/// 4. Groups: experts are `groups` equal runs. A run's score is the largest of
///    its keys (max), the sum of its best two (sum_top2) or of its best k /
///    top_groups (sum_top). Of the runs beyond the best `top_groups` every key
///    becomes -inf or 0 (`mask_value`).
/// 5. Selection, by (key descending, expert ascending), NaN last:
///      topk          the best k
///      topp          the best, until their scores add up to `threshold`: at
///                    least one and at most k
///      threshold     all whose key is above `threshold`, the best k of them
///                    at most; above threshold / experts, rounded to f32, with
///                    `threshold_by_experts`. None may be: such a token has no
///                    pairs, and moe.combine gives zeros
///      all           every expert, ascending; k is their number
///      expert_choice each expert takes the ceil(tokens * k / experts) tokens
///                    of the highest key (lower token first), so k is the mean
///                    number of experts of a token. A token's experts ascend
///      sparse_mixer  the best two (k = 2). Weight of the first: its softmax
///                    over the logits x with (best - x) / max(|x|, best) <=
///                    2 * threshold; of the second: the same without the first
///    A token whose keys are all NaN takes experts 0 .. k-1 with NaN weights,
///    also where nothing is above the threshold; expert_choice makes no such
///    exception.
/// 6. Weights: the scores (without the bias), unless sparse_mixer made them;
///    divided by max(their sum + epsilon, minimum) if `renorm = sum`, or the
///    softmax of the chosen logits if softmax_selected; times `scale`.
/// 7. Capacity: if not 0, an expert keeps at most ceil(tokens * k * capacity /
///    experts) pairs: those of lower tokens (`drop = position`), or of higher
///    weight, then lower tokens (`weight`). The weights of a token's other
///    pairs stay as they were.
///
/// expert_choice and capacity choose across the tokens of a step: what a token
/// gets depends on what else is in the batch.
///
///   (C1) logits is f32 [tokens, experts]
///   (C2) 1 <= k <= experts; k = experts if `all`, k = 2 if sparse_mixer
///   (C3) select_bias is f32 [experts]; there is none if sparse_mixer
///   (C4) token_offsets is i32 [tokens+1], expert i32 [pairs], weight f32
///        [pairs], where pairs is a ragged dimension bounded by k*tokens, and
///        by k*tokens + experts if expert_choice (routePairsBound)
///   (C5) groups divides experts, 1 <= top_groups <= groups, k <= top_groups *
///        experts / groups; sum_top: top_groups divides k. groups > 1 only for
///        topk, topp and threshold
///   (C6) topp: 0 < threshold <= 1; sparse_mixer: 0 <= threshold; threshold:
///        finite; otherwise 0. threshold_by_experts only if `threshold`
///   (C7) epsilon, minimum and capacity are finite and >= 0; scale and
///        logit_scale are finite
///   (C8) no capacity if expert_choice
///   (C9) sparse_mixer: score = identity, renorm = none
struct RouteAttrs final : AttrsOf<RouteAttrs> {
  int64_t k = 1;
  RouterScore score = RouterScore::softmax;
  LogitNorm logitNorm = LogitNorm::none;
  double logitScale = 1;
  int64_t groups = 1;
  int64_t topGroups = 1;
  GroupScore groupScore = GroupScore::max;
  MaskValue maskValue = MaskValue::neg_inf;
  RouterSelect select = RouterSelect::topk;
  double threshold = 0;
  bool thresholdByExperts = false;
  RouterRenorm renorm = RouterRenorm::none;
  double epsilon = 0;
  double minimum = 0;
  double scale = 1;
  double capacity = 0;
  DropPolicy drop = DropPolicy::position;
  template <typename V> void fields(V &v) {
    v.field("k", k);
    v.field("score", score);
    v.field("logit_norm", logitNorm);
    v.field("logit_scale", logitScale);
    v.field("groups", groups);
    v.field("top_groups", topGroups);
    v.field("group_score", groupScore);
    v.field("mask_value", maskValue);
    v.field("select", select);
    v.field("threshold", threshold);
    v.field("threshold_by_experts", thresholdByExperts);
    v.field("renorm", renorm);
    v.field("epsilon", epsilon);
    v.field("minimum", minimum);
    v.field("scale", scale);
    v.field("capacity", capacity);
    v.field("drop", drop);
  }

  /// Whether every token has exactly k pairs, so that pair p is of token p / k.
  bool constantStride() const {
    return capacity == 0 &&
           (select == RouterSelect::topk || select == RouterSelect::all ||
            select == RouterSelect::sparse_mixer);
  }
  /// Whether what a token gets depends on the other tokens of the step.
  bool acrossTokens() const {
    return capacity != 0 || select == RouterSelect::expert_choice;
  }
};

/// The host bound of the pairs that moe.route makes of `tokens`.
Polynomial routePairsBound(const RouteAttrs &attrs, int64_t experts,
                           const Polynomial &tokens);

/// `%counter1 = moe.count %counter0, %expert`: adds each expert's choices. In
/// place.
///
///   (C1) counter is a version of a counter state, i64 [experts]
///   (C2) expert is i32 [pairs]
///   (C3) the result has the type and state of counter

/// `%expert_offsets, %order = moe.dispatch %expert {experts = 8}`: the
/// expert-major order of the pairs: pairs order[expert_offsets[e] ..
/// expert_offsets[e+1]), ascending, chose expert e.
///
///   (C1) expert is i32 [pairs]
///   (C2) expert_offsets is i32 [experts+1], order i32 [pairs]
struct MoeDispatchAttrs final : AttrsOf<MoeDispatchAttrs> {
  int64_t experts = 1;
  template <typename V> void fields(V &v) { v.field("experts", experts); }
};

/// `%y = moe.grouped_linear %x, %token_offsets, %expert, @weight[, @bias]`:
/// y[p] = weight[expert[p]] x[r] + bias[expert[p]], where r is the token of
/// pair p if `gather`, else p. Summed in f32.
///
///   (C1) x is [tokens, in] if gather, else [pairs, in]; weight is
///        [experts, out, in]
///   (C2) bias is [experts, out]
///   (C3) the result is [pairs, out]
struct GroupedLinearAttrs final : AttrsOf<GroupedLinearAttrs> {
  bool gather = false;
  template <typename V> void fields(V &v) { v.field("gather", gather); }
};

/// `%y = moe.weigh %x, %weight`: y[p] = weight[p] * x[p].
///
///   (C1) x is [pairs, columns], weight f32 [pairs]
///   (C2) the result has the shape of x

/// `%y = moe.combine %x, %token_offsets[, %weight]`: y[t] = the sum over the
/// pairs p of token t, ascending, of weight[p] * x[p], or of x[p]; zero for a
/// token without pairs.
///
///   (C1) x is [pairs, hidden], token_offsets i32 [tokens+1], weight f32
///        [pairs]
///   (C2) the result is [tokens, hidden]

/// `%y = moe.gate_heads %x, %token_offsets, %expert, %weight {heads = 32,
/// experts = 8}`: a mixture of attention heads. Head h is a head of expert h %
/// experts; its columns are multiplied by the weight of that expert among the
/// token's pairs, and are 0 if the token did not choose it.
///
///   (C1) x is [tokens, columns]; heads divides columns
///   (C2) token_offsets is i32 [tokens+1], expert i32 [pairs], weight f32
///        [pairs]
///   (C3) experts divides heads
///   (C4) the result has the shape of x
struct GateHeadsAttrs final : AttrsOf<GateHeadsAttrs> {
  int64_t heads = 1;
  int64_t experts = 1;
  template <typename V> void fields(V &v) {
    v.field("heads", heads);
    v.field("experts", experts);
  }
};

} // namespace moec
