#include "tools/driver/FfnNeurons.h"

#include "ir/interp/OpRunner.h"
#include "ir/ops/MoeOps.h"
#include "ir/support/Parallel.h"
#include "tools/driver/Clusters.h"
#include "llvm/ADT/STLExtras.h"

#include <cmath>
#include <numeric>

using namespace moec;

FfnNeurons::FfnNeurons(const Operation &ffn,
                       const CalibrationSettings &settings,
                       TensorReader &reader, unsigned threads)
    : ffn(ffn), settings(settings), reader(reader), threads(threads),
      hidden(ffn.operand(0).type().dim(1).constant()) {
  unsigned up = ffn.attrs<FfnAttrs>().gated ? 2 : 1;
  width = ffn.operand(up).type().dim(0).constant();
}

llvm::Expected<std::vector<float>> FfnNeurons::matrix(unsigned operand) {
  Weight *weight = ffn.operand(operand).weight();
  if (!weight)
    return error(ffn.loc()) << "has an operand that is no weight of the module";
  return materialize(*weight->expr, reader);
}

/// L2-normalised rows of the matrix that says when a neuron is active.
llvm::Expected<std::vector<float>> FfnNeurons::rows() {
  bool gated = ffn.attrs<FfnAttrs>().gated;
  unsigned operand = gated && settings.rows == NeuronRows::up ? 2 : 1;
  MOEC_ASSIGN(std::vector<float> rows, matrix(operand));
  for (int64_t j = 0; j < width; ++j)
    normalize(llvm::MutableArrayRef(rows).slice(j * hidden, hidden));
  return std::move(rows);
}

llvm::Expected<std::vector<float>>
FfnNeurons::activations(llvm::ArrayRef<float> states) {
  const auto &attrs = ffn.attrs<FfnAttrs>();
  MOEC_ASSIGN(std::vector<float> first, matrix(1));
  std::vector<float> up;
  if (attrs.gated) {
    MOEC_ASSIGN(up, matrix(2));
  }
  std::vector<float> firstBias, upBias;
  if (attrs.biased) {
    MOEC_ASSIGN(firstBias, matrix(1 + attrs.numWeights()));
    if (attrs.gated) {
      MOEC_ASSIGN(upBias, matrix(2 + attrs.numWeights()));
    }
  }
  Rows inputs{states, size_t(hidden)};
  size_t tokens = inputs.count();
  std::vector<float> result(width * tokens);
  llvm::Error err = parallelFor(width, threads, [&](uint64_t j) -> llvm::Error {
    auto row = [&](const std::vector<float> &weights) {
      return llvm::ArrayRef(weights).slice(j * hidden, hidden);
    };
    for (size_t t = 0; t < tokens; ++t) {
      double h =
          dotProduct(inputs[t], row(first)) + (attrs.biased ? firstBias[j] : 0);
      h = interp::apply(unsigned(attrs.fn), h);
      if (attrs.gated)
        h *= dotProduct(inputs[t], row(up)) + (attrs.biased ? upBias[j] : 0);
      result[j * tokens + t] = float(std::abs(h));
    }
    return llvm::Error::success();
  });
  if (err)
    return err;
  return std::move(result);
}

/// Neurons, the most important first.
llvm::Expected<std::vector<int64_t>>
FfnNeurons::byImportance(llvm::ArrayRef<float> states) {
  MOEC_ASSIGN(std::vector<float> active, activations(states));
  size_t tokens = active.size() / width;
  std::vector<double> scores(width);
  for (int64_t j = 0; j < width; ++j)
    for (size_t t = 0; t < tokens; ++t)
      scores[j] += active[j * tokens + t];
  if (settings.importance == Importance::output) {
    // down is [hidden, width].
    unsigned operand = ffn.attrs<FfnAttrs>().numWeights();
    MOEC_ASSIGN(std::vector<float> down, matrix(operand));
    std::vector<double> norms(width);
    for (int64_t h = 0; h < hidden; ++h)
      for (int64_t j = 0; j < width; ++j) {
        double x = down[h * width + j];
        norms[j] += x * x;
      }
    for (int64_t j = 0; j < width; ++j)
      scores[j] *= std::sqrt(norms[j]);
  }
  std::vector<int64_t> order(width);
  std::iota(order.begin(), order.end(), 0);
  llvm::stable_sort(
      order, [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
  return std::move(order);
}
