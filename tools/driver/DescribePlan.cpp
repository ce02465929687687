#include "tools/driver/DescribePlan.h"

#include "ir/support/Escape.h"
#include "ir/support/Hash.h"
#include "runtime/program/PackedWeights.h"
#include "runtime/program/Plan.h"
#include "runtime/schema/plan_generated.h"
#include "tools/driver/Table.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace moec;

PlanSummary moec::summarizePlan(const runtime::Plan &plan) {
  PlanSummary summary;
  summary.major = plan->major();
  summary.minor = plan->minor();
  if (plan->producer())
    summary.producer = plan->producer()->str();
  if (plan->weight_files())
    for (const plan::WeightFile *file : *plan->weight_files())
      summary.files.push_back(
          {file->file()->str(), file->bytes(),
           moec::toHex({file->id()->data(), file->id()->size()})});
  if (!plan->variants())
    return summary;
  for (const plan::Variant *variant : *plan->variants()) {
    PlanSummary::Variant line;
    line.name = variant->name()->str();
    if (variant->weights())
      for (const plan::PackedWeight *packed : *variant->weights()) {
        const plan::Weight &first =
            *plan->weights()->Get(packed->weights()->Get(0));
        line.weightBytes +=
            runtime::packedBytes(runtime::layoutOf(*packed),
                                 runtime::constantShape(*first.type()))
                .value_or(0);
        const plan::PackedRange *range = packed->packed();
        if (!range)
          continue;
        line.packedBytes += range->bytes();
        const std::string &file = summary.files[range->file()].name;
        if (!llvm::is_contained(line.files, file))
          line.files.push_back(file);
      }
    summary.variants.push_back(std::move(line));
  }
  return summary;
}

bool moec::statesDigests(const runtime::Plan &plan) {
  auto isThere = [](const auto *digest) { return digest && digest->size(); };
  if (plan->weights())
    for (const plan::Weight *weight : *plan->weights())
      if (weight->sources())
        for (const plan::WeightSource *source : *weight->sources())
          if (isThere(source->sha256()))
            return true;
  if (plan->variants())
    for (const plan::Variant *variant : *plan->variants())
      if (variant->weights())
        for (const plan::PackedWeight *packed : *variant->weights())
          if (packed->packed() && isThere(packed->packed()->sha256()))
            return true;
  return false;
}

std::string moec::weightsOf(const PlanSummary::Variant &variant) {
  if (variant.files.empty())
    return "packed when loaded";
  std::string text = "packed in " + llvm::join(variant.files, ", ");
  if (variant.packedBytes < variant.weightBytes)
    text += ", " + formatBytes(variant.weightBytes - variant.packedBytes) +
            " when loaded";
  return text;
}

llvm::json::Value moec::toJson(const PlanSummary &summary) {
  llvm::json::Array variants, files;
  for (const PlanSummary::Variant &variant : summary.variants)
    variants.push_back(llvm::json::Object{
        {"name", toUtf8(variant.name)},
        {"weight_bytes", variant.weightBytes},
        {"packed_bytes", variant.packedBytes},
        {"weight_files",
         llvm::json::Array(llvm::map_range(variant.files, toUtf8))}});
  for (const PlanSummary::WeightFile &file : summary.files)
    files.push_back(llvm::json::Object{{"file", toUtf8(file.name)},
                                       {"bytes", file.bytes},
                                       {"id", toUtf8(file.id)}});
  return llvm::json::Object{{"version", std::to_string(summary.major) + "." +
                                            std::to_string(summary.minor)},
                            {"producer", toUtf8(summary.producer)},
                            {"variants", std::move(variants)},
                            {"weight_files", std::move(files)}};
}
