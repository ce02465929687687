//===- MoeBlock.h - router, experts and combine in one piece --------------===//
//
//   %logits = linear %x, @router[, @router.bias]
//   %offsets, %expert, %weight = moe.route %logits[, @select_bias]
//   %counts1 = moe.count %counts0, %expert
//   %pairs = moe.experts %x, %offsets, %expert[, @gate], @up, @down[, biases]
//   %routed = moe.combine %pairs, %offsets, %weight
//
// A router of two layers has, in the place of its %x:
//
//   %h = linear %x, @first.router
//   %h1 = activation %h {fn = tanh}
//
// With `weighted_hidden`, %weight goes to moe.experts and not to moe.combine.
// A shared FFN, that every token takes as well, follows:
//
//   %s = ffn %x[, @shared.gate], @shared.up, @shared.down[, biases]
//   %g = linear %x, @shared.router          only if its output is gated
//   %g1 = activation %g {fn = sigmoid}
//   %s1 = mul %s, %g1                       a column [tokens, 1] on the right
//   %y = add %routed, %s1
//
// The router may read another value than the experts do (experts on top of a
// dense FFN route by the FFN's input). Everything that looks at such blocks
// goes through matchMoeBlock, so that there is one idea of what one is.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Builder.h"
#include "ir/core/Module.h"
#include "ir/ops/MoeOps.h"

namespace moec {

/// The operands of one mixture of experts.
struct MoeWeights {
  /// [experts, hidden], f32; [experts, width] if it has two layers.
  Value router;
  /// Null where nothing is added to the scores for selection.
  Value selectBias;
  /// As the operands of moe.experts after `expert`: [gate], up, down, biases.
  llvm::SmallVector<Value, 6> experts;
  /// Of the logits: [experts]. Null: none.
  Value routerBias = {};
  /// The shared FFN, as the operands of ffn after x; empty: none. It has the
  /// activation and gating of the experts, and biases if there are any here.
  llvm::SmallVector<Value, 6> shared = {};
  /// [1, hidden]: the shared FFN's output is multiplied by sigmoid of this
  /// times x. Null: it is not.
  Value sharedRouter = {};
  /// The first of two layers: [width, hidden], f32. Null: there is one.
  Value firstRouter = {};
};

/// What a block makes: its output and the next version of its counter.
struct MoeBlock {
  Value output;
  State *counts = nullptr;
  Value counted;
};

/// Appends router, route, count, experts, combine and the shared FFN for
/// `layer`, and declares the ragged dimension `pairs.<layer>` and the state
/// `moe.counts.<layer>`, whose first version becomes an argument of `program`.
/// The router reads `routed` where it is given, else x.
MoeBlock buildMoeBlock(Builder &b, Module &module, Program &program, Value x,
                       const MoeWeights &weights, const RouteAttrs &route,
                       const FfnAttrs &ffn, int64_t layer, Value routed = {});

/// Returns the last version of a state from a program that has its `return`.
void returnState(Program &program, State *state, Value last);

/// The ops of one mixture of experts; null where the block has none of it.
struct MoeBlockView {
  Operation *router = nullptr;      ///< linear that makes the logits
  Operation *firstRouter = nullptr; ///< linear before it, of two layers
  Operation *route = nullptr;
  Operation *count = nullptr;
  Operation *experts = nullptr;
  Operation *combine = nullptr;
  Operation *shared = nullptr;       ///< ffn
  Operation *sharedRouter = nullptr; ///< linear, of one output
  /// What the experts read.
  Value input;
  /// With the shared FFN, if there is one.
  Value output;
  /// From the name of the counter or of the router; -1 where neither has one.
  int64_t layer = -1;

  const RouteAttrs &routeAttrs() const { return route->attrs<RouteAttrs>(); }
  const FfnAttrs &ffnAttrs() const { return experts->attrs<FfnAttrs>(); }
  int64_t expertCount() const;
  /// What the router reads.
  Value routed() const {
    return (firstRouter ? firstRouter : router)->operand(0);
  }
  /// The weights as the block was built from them.
  MoeWeights weights() const;
};

/// The block around a moe.experts; nothing where its experts are chosen or its
/// outputs combined in another way.
std::optional<MoeBlockView> matchMoeBlock(Operation &experts);

/// Every block of a program, in its order.
std::vector<MoeBlockView> moeBlocks(Program &program);

} // namespace moec
