#include "tools/moec/Command.h"

#include "ir/binary/ModuleFile.h"
#include "ir/core/Clone.h"
#include "ir/support/AtomicFile.h"
#include "ir/support/Hash.h"
#include "ir/text/Parser.h"
#include "ir/text/Printer.h"
#include "passes/upcycle/Upcycle.h"
#include "runtime/text/Tokenizer.h"
#include "tools/driver/Receipt.h"

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
static cl::opt<std::string> init("init", cl::init("copy"),
                                 cl::value_desc("policy"),
                                 cl::desc("copy, noise or drop"),
                                 cl::sub(flags));
static cl::opt<int64_t> experts("experts", cl::init(8),
                                cl::desc("experts a layer"), cl::sub(flags));
static cl::opt<int64_t> topk("top-k", cl::init(2), cl::desc("experts a token"),
                             cl::sub(flags));
static cl::opt<std::string>
    router("router", cl::init("softmax-topk-renorm"), cl::value_desc("kind"),
           cl::desc("softmax-topk-renorm, softmax-topk or topk-softmax"),
           cl::sub(flags));
static cl::opt<std::string> routerInit("router-init", cl::init("uniform"),
                                       cl::desc("uniform, normal or zero"),
                                       cl::sub(flags));
static cl::opt<double> routerStd("router-std", cl::init(0.02),
                                 cl::desc("deviation of the first router"),
                                 cl::sub(flags));
static cl::opt<int64_t> seed("seed", cl::init(1),
                             cl::desc("of everything drawn"), cl::sub(flags));
static cl::opt<std::string> layers("layers", cl::init("all"),
                                   cl::value_desc("list"),
                                   cl::desc("all, or such as 0-11,13"),
                                   cl::sub(flags));
static cl::opt<double> dropRatio("drop-ratio", cl::init(0.5),
                                 cl::desc("share of neurons redrawn"),
                                 cl::sub(flags));
static cl::opt<std::string>
    dropSet("drop-set", cl::init("shared"),
            cl::desc("shared by gate, up and down (the paper), or independent "
                     "(the released code)"),
            cl::sub(flags));
static cl::opt<std::string>
    dropStatistics("drop-statistics", cl::init("selected"),
                   cl::desc("mean and deviation of the selected weights or of "
                            "the whole matrix"),
                   cl::sub(flags));
static cl::opt<double> noiseStd("noise-std", cl::init(0.02),
                                cl::desc("deviation of the noise"),
                                cl::sub(flags));
static cl::opt<bool> noiseRelative("noise-relative",
                                   cl::desc("measured in the matrix's own"),
                                   cl::sub(flags));
static cl::opt<double> noiseRatio("noise-ratio", cl::init(1),
                                  cl::desc("share of neurons that get it"),
                                  cl::sub(flags));
static cl::opt<bool> noiseReplace("noise-replace",
                                  cl::desc("in the place of the weights"),
                                  cl::sub(flags));
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

static constexpr size_t kProbeTokens = 16;

/// A flag's name in the pass's spelling.
static std::string spelled(llvm::StringRef name) {
  std::string text = name.str();
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

static std::string passOptions() {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "init=" << spelled(init) << ",experts=" << experts << ",top_k=" << topk
     << ",seed=" << seed << ",layers=" << quote(layers)
     << ",router=" << spelled(router) << ",router_init=" << spelled(routerInit)
     << ",router_std=" << formatDouble(routerStd)
     << ",drop_ratio=" << formatDouble(dropRatio)
     << ",drop_set=" << spelled(dropSet)
     << ",drop_statistics=" << spelled(dropStatistics)
     << ",noise_std=" << formatDouble(noiseStd)
     << ",noise_relative=" << (noiseRelative ? "true" : "false")
     << ",noise_ratio=" << formatDouble(noiseRatio)
     << ",noise_replace=" << (noiseReplace ? "true" : "false");
  return text;
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

static llvm::Error run() {
  auto start = std::chrono::steady_clock::now();
  MemoryWatch memory;
  MOEC_ASSIGN(AnyModel opened, model.open());
  if (!opened.module || opened.plan)
    return error(Location::inFile(model.path))
           << "is a plan; upcycle the model it came from";
  Module &module = *opened.module;
  UpcycleReceipt receipt;
  receipt.output = output;
  receipt.policy = init;
  receipt.seed = seed;
  receipt.source = model.path;
  std::string options = passOptions();
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
  MOEC_TRY(upcycleModule(module, options));
  receipt.options = module.facts["upcycle.options"];
  if (dense) {
    ProbeOptions options;
    MOEC_ASSIGN(options.tokens, probeTokens(module));
    options.threads = threads;
    Progress progress("probing layers");
    MOEC_TRY(probeLayers(
        *dense, module, options, reader, receipt,
        [&](uint64_t done, uint64_t all) { progress.update(done, all); }));
    dense.reset();
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
    folder.identity = options + " " + receipt.sourceSha256;
    Progress progress("writing " + output);
    MOEC_ASSIGN(receipt.folder,
                writeModelFolder(module, output, reader, folder,
                                 [&](uint64_t done, uint64_t all) {
                                   progress.update(done, all);
                                 }));
  } else {
    MOEC_TRY(saveModule(module, output, ModuleForm::binary));
  }
  receipt.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  PeakMemory peak = memory.peak();
  receipt.peakAnonymous = peak.anonymous;
  receipt.peakResident = peak.resident;
  if (json)
    printJson(toJson(receipt));
  else
    printReceipt(receipt, llvm::outs());
  if (receipt.equalsDense)
    warn("the result computes what the dense model computes until it is "
         "trained");
  int64_t ties = 0;
  for (const LayerReceipt &layer : receipt.layers)
    ties += layer.ties;
  if (ties)
    warn(llvm::Twine(ties) + " routing decisions were ties, which go to the "
                             "lower expert");
  return llvm::Error::success();
}

const Command moec::kUpcycleCommand = {&flags, run};
