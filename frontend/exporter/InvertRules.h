//===- InvertRules.h - from canonical weights to a file's tensors ---------===//
#pragma once

#include "frontend/exporter/CanonicalWeights.h"
#include "frontend/models/WeightNames.h"

namespace moec {

/// One tensor of an output.
struct ExportTensor {
  std::string name;
  ElementType type = ElementType::f32;
  std::vector<int64_t> shape;
  /// Null where the numbers are given themselves.
  ExprRef expr;
  std::vector<float> numbers = {};
  /// Where not 0: rows of so many heads go out in interleaved rotary order,
  /// row 2i + j of a head being row i + j * rows / 2 of the expression's.
  int64_t interleaveHeads = 0;
  /// As in CanonicalWeight, where the tensor is that and nothing more.
  Weight *weight = nullptr;
  int64_t expert = -1;
  /// Canonical name of the weight, or of the first of several.
  std::string canonical;
};

/// The tensors that the importer's rules would read back into `weights`: its
/// steps are undone, last first, and slices of one tensor are joined. In the
/// order of the rules. `interleaved`: the file's rows of q and k are for pairs
/// of neighbours, the weights' are not.
llvm::Expected<std::vector<ExportTensor>>
invertRules(llvm::ArrayRef<WeightRule> rules, const CanonicalWeights &weights,
            bool interleaved);

} // namespace moec
