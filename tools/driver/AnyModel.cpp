#include "tools/driver/AnyModel.h"

#include "frontend/importer/Importer.h"
#include "ir/binary/Binary.h"
#include "ir/binary/ModuleFile.h"
#include "ir/ops/MoeBlock.h"
#include "ir/support/MappedFile.h"
#include "ir/support/Memory.h"
#include "ir/support/Parallel.h"
#include "ir/support/QuantizedBlocks.h"
#include "runtime/program/Plan.h"
#include "runtime/schema/Facts.h"
#include "runtime/schema/plan_generated.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <utility>

using namespace moec;

/// The module that a plan embeds; null if it embeds none.
static llvm::Expected<std::unique_ptr<Module>>
embeddedModule(const runtime::Plan &plan) {
  auto *bytes = plan->module_();
  if (!bytes || !bytes->size())
    return nullptr;
  llvm::StringRef text(reinterpret_cast<const char *>(bytes->data()),
                       bytes->size());
  MOEC_ASSIGN(std::unique_ptr<Module> module, readModule(text, plan.path()));
  module->baseFolder = llvm::sys::path::parent_path(plan.path()).str();
  return std::move(module);
}

/// What to know before such a model is served.
static void warnOfRouting(const Module &module,
                          std::vector<std::string> &warnings) {
  Program *step = module.findProgram(facts::kStep);
  if (!step)
    return;
  for (const MoeBlockView &block : moeBlocks(*step))
    if (block.routeAttrs().acrossTokens()) {
      warnings.push_back(
          (block.experts->loc().object +
           (block.routeAttrs().capacity != 0
                ? ": experts with a capacity leave out tokens"
                : ": experts choose their tokens") +
           " among all of a step, so a token's result depends on how its "
           "prompt is cut into steps and on what else is in the batch; this "
           "goes for every layer of this kind"));
      return;
    }
}

static llvm::Expected<AnyModel>
openFile(llvm::StringRef path, llvm::StringRef tokenizer, bool longContext) {
  AnyModel model;
  // A folder that moec wrote holds its module.
  llvm::SmallString<256> inside(path);
  llvm::sys::path::append(inside, "module.moe");
  if (llvm::sys::fs::exists(inside)) {
    MOEC_ASSIGN(model.module, loadModule(inside));
    return std::move(model);
  }
  if (!llvm::sys::fs::is_directory(path)) {
    MOEC_ASSIGN(auto file, MappedFile::open(path));
    auto bytes = file->bytes();
    if (runtime::looksLikePlan(bytes)) {
      MOEC_ASSIGN(model.plan, runtime::Plan::open(path));
      MOEC_ASSIGN(model.module, embeddedModule(*model.plan));
      return std::move(model);
    }
    if (looksLikeBinary(llvm::toStringRef(bytes)) || path.ends_with(".moe")) {
      MOEC_ASSIGN(model.module, loadModule(path));
      return std::move(model);
    }
  }
  ImportOptions options;
  options.tokenizer = tokenizer.str();
  options.longContext = longContext;
  MOEC_ASSIGN(ImportedModel imported, importModel(path, options));
  model.module = std::move(imported.module);
  model.warnings = std::move(imported.warnings);
  return std::move(model);
}

llvm::Expected<AnyModel> moec::openAnyModel(llvm::StringRef path,
                                            llvm::StringRef tokenizer,
                                            bool longContext) {
  MOEC_ASSIGN(AnyModel model, openFile(path, tokenizer, longContext));
  if (model.module)
    warnOfRouting(*model.module, model.warnings);
  return std::move(model);
}

llvm::Expected<std::vector<uint8_t>>
moec::materializeBytes(const Weight &weight, TensorReader &reader,
                       unsigned threads) {
  ElementType element = weight.type().element();
  std::vector<const Expr *> parts = pieces(*weight.expr);
  uint64_t elements = *weight.type().staticElements();
  uint64_t whole = *byteSize(element, elements);
  MOEC_TRY(checkFitsMemory(whole, /*elementBytes=*/1, weight.loc));
  std::vector<uint8_t> bytes(whole);
  std::vector<uint64_t> starts{0};
  for (const Expr *part : parts)
    starts.push_back(starts.back() + *part->type.staticElements());
  llvm::Error err = parallelFor(
      parts.size(), threads ? threads : defaultThreads(),
      [&](uint64_t i) -> llvm::Error {
        MOEC_ASSIGN(std::vector<float> numbers, materialize(*parts[i], reader));
        uint64_t first = *byteSize(element, starts[i]);
        uint64_t size = *byteSize(element, numbers.size());
        encodeFromF32(element, numbers,
                      llvm::MutableArrayRef(bytes).slice(first, size));
        return llvm::Error::success();
      });
  if (err)
    return moec::withNote(std::move(err), weight.loc,
                          "while computing weight '" + weight.name + "'");
  return bytes;
}

llvm::Expected<std::shared_ptr<const runtime::Model>>
moec::loadForRunning(AnyModel model, const CompileRequest &request,
                     runtime::ModelOptions options) {
  bool isPlan = model.plan != nullptr;
  if (!isPlan) {
    CompileRequest forHost = request;
    if (forHost.levels.empty())
      forHost.levels = {hostLevels().front()};
    std::string base = model.module->baseFolder;
    MOEC_ASSIGN(CompileResult compiled, compileModule(*model.module, forHost));
    MOEC_ASSIGN(
        model.plan,
        runtime::Plan::fromBytes(
            std::vector<uint8_t>(compiled.plan.begin(), compiled.plan.end()),
            base.empty() ? model.module->name() : base + "/plan"));
  }
  // The module outlives the loading, which alone asks for weights.
  std::shared_ptr<Module> module = std::move(model.module);
  auto reader = std::make_shared<CheckpointReader>(module ? module->baseFolder
                                                          : std::string());
  if (!isPlan && options.verifyWeights)
    MOEC_TRY(checkDigests(*module, *reader));
  if (module)
    options.materializer = [module, reader,
                            verify = options.verifyWeights &&
                                     isPlan](llvm::StringRef name) mutable
        -> llvm::Expected<runtime::HostTensor> {
      // A plan that has all its weights may lie far from the module's files.
      if (std::exchange(verify, false))
        MOEC_TRY(checkDigests(*module, *reader));
      Weight *weight = module->findWeight(name);
      if (!weight)
        return error() << "the plan's module has no weight '" << name << "'";
      MOEC_ASSIGN(std::vector<uint8_t> bytes,
                  materializeBytes(*weight, *reader));
      auto owner = std::make_shared<std::vector<uint8_t>>(std::move(bytes));
      runtime::HostTensor tensor;
      tensor.bytes = *owner;
      tensor.encoding = weight->type().element();
      for (const Dim &dim : weight->type().shape())
        tensor.shape.push_back(dim.constant());
      tensor.owner = owner;
      return std::move(tensor);
    };
  return runtime::Model::load(model.plan, std::move(options));
}
