//===- ModelFolder.cpp - a module and its weights as a folder -------------===//

#include "ir/binary/ModuleFile.h"
#include "ir/ops/AttentionOps.h"
#include "ir/ops/MoeOps.h"
#include "ir/support/AtomicFile.h"
#include "ir/support/Interrupt.h"
#include "ir/support/Parallel.h"
#include "ir/support/QuantizedBlocks.h"
#include "ir/support/SafetensorsWriter.h"
#include "runtime/schema/Facts.h"
#include "tools/driver/Upcycler.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"

#include <atomic>
#include <cmath>

using namespace moec;

namespace {
/// What config.json needs to know, read off the graph.
struct HfShape {
  int64_t heads = 0, kvHeads = 0, headDim = 0, width = 0, window = 0;
  double epsilon = 0, theta = 0;
  bool tied = false;
};

/// One tensor of the folder: a weight, or one expert of a bank.
struct FolderTensor {
  Weight *weight;
  /// -1: the whole weight.
  int64_t expert;
  const Expr *expr;
};

class FolderWriter {
public:
  FolderWriter(Module &module, CheckpointReader &reader,
               const FolderOptions &options)
      : module(module), reader(reader), options(options) {}

  llvm::Expected<FolderReport>
  run(llvm::StringRef path,
      llvm::function_ref<void(uint64_t, uint64_t)> progress);

private:
  std::optional<std::string> whyNoMixtral();
  void listTensors();
  std::string fileName(const Weight &weight, int64_t expert) const;
  ElementType elementOf(const Weight &weight) const;
  llvm::json::Object config() const;
  llvm::Error writeTensor(SafetensorsWriter &writer, size_t index);
  llvm::Error rebase();

  Module &module;
  CheckpointReader &reader;
  const FolderOptions &options;
  Program *step = nullptr;
  HfShape shape;
  bool mixtral = false;
  std::vector<FolderTensor> tensors;
  std::vector<SafetensorsLayout> layout;
};
} // namespace

static int64_t number(const Module &module, const char *key) {
  auto at = module.facts.find(key);
  int64_t value = 0;
  if (at == module.facts.end() ||
      llvm::StringRef(at->second).getAsInteger(10, value))
    return 0;
  return value;
}

/// Why no Hugging Face architecture computes this graph; nothing if Mixtral
/// does (spec 6.3). Fills `shape`.
std::optional<std::string> FolderWriter::whyNoMixtral() {
  llvm::StringRef family = module.facts[facts::kArchitecture];
  if (family != "llama" && family != "mistral" && family != "mixtral")
    return "family '" + family.str() + "' is not llama";
  for (const Operation &op : step->body().ops()) {
    switch (op.kind()) {
    case OpKind::Ffn:
      return "layer at " + op.loc().str() + " has no experts";
    case OpKind::RmsNorm:
      if (op.attrs<RmsNormAttrs>().groups != 1)
        return "query and key norms";
      shape.epsilon = op.attrs<RmsNormAttrs>().epsilon;
      break;
    case OpKind::LayerNorm:
      return "layer norms";
    case OpKind::Linear:
      if (op.numOperands() == 3)
        return "biases";
      break;
    case OpKind::Rope: {
      const auto &rope = op.attrs<RopeAttrs>();
      size_t pairs = rope.inverseFrequencies.size();
      shape.headDim = op.result().type().dim(1).constant() / rope.heads;
      if (rope.interleaved || pairs < 2 || 2 * int64_t(pairs) != shape.headDim)
        return "partial or interleaved rotary embedding";
      shape.theta = std::pow(rope.inverseFrequencies[1], -double(pairs));
      for (size_t i = 0; i < pairs; ++i) {
        double plain = std::pow(shape.theta, -double(i) / pairs);
        if (std::abs(rope.inverseFrequencies[i] / plain - 1) > 1e-9)
          return "scaled rotary embedding";
      }
      // theta is a round number in every published model.
      if (std::abs(shape.theta - std::round(shape.theta)) < 1e-3)
        shape.theta = std::round(shape.theta);
      break;
    }
    case OpKind::Attention:
      shape.heads = op.attrs<AttentionAttrs>().heads;
      shape.kvHeads = op.operand(1).type().dim(1).constant();
      shape.window = op.attrs<AttentionAttrs>().window;
      break;
    case OpKind::MoeRoute: {
      const auto &route = op.attrs<RouteAttrs>();
      if (op.numOperands() != 1 || route.scale != 1 || route.epsilon != 0 ||
          route.score != RouterScore::softmax ||
          route.renorm == RouterRenorm::none)
        return "a router whose weights are not renormalised softmax scores";
      break;
    }
    case OpKind::MoeExperts: {
      const auto &ffn = op.attrs<FfnAttrs>();
      if (!ffn.gated || ffn.biased || ffn.fn != ActivationFn::silu)
        return "experts that are not SwiGLU";
      shape.width = op.operand(4).type().dim(1).constant();
      break;
    }
    default:
      break;
    }
  }
  shape.tied = !module.findWeight("lm_head");
  return std::nullopt;
}

ElementType FolderWriter::elementOf(const Weight &weight) const {
  bool router = llvm::StringRef(weight.name).ends_with(".router");
  return weight.type().rank() > 1 && !router ? options.element
                                             : ElementType::f32;
}

std::string FolderWriter::fileName(const Weight &weight, int64_t expert) const {
  llvm::StringRef name = weight.name;
  if (!mixtral)
    return expert < 0 ? name.str() : (name + "." + llvm::Twine(expert)).str();
  static constexpr std::pair<llvm::StringLiteral, llvm::StringLiteral> top[] = {
      {"embed", "model.embed_tokens.weight"},
      {"final_norm", "model.norm.weight"},
      {"lm_head", "lm_head.weight"}};
  for (auto &[from, to] : top)
    if (name == from)
      return to.str();
  auto [layers, rest] = name.split('.');
  auto [layer, part] = rest.split('.');
  std::string prefix = "model.layers." + layer.str() + ".";
  if (part == "attn_norm")
    return prefix + "input_layernorm.weight";
  if (part == "ffn_norm")
    return prefix + "post_attention_layernorm.weight";
  if (part == "moe.router")
    return prefix + "block_sparse_moe.gate.weight";
  if (part.consume_front("attn."))
    return prefix + "self_attn." + part.str() + "_proj.weight";
  const char *matrix = part == "moe.gate" ? "w1"
                       : part == "moe.up" ? "w3"
                                          : "w2";
  return prefix + "block_sparse_moe.experts." + std::to_string(expert) + "." +
         matrix + ".weight";
}

void FolderWriter::listTensors() {
  llvm::SetVector<Weight *> used;
  llvm::DenseSet<Weight *> banks;
  for (const Operation &op : step->body().ops())
    for (unsigned i = 0; i < op.numOperands(); ++i)
      if (Weight *weight = op.operand(i).weight()) {
        used.insert(weight);
        if (op.is(OpKind::MoeExperts))
          banks.insert(weight);
      }
  for (Weight *weight : used) {
    auto add = [&](int64_t expert, const Expr &expr) {
      tensors.push_back({weight, expert, &expr});
      SafetensorsLayout entry;
      entry.name = fileName(*weight, expert);
      entry.type = elementOf(*weight);
      for (const Dim &dim : expr.type.shape())
        entry.shape.push_back(dim.constant());
      layout.push_back(std::move(entry));
    };
    const Expr &expr = resolve(*weight->expr);
    if (banks.count(weight) && expr.kind == ExprKind::Stack)
      for (auto [expert, part] : llvm::enumerate(expr.args))
        add(expert, *part);
    else
      add(-1, expr);
  }
}

llvm::json::Object FolderWriter::config() const {
  llvm::json::Object object;
  llvm::StringRef type = options.element == ElementType::bf16  ? "bfloat16"
                         : options.element == ElementType::f16 ? "float16"
                                                               : "float32";
  if (!mixtral)
    return llvm::json::Object{{"model_type", "moec"},
                              {"architectures", {"MoecModule"}},
                              {"torch_dtype", type},
                              {"moec_module", "module.moe"}};
  object = llvm::json::Object{
      {"model_type", "mixtral"},
      {"architectures", {"MixtralForCausalLM"}},
      {"torch_dtype", type},
      {"vocab_size", number(module, facts::kVocabulary)},
      {"hidden_size", number(module, facts::kHidden)},
      {"intermediate_size", shape.width},
      {"num_hidden_layers", number(module, facts::kLayers)},
      {"num_attention_heads", shape.heads},
      {"num_key_value_heads", shape.kvHeads},
      {"head_dim", shape.headDim},
      {"hidden_act", "silu"},
      {"max_position_embeddings", number(module, facts::kContext)},
      {"rms_norm_eps", shape.epsilon},
      {"rope_theta", shape.theta},
      {"tie_word_embeddings", shape.tied},
      {"num_local_experts", number(module, facts::kExperts)},
      {"num_experts_per_tok", number(module, facts::kTopk)},
      {"attention_dropout", 0.0}};
  if (shape.window)
    object["sliding_window"] = shape.window;
  else
    object["sliding_window"] = nullptr;
  if (int64_t bos = number(module, facts::kBos);
      module.facts.count(facts::kBos))
    object["bos_token_id"] = bos;
  auto eos = module.facts.find(facts::kEos);
  if (eos != module.facts.end()) {
    llvm::json::Array list;
    llvm::SmallVector<llvm::StringRef> ids;
    llvm::StringRef(eos->second).split(ids, ',');
    for (llvm::StringRef id : ids) {
      int64_t value;
      if (!id.getAsInteger(10, value))
        list.push_back(value);
    }
    if (list.size() == 1)
      object["eos_token_id"] = std::move(list[0]);
    else
      object["eos_token_id"] = std::move(list);
  }
  return object;
}

llvm::Error FolderWriter::writeTensor(SafetensorsWriter &writer, size_t index) {
  const FolderTensor &tensor = tensors[index];
  MOEC_ASSIGN(std::vector<float> numbers, materialize(*tensor.expr, reader));
  ElementType element = layout[index].type;
  Sha256 digest;
  // In pieces, so that encoded bytes never double the memory.
  constexpr size_t kPiece = 1 << 20;
  std::vector<uint8_t> bytes;
  uint64_t offset = 0;
  for (size_t first = 0; first < numbers.size(); first += kPiece) {
    size_t count = std::min(kPiece, numbers.size() - first);
    bytes.resize(*byteSize(element, count));
    encodeFromF32(element, llvm::ArrayRef(numbers).slice(first, count), bytes);
    MOEC_TRY(writer.write(index, offset, bytes));
    digest.update(bytes);
    offset += bytes.size();
  }
  return writer.complete(index, digest.finish());
}

/// Weights become tensors of the folder.
llvm::Error FolderWriter::rebase() {
  SourceFile *file = module.addFile("folder", ".");
  if (!file)
    return error() << "the module has a file named '@folder' already";
  for (size_t i = 0; i < tensors.size();) {
    Weight *weight = tensors[i].weight;
    std::vector<ExprRef> parts;
    bool bank = tensors[i].expert >= 0;
    for (; i < tensors.size() && tensors[i].weight == weight; ++i) {
      auto attrs = std::make_unique<SourceAttrs>();
      attrs->key = layout[i].name;
      attrs->shape = layout[i].shape;
      attrs->element = layout[i].type;
      MOEC_ASSIGN(ExprRef source, Expr::make(ExprKind::Source, {},
                                             std::move(attrs), nullptr, file));
      parts.push_back(std::move(source));
    }
    ExprRef expr = parts[0];
    if (bank) {
      MOEC_ASSIGN(expr, Expr::make(ExprKind::Stack, std::move(parts), nullptr));
    }
    module.redefine(weight, expr);
  }
  // Dense weights that only expressions read are not part of the folder.
  for (size_t i = module.weights().size(); i-- > 0;)
    if (Weight *weight = module.weights()[i].get(); weight->value().isUnused())
      module.eraseWeight(weight);
  return llvm::Error::success();
}

llvm::Expected<FolderReport>
FolderWriter::run(llvm::StringRef path,
                  llvm::function_ref<void(uint64_t, uint64_t)> progress) {
  step = module.findProgram(facts::kStep);
  if (!step)
    return error() << "the module has no program 'step'";
  FolderReport report;
  auto why = whyNoMixtral();
  mixtral = !why;
  report.architecture = mixtral ? "mixtral" : "";
  report.whyNone = why.value_or("");
  listTensors();
  MOEC_ASSIGN(AtomicDirectory folder,
              AtomicDirectory::create(path, Uncommitted::keep));
  unsigned threads = options.threads ? options.threads : defaultThreads();
  SafetensorsMetadata metadata{{"format", "pt"},
                               {"producer", "moec " MOEC_VERSION}};
  MOEC_ASSIGN(SafetensorsWriter writer,
              SafetensorsWriter::create(folder.temporary(), layout,
                                        options.maxShardBytes, metadata,
                                        options.identity, threads));
  report.resumedTensors = writer.resumedTensors();
  uint64_t total = 0;
  for (const SafetensorsShard &shard : writer.shards())
    report.bytes += shard.fileBytes;
  for (const FolderTensor &tensor : tensors)
    total += *tensor.expr->type.staticElements();
  std::atomic<uint64_t> done{0};
  // Large tensors one at a time, so that memory holds few of them: a tensor in
  // work takes a handful of bytes an element.
  std::vector<size_t> order(tensors.size());
  for (size_t i = 0; i < order.size(); ++i)
    order[i] = i;
  uint64_t largest = 0;
  for (const FolderTensor &tensor : tensors)
    largest = std::max<uint64_t>(largest, *tensor.expr->type.staticElements());
  auto work = [&](size_t index) -> llvm::Error {
    MOEC_TRY(checkInterrupt());
    if (!writer.isComplete(index))
      MOEC_TRY(writeTensor(writer, index));
    done += *tensors[index].expr->type.staticElements();
    progress(done, total);
    return llvm::Error::success();
  };
  std::vector<size_t> small;
  for (size_t index : order) {
    uint64_t elements = *tensors[index].expr->type.staticElements();
    if (elements * threads > largest && elements > (8 << 20))
      MOEC_TRY(work(index));
    else
      small.push_back(index);
  }
  MOEC_TRY(parallelFor(small.size(), threads,
                       [&](uint64_t i) { return work(small[i]); }));
  MOEC_TRY(writeFileAtomically(
      folder.file("config.json"),
      llvm::formatv("{0:2}\n", llvm::json::Value(config())).str()));
  MOEC_TRY(rebase());
  MOEC_TRY(saveModule(module, folder.file("module.moe"), ModuleForm::binary));
  // Last, since it removes the journal that a resumed run needs.
  MOEC_TRY(writer.finish());
  MOEC_TRY(folder.commit());
  return report;
}

llvm::Expected<FolderReport>
moec::writeModelFolder(Module &module, llvm::StringRef path,
                       CheckpointReader &reader, const FolderOptions &options,
                       llvm::function_ref<void(uint64_t, uint64_t)> progress) {
  return FolderWriter(module, reader, options).run(path, progress);
}
