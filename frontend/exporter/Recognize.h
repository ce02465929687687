//===- Recognize.h - a module back to a model's settings ------------------===//
//
// The inverse of the importer. Settings are read off the graph's attributes
// and weights, the decoder that they describe is built again, and the two
// programs are compared op by op: what the comparison does not explain is an
// error at its place, so nothing is ever guessed.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "frontend/models/ModelConfig.h"
#include "ir/core/Module.h"

#include <optional>

namespace moec {

/// The settings of program `step`. The family is that of the module's facts,
/// which the graph alone does not say.
llvm::Expected<ModelConfig> recognizeModel(const Module &module);

/// Rotary settings whose frequencies are these. `context` helps to tell
/// llama3's scaling; the divisors of pairs say what nothing else does.
RopeConfig explainFrequencies(llvm::ArrayRef<double> frequencies,
                              int64_t context);

/// Settings with a named scaling whose frequencies are those of `rope` up to
/// the rounding of f32 divisors; nothing if there are none.
std::optional<RopeConfig> nameScaling(const RopeConfig &rope, int64_t context);

} // namespace moec
