//===- WeightNames.h - what each format calls a weight --------------------===//
#pragma once

#include "frontend/models/ModelConfig.h"
#include "frontend/models/WeightMap.h"

#include <string>
#include <vector>

namespace moec {

/// A canonical weight and how a file stores it.
struct WeightRule {
  std::string name;
  std::vector<int64_t> shape;
  /// The stored tensor and its shape.
  std::string stored;
  std::vector<int64_t> storedShape;
  std::vector<WeightStep> steps;
  /// Rows are those of this many heads that rope turns; 0 for other weights.
  int64_t rotaryHeads = 0;
};

/// The rules of a whole model in the model's order, the head last. A tied head
/// has none.
std::vector<WeightRule> weightRules(const Checkpoint &checkpoint,
                                    const ModelConfig &config);

/// Whether a stored tensor that no rule names can be left out in silence.
bool isHarmlessTensor(CheckpointFormat format, llvm::StringRef name);

} // namespace moec
