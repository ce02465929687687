#include "tools/moec/Command.h"

#include "ir/binary/ModuleFile.h"
#include "ir/core/Clone.h"
#include "ir/support/AtomicFile.h"
#include "ir/support/Hash.h"
#include "ir/text/Parser.h"
#include "ir/text/Printer.h"
#include "runtime/text/Tokenizer.h"
#include "tools/driver/Receipt.h"
#include "tools/moec/OptionFlags.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/Path.h"

#include <chrono>

using namespace moec;
namespace cl = llvm::cl;

static cl::SubCommand flags("upcycle", "turn a dense model into experts");
static ModelFlags model(flags);
static cl::opt<std::string>
    output("o", cl::Required, cl::value_desc("OUT"),
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
static cl::opt<std::string> dtype("dtype", cl::init("auto"),
                                  cl::desc("matrices of a folder: f32 or bf16"),
                                  cl::sub(flags));
static cl::opt<unsigned> threads("threads", cl::init(0),
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

/// The recipe with what `--set` and flags put over it.
static llvm::Expected<Recipe> chosenRecipe() {
  RecipeBuilder builder;
  if (!recipeName.empty()) {
    MOEC_ASSIGN(builder, RecipeBuilder::open(recipeName));
  }
  for (const std::string &assignment : settings)
    MOEC_TRY(builder.set(assignment));
  MOEC_TRY(options.apply(builder));
  return builder.build();
}

/// A copy of the graph, without assets, to compare with what it becomes.
static llvm::Expected<std::unique_ptr<Module>> copyOf(Module &module) {
  auto assets = std::move(module.assets);
  module.assets.clear();
  auto copy = parseModule(printModule(module), module.name());
  module.assets = std::move(assets);
  if (copy)
    (*copy)->baseFolder = module.baseFolder;
  return copy;
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

/// One file's digest is its own; that of several is the digest of theirs, a
/// line each.
static std::string sourceDigest(llvm::ArrayRef<std::string> digests) {
  if (digests.size() == 1)
    return digests[0];
  std::string lines;
  for (const std::string &digest : digests)
    lines += digest + "\n";
  return toHex(sha256(llvm::StringRef(lines)));
}

/// A recipe may name the one model that it was written for.
static llvm::Error checkSource(const Recipe &recipe, llvm::StringRef sha256) {
  if (recipe.sourceSha256.empty() || recipe.sourceSha256 == sha256)
    return llvm::Error::success();
  return error(recipe.sourceLoc)
         << "recipe '" << recipe.name << "' was written for the model with "
         << "SHA-256 " << recipe.sourceSha256 << ", but '" << model.path
         << "' has " << sha256
         << "; the model changed since then, or is another one";
}

/// Where the result comes from and how it is to be trained.
static void addFacts(Module &module, const Recipe &recipe,
                     const UpcycleReceipt &receipt) {
  recipe.addFacts(module.facts);
  llvm::StringRef source = llvm::StringRef(model.path).rtrim('/');
  module.facts["lineage.source"] = llvm::sys::path::filename(source).str();
  module.facts["lineage.source_sha256"] = receipt.sourceSha256;
  module.facts["lineage.seed"] = std::to_string(receipt.seed);
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

/// What a pass says of every layer is told once.
static void warnOf(llvm::ArrayRef<Remark> remarks) {
  llvm::MapVector<llvm::StringRef, std::pair<const Remark *, size_t>> once;
  for (const Remark &remark : remarks) {
    auto &[first, count] = once[remark.reason];
    if (!count++)
      first = &remark;
  }
  for (auto &[reason, seen] : once) {
    std::string text = seen.first->loc.str();
    text += (text.empty() ? "'" : ": '") + seen.first->op + "' " + reason.str();
    if (seen.second > 1)
      text += " (and " + std::to_string(seen.second - 1) + " more)";
    warn(text);
  }
}

static llvm::Error run() {
  auto start = Clock::now();
  MemoryWatch memory;
  MOEC_ASSIGN(Recipe recipe, chosenRecipe());
  MOEC_ASSIGN(AnyModel opened, model.open());
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
  if (!probe.empty()) {
    MOEC_ASSIGN(dense, copyOf(module));
  }
  CheckpointReader reader(module.baseFolder);
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
  receipt.sourceSha256 = sourceDigest(sources);
  std::string printed = recipe.options.str();
  MOEC_TRY(checkSource(recipe, receipt.sourceSha256));
  llvm::StringRef text = printed;
  text.consume_front("{");
  text.consume_back("}");
  std::vector<Remark> remarks;
  MOEC_TRY(upcycleModule(module, text, &remarks));
  warnOf(remarks);
  addFacts(module, recipe, receipt);
  receipt.options = module.facts["upcycle.options"];
  if (dense) {
    ProbeOptions measured;
    MOEC_ASSIGN(measured.tokens, probeTokens(module));
    measured.threads = threads;
    receipt.promise = promiseOf(*dense, recipe.options);
    Progress progress("probing layers");
    MOEC_TRY(probeLayers(
        *dense, module, measured, reader, receipt,
        [&](uint64_t done, uint64_t all) { progress.update(done, all); }));
    dense.reset();
    // A model that is not what it promises is not written; its receipt is.
    if (llvm::Error broken = checkPromise(receipt)) {
      if (llvm::Error err = report(receipt, start, memory))
        return llvm::joinErrors(std::move(broken), std::move(err));
      return broken;
    }
  }
  if (!llvm::StringRef(output).ends_with(".moe")) {
    FolderOptions folder;
    MOEC_ASSIGN(Precision precision, parsePrecision(dtype));
    if (precision == Precision::automatic)
      precision = naturalPrecision(module);
    if (precision == Precision::q8_0)
      return error() << "--dtype is q8_0, but a folder holds f32 or bf16; "
                        "compile it to q8_0 instead";
    folder.element =
        precision == Precision::f32 ? ElementType::f32 : ElementType::bf16;
    folder.threads = threads;
    // Facts tell the recipe, the seed and the source.
    folder.identity = receipt.options + " " + receipt.sourceSha256 + " " +
                      recipe.name + " " + recipe.sha256;
    Progress progress("writing " + output);
    MOEC_ASSIGN(receipt.folder,
                writeModelFolder(module, output, reader, folder,
                                 [&](uint64_t done, uint64_t all) {
                                   progress.update(done, all);
                                 }));
  } else {
    MOEC_TRY(saveModule(module, output, ModuleForm::binary));
  }
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
