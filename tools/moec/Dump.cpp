#include "tools/moec/Command.h"

#include "ir/text/Printer.h"
#include "tools/driver/Describe.h"
#include "tools/driver/DescribePlan.h"

using namespace moec;
namespace cl = llvm::cl;

static cl::SubCommand flags("dump", "print the IR of a model");
static ModelFlags model(flags);
static cl::opt<std::string>
    format("format", cl::init("text"), cl::value_desc("form"),
           cl::desc("text, json, dot or model-explorer"), cl::sub(flags));
static cl::opt<bool> full("full",
                          cl::desc("print long assets and lists in full, so "
                                   "that the text can be read back"),
                          cl::sub(flags));

static llvm::Error run() {
  MOEC_ASSIGN(AnyModel opened, model.open());
  if (!opened.module)
    return error(Location::inFile(model.path))
           << "is a plan that embeds no module";
  PrintOptions options;
  if (!full) {
    options.elideAssets = true;
    options.maxListElements = 16;
  }
  if (format == "text") {
    // Comments, so that the text can be read back.
    if (opened.plan)
      for (const PlanSummary::Variant &variant :
           summarizePlan(*opened.plan).variants)
        llvm::outs() << "// variant " << variant.name << ": "
                     << formatBytes(variant.weightBytes) << " of weights, "
                     << weightsOf(variant) << "\n";
    printModule(*opened.module, llvm::outs(), options);
  } else if (format == "json") {
    llvm::json::Value answer = describeModule(*opened.module);
    if (opened.plan)
      (*answer.getAsObject())["plan"] = toJson(summarizePlan(*opened.plan));
    printJson(answer);
  } else if (format == "dot")
    printDot(*opened.module, llvm::outs());
  else if (format == "model-explorer")
    printJson(modelExplorerGraphs(*opened.module));
  else
    return error() << "--format is '" << format
                   << "', expects text, json, dot or model-explorer";
  return llvm::Error::success();
}

const Command moec::kDumpCommand = {&flags, run};
