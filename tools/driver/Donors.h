//===- Donors.h - further dense models that experts come from -------------===//
#pragma once

#include "frontend/importer/Importer.h"

namespace moec {

struct DonorOptions {
  std::vector<std::string> paths;
  /// For donors that bring no tokenizer; may be empty.
  std::string tokenizer;
  /// As for `openAnyModel`.
  bool longContext = false;
  /// What is no FFN stays as the base model has it, instead of an average.
  bool keepRest = false;
};

struct DonorReport {
  struct Donor {
    std::string path, sha256;
  };
  std::vector<Donor> donors;
  std::vector<std::string> warnings;
};

/// Adds the weights of each donor K = 1, 2, ... to the module as
/// `donor.K.<name>`, over files `donorK`. A donor has the family, the graph,
/// the shapes and the tokenizer of the base model, or the error says what
/// differs. The base model's files have their digests.
llvm::Expected<DonorReport>
addDonors(Module &base, const DonorOptions &options, CheckpointReader &reader,
          llvm::function_ref<void(uint64_t, uint64_t)> progress);

} // namespace moec
