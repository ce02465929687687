//===- FfnNeurons.h - the neurons of a dense FFN, as calibration sees them ===//
#pragma once

#include "ir/core/Module.h"
#include "ir/weights/Materialize.h"
#include "tools/recipes/Recipe.h"

namespace moec {

/// Neuron j is row j of gate and up and column j of down.
class FfnNeurons {
public:
  FfnNeurons(const Operation &ffn, const CalibrationSettings &settings,
             TensorReader &reader, unsigned threads);

  /// [neurons, hidden]: L2-normalised rows of the matrix that says when a
  /// neuron is active.
  llvm::Expected<std::vector<float>> rows();
  /// [neurons, tokens]: |fn(gate x) * up x| for states [tokens, hidden].
  llvm::Expected<std::vector<float>> activations(llvm::ArrayRef<float> states);
  /// Neurons, the most important first.
  llvm::Expected<std::vector<int64_t>>
  byImportance(llvm::ArrayRef<float> states);

private:
  llvm::Expected<std::vector<float>> matrix(unsigned operand);

  const Operation &ffn;
  const CalibrationSettings &settings;
  TensorReader &reader;
  unsigned threads;
  int64_t hidden, width;
};

} // namespace moec
