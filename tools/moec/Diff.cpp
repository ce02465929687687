#include "tools/moec/Command.h"

#include "frontend/importer/Importer.h"
#include "ir/support/AtomicFile.h"
#include "tools/driver/ModuleDiff.h"

using namespace moec;
namespace cl = llvm::cl;

static cl::SubCommand flags("diff", "what two models, A and B, differ in");
static cl::opt<std::string> before(cl::Positional, cl::Required, cl::desc("A"),
                                   cl::sub(flags));
static cl::opt<std::string> after(cl::Positional, cl::Required, cl::desc("B"),
                                  cl::sub(flags));
static cl::opt<std::string>
    tokenizer("tokenizer", cl::value_desc("path"),
              cl::desc("tokenizer file or folder, for models without one"),
              cl::sub(flags));
static cl::opt<bool>
    longContext("long-context",
                cl::desc("rotary factors for sequences beyond the context "
                         "before longrope, in place of those for shorter"),
                cl::sub(flags));
static cl::opt<bool> weights("weights",
                             cl::desc("compare the numbers of weights as well"),
                             cl::sub(flags));
static cl::opt<bool> ops("ops", cl::desc("tell every op that differs"),
                         cl::sub(flags));
static cl::opt<bool> json("json", cl::desc("answer as JSON"), cl::sub(flags));
static cl::opt<std::string> html("html", cl::value_desc("file"),
                                 cl::desc("write a page as well"),
                                 cl::sub(flags));
static cl::opt<bool> exitCode("exit-code",
                              cl::desc("exit with 1 if the models differ"),
                              cl::sub(flags));
static NumberFlag<uint32_t> threads("threads", cl::init(0),
                                    cl::value_desc("count"),
                                    cl::desc("threads (0: one a processor)"),
                                    cl::sub(flags));

static llvm::Expected<AnyModel> open(const std::string &path,
                                     const Outputs &outputs) {
  MOEC_TRY(outputs.check(path));
  MOEC_ASSIGN(AnyModel model, openAnyModel(path, tokenizer, longContext));
  for (const std::string &warning : model.warnings)
    warn(warning);
  if (!model.module)
    return error(Location::inFile(path)) << "is a plan that embeds no module";
  MOEC_TRY(outputs.checkSources(*model.module));
  return std::move(model);
}

static llvm::Error run() {
  Outputs outputs{{{html}}, {before, after, tokenizer}};
  MOEC_ASSIGN(AnyModel left, open(before, outputs));
  MOEC_ASSIGN(AnyModel right, open(after, outputs));
  ModuleDiff diff = diffModules(*left.module, *right.module);
  diff.beforeName = before;
  diff.afterName = after;
  if (weights) {
    CheckpointReader leftReader(left.module->baseFolder);
    CheckpointReader rightReader(right.module->baseFolder);
    Progress progress("comparing weights");
    MOEC_TRY(compareWeights(
        diff, leftReader, rightReader, threads,
        [&](uint64_t done, uint64_t all) { progress.update(done, all); }));
  }
  if (!html.empty()) {
    std::string page;
    llvm::raw_string_ostream os(page);
    writeDiffPage(diff, os);
    MOEC_TRY(writeFileAtomically(html, page));
  }
  if (json)
    printJson(toJson(diff));
  else
    printDiff(diff, llvm::outs(), ops);
  if (exitCode && !diff.isEmpty())
    return error() << "the models differ";
  return llvm::Error::success();
}

const Command moec::kDiffCommand = {&flags, run};
