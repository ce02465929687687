//===- Scaling.h - what makes up for the router's weights -----------------===//
#pragma once

#include "passes/upcycle/UpcycleOptions.h"

#include <optional>

namespace moec {

/// Factors of the routed experts' matrices and biases.
struct ExpertScale {
  double gate = 1, up = 1, down = 1;
  double gateBias = 1, upBias = 1, downBias = 1;
  /// For a matrix by its name.
  double of(llvm::StringRef matrix, bool bias) const;
};

/// Whether there is a shared FFN.
bool hasShared(const UpcycleOptions &options);

/// What the shared FFN's output is at first, as a multiple of its own function:
/// shared_scale, halved by a gate of zero; 0 without a shared FFN. With scaling
/// the gate of a slice is made up for.
double sharedPart(const UpcycleOptions &options);
/// The factor in the shared FFN's down projection and its bias.
double sharedFactor(const UpcycleOptions &options);

/// The part of the dense function that the routed experts are to compute: 1, or
/// what a shared copy of the dense FFN, `sharedIsWhole`, leaves.
double routedPart(const UpcycleOptions &options, bool sharedIsWhole);

/// Experts that hold one slice of the FFN each: granularity; for a split, all.
int64_t slicesOf(const UpcycleOptions &options);

/// S of spec 2.3: what the sum of the experts is to be multiplied with under a
/// router of zero rows, so that it is `part` of the dense function. Nothing
/// where the weights are zero or not equal.
std::optional<double> compensation(const UpcycleOptions &options, double part);

/// Degree of homogeneity of an activation: fn(s x) = s^p fn(x) for s > 0; 0
/// where it has none.
int degreeOf(ActivationFn fn);

/// The factors of option `scaling`; nothing where S is needed and there is
/// none.
std::optional<ExpertScale> expertScale(const UpcycleOptions &options,
                                       const FfnAttrs &ffn, double part);

} // namespace moec
