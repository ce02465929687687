#include "tools/driver/Selector.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Interrupt.h"
#include "llvm/ADT/STLExtras.h"

#include <cmath>

using namespace moec;

namespace {
/// A matrix that Adam moves (Kingma and Ba, with their constants).
class Fitted {
public:
  explicit Fitted(std::vector<float> start)
      : weights(std::move(start)), gradient(weights.size()),
        mean(weights.size()), square(weights.size()) {}

  llvm::ArrayRef<float> row(size_t index, size_t width) const {
    return llvm::ArrayRef(weights).slice(index * width, width);
  }
  /// gradient[index] += factor * direction.
  void add(size_t index, float factor, llvm::ArrayRef<float> direction) {
    float *to = &gradient[index * direction.size()];
    for (size_t i = 0; i < direction.size(); ++i)
      to[i] += factor * direction[i];
  }
  void step(double rate, int64_t number) {
    constexpr double kMean = 0.9, kSquare = 0.999, kEpsilon = 1e-8;
    double size = rate * std::sqrt(1 - std::pow(kSquare, number)) /
                  (1 - std::pow(kMean, number));
    for (size_t i = 0; i < weights.size(); ++i) {
      double g = gradient[i];
      mean[i] = float(kMean * mean[i] + (1 - kMean) * g);
      square[i] = float(kSquare * square[i] + (1 - kSquare) * g * g);
      weights[i] -= float(size * mean[i] / (std::sqrt(square[i]) + kEpsilon));
      gradient[i] = 0;
    }
  }

  std::vector<float> weights;

private:
  std::vector<float> gradient, mean, square;
};

class Fit {
public:
  Fit(const Rows &tokens, const Rows &scores, std::vector<float> start,
      const SelectorOptions &options)
      : tokens(tokens), scores(scores), options(options), experts(scores.width),
        first(std::move(start)), second(identity()), hidden(experts),
        back(experts), slope(experts) {}

  llvm::Expected<Selector> run();

private:
  std::vector<float> identity() const {
    std::vector<float> one(experts * experts);
    for (size_t e = 0; e < experts; ++e)
      one[e * experts + e] = 1;
    return one;
  }
  void findLength();
  double look(size_t token, float share);
  double loss();

  const Rows &tokens, &scores;
  const SelectorOptions &options;
  size_t experts;
  /// Mean length of a token.
  float length = 1;
  Fitted first, second;
  std::vector<float> hidden, back, slope;
};
} // namespace

void Fit::findLength() {
  double sum = 0;
  for (size_t t = 0; t < tokens.count(); ++t)
    sum += std::sqrt(dotProduct(tokens[t], tokens[t]));
  if (sum > 0)
    length = float(sum / tokens.count());
}

/// Cross entropy of one token; adds `share` of its gradients.
double Fit::look(size_t token, float share) {
  llvm::ArrayRef<float> x = tokens[token], target = scores[token];
  for (size_t e = 0; e < experts; ++e)
    hidden[e] = std::tanh(dotProduct(first.row(e, x.size()), x) / length);
  float most = *std::max_element(target.begin(), target.end());
  double loss = 0;
  std::fill(back.begin(), back.end(), 0.0f);
  for (size_t e = 0; e < experts; ++e) {
    llvm::ArrayRef<float> row = second.row(e, experts);
    double z = dotProduct(row, hidden);
    double wanted = most > 0 ? target[e] / most : 0;
    // log(1 + exp(z)) without overflow.
    loss += std::max(z, 0.0) - z * wanted + std::log1p(std::exp(-std::abs(z)));
    slope[e] = float((1 / (1 + std::exp(-z)) - wanted) / experts);
    for (size_t i = 0; i < experts; ++i)
      back[i] += slope[e] * row[i];
  }
  for (size_t e = 0; share > 0 && e < experts; ++e) {
    second.add(e, share * slope[e], hidden);
    first.add(e, share * back[e] * (1 - hidden[e] * hidden[e]) / length, x);
  }
  return loss / experts;
}

double Fit::loss() {
  double sum = 0;
  for (size_t t = 0; t < tokens.count(); ++t)
    sum += look(t, 0);
  return sum / tokens.count();
}

llvm::Expected<Selector> Fit::run() {
  size_t count = tokens.count();
  if (!count || count != scores.count())
    return error()
           << "a selector is fitted to tokens and as many scores, found "
           << count << " and " << scores.count();
  findLength();
  Selector result;
  result.lossBefore = loss();
  int64_t steps = 0;
  for (int64_t epoch = 0; epoch < options.epochs; ++epoch) {
    MOEC_TRY(checkInterrupt());
    // An order of its own for every epoch.
    RandomKey key = options.key;
    key.bits += uint64_t(epoch);
    std::vector<uint64_t> order = permutation(key, count);
    for (size_t from = 0; from < count; from += options.batch) {
      size_t size = std::min<size_t>(options.batch, count - from);
      for (size_t i = 0; i < size; ++i)
        look(order[from + i], 1.0f / size);
      ++steps;
      first.step(options.rate, steps);
      second.step(options.rate, steps);
    }
  }
  result.lossAfter = loss();
  for (float &weight : first.weights)
    weight /= length;
  result.first = std::move(first.weights);
  result.second = std::move(second.weights);
  return std::move(result);
}

llvm::Expected<Selector> moec::fitSelector(const Rows &tokens,
                                           const Rows &scores,
                                           std::vector<float> first,
                                           const SelectorOptions &options) {
  return Fit(tokens, scores, std::move(first), options).run();
}
