#include "tools/moec/Command.h"

#include "ir/binary/ModuleFile.h"
#include "ir/support/WholeFile.h"
#include "runtime/text/Tokenizer.h"
#include "tools/driver/Calibrate.h"
#include "tools/driver/Describe.h"
#include "tools/driver/Donors.h"
#include "tools/driver/Lineage.h"
#include "tools/driver/Receipt.h"
#include "tools/driver/UpcyclePlan.h"
#include "tools/moec/OptionFlags.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"

#include <chrono>

using namespace moec;
namespace cl = llvm::cl;

static cl::SubCommand flags("upcycle", "turn a dense model into experts");
static ModelFlags model(flags);
static cl::opt<std::string>
    output("o", cl::value_desc("OUT"),
           cl::desc("file.moe (weights by reference) or a folder (weights "
                    "written as safetensors)"),
           cl::sub(flags));
static cl::opt<std::string>
    recipeName("recipe", cl::value_desc("NAME"),
               cl::desc("a published method ('moec recipes' lists them), with "
                        "a preset as NAME:PRESET, or a file.yaml"),
               cl::sub(flags));
static cl::list<std::string>
    settings("set", cl::value_desc("key=value"),
             cl::desc("sets an option or a setting of the recipe"),
             cl::sub(flags));
static UpcycleOptions defaults;
static OptionFlags options(flags, defaults);
static cl::list<std::string>
    donors("donor", cl::value_desc("MODEL"),
           cl::desc("a further dense model that gives experts"),
           cl::sub(flags));
static cl::opt<std::string>
    prompts("prompts", cl::value_desc("file.yaml"),
            cl::desc("a list of experts with 'positive' and 'negative' "
                     "prompts, for recipes whose router is made of them"),
            cl::sub(flags));
static cl::list<std::string>
    texts("calibration-text", cl::value_desc("file"),
          cl::desc("text that calibration runs the model on"), cl::sub(flags));
static cl::OptionCategory instead("instead of making experts");
static cl::opt<std::string>
    toDense("to-dense", cl::value_desc("average|concat|EXPERT"),
            cl::desc("make a MoE dense, by the mean of its experts, by all of "
                     "them side by side, or by one of them"),
            cl::cat(instead), cl::sub(flags));
static cl::list<std::string>
    editExpert("edit-expert", cl::value_desc("options"),
               cl::desc("add or replace one expert of a MoE, such as "
                        "layer=3,expert=2,init=drop (of pass 'edit-expert')"),
               cl::cat(instead), cl::sub(flags));
static cl::opt<std::string> selectExperts(
    "select-experts", cl::value_desc("options"),
    cl::desc("let other experts of a MoE run, such as top_k=4 (of "
             "pass 'select-experts')"),
    cl::cat(instead), cl::sub(flags));
static cl::opt<bool>
    dryRun("dry-run",
           cl::desc("print size, memory and time, and write nothing"),
           cl::sub(flags));
static cl::opt<std::string>
    dtype("dtype", cl::init("auto"), cl::value_desc("type"),
          cl::desc("matrices of a folder: auto, f32 or bf16 (auto)"),
          cl::sub(flags));
static NumberFlag<uint32_t> threads("threads", cl::init(0),
                                    cl::value_desc("count"),
                                    cl::desc("threads (0: one a processor)"),
                                    cl::sub(flags));
static cl::opt<std::string>
    probe("probe", cl::value_desc("text"),
          cl::init("Once upon a time there was a little mixture of experts."),
          cl::desc("text whose tokens the receipt is measured on; empty for no "
                   "measurement"),
          cl::sub(flags));
static cl::opt<bool> json("json", cl::desc("receipt as JSON"), cl::sub(flags));
static cl::opt<std::string>
    html("html", cl::value_desc("file"),
         cl::desc("receipt as a page; a folder gets receipt.html and "
                  "receipt.json anyway"),
         cl::sub(flags));

static constexpr size_t kProbeTokens = 16;

static bool writesFolder() {
  return !llvm::StringRef(output).ends_with(".moe");
}

/// What is written, and what is read besides the model. A page may stand in the
/// folder that `-o` makes.
static llvm::Expected<Outputs> plannedOutputs() {
  Outputs outputs;
  outputs.reads = {recipeName, prompts};
  outputs.reads.insert(outputs.reads.end(), texts.begin(), texts.end());
  outputs.reads.insert(outputs.reads.end(), donors.begin(), donors.end());
  if (dryRun)
    return outputs;
  outputs.writes.push_back(
      {output, writesFolder() ? OutputKind::folder : OutputKind::file});
  llvm::StringRef folder = llvm::StringRef(output).rtrim('/');
  llvm::StringRef inside = html.getValue();
  if (!writesFolder() || !inside.consume_front(folder) ||
      !inside.consume_front("/")) {
    outputs.writes.push_back({html});
    return outputs;
  }
  if (inside.contains('/') || !inside.ends_with(".html"))
    return wrongFlag(html, html,
                     "a name that ends in .html for a page in the folder that "
                     "-o makes");
  outputs.writes.push_back({html, OutputKind::later});
  return outputs;
}

/// The recipe with what `--set` and flags put over it.
static llvm::Expected<Recipe> chosenRecipe() {
  RecipeBuilder builder;
  if (!recipeName.empty()) {
    MOEC_ASSIGN(builder, RecipeBuilder::open(recipeName));
  }
  if (!prompts.empty()) {
    MOEC_ASSIGN(std::string text, readWholeFile(prompts));
    MOEC_TRY(builder.setPrompts(text, prompts));
  }
  for (const std::string &assignment : settings)
    MOEC_TRY(builder.set(assignment));
  MOEC_TRY(options.apply(builder));
  MOEC_ASSIGN(Recipe recipe, builder.build());
  for (const std::string &path : texts) {
    MOEC_ASSIGN(std::string text, readWholeFile(path));
    recipe.calibration.texts.push_back(std::move(text));
  }
  // As many experts as models or prompts, where nobody says how many.
  if (!recipe.isGiven("experts")) {
    if (recipe.options.init == InitPolicy::btx)
      recipe.options.experts = int64_t(donors.size()) + 1;
    else if (recipe.calibration.router == RouterSource::prompts)
      recipe.options.experts = recipe.calibration.prompts.size();
  }
  if (int64_t(donors.size()) < recipe.minimumDonors)
    return error() << "recipe '" << recipe.name << "' wants "
                   << recipe.minimumDonors
                   << " or more further models (--donor MODEL): "
                   << recipe.donors;
  if (!donors.empty() && recipe.options.init != InitPolicy::btx)
    return error() << "--donor gives experts only where 'init' is btx, but it "
                      "is "
                   << fieldText(recipe.options, "init");
  return std::move(recipe);
}

static llvm::Expected<std::vector<int32_t>> probeTokens(const Module &module) {
  std::vector<int32_t> ids;
  auto asset = module.assets.find("tokenizer");
  if (asset != module.assets.end()) {
    MOEC_ASSIGN(auto tokenizer, Tokenizer::load(asset->second, model.path));
    MOEC_ASSIGN(ids, tokenizer->encode(probe.getValue(), EncodeOptions()));
  } else {
    // Without a tokenizer any ids will do.
    for (size_t i = 0; i < kProbeTokens; ++i)
      ids.push_back(int32_t(i + 1));
  }
  if (ids.size() > kProbeTokens)
    ids.resize(kProbeTokens);
  return ids;
}

/// A recipe may name the one model that it was written for.
static llvm::Error checkSource(const Recipe &recipe, llvm::StringRef sha256) {
  if (recipe.sourceSha256.empty() || recipe.sourceSha256 == sha256)
    return llvm::Error::success();
  return error(recipe.sourceLoc)
         << "recipe '" << recipe.name << "' was written for the model with "
         << "SHA-256 " << recipe.sourceSha256 << ", but '" << model.path
         << "' has " << sha256
         << ": take the model as it was, or write this into the recipe";
}

/// Where the result comes from and how it is to be trained.
static void addFacts(Module &module, const Recipe &recipe,
                     const UpcycleReceipt &receipt) {
  recipe.addFacts(module.facts);
  module.facts["lineage.source"] = lastPart(model.path);
  module.facts["lineage.source_sha256"] = receipt.sourceSha256;
  if (std::string licence = licenceOf(model.path); !licence.empty())
    module.facts["lineage.licence"] = licence;
  module.facts["lineage.seed"] = std::to_string(receipt.seed);
}

/// Digests of the module's files; the one that names them all.
static llvm::Expected<std::string>
readSources(Module &module, CheckpointReader &reader, UpcycleReceipt &receipt) {
  std::vector<std::string> sources;
  for (auto &file : module.files()) {
    Progress progress("reading " + file->path);
    MOEC_ASSIGN(file->sha256,
                reader.digest(*file, [&](uint64_t done, uint64_t all) {
                  progress.update(done, all);
                }));
    sources.push_back(file->sha256);
    receipt.sources.emplace_back(file->path, file->sha256);
  }
  return sourceDigest(sources);
}

/// Weights of donors, as `donor.K.<name>`.
static llvm::Error readDonors(Module &module, const Recipe &recipe,
                              CheckpointReader &reader,
                              UpcycleReceipt &receipt) {
  if (donors.empty())
    return llvm::Error::success();
  DonorOptions given;
  given.paths.assign(donors.begin(), donors.end());
  given.tokenizer = model.tokenizer;
  given.longContext = model.longContext;
  given.keepRest = recipe.keepRest;
  Progress progress("reading donors");
  MOEC_ASSIGN(DonorReport report,
              addDonors(module, given, reader, [&](uint64_t a, uint64_t b) {
                progress.update(a, b);
              }));
  for (const std::string &warning : report.warnings)
    warn(warning);
  for (auto &&[index, donor] : llvm::enumerate(report.donors)) {
    receipt.sources.emplace_back(donor.path, donor.sha256);
    std::string key = "lineage.donor." + std::to_string(index + 1);
    module.facts[key] = lastPart(donor.path);
    module.facts[key + "_sha256"] = donor.sha256;
  }
  return llvm::Error::success();
}

/// What the recipe measures on the dense model, as file `calibration`.
static llvm::Error measure(Module &module, const Recipe &recipe,
                           CheckpointReader &reader, UpcycleReceipt &receipt) {
  if (!recipe.calibration.isNeeded())
    return llvm::Error::success();
  std::string path = calibrationPath(output);
  if (dryRun)
    return addCalibrationFile(module, path);
  Progress progress("calibrating");
  MOEC_ASSIGN(CalibrationReport report,
              calibrate(module, recipe, reader, path, threads,
                        [&](uint64_t done, uint64_t all) {
                          progress.update(done, all);
                        }));
  for (const std::string &warning : report.warnings)
    warn(warning);
  SourceFile *file = module.findFile("calibration");
  MOEC_ASSIGN(file->sha256, reader.digest(*file));
  receipt.sources.emplace_back(file->path, file->sha256);
  module.facts["lineage.calibration_sha256"] = file->sha256;
  return llvm::Error::success();
}

static llvm::Expected<ElementType> folderElement(const Module &module) {
  MOEC_ASSIGN(Precision precision, parsePrecision(dtype));
  if (precision == Precision::automatic)
    precision = naturalPrecision(module);
  if (precision == Precision::q8_0)
    return wrongFlag(dtype, dtype, "f32 or bf16, which a folder may hold");
  return precision == Precision::f32 ? ElementType::f32 : ElementType::bf16;
}

static llvm::Error tellPlan(Module &module, CheckpointReader &reader) {
  UpcyclePlanOptions options;
  options.output = output;
  MOEC_ASSIGN(options.element, folderElement(module));
  options.threads = threads;
  MOEC_ASSIGN(UpcyclePlan plan, planUpcycling(module, reader, options));
  if (json)
    printJson(toJson(plan));
  else
    printPlan(plan, llvm::outs());
  if (plan.writtenBytes > plan.freeBytes)
    warn("the disk of '" + plan.output + "' has too little room");
  return llvm::Error::success();
}

/// A folder or a `.moe`.
static llvm::Error write(Module &module, CheckpointReader &reader,
                         const std::string &identity, UpcycleReceipt &receipt) {
  if (!writesFolder())
    return saveModule(module, output, ModuleForm::binary);
  FolderOptions folder;
  MOEC_ASSIGN(folder.element, folderElement(module));
  folder.threads = threads;
  folder.identity = identity;
  Progress progress("writing " + output);
  MOEC_ASSIGN(receipt.folder, writeModelFolder(module, output, reader, folder,
                                               [&](uint64_t a, uint64_t b) {
                                                 progress.update(a, b);
                                               }));
  return llvm::Error::success();
}

using Clock = std::chrono::steady_clock;

static llvm::Error report(UpcycleReceipt &receipt, Clock::time_point start,
                          const MemoryWatch &memory) {
  receipt.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  PeakMemory peak = memory.peak();
  receipt.peakAnonymous = peak.anonymous;
  receipt.peakResident = peak.resident;
  if (!html.empty())
    MOEC_TRY(writeReceiptFile(receipt, html));
  if (receipt.folder)
    MOEC_TRY(addReceiptTo(output, receipt));
  if (json)
    printJson(toJson(receipt));
  else
    printReceipt(receipt, llvm::outs());
  return llvm::Error::success();
}

/// A MoE in another form: dense, or with other experts.
static llvm::Expected<ProbeOptions> probeOptions(const Module &module) {
  ProbeOptions options;
  MOEC_ASSIGN(options.tokens, probeTokens(module));
  options.threads = threads;
  if (writesFolder()) {
    MOEC_ASSIGN(ElementType element, folderElement(module));
    if (element != ElementType::f32)
      options.stored = element;
  }
  return std::move(options);
}

static llvm::Error compareBlocks(const Module &before, const Module &after,
                                 const ProbeOptions &options,
                                 CheckpointReader &reader,
                                 UpcycleReceipt &receipt) {
  Progress progress("probing layers");
  return probeLayers(
      before, after, options, reader, receipt,
      [&](uint64_t done, uint64_t all) { progress.update(done, all); });
}

static llvm::Error edit() {
  auto start = Clock::now();
  MemoryWatch memory;
  std::string given = options.firstGiven();
  for (auto [flag, times] :
       {std::pair("--recipe", recipeName.getNumOccurrences()),
        std::pair("--set", settings.getNumOccurrences()),
        std::pair("--donor", donors.getNumOccurrences()),
        std::pair("--prompts", prompts.getNumOccurrences()),
        std::pair("--calibration-text", texts.getNumOccurrences())})
    if (times)
      given = flag;
  if (!given.empty())
    return llvm::make_error<UsageError>(
        "--to-dense, --edit-expert and --select-experts take no " + given);
  // They become part of a pipeline, and no more than that.
  if ((llvm::join(editExpert, ",") + selectExperts.getValue())
          .find_first_of("{}") != std::string::npos)
    return llvm::make_error<UsageError>(
        "--edit-expert and --select-experts expect options without braces");
  std::vector<std::string> passes;
  for (const std::string &given : editExpert)
    passes.push_back("edit-expert{" + given + "}");
  if (!selectExperts.empty())
    passes.push_back("select-experts{" + selectExperts + "}");
  if (!toDense.empty()) {
    bool one = llvm::all_of(toDense, llvm::isDigit);
    if (!one && toDense != "average" && toDense != "concat")
      return wrongFlag(toDense, toDense,
                       "average, concat or the number of an expert");
    passes.push_back((one ? "to-dense{how=expert,expert=" : "to-dense{how=") +
                     toDense + "}");
  }
  MOEC_ASSIGN(Outputs outputs, plannedOutputs());
  MOEC_ASSIGN(AnyModel opened, model.open(outputs));
  if (!opened.module || opened.plan)
    return error(Location::inFile(model.path))
           << "is a plan; name the model it came from";
  Module &module = *opened.module;
  if (!llvm::any_of(summarize(module).layerList,
                    [](const LayerSummary &layer) { return layer.experts; }))
    return error(Location::inFile(model.path))
           << "has no experts that could be edited; it is dense";
  std::string pipeline = llvm::join(passes, ",");
  UpcycleReceipt receipt;
  receipt.output = output;
  receipt.policy = llvm::StringRef(passes.back()).split('{').first.str();
  receipt.options = pipeline;
  receipt.source = model.path;
  receipt.edited = true;
  std::unique_ptr<Module> before;
  if (!probe.empty() && !dryRun) {
    MOEC_ASSIGN(before, copyGraph(module));
  }
  CheckpointReader reader(module.baseFolder);
  if (!dryRun) {
    MOEC_ASSIGN(receipt.sourceSha256, readSources(module, reader, receipt));
  }
  std::vector<Remark> remarks;
  MOEC_TRY(rewriteModule(module, pipeline, "the edit", &remarks));
  warnOf(remarks);
  if (dryRun)
    return tellPlan(module, reader);
  if (before) {
    MOEC_ASSIGN(ProbeOptions measured, probeOptions(module));
    MOEC_TRY(compareBlocks(*before, module, measured, reader, receipt));
    before.reset();
  }
  module.facts["lineage.source"] = lastPart(model.path);
  module.facts["lineage.source_sha256"] = receipt.sourceSha256;
  module.facts["lineage.edit"] = pipeline;
  MOEC_TRY(
      write(module, reader, pipeline + " " + receipt.sourceSha256, receipt));
  return report(receipt, start, memory);
}

static llvm::Error run() {
  MOEC_TRY(checkOutput(output, dryRun));
  if (!toDense.empty() || !editExpert.empty() || !selectExperts.empty())
    return edit();
  auto start = Clock::now();
  MemoryWatch memory;
  MOEC_ASSIGN(Recipe recipe, chosenRecipe());
  MOEC_ASSIGN(Outputs outputs, plannedOutputs());
  MOEC_ASSIGN(AnyModel opened, model.open(outputs));
  if (!opened.module || opened.plan)
    return error(Location::inFile(model.path))
           << "is a plan; upcycle the model it came from";
  Module &module = *opened.module;
  UpcycleReceipt receipt;
  receipt.output = output;
  receipt.policy = fieldText(recipe.options, "init");
  receipt.recipe = recipe.name;
  receipt.seed = recipe.options.seed;
  receipt.source = model.path;
  std::unique_ptr<Module> dense;
  if (!probe.empty() && !dryRun) {
    MOEC_ASSIGN(dense, copyGraph(module));
  }
  CheckpointReader reader(module.baseFolder);
  // Digests take as long as reading everything.
  if (!dryRun || !recipe.sourceSha256.empty()) {
    MOEC_ASSIGN(receipt.sourceSha256, readSources(module, reader, receipt));
    MOEC_TRY(checkSource(recipe, receipt.sourceSha256));
  }
  MOEC_TRY(measure(module, recipe, reader, receipt));
  MOEC_TRY(readDonors(module, recipe, reader, receipt));
  std::string printed = recipe.options.str();
  llvm::StringRef text = printed;
  text.consume_front("{");
  text.consume_back("}");
  std::vector<Remark> remarks;
  MOEC_TRY(upcycleModule(module, text, &remarks));
  warnOf(remarks);
  if (dryRun)
    return tellPlan(module, reader);
  addFacts(module, recipe, receipt);
  receipt.options = module.facts["upcycle.options"];
  if (dense) {
    MOEC_ASSIGN(ProbeOptions measured, probeOptions(module));
    receipt.promise = promiseOf(*dense, recipe.options, measured.stored);
    MOEC_TRY(compareBlocks(*dense, module, measured, reader, receipt));
    dense.reset();
    // A model that is not what it promises is not written; its receipt is.
    if (llvm::Error broken = checkPromise(receipt)) {
      if (llvm::Error err = report(receipt, start, memory))
        return llvm::joinErrors(std::move(broken), std::move(err));
      return broken;
    }
  }
  // All that decides the bytes: options, recipe, and what was read.
  std::string identity =
      receipt.options + " " + recipe.name + " " + recipe.sha256;
  for (auto &[path, sha256] : receipt.sources)
    identity += " " + sha256;
  MOEC_TRY(write(module, reader, identity, receipt));
  MOEC_TRY(report(receipt, start, memory));
  if (receipt.equalsDense)
    warn("the result computes what the dense model computes until it is "
         "trained");
  for (const std::string &note : receipt.notes)
    warn(note);
  int64_t ties = 0;
  for (const LayerReceipt &layer : receipt.layers)
    ties += layer.ties;
  if (ties)
    warn(llvm::Twine(ties) + " routing decisions were ties, which go to the "
                             "lower expert");
  return llvm::Error::success();
}

const Command moec::kUpcycleCommand = {&flags, run};
