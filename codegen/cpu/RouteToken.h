//===- RouteToken.h - one token's way through a route kernel --------------===//
#pragma once

#include "codegen/cpu/Emitter.h"

namespace moec::cpu {

/// Keys are i32 that order as selection does: by score, equal zeros, NaN below
/// all numbers, chosen experts below NaN.
inline constexpr int32_t kChosenKey = INT32_MIN;
inline constexpr int32_t kNanKey = kChosenKey + 1;
/// The key of f32 numbers, a scalar or a vector, and back.
Value *emitKey(Emitter &e, Value *numbers);
Value *emitFromKey(Emitter &e, Value *key);

/// Logits, scores and keys of the token at hand lie in scratch.
class RouteToken {
public:
  struct Buffers {
    Value *logits, *bias, *counters, *pairExpert, *pairWeight;
  };
  RouteToken(Emitter &e, const kernel::RouteSpec &spec, const Buffers &buffers);
  static int64_t scratchBytes(const kernel::RouteSpec &spec);

  /// Takes up the next token: everything below is about it.
  void emitScores(Value *token);
  /// Key of an expert, NaN and all.
  Value *keyOf(Value *expert);
  /// Writes the chosen experts from pair `firstPair` on, and what their
  /// weights are made of; how many they are.
  Value *emitChoice(Value *firstPair);
  void emitPair(Value *pair, Value *expert);
  /// Makes the weights of `count` pairs.
  void emitWeights(Value *firstPair, Value *count);

private:
  Value *at(Value *base, Value *expert) { return e.element(base, expert, 4); }
  void emitLogits(Value *raw);
  void emitSoftmax();
  void emitGroups();
  std::pair<Value *, Value *> emitBest(Value *keys, Value *begin, Value *end);
  Value *emitMixerWeight(Value *expert);

  Emitter &e;
  const kernel::RouteSpec &spec;
  const Buffers buffers;
  Value *scores, *keys; ///< f32 and i32 [experts]
  Value *normalized;    ///< f32 [experts]
  Value *spareKeys, *groupKeys;
  Value *logits = nullptr; ///< of the token, as scores see them
  Value *allNan = nullptr;
};

/// Which of the items (expert, key) an expert keeps: at most a given number,
/// those of the largest keys; of equal keys the first ones.
class RouteQuota {
public:
  using Item = llvm::function_ref<void(Value *expert, Value *key)>;

  RouteQuota(Emitter &e, int64_t experts, Value *scratch);
  static int64_t scratchBytes(int64_t experts, bool ranks);

  /// `share` (i32) items of each expert. Without `narrow`, the first ones.
  void start(Value *share);
  /// Finds each expert's least key that is kept; `forEach` calls the function
  /// that it gets for every item. It is emitted once and runs four times.
  void narrow(llvm::function_ref<void(Item)> forEach);
  /// Whether an item is kept, once for each item in order. `key` is a key of
  /// `narrow`, or null where it was not called.
  Value *take(Value *expert, Value *key);

private:
  Value *ordered(Value *key);

  Emitter &e;
  int64_t experts;
  Value *least; ///< u32 by expert: keys above it are kept
  Value *left;  ///< i32 by expert: how many equal ones are
  Value *bins;
};

} // namespace moec::cpu
