//===- MoeBlock.h - router, experts and combine in one piece --------------===//
#pragma once

#include "ir/core/Builder.h"
#include "ir/core/Module.h"
#include "ir/ops/MoeOps.h"

namespace moec {

/// The operands of one mixture of experts.
struct MoeWeights {
  /// [experts, hidden], f32.
  Value router;
  /// Null where nothing is added to the scores for selection.
  Value selectBias;
  /// As the operands of moe.experts after `expert`: [gate], up, down, biases.
  llvm::SmallVector<Value, 6> experts;
};

/// What a block makes: its output and the next version of its counter.
struct MoeBlock {
  Value output;
  State *counts = nullptr;
  Value counted;
};

/// Appends router, route, count, experts and combine for `layer`, and declares
/// the ragged dimension `pairs.<layer>` and the state `moe.counts.<layer>`,
/// whose first version becomes an argument of `program`.
MoeBlock buildMoeBlock(Builder &b, Module &module, Program &program, Value x,
                       const MoeWeights &weights, const RouteAttrs &route,
                       const FfnAttrs &ffn, int64_t layer);

/// Returns the last version of a state from a program that has its `return`.
void returnState(Program &program, State *state, Value last);

} // namespace moec
