#include "frontend/importer/Importer.h"

#include "frontend/gguf/Gguf.h"
#include "frontend/hf/HfDirectory.h"
#include "frontend/models/OpenModel.h"
#include "frontend/models/WeightMap.h"
#include "frontend/tokenizer/ImportTokenizer.h"
#include "ir/support/QuantizedBlocks.h"
#include "runtime/schema/Facts.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace moec;

namespace {
/// The weights of one checkpoint as expressions.
class WeightImporter {
public:
  WeightImporter(Module &module, SourceFile &file, const Checkpoint &checkpoint)
      : module(module), file(file), checkpoint(checkpoint) {}

  llvm::Error add(const WeightEntry &entry);
  llvm::Error addBanks(int64_t layer, int64_t experts);

private:
  Module &module;
  SourceFile &file;
  const Checkpoint &checkpoint;
};
} // namespace

template <typename Attrs>
static llvm::Expected<ExprRef> apply(ExprKind kind, std::vector<ExprRef> args,
                                     Attrs attrs, const Location &loc) {
  return Expr::make(kind, std::move(args),
                    std::make_unique<Attrs>(std::move(attrs)), nullptr, nullptr,
                    loc);
}

static std::vector<int64_t> shapeOf(const Expr &expr) {
  std::vector<int64_t> shape;
  for (const Dim &dim : expr.type.shape())
    shape.push_back(dim.constant());
  return shape;
}

static llvm::Expected<ExprRef> sliceHeads(ExprRef expr, const WeightStep &step,
                                          const Location &loc) {
  ShapeAttrs apart, together;
  together.shape = apart.shape = shapeOf(*expr);
  apart.shape.insert(apart.shape.begin(), step.heads);
  apart.shape[1] /= step.heads;
  MOEC_ASSIGN(expr, apply(ExprKind::Reshape, {expr}, apart, loc));
  SliceExprAttrs slice;
  slice.axis = 1;
  slice.start = step.begin;
  slice.size = step.end - step.begin;
  MOEC_ASSIGN(expr, apply(ExprKind::Slice, {expr}, slice, loc));
  together.shape[0] = step.heads * slice.size;
  return apply(ExprKind::Reshape, {expr}, together, loc);
}

static llvm::Expected<ExprRef> addConstant(ExprRef expr, double value,
                                           const Location &loc) {
  FillAttrs attrs;
  attrs.shape = shapeOf(*expr);
  attrs.value = value;
  MOEC_ASSIGN(ExprRef constant, apply(ExprKind::Fill, {}, attrs, loc));
  return apply(ExprKind::Add, {expr, constant}, NoAttrs(), loc);
}

llvm::Error WeightImporter::add(const WeightEntry &entry) {
  const CheckpointTensor &tensor = checkpoint.tensors()[entry.tensor];
  Location loc = checkpoint.locationOf(tensor);
  auto source = std::make_unique<SourceAttrs>();
  source->key = tensor.name;
  source->shape = tensor.shape;
  source->element = tensor.type;
  MOEC_ASSIGN(ExprRef expr, Expr::make(ExprKind::Source, {}, std::move(source),
                                       nullptr, &file, loc));
  if (isBlockQuantized(tensor.type)) {
    MOEC_ASSIGN(expr, apply(ExprKind::Dequantize, {expr}, NoAttrs(), loc));
  }
  for (const WeightStep &step : entry.steps) {
    switch (step.kind) {
    case WeightStep::Kind::slice: {
      SliceExprAttrs attrs;
      attrs.axis = step.axis;
      attrs.start = step.begin;
      attrs.size = step.end - step.begin;
      MOEC_ASSIGN(expr, apply(ExprKind::Slice, {expr}, attrs, loc));
      break;
    }
    case WeightStep::Kind::squeeze: {
      ShapeAttrs attrs;
      for (const Dim &dim : expr->type.shape().drop_front())
        attrs.shape.push_back(dim.constant());
      MOEC_ASSIGN(expr, apply(ExprKind::Reshape, {expr}, attrs, loc));
      break;
    }
    case WeightStep::Kind::unsqueeze: {
      ShapeAttrs attrs;
      attrs.shape.push_back(1);
      llvm::append_range(attrs.shape, shapeOf(*expr));
      MOEC_ASSIGN(expr, apply(ExprKind::Reshape, {expr}, attrs, loc));
      break;
    }
    case WeightStep::Kind::headSlice: {
      MOEC_ASSIGN(expr, sliceHeads(expr, step, loc));
      break;
    }
    case WeightStep::Kind::offset: {
      MOEC_ASSIGN(expr, addConstant(expr, step.offset, loc));
      break;
    }
    case WeightStep::Kind::transpose: {
      MOEC_ASSIGN(expr, apply(ExprKind::Transpose, {expr}, NoAttrs(), loc));
      break;
    }
    case WeightStep::Kind::rotaryToHalf: {
      HeadsAttrs attrs;
      attrs.heads = step.heads;
      MOEC_ASSIGN(expr, apply(ExprKind::RotaryToHalf, {expr}, attrs, loc));
      break;
    }
    }
  }
  // Norms and biases are read by kernels that hold f32.
  if (expr->type.rank() == 1 && expr->type.element() != ElementType::f32) {
    MOEC_ASSIGN(expr, apply(ExprKind::Cast, {expr}, ElementAttrs(), loc));
  }
  module.addWeight(entry.name, expr, loc);
  return llvm::Error::success();
}

/// Banks of the experts that a checkpoint stores one by one.
llvm::Error WeightImporter::addBanks(int64_t layer, int64_t experts) {
  std::string base = "layers." + std::to_string(layer) + ".moe.";
  for (const char *matrix : {"gate", "up", "down"}) {
    std::vector<ExprRef> parts;
    for (int64_t expert = 0; expert < experts; ++expert) {
      std::string name =
          base + "experts." + std::to_string(expert) + "." + matrix;
      Weight *weight = module.findWeight(name);
      if (!weight)
        return error(Location::inFile(checkpoint.path))
               << "has no weight '" << name << "'";
      MOEC_ASSIGN(ExprRef ref, Expr::make(ExprKind::Ref, {}, nullptr, weight));
      parts.push_back(std::move(ref));
    }
    MOEC_ASSIGN(ExprRef bank,
                Expr::make(ExprKind::Stack, std::move(parts), nullptr));
    module.addWeight(base + matrix, bank,
                     Location::ofObject("model." + base + matrix));
  }
  return llvm::Error::success();
}

static llvm::Expected<std::optional<TokenizerAsset>>
findTokenizer(const Checkpoint &checkpoint, const ImportOptions &options) {
  if (!options.tokenizer.empty()) {
    MOEC_ASSIGN(TokenizerAsset asset, importTokenizer(options.tokenizer));
    return std::optional(std::move(asset));
  }
  switch (checkpoint.format) {
  case CheckpointFormat::gguf: {
    MOEC_ASSIGN(auto stored, readGgufTokenizer(checkpoint.path));
    if (!stored)
      return std::nullopt;
    MOEC_ASSIGN(TokenizerAsset asset, importGgufTokenizer(*stored));
    return std::optional(std::move(asset));
  }
  case CheckpointFormat::huggingFace: {
    bool there = llvm::any_of(llvm::ArrayRef<llvm::StringRef>{"tokenizer.json",
                                                              "tokenizer.model",
                                                              "vocab.json"},
                              [&](llvm::StringRef name) {
                                llvm::SmallString<256> path(checkpoint.path);
                                llvm::sys::path::append(path, name);
                                return llvm::sys::fs::exists(path);
                              });
    if (!there)
      return std::nullopt;
    MOEC_ASSIGN(TokenizerAsset asset, importTokenizer(checkpoint.path));
    return std::optional(std::move(asset));
  }
  case CheckpointFormat::llama2c:
    return std::nullopt;
  }
  llvm_unreachable("every format is asked");
}

/// What an export of ours says of the model's lineage: config.json's object
/// `moec`, or GGUF's keys `moec.*`. Facts that a model already has stay.
static void readLineage(const Config &settings, Module &module) {
  auto add = [&](llvm::StringRef key, const JsonValue &value) {
    bool isLineage = key.starts_with("lineage.") ||
                     key.starts_with("training.") ||
                     key.starts_with("upcycle.");
    if (isLineage && value.isString())
      module.facts.try_emplace(key.str(), value.string);
  };
  const JsonValue *object = settings.root().find("moec");
  if (object && object->isObject())
    for (const JsonMember &member : object->members)
      add(member.key, member.value);
  for (const JsonMember &member : settings.root().members)
    if (llvm::StringRef key = member.key; key.consume_front("moec."))
      add(key, member.value);
}

static void chooseRotaryFactors(ModelConfig &config, bool longContext,
                                std::vector<std::string> &warnings) {
  RopeConfig &rope = config.rope;
  if (rope.scaling != RopeConfig::Scaling::longrope ||
      config.context <= rope.originalContext)
    return;
  if (longContext) {
    rope.divisors = rope.longDivisors;
    return;
  }
  warnings.push_back(
      "the context is " + std::to_string(rope.originalContext) +
      " tokens, up to which the short rotary factors hold; --long-context "
      "takes the long ones and " +
      std::to_string(config.context) + " tokens");
  config.context = rope.originalContext;
}

llvm::Expected<ImportedModel> moec::importModel(llvm::StringRef path,
                                                const ImportOptions &options) {
  MOEC_ASSIGN(Checkpoint checkpoint, openModel(path));
  MOEC_ASSIGN(ModelConfigResult read, readModelConfig(checkpoint));
  ImportedModel result;
  llvm::append_range(result.warnings, checkpoint.warnings);
  llvm::append_range(result.warnings, read.warnings);
  ModelConfig &config = read.config;
  chooseRotaryFactors(config, options.longContext, result.warnings);
  MOEC_ASSIGN(WeightMap map,
              WeightMap::create(checkpoint, config, RotaryLayout::halfSplit));
  llvm::append_range(result.warnings, map.warnings());

  llvm::StringRef stem =
      llvm::sys::path::stem(path.ends_with("/") ? path.drop_back() : path);
  result.module = std::make_unique<Module>(stem.str());
  Module &module = *result.module;
  llvm::SmallString<256> absolute(path);
  llvm::sys::fs::make_absolute(absolute);
  SourceFile *file = module.addFile("src", absolute.str().str());
  for (auto &mapped : checkpoint.files())
    file->bytes += mapped->size();
  WeightImporter importer(module, *file, checkpoint);
  for (const WeightEntry &entry : map.entries())
    MOEC_TRY(importer.add(entry));
  if (config.moe)
    for (int64_t layer = 0; layer < config.layers; ++layer)
      if (config.isMoe(layer))
        MOEC_TRY(importer.addBanks(layer, config.moe->experts));
  MOEC_TRY(buildDecoder(module, config, options.decoder));
  readLineage(checkpoint.config, module);

  MOEC_ASSIGN(auto tokenizer, findTokenizer(checkpoint, options));
  if (tokenizer) {
    auto setId = [&](const char *key, std::optional<int64_t> id) {
      if (id && !module.facts.count(key))
        module.facts[key] = std::to_string(*id);
    };
    if (tokenizer->bos >= 0)
      setId(facts::kBos, tokenizer->bos);
    if (tokenizer->eos >= 0)
      setId(facts::kEos, tokenizer->eos);
    module.assets["tokenizer"] = serialize(*tokenizer);
  } else {
    result.warnings.push_back(
        "the model brings no tokenizer; text needs --tokenizer FILE");
  }
  return std::move(result);
}

llvm::Expected<const Checkpoint *>
CheckpointReader::open(const SourceFile &file) {
  llvm::SmallString<256> path(file.path);
  if (!baseFolder.empty() && llvm::sys::path::is_relative(path)) {
    path = baseFolder;
    llvm::sys::path::append(path, file.path);
  }
  std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<Checkpoint> &slot = opened[path.str().str()];
  if (!slot) {
    // Models are folders; a file of tensors alone was measured (calibration).
    MOEC_ASSIGN(Checkpoint checkpoint, path.str().ends_with(".safetensors")
                                           ? openTensorFile(path)
                                           : openModel(path));
    int64_t bytes = 0;
    for (auto &mapped : checkpoint.files())
      bytes += mapped->size();
    if (file.bytes && bytes != file.bytes)
      return error(Location::inFile(path.str().str()))
             << "has " << bytes << " bytes, but module file '@" << file.name
             << "' was read from " << file.bytes
             << "; the file changed since it was imported";
    slot = std::make_unique<Checkpoint>(std::move(checkpoint));
  }
  return slot.get();
}

llvm::Expected<std::pair<const Checkpoint *, const CheckpointTensor *>>
CheckpointReader::find(const SourceFile &file, const SourceAttrs &attrs) {
  MOEC_ASSIGN(const Checkpoint *checkpoint, open(file));
  const CheckpointTensor *tensor = checkpoint->find(attrs.key);
  if (!tensor)
    return error(Location::inFile(checkpoint->path))
           << "has no tensor '" << attrs.key << "'";
  if (tensor->shape != attrs.shape || tensor->type != attrs.element)
    return error(checkpoint->locationOf(*tensor))
           << "is not as the module says: expects "
           << elementTypeName(attrs.element) << ", found "
           << elementTypeName(tensor->type) << ", or another shape";
  return std::pair(checkpoint, tensor);
}

llvm::Error CheckpointReader::readF32(const SourceFile &file,
                                      const SourceAttrs &attrs, uint64_t first,
                                      llvm::MutableArrayRef<float> out) {
  MOEC_ASSIGN(auto found, find(file, attrs));
  found.first->readF32(*found.second, first, out);
  return llvm::Error::success();
}

llvm::Expected<llvm::ArrayRef<uint8_t>>
CheckpointReader::bytes(const SourceFile &file, const SourceAttrs &attrs) {
  MOEC_ASSIGN(auto found, find(file, attrs));
  return found.first->bytes(*found.second);
}

std::optional<TensorReader::Place>
CheckpointReader::place(const SourceFile &file, const SourceAttrs &attrs) {
  auto found = find(file, attrs);
  if (!found) {
    // Whoever then reads the tensor gets the error.
    llvm::consumeError(found.takeError());
    return std::nullopt;
  }
  const auto &[checkpoint, tensor] = *found;
  return Place{checkpoint->filePath(*tensor), tensor->byteOffset,
               checkpoint->files()[tensor->file]->size()};
}

llvm::Expected<std::string> CheckpointReader::digest(const SourceFile &file,
                                                     ProgressFn progress) {
  MOEC_ASSIGN(const Checkpoint *checkpoint, open(file));
  MOEC_ASSIGN(Digest digest, checkpoint->digest(progress));
  return toHex(digest);
}

void CheckpointReader::drop(const SourceFile &file, const SourceAttrs &attrs) {
  auto found = find(file, attrs);
  if (found)
    found->first->dropPages(*found->second);
  else // It was read before, so it is there.
    llvm::consumeError(found.takeError());
}
