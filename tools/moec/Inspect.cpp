#include "tools/moec/Command.h"

#include "tools/driver/Describe.h"
#include "tools/driver/DescribePlan.h"
#include "llvm/Support/Format.h"

using namespace moec;
namespace cl = llvm::cl;

static cl::SubCommand flags("inspect", "what a model is made of");
static ModelFlags model(flags);
static cl::opt<bool> json("json", cl::desc("answer as JSON"), cl::sub(flags));

static llvm::Error run() {
  MOEC_ASSIGN(AnyModel opened, model.open());
  if (!opened.module)
    return error(Location::inFile(model.path))
           << "is a plan that embeds no module";
  ModelSummary summary = summarize(*opened.module);
  if (json) {
    llvm::json::Value answer = toJson(summary);
    if (opened.plan)
      (*answer.getAsObject())["plan"] = toJson(summarizePlan(*opened.plan));
    printJson(answer);
    return llvm::Error::success();
  }
  std::string flops;
  llvm::raw_string_ostream(flops)
      << llvm::format("%.1f MFLOP", summary.flopsPerToken / 1e6);
  Table facts({"model", summary.name});
  facts.addRow({"architecture", summary.architecture});
  facts.addRow({"parameters", formatCount(summary.parameters)});
  facts.addRow({"  active a token", formatCount(summary.activeParameters)});
  facts.addRow({"bytes", formatBytes(summary.bytes)});
  facts.addRow({"work a token", flops});
  facts.addRow({"layers", std::to_string(summary.layers)});
  facts.addRow({"hidden", std::to_string(summary.hidden)});
  facts.addRow({"context", std::to_string(summary.context)});
  facts.addRow({"vocabulary", std::to_string(summary.vocabulary)});
  facts.print(llvm::outs());
  llvm::outs() << "\n";
  Table layers({"layer", "experts", "top-k", "router", "weights of 'up' from"});
  for (const LayerSummary &layer : summary.layerList)
    layers.addRow({std::to_string(layer.layer),
                   layer.experts ? std::to_string(layer.experts) : "dense",
                   layer.experts ? std::to_string(layer.topk) : "",
                   layer.router, layer.provenance});
  layers.print(llvm::outs());
  if (!opened.plan)
    return llvm::Error::success();
  llvm::outs() << "\n";
  Table variants({"variant", "weights in memory", "packed"});
  for (const PlanSummary::Variant &variant :
       summarizePlan(*opened.plan).variants)
    variants.addRow(
        {variant.name, formatBytes(variant.weightBytes), weightsOf(variant)});
  variants.print(llvm::outs());
  return llvm::Error::success();
}

const Command moec::kInspectCommand = {&flags, run};
