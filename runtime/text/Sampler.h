//===- Sampler.h - the next token from its logits -------------------------===//
//
// Order of operations, on the logits of one position:
//
//   1. repetition penalty, on every distinct id among the recent tokens:
//      a positive logit is divided by it, another is multiplied
//   2. temperature 0: the best logit wins (greedy); otherwise logits are
//      divided by the temperature
//   3. top-k: the k best stay
//   4. top-p: of those, the fewest best whose probability, among what top-k
//      left, reaches p; at least one
//   5. min-p: of those, whose probability is at least p times the best's
//   6. a draw in proportion to what is left
//
// Of equal logits the lower id is better, NaN is worse than any number. The
// weights are sums of our own exponential in double, in a fixed order, and the
// random number is a function of seed and step alone, so a seed names one
// sequence on every machine.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/Philox.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <deque>
#include <vector>

namespace moec {

struct SamplerOptions {
  /// 0 is greedy.
  double temperature = 0;
  /// 0 keeps all.
  uint32_t topK = 0;
  /// In (0, 1]; 1 keeps all.
  double topP = 1;
  /// In [0, 1]; 0 keeps all.
  double minP = 0;
  /// 1 changes nothing.
  double repetitionPenalty = 1;
  /// How many of the latest tokens the penalty looks at; 0 means all.
  uint32_t penaltyWindow = 0;
  uint64_t seed = 0;
};

/// Draws the tokens of one sequence.
class Sampler {
public:
  /// Fails for options outside their ranges.
  static llvm::Expected<Sampler> create(const SamplerOptions &options);

  /// The next token; fails if no logit is a number. Does not `accept` it.
  llvm::Expected<int32_t> sample(llvm::ArrayRef<float> logits);
  /// Tells the repetition penalty of a token of the prompt or the answer.
  void accept(int32_t id);

private:
  struct Candidate {
    float logit;
    int32_t id;
    double weight;
  };
  explicit Sampler(const SamplerOptions &options);
  static bool better(const Candidate &a, const Candidate &b);

  void penalise(llvm::ArrayRef<float> &logits);
  /// Fills `candidates` with what is a number and among the top k.
  void gather(llvm::ArrayRef<float> logits);
  void keepTopP();

  SamplerOptions options;
  RandomKey key;
  uint64_t step = 0;
  std::deque<int32_t> recent;
  llvm::DenseMap<int32_t, uint32_t> timesRecent;
  std::vector<float> penalised;
  std::vector<Candidate> candidates;
};

/// e^x for x <= 0, within 1 ulp or so, the same bits everywhere; 0 below -745.
double portableExp(double x);

} // namespace moec
