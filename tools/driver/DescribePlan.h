//===- DescribePlan.h - what a plan brings besides its module -------------===//
#pragma once

#include "llvm/Support/JSON.h"

#include <string>
#include <vector>

namespace moec::runtime {
class Plan;
} // namespace moec::runtime

namespace moec {

struct PlanSummary {
  struct Variant {
    std::string name;
    /// Bytes of its weights in the layouts that it wants, and of those that
    /// lie packed in `files`.
    uint64_t weightBytes = 0;
    uint64_t packedBytes = 0;
    std::vector<std::string> files;
  };
  struct WeightFile {
    std::string name;
    uint64_t bytes = 0;
    std::string id; ///< in hexadecimal
  };
  unsigned major = 0, minor = 0;
  std::string producer;
  std::vector<Variant> variants;
  std::vector<WeightFile> files;
};

PlanSummary summarizePlan(const runtime::Plan &plan);
llvm::json::Value toJson(const PlanSummary &summary);
/// Whether any weight of the plan has a digest to compare with.
bool statesDigests(const runtime::Plan &plan);
/// Where a variant's weights are when it is loaded, in words.
std::string weightsOf(const PlanSummary::Variant &variant);

} // namespace moec
