//===- MoeOps.h - feed-forward networks, routing and experts --------------===//
//
// A routing assignment is ragged and token-major: the pairs of token t are
// [token_offsets[t], token_offsets[t+1]); pair p chose expert[p] with
// weight[p].
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Attribute.h"
#include "ir/ops/TensorOps.h"

namespace moec {

/// `%y = ffn %x[, @gate], @up, @down[, biases]`: the node that upcycling
/// rewrites. With gate: down (fn(gate x) * up x); without: down fn(up x).
/// Biases, if `biased`, follow in the same order.
///
///   (C1) x is [tokens, hidden]; gate and up are [width, hidden], down is
///        [hidden, width]
///   (C2) as many weights and biases as `gated` and `biased` say
///   (C3) biases are [width] and [hidden]
///   (C4) the result has the shape of x
///
/// `%y = moe.experts %x, %token_offsets, %expert[, @gate], @up, @down[,
/// biases]`: the same per pair, with the weights of its expert; weights and
/// biases have `experts` as a further first dimension, the result is [pairs,
/// hidden].
///
///   (C5) token_offsets is i32 [tokens+1], expert i32 [pairs]
struct FfnAttrs final : AttrsOf<FfnAttrs> {
  ActivationFn fn = ActivationFn::silu;
  bool gated = true;
  bool biased = false;
  /// Element type of fn(gate x) * up x before the down projection.
  ElementType hidden = ElementType::f32;
  template <typename V> void fields(V &v) {
    v.field("fn", fn);
    v.field("gated", gated);
    v.field("biased", biased);
    v.field("hidden", hidden);
  }
  unsigned numWeights() const { return gated ? 3 : 2; }
};

enum class RouterScore : unsigned { softmax, sigmoid, identity };
inline llvm::ArrayRef<llvm::StringRef> enumNames(RouterScore) {
  static const llvm::StringRef names[] = {"softmax", "sigmoid", "identity"};
  return names;
}
enum class RouterRenorm : unsigned { none, sum, softmax_selected };
inline llvm::ArrayRef<llvm::StringRef> enumNames(RouterRenorm) {
  static const llvm::StringRef names[] = {"none", "sum", "softmax_selected"};
  return names;
}

/// `%token_offsets, %expert, %weight = moe.route %logits[, @select_bias]`:
/// each token's `k` experts of the highest score + select_bias, in that order;
/// weight is the score without the bias, renormalised, times scale.
///   score  softmax over all experts, sigmoid, or the logit itself
///   renorm none; sum: divided by (sum of the chosen + epsilon);
///          softmax_selected: softmax of the chosen logits
/// Ties: the lower expert first. NaN sorts last. A token whose scores are all
/// NaN takes experts 0 .. k-1 with NaN weights.
///
///   (C1) logits is f32 [tokens, experts]
///   (C2) 1 <= k <= experts
///   (C3) select_bias is f32 [experts]
///   (C4) token_offsets is i32 [tokens+1], expert i32 [pairs], weight f32
///        [pairs], where pairs is a ragged dimension bounded by k*tokens
struct RouteAttrs final : AttrsOf<RouteAttrs> {
  int64_t k = 1;
  RouterScore score = RouterScore::softmax;
  RouterRenorm renorm = RouterRenorm::none;
  double epsilon = 0;
  double scale = 1;
  template <typename V> void fields(V &v) {
    v.field("k", k);
    v.field("score", score);
    v.field("renorm", renorm);
    v.field("epsilon", epsilon);
    v.field("scale", scale);
  }
};

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

/// `%y = moe.combine %x, %token_offsets, %weight`: y[t] = the sum over the
/// pairs p of token t, ascending, of weight[p] * x[p].
///
///   (C1) x is [pairs, hidden], token_offsets i32 [tokens+1], weight f32
///   [pairs] (C2) the result is [tokens, hidden]

} // namespace moec
