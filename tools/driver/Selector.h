//===- Selector.h - a router fitted to how active experts are -------------===//
//
// MoEfication (spec 4.18): of a token, Linear -> tanh -> Linear says how active
// each expert's neurons are. Seeded, in one thread and one order.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "tools/driver/Clusters.h"

namespace moec {

struct SelectorOptions {
  /// Times that all tokens are gone through; tokens a step; the step of Adam.
  int64_t epochs = 30, batch = 64;
  double rate = 0.01;
  RandomKey key;
};

struct Selector {
  /// [experts, width of a token] and [experts, experts].
  std::vector<float> first, second;
  /// Mean cross entropy before the first step, and after the last.
  double lossBefore = 0, lossAfter = 0;
};

/// Fits sigmoid(second tanh(first x)) to each token's `scores`, divided by the
/// token's largest. Starts from `first` for tokens of length 1 and from the
/// identity. Tokens are brought to a mean length of 1, which the result's first
/// matrix holds, so that it reads tokens as they are.
llvm::Expected<Selector> fitSelector(const Rows &tokens, const Rows &scores,
                                     std::vector<float> first,
                                     const SelectorOptions &options);

} // namespace moec
