//===- PackWeights.h - a plan's weights, packed beforehand ----------------===//
//
// Writes the weights of a compiled plan into a file beside it, in the layouts
// that some of its variants want. Plan and file then run without the files that
// the model came from.
//
// The file is written front to back in windows of some megabytes: while threads
// pack one window, the one before is hashed and written. Weights that are
// stored in files are read where they are mapped; others are computed, a bank
// expert by expert. So memory does not grow with the model.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Module.h"
#include "ir/support/Hash.h"

namespace moec {

struct PackReport {
  struct Variant {
    std::string name;
    unsigned weights = 0;
    uint64_t bytes = 0;
    /// Of these, bytes that a variant before it has brought.
    uint64_t sharedBytes = 0;
  };
  std::vector<Variant> variants;
  /// The file that was written.
  std::string path;
  uint64_t fileBytes = 0;
  uint64_t planBytes = 0;
};

/// The file of packed weights that belongs to a plan.
std::string weightFileOf(llvm::StringRef plan);

/// Writes a plan to `output` and its packed weights to `weightFileOf(output)`,
/// both or neither. `variants` are names, of which the last parts are enough;
/// `all`; or `host`, the variant that this machine would choose: of a plan for
/// other machines, all. `module` is the one that was compiled, as compileModule
/// left it.
llvm::Expected<PackReport> writePackedPlan(llvm::StringRef output,
                                           llvm::StringRef plan,
                                           const Module &module,
                                           llvm::ArrayRef<std::string> variants,
                                           ProgressFn progress = nullptr);

} // namespace moec
