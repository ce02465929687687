//===- Evaluate.h - how well a model predicts a text ----------------------===//
#pragma once

#include "runtime/generate/Session.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace moec::runtime {

/// Calls `visit` with each position of `tokens`, in order and a step's worth
/// at a time: the first position and the logits of those that follow, row
/// after row. The tokens are one sequence from position 0. A step takes at
/// most `stepTokens` tokens; 0: as many as the plan allows.
llvm::Error forEachLogits(
    Session &session, llvm::ArrayRef<int32_t> tokens,
    llvm::function_ref<llvm::Error(int64_t first, llvm::ArrayRef<float> rows)>
        visit,
    int64_t stepTokens = 0);

/// -log softmax(logits)[target], in double.
double negativeLogLikelihood(llvm::ArrayRef<float> logits, int32_t target);

struct EvaluationOptions {
  /// Tokens a window; 0: the context.
  int64_t window = 0;
  /// Tokens between the starts of windows; 0: the window, so that none
  /// overlap.
  int64_t stride = 0;
};

struct Evaluation {
  /// Tokens that were predicted.
  int64_t tokens = 0;
  /// Sum of their negative log-likelihoods, in nats.
  double nll = 0;
  double seconds = 0;
  /// e^(nll / tokens).
  double perplexity() const;
};

/// Predicts each token from those before it in its window; a window's first
/// token is not predicted, and of overlapping windows the first that holds a
/// token predicts it. Called with tokens done and in all as it goes.
llvm::Expected<Evaluation>
evaluate(Session &session, llvm::ArrayRef<int32_t> tokens,
         const EvaluationOptions &options = {},
         llvm::function_ref<void(int64_t, int64_t)> progress = nullptr);

} // namespace moec::runtime
