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
           cl::desc("text, json, dot or model-explorer (text)"),
           cl::sub(flags));
static cl::opt<bool> full("full",
                          cl::desc("print long assets and lists in full, so "
                                   "that the text can be read back"),
                          cl::sub(flags));

static cl::opt<std::string> output("o", cl::init("-"), cl::value_desc("file"),
                                   cl::desc("where the answer goes (standard "
                                            "output)"),
                                   cl::sub(flags));

static llvm::Error run() {
  if (format != "text" && format != "json" && format != "dot" &&
      format != "model-explorer")
    return wrongFlag(format, format, "text, json, dot or model-explorer");
  MOEC_ASSIGN(AnyModel opened, model.open({{{output}}, {}}));
  if (!opened.module)
    return error(Location::inFile(model.path))
           << "is a plan that embeds no module";
  PrintOptions options;
  if (!full) {
    options.elideAssets = true;
    options.maxListElements = 16;
  }
  std::string answer;
  llvm::raw_string_ostream os(answer);
  if (format == "text") {
    // Comments, so that the text can be read back.
    if (opened.plan)
      for (const PlanSummary::Variant &variant :
           summarizePlan(*opened.plan).variants)
        os << "// variant " << variant.name << ": "
           << formatBytes(variant.weightBytes) << " of weights, "
           << weightsOf(variant) << "\n";
    printModule(*opened.module, os, options);
  } else if (format == "json") {
    llvm::json::Value described = describeModule(*opened.module);
    if (opened.plan)
      (*described.getAsObject())["plan"] = toJson(summarizePlan(*opened.plan));
    os << jsonAnswer(described);
  } else if (format == "dot") {
    printDot(*opened.module, os);
  } else {
    os << jsonAnswer(modelExplorerGraphs(*opened.module));
  }
  return writeAnswer(output, answer);
}

const Command moec::kDumpCommand = {&flags, run};
