#include "tools/driver/Compiler.h"

#include "codegen/package/CpuTarget.h"
#include "frontend/importer/Importer.h"
#include "ir/binary/Binary.h"
#include "ir/ops/MoeOps.h"
#include "ir/support/Parallel.h"
#include "passes/lower/Specialize.h"
#include "passes/pipeline/Registry.h"
#include "runtime/cpu/HostFeatures.h"
#include "runtime/schema/Facts.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <map>
#include <tuple>

using namespace moec;

static bool isNarrow(const Module &module) {
  // Any narrow source tensor makes the model a narrow one.
  llvm::SmallPtrSet<const Expr *, 32> seen;
  std::function<bool(const Expr &)> narrow = [&](const Expr &expr) {
    if (!seen.insert(&expr).second)
      return false;
    if (expr.kind == ExprKind::Source)
      return expr.type.element() != ElementType::f32;
    return llvm::any_of(expr.args,
                        [&](const ExprRef &arg) { return narrow(*arg); });
  };
  return llvm::any_of(module.weights(), [&](auto &weight) {
    return weight->type().rank() > 1 && narrow(*weight->expr);
  });
}

Precision moec::naturalPrecision(const Module &module) {
  return isNarrow(module) ? Precision::bf16 : Precision::f32;
}

/// The one source tensor behind a weight, if only encodings and the order of
/// rotary rows stand between; the latter as the heads that it speaks of.
static std::pair<const Expr *, uint32_t> storedSource(const Expr &expr) {
  const Expr *at = &resolve(expr);
  // One rounding at most: the last cast is the weight's own type.
  if (at->kind == ExprKind::Cast)
    at = &resolve(*at->args[0]);
  uint32_t heads = 0;
  if (at->kind == ExprKind::RotaryToHalf && at->type.rank() == 2) {
    heads = uint32_t(at->attrs<HeadsAttrs>().heads);
    at = &resolve(*at->args[0]);
  }
  if (at->kind == ExprKind::Dequantize)
    at = &resolve(*at->args[0]);
  return {at->kind == ExprKind::Source ? at : nullptr, heads};
}

/// `path` as a plan in `folder` names it.
static std::string seenFrom(llvm::StringRef folder, llvm::StringRef path) {
  llvm::SmallString<256> from(folder), to(path);
  if (folder.empty() || llvm::sys::fs::make_absolute(from) ||
      llvm::sys::fs::make_absolute(to))
    return path.str();
  llvm::sys::path::remove_dots(from, /*remove_dot_dot=*/true);
  llvm::sys::path::remove_dots(to, /*remove_dot_dot=*/true);
  llvm::StringRef inside = to;
  if (inside.consume_front(from) && inside.consume_front("/"))
    return inside.str();
  return path.str();
}

llvm::Error moec::checkDigests(const Module &module, CheckpointReader &reader) {
  for (auto &file : module.files()) {
    if (file->sha256.empty())
      continue;
    MOEC_ASSIGN(std::string found, reader.digest(*file));
    if (file->sha256 != found)
      return error(Location::inFile(file->path))
             << "expects the SHA-256 " << file->sha256 << ", found " << found
             << "; the file changed since the module was made";
  }
  return llvm::Error::success();
}

/// States digests of the files that computed weights read. Of stored weights a
/// plan states those of their tensors.
static llvm::Error digestFilesOfComputed(Module &module,
                                         CheckpointReader &reader) {
  llvm::SmallPtrSet<const SourceFile *, 4> needed;
  for (auto &weight : module.weights())
    if (llvm::any_of(pieces(*weight->expr), [](const Expr *piece) {
          return !storedSource(*piece).first;
        }))
      for (const Expr *source : sourceTensors(*weight->expr))
        needed.insert(source->file);
  for (auto &file : module.files())
    if (file->sha256.empty() && needed.count(file.get())) {
      MOEC_ASSIGN(file->sha256, reader.digest(*file));
    }
  return llvm::Error::success();
}

namespace {
/// SHA-256 of tensors in files, each computed once.
class StoredDigests {
public:
  llvm::Error compute(const Module &module, CheckpointReader &reader);
  std::optional<Digest> find(const TensorReader::Place &place,
                             uint64_t bytes) const {
    auto known = digests.find({place.path, place.offset, bytes});
    return known == digests.end() ? std::nullopt : std::optional(known->second);
  }

private:
  std::map<std::tuple<std::string, uint64_t, uint64_t>, Digest> digests;
};
} // namespace

llvm::Error StoredDigests::compute(const Module &module,
                                   CheckpointReader &reader) {
  std::vector<std::pair<llvm::ArrayRef<uint8_t>, Digest *>> work;
  for (auto &weight : module.weights())
    for (const Expr *piece : pieces(*weight->expr)) {
      const Expr *source = storedSource(*piece).first;
      if (!source)
        continue;
      auto &attrs = source->attrs<SourceAttrs>();
      auto place = reader.place(*source->file, attrs);
      if (!place)
        continue;
      MOEC_ASSIGN(llvm::ArrayRef<uint8_t> bytes,
                  reader.bytes(*source->file, attrs));
      auto [at, isNew] = digests.try_emplace(
          {place->path, place->offset, uint64_t(bytes.size())});
      if (isNew)
        work.emplace_back(bytes, &at->second);
    }
  return parallelFor(work.size(), defaultThreads(), [&](uint64_t i) {
    *work[i].second = sha256(work[i].first);
    return llvm::Error::success();
  });
}

std::vector<cpu::CpuLevel> moec::hostLevels() {
  std::vector<cpu::CpuLevel> levels;
  for (cpu::CpuLevel level : llvm::reverse(cpu::kCpuLevels))
    if (llvm::all_of(cpu::requiredFeatures(level), [](llvm::StringRef feature) {
          return runtime::hostHasFeature(feature);
        }))
      levels.push_back(level);
  return levels;
}

llvm::Expected<CompileResult>
moec::compileModule(Module &module, const CompileRequest &request) {
  Precision precision = request.precision;
  if (precision == Precision::automatic)
    precision = naturalPrecision(module);
  ElementType weights = precision == Precision::q8_0   ? ElementType::q8_0
                        : precision == Precision::bf16 ? ElementType::bf16
                                                       : ElementType::f32;
  ElementType activations =
      precision == Precision::bf16 ? ElementType::bf16 : ElementType::f32;
  if (request.maxTokens)
    for (const char *name : {facts::kTokens, facts::kRows})
      if (DimSymbol *dim = module.findDim(name))
        dim->setMaximum(request.maxTokens);

  std::string text = loweringPipeline(weights, activations);
  // The module travels in the plan as it is before kernels are formed, which
  // is what its weights are named in.
  size_t split = text.find(",specialize");
  PlanOptions options;
  options.levels = request.levels;
  if (options.levels.empty())
    for (cpu::CpuLevel level : llvm::reverse(cpu::kCpuLevels))
      options.levels.push_back(level);
  CpuTarget target(options.levels);
  MOEC_ASSIGN(Pipeline first,
              parsePipeline(text.substr(0, split), allPasses()));
  MOEC_ASSIGN(Pipeline second,
              parsePipeline(text.substr(split + 1), allPasses()));
  InstrumentationOptions later = request.instrumentation;
  later.treeStart = unsigned(first.size());
  PassManager before(request.instrumentation), after(std::move(later));
  before.setTarget(&target);
  after.setTarget(&target);
  before.add(std::move(first));
  after.add(std::move(second));
  CheckpointReader reader(module.baseFolder);
  before.setReader(&reader);
  if (request.digests)
    MOEC_TRY(checkDigests(module, reader));
  MOEC_TRY(before.run(module));
  if (request.digests)
    MOEC_TRY(digestFilesOfComputed(module, reader));
  auto tokenizer = module.assets.find("tokenizer");
  if (tokenizer != module.assets.end()) {
    options.tokenizer = std::move(tokenizer->second);
    module.assets.erase(tokenizer);
  }
  MOEC_ASSIGN(options.module, writeBinary(module));
  MOEC_TRY(after.run(module));

  options.producer = "moec " MOEC_VERSION;
  const DimSymbol *tokens = module.findDim(facts::kTokens);
  if (Program *small = module.findProgram(kSmallBatchProgram))
    options.programs.push_back({small, {{tokens, request.smallBatch}}});
  Program *step = module.findProgram(facts::kStep);
  if (!step)
    return error() << "module '" << module.name()
                   << "' has no program 'step' to compile";
  options.programs.push_back({step, {}});
  StoredDigests digests;
  if (request.digests)
    MOEC_TRY(digests.compute(module, reader));
  options.stored = [&](const Weight &weight) {
    std::vector<StoredWeight> parts;
    for (const Expr *piece : pieces(*weight.expr)) {
      auto [source, heads] = storedSource(*piece);
      auto place =
          source ? reader.place(*source->file, source->attrs<SourceAttrs>())
                 : std::nullopt;
      if (!place)
        return std::vector<StoredWeight>();
      uint64_t bytes =
          *byteSize(source->type.element(), *source->type.staticElements());
      parts.push_back({seenFrom(request.folder, place->path), place->offset,
                       bytes, source->type.element(), heads, place->fileBytes,
                       digests.find(*place, bytes)});
    }
    return parts;
  };
  CompileResult result;
  MOEC_ASSIGN(result.plan, writePlan(module, options, &result.report));
  llvm::append_range(result.remarks, before.remarks());
  llvm::append_range(result.remarks, after.remarks());
  return std::move(result);
}
