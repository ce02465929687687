//===- Exactness.h - what a recipe promises at its first step -------------===//
//
// Spec 5.2: whether an upcycled FFN computes the dense one before it is
// trained, worked out from the options alone. A receipt measures it.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "passes/upcycle/UpcycleOptions.h"

namespace moec {

class Operation;

/// exact              for every input and every router
/// exact_zero_router  while all router rows are zero, which they are at first
/// exact_all_experts  while all router rows are zero and every expert runs
/// approximate        by a formula that holds for some activations or routers
///                    only
/// none               other weights, or a part of them
enum class ExactnessClass : unsigned {
  exact,
  exact_zero_router,
  exact_all_experts,
  approximate,
  none
};
inline llvm::ArrayRef<llvm::StringRef> enumNames(ExactnessClass) {
  static const llvm::StringRef names[] = {
      "exact", "exact_zero_router", "exact_all_experts", "approximate", "none"};
  return names;
}

struct Exactness {
  ExactnessClass kind = ExactnessClass::none;
  /// Of ||moe - dense|| / ||dense|| of a block that computes in f32; infinite
  /// where nothing is promised.
  double bound = 0;
  /// What that error is by the formula, for an estimate: 0 where exact,
  /// infinite where the formula does not say.
  double predicted = 0;
  /// In words: what it rests on, or what stands in the way.
  std::string reason;
};

/// What the first step of an FFN of `width` neurons (0: not known) that was
/// upcycled so promises. `weights` is the element type that the experts are
/// stored in: factors that are no powers of two are rounded there.
Exactness promisedExactness(const UpcycleOptions &options, const FfnAttrs &ffn,
                            ElementType weights = ElementType::f32,
                            int64_t width = 0);

/// What the heads of an attention that become a mixture promise of its output.
/// `weights` is the element type of the output projection.
Exactness promisedMixture(const UpcycleOptions &options,
                          const Operation &attention,
                          ElementType weights = ElementType::f32);

/// Two blocks together promise what the weaker one does.
const Exactness &weaker(const Exactness &a, const Exactness &b);

/// The relative error of a hidden layer when Megatron's scaling makes up for
/// the factor `total`: the largest over the deviation of normally distributed
/// arguments of the activation (spec 2.3, note i).
double megatronError(ActivationFn fn, double total, bool gated);

} // namespace moec
