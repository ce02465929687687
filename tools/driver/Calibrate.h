//===- Calibrate.h - what a recipe measures on the dense model ------------===//
//
// Writes a safetensors file that weight expressions cite as file
// `calibration`:
//
//   layers.L.order    i64 [ffn width]: neurons in the order of the experts
//   layers.L.router   f32 [experts, hidden]: rows of the router
//   layers.L.router.first
//                     f32 [experts, hidden]: the first of two layers; the
//                     router is [experts, experts] then
//
// The same bits for any number of threads. Clusters of weights are the same on
// every machine; what is measured by running the model depends on the code
// variant, which the file's metadata names.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/weights/Materialize.h"
#include "tools/recipes/Recipe.h"

namespace moec {

struct CalibrationReport {
  std::string path;
  int64_t layers = 0;
  /// Tokens that were run.
  int64_t tokens = 0;
  std::vector<std::string> warnings;
};

/// `calibration` beside the output: `out.calibration.safetensors` for `out.moe`
/// and for a folder `out`.
std::string calibrationPath(llvm::StringRef output);

/// Measures what the recipe wants, writes the file, whole or not at all, and
/// adds it to the module as file `calibration`.
llvm::Expected<CalibrationReport>
calibrate(Module &dense, const Recipe &recipe, TensorReader &reader,
          llvm::StringRef path, unsigned threads,
          llvm::function_ref<void(uint64_t, uint64_t)> progress);

/// The file's place in the module, without its contents, for a dry run.
llvm::Error addCalibrationFile(Module &dense, llvm::StringRef path);

} // namespace moec
