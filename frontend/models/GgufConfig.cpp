//===- GgufConfig.cpp - metadata of GGUF models ---------------------------===//
//
// Much of what config.json says, GGUF leaves to the architecture's name and to
// which tensors there are.
//
// Long because: one reader knows which keys of a file were read.
//
//===----------------------------------------------------------------------===//
#include "frontend/models/ConfigReaders.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSet.h"

#include <cmath>

using namespace moec;

namespace {
struct Architecture {
  llvm::StringLiteral name;
  ModelFamily family;
  Activation activation = Activation::silu;
  NormKind norm = NormKind::rms;
  NormPlace normPlace = NormPlace::before;
  QkNorm qkNorm = QkNorm::none;
  bool gated = true;
  /// Rows of q and k are stored for interleaved pairs.
  bool interleaved = false;
  bool qkvBias = false;
  /// A head may turn in part.
  bool partialRotary = false;
};

struct NeutralKey {
  llvm::StringLiteral suffix;
  double neutral;
};
} // namespace

static constexpr Architecture kArchitectures[] = {
    {.name = "gemma",
     .family = ModelFamily::gemma,
     .activation = Activation::geluTanh},
    {.name = "gemma2",
     .family = ModelFamily::gemma2,
     .activation = Activation::geluTanh,
     .normPlace = NormPlace::both},
    {.name = "llama", .family = ModelFamily::llama, .interleaved = true},
    {.name = "nemotron",
     .family = ModelFamily::nemotron,
     .activation = Activation::squaredRelu,
     .norm = NormKind::layer,
     .gated = false,
     .partialRotary = true},
    {.name = "olmo2",
     .family = ModelFamily::olmo2,
     .normPlace = NormPlace::after,
     .qkNorm = QkNorm::row},
    {.name = "olmoe", .family = ModelFamily::olmoe, .qkNorm = QkNorm::row},
    {.name = "phi3", .family = ModelFamily::phi3, .partialRotary = true},
    {.name = "qwen2", .family = ModelFamily::qwen2, .qkvBias = true},
    {.name = "qwen2moe", .family = ModelFamily::qwen2moe},
    {.name = "qwen3", .family = ModelFamily::qwen3, .qkNorm = QkNorm::head},
    {.name = "qwen3moe",
     .family = ModelFamily::qwen3moe,
     .qkNorm = QkNorm::head},
    {.name = "starcoder2",
     .family = ModelFamily::starcoder2,
     .activation = Activation::geluTanh,
     .norm = NormKind::layer,
     .gated = false},
};

/// Keys behind the architecture's name whose other values change results.
static constexpr NeutralKey kChangeResults[] = {
    {"attention.causal", 1},
    {"attention.clamp_kqv", 0},
    {"attention.max_alibi_bias", 0},
    {"attention.scale", 0},
    {"attention.sliding_window_pattern", 0},
    {"attention.temperature_scale", 0},
    {"attn_logit_softcapping", 0},
    {"embedding_scale", 1},
    {"expert_gating_func", 1},
    {"expert_group_count", 1},
    {"expert_group_used_count", 1},
    {"expert_shared_count", 0},
    {"expert_weights_scale", 1},
    {"final_logit_softcapping", 0},
    {"leading_dense_block_count", 0},
    {"interleave_moe_layer_step", 1},
    {"logit_scale", 1},
    {"residual_scale", 1},
    {"rope.dimension_sections", 0},
    {"rope.scale_linear", 1},
    {"use_parallel_residual", 0},
};

namespace {
class GgufReader {
public:
  GgufReader(const Checkpoint &checkpoint, ModelConfigResult &result,
             ConfigKeys &keys)
      : checkpoint(checkpoint), settings(checkpoint.config), result(result),
        config(result.config), keys(keys) {}

  llvm::Error read();

private:
  llvm::Error readArchitecture();
  llvm::Error readAttention();
  llvm::Error readRope();
  llvm::Error readRopeFactors();
  llvm::Error readLongRope();
  llvm::Expected<std::vector<float>>
  readDivisors(const CheckpointTensor &tensor);
  llvm::Error readWindows();
  llvm::Error readNorms();
  llvm::Error readGemma();
  llvm::Error readMoe();
  llvm::Error readExpertWidths(MoeConfig &moe);
  llvm::Error readTokens();
  llvm::Error checkOtherKeys();

  /// The full key, noted as read.
  std::string key(llvm::StringRef suffix) {
    known.insert(suffix);
    return prefix + suffix.str();
  }
  llvm::Expected<int64_t>
  require(llvm::StringRef suffix,
          int64_t max = std::numeric_limits<int32_t>::max());
  llvm::Expected<int64_t> integer(llvm::StringRef suffix, int64_t byDefault);
  llvm::Expected<double> number(llvm::StringRef suffix, double byDefault) {
    MOEC_ASSIGN(std::optional<double> value, settings.number(key(suffix)));
    return value.value_or(byDefault);
  }

  const Checkpoint &checkpoint;
  const Config &settings;
  ModelConfigResult &result;
  ModelConfig &config;
  ConfigKeys &keys;
  const Architecture *architecture = nullptr;
  /// "llama.".
  std::string prefix;
  /// Suffixes that were read.
  llvm::StringSet<> known;
};
} // namespace

static std::string architectureList() {
  std::string names;
  for (const Architecture &known : kArchitectures)
    names += (names.empty() ? "" : ", ") + known.name.str();
  return names;
}

llvm::Error GgufReader::readArchitecture() {
  MOEC_ASSIGN(std::optional<std::string> name,
              settings.string("general.architecture"));
  if (!name)
    return error(Location::inFile(settings.path()))
           << "expected the metadata key 'general.architecture', found none";
  architecture = llvm::find_if(kArchitectures, [&](const Architecture &known) {
    return known.name == *name;
  });
  if (architecture == std::end(kArchitectures))
    return settings.errorAt("general.architecture")
           << "expected one of the architectures " << architectureList()
           << ", found '" << *name << "'";
  prefix = *name + ".";
  config.family = architecture->family;
  config.activation = architecture->activation;
  config.norm = architecture->norm;
  config.normPlace = architecture->normPlace;
  config.qkNorm = architecture->qkNorm;
  config.gatedFfn = architecture->gated;
  MOEC_ASSIGN(std::optional<std::string> title,
              settings.string("general.name"));
  config.name = title.value_or("");
  return llvm::Error::success();
}

/// An integer, or an array of one equal integer for each layer.
llvm::Expected<int64_t> GgufReader::integer(llvm::StringRef suffix,
                                            int64_t byDefault) {
  std::string name = key(suffix);
  const JsonValue *value = settings.find(name);
  if (value && value->isArray() && !value->items.empty()) {
    const JsonValue &first = value->items.front();
    for (const JsonValue &item : value->items)
      if (!item.isInteger || item.integer < 1 || item.integer > INT32_MAX ||
          item.integer != first.integer)
        return settings.errorAt(*value)
               << "expected '" << name
               << "' to be one positive integer for all layers, found "
               << first.describe() << " and " << item.describe();
    return first.integer;
  }
  MOEC_ASSIGN(std::optional<int64_t> single, settings.integer(name));
  return single.value_or(byDefault);
}

llvm::Expected<int64_t> GgufReader::require(llvm::StringRef suffix,
                                            int64_t max) {
  MOEC_ASSIGN(int64_t value, integer(suffix, -1));
  if (value == -1)
    return error(Location::inFile(settings.path()))
           << "expected the metadata key '" << prefix << suffix
           << "', found none";
  if (value < 1 || value > max)
    return settings.errorAt(prefix + suffix.str())
           << "expected '" << prefix << suffix << "' from 1 to " << max
           << ", found " << value;
  return value;
}

llvm::Error GgufReader::readAttention() {
  MOEC_ASSIGN(config.heads, require("attention.head_count"));
  MOEC_ASSIGN(config.kvHeads, integer("attention.head_count_kv", config.heads));
  keys.kvHeads = prefix + "attention.head_count_kv";
  if (config.kvHeads < 1)
    return settings.errorAt(keys.kvHeads)
           << "expected at least one key and value head, found "
           << config.kvHeads;
  keys.headDim = prefix + "attention.key_length";
  MOEC_ASSIGN(config.headDim, integer("attention.key_length", 0));
  if (!config.headDim) {
    keys.headDim = prefix + "attention.head_count";
    if (config.hidden % config.heads)
      return settings.errorAt(keys.headDim)
             << "expected the number of heads to divide the embedding's "
             << config.hidden << ", found " << config.heads;
    config.headDim = config.hidden / config.heads;
  }
  MOEC_ASSIGN(int64_t valueDim,
              integer("attention.value_length", config.headDim));
  if (valueDim != config.headDim)
    return settings.errorAt(prefix + "attention.value_length")
           << "expected heads of values as long as those of keys, "
           << config.headDim << ", found " << valueDim;
  auto hasTensor = [&](llvm::StringRef name) {
    return checkpoint.find(name) != nullptr;
  };
  // The file does not say which biases there are, except by having them.
  config.qkvBias = architecture->qkvBias || hasTensor("blk.0.attn_q.bias");
  config.outBias = hasTensor("blk.0.attn_output.bias");
  config.ffnBias = hasTensor("blk.0.ffn_up.bias");
  return readWindows();
}

/// Gemma 2 slides in every second layer, Phi-3 and StarCoder2 in all. A window
/// as wide as the context hides nothing.
llvm::Error GgufReader::readWindows() {
  bool isGemma2 = config.family == ModelFamily::gemma2;
  MOEC_ASSIGN(int64_t window,
              integer("attention.sliding_window", isGemma2 ? 4096 : 0));
  if (window < 0)
    return settings.errorAt(prefix + "attention.sliding_window")
           << "expected no negative window, found " << window;
  if (!window || window >= config.context)
    return llvm::Error::success();
  if (!isGemma2 && config.family != ModelFamily::phi3 &&
      config.family != ModelFamily::starcoder2)
    return settings.errorAt(prefix + "attention.sliding_window")
           << "expected no sliding window in architecture '"
           << architecture->name << "', found " << window;
  for (int64_t layer = 0; layer < config.layers; ++layer)
    config.windows.push_back(isGemma2 && layer % 2 ? 0 : window);
  return llvm::Error::success();
}

/// What Gemma's architectures imply. The stored gains hold the 1 already.
llvm::Error GgufReader::readGemma() {
  if (config.family != ModelFamily::gemma &&
      config.family != ModelFamily::gemma2)
    return llvm::Error::success();
  config.embeddingScale = std::sqrt(double(config.hidden));
  if (config.family == ModelFamily::gemma)
    return llvm::Error::success();
  auto cap = [&](llvm::StringRef suffix,
                 double byDefault) -> llvm::Expected<double> {
    MOEC_ASSIGN(double value, number(suffix, byDefault));
    if (!(value >= 0 && std::isfinite(value)))
      return settings.errorAt(prefix + suffix.str())
             << "expected a cap of 0 or more, found " << value;
    return value;
  };
  MOEC_ASSIGN(config.attentionSoftcap, cap("attn_logit_softcapping", 50));
  MOEC_ASSIGN(config.logitSoftcap, cap("final_logit_softcapping", 30));
  // No key says it: the model of 46 layers (27B) divides by another width.
  constexpr int64_t kLayersOf27B = 46;
  if (config.layers == kLayersOf27B)
    config.attentionScale =
        1 / std::sqrt(double(config.hidden) / double(config.heads));
  return llvm::Error::success();
}

llvm::Error GgufReader::readNorms() {
  keys.normEps =
      key(config.norm == NormKind::rms ? "attention.layer_norm_rms_epsilon"
                                       : "attention.layer_norm_epsilon");
  MOEC_ASSIGN(std::optional<double> eps, settings.number(keys.normEps));
  if (!eps)
    return error(Location::inFile(settings.path()))
           << "expected the metadata key '" << keys.normEps << "', found none";
  config.normEps = *eps;
  return llvm::Error::success();
}

/// A tensor that holds a divisor for each pair.
llvm::Expected<std::vector<float>>
GgufReader::readDivisors(const CheckpointTensor &tensor) {
  Location loc = checkpoint.locationOf(tensor);
  if (tensor.shape != std::vector<int64_t>{config.rope.dims / 2})
    return error(loc) << "expected " << config.rope.dims / 2
                      << " rope factors, one for each pair";
  std::vector<float> divisors(size_t(config.rope.dims / 2));
  checkpoint.readF32(tensor, 0, divisors);
  for (float divisor : divisors)
    if (!(divisor > 0 && std::isfinite(divisor)))
      return error(loc) << "expected positive rope factors, found " << divisor;
  return divisors;
}

/// `rope_freqs.weight` is how the file says llama3's scaling.
llvm::Error GgufReader::readRopeFactors() {
  const CheckpointTensor *factors = checkpoint.find("rope_freqs.weight");
  if (!factors)
    return llvm::Error::success();
  if (config.rope.scaling != RopeConfig::Scaling::none)
    return error(checkpoint.locationOf(*factors))
           << "the metadata scales rope as well";
  config.rope.scaling = RopeConfig::Scaling::factors;
  MOEC_ASSIGN(config.rope.divisors, readDivisors(*factors));
  return llvm::Error::success();
}

/// Phi-3: divisors for short and for long sequences.
llvm::Error GgufReader::readLongRope() {
  const CheckpointTensor *tensors[] = {
      checkpoint.find("rope_factors_short.weight"),
      checkpoint.find("rope_factors_long.weight")};
  MOEC_ASSIGN(double magnitude, number("rope.scaling.attn_factor", 1));
  std::string contextKey = key("rope.scaling.original_context_length");
  MOEC_ASSIGN(std::optional<int64_t> context,
              settings.integer(contextKey, /*min=*/1));
  if (!tensors[0] && !tensors[1]) {
    if (magnitude == 1)
      return llvm::Error::success();
    return settings.errorAt(prefix + "rope.scaling.attn_factor")
           << "changes results and is not supported without rope factors, "
              "found "
           << magnitude;
  }
  if (!tensors[0] || !tensors[1])
    return error(checkpoint.locationOf(tensors[0] ? *tensors[0] : *tensors[1]))
           << "expected rope factors for short and for long sequences, found "
              "only these";
  if (config.rope.scaling != RopeConfig::Scaling::none)
    return error(checkpoint.locationOf(*tensors[0]))
           << "the metadata scales rope as well";
  if (!(magnitude > 0 && std::isfinite(magnitude)))
    return settings.errorAt(prefix + "rope.scaling.attn_factor")
           << "expected a positive factor, found " << magnitude;
  config.rope.scaling = RopeConfig::Scaling::longrope;
  config.rope.magnitude = magnitude;
  config.rope.originalContext = context.value_or(config.context);
  MOEC_ASSIGN(config.rope.divisors, readDivisors(*tensors[0]));
  MOEC_ASSIGN(config.rope.longDivisors, readDivisors(*tensors[1]));
  return llvm::Error::success();
}

llvm::Error GgufReader::readRope() {
  RopeConfig &rope = config.rope;
  rope.interleaved = architecture->interleaved;
  MOEC_ASSIGN(rope.dims, integer("rope.dimension_count", config.headDim));
  if (rope.dims != config.headDim && !architecture->partialRotary)
    return settings.errorAt(prefix + "rope.dimension_count")
           << "expected rope to turn the whole head of " << config.headDim
           << ", found " << rope.dims;
  if (rope.dims < 2)
    return settings.errorAt(prefix + "rope.dimension_count")
           << "expected rope to turn at least one pair of elements, found "
           << rope.dims << " elements";
  keys.ropeTheta = key("rope.freq_base");
  MOEC_ASSIGN(std::optional<double> theta, settings.number(keys.ropeTheta));
  rope.theta = theta.value_or(10000);
  std::string typeKey = key("rope.scaling.type");
  MOEC_ASSIGN(std::optional<std::string> type, settings.string(typeKey));
  std::string factorKey = key("rope.scaling.factor");
  MOEC_ASSIGN(std::optional<double> factor, settings.number(factorKey));
  // What else there is belongs to scalings that are refused.
  known.insert("rope.scaling.finetuned");
  // What longrope means, tensors say.
  if (type && *type != "none" && *type != "linear" && *type != "longrope")
    return settings.errorAt(typeKey)
           << "expected rope scaling of type none, linear or longrope, found '"
           << *type << "'";
  // A factor alone means linear scaling; 0 and 1 mean none.
  double divisor = factor.value_or(0);
  if (!(divisor >= 0 && std::isfinite(divisor)))
    return settings.errorAt(factorKey)
           << "expected a positive rope factor, found " << divisor;
  if (divisor != 0 && divisor != 1 && (!type || *type == "linear")) {
    rope.scaling = RopeConfig::Scaling::linear;
    rope.factor = divisor;
  }
  MOEC_TRY(readRopeFactors());
  return readLongRope();
}

/// Widths that not every file states.
llvm::Error GgufReader::readExpertWidths(MoeConfig &moe) {
  bool isQwen2 = config.family == ModelFamily::qwen2moe;
  moe.ffn = config.ffn;
  if (isQwen2 || config.family == ModelFamily::qwen3moe) {
    MOEC_ASSIGN(moe.ffn, integer("expert_feed_forward_length",
                                 config.ffn / moe.route.k));
  } else {
    MOEC_ASSIGN(moe.ffn, integer("expert_feed_forward_length", config.ffn));
  }
  if (moe.ffn < 1)
    return settings.errorAt(prefix + "expert_feed_forward_length")
           << "expected an expert of one neuron or more, found " << moe.ffn;
  if (!isQwen2)
    return llvm::Error::success();
  MOEC_ASSIGN(moe.sharedFfn,
              integer("expert_shared_feed_forward_length", config.ffn));
  if (moe.sharedFfn < 1)
    return settings.errorAt(prefix + "expert_shared_feed_forward_length")
           << "expected a shared expert of one neuron or more, found "
           << moe.sharedFfn;
  moe.sharedGate = true;
  return llvm::Error::success();
}

llvm::Error GgufReader::readMoe() {
  keys.experts = prefix + "expert_count";
  keys.topk = prefix + "expert_used_count";
  MOEC_ASSIGN(int64_t experts, integer("expert_count", 0));
  MOEC_ASSIGN(int64_t topk, integer("expert_used_count", 0));
  bool isMoe = config.family == ModelFamily::olmoe ||
               config.family == ModelFamily::qwen2moe ||
               config.family == ModelFamily::qwen3moe;
  if (!experts && !topk && !isMoe)
    return llvm::Error::success();
  bool mayHave = isMoe || config.family == ModelFamily::llama;
  if (!mayHave || experts < 1 || experts > kMaxExperts || topk < 1)
    return settings.errorAt(experts ? keys.experts : keys.topk)
           << (mayHave ? "expected experts in architecture '"
                       : "expected no experts in architecture '")
           << architecture->name << "'"
           << (mayHave ? ", at most " + std::to_string(kMaxExperts) +
                             ", with at least one used"
                       : std::string())
           << ", found " << experts << " experts, " << topk << " used";
  if (config.family == ModelFamily::llama)
    config.family = ModelFamily::mixtral;
  MoeConfig &moe = config.moe.emplace();
  moe.experts = experts;
  moe.route.k = topk;
  // What the architectures imply.
  if (config.family == ModelFamily::mixtral ||
      config.family == ModelFamily::qwen3moe)
    moe.route.renorm = RouterRenorm::sum;
  bool isNormed = moe.route.renorm == RouterRenorm::sum;
  std::string normKey = key("expert_weights_norm");
  MOEC_ASSIGN(std::optional<bool> norm, settings.boolean(normKey));
  if (norm.value_or(isNormed) != isNormed)
    return settings.errorAt(normKey)
           << "expected weights that are " << (isNormed ? "" : "not ")
           << "divided by their sum in architecture '" << architecture->name
           << "', found '" << normKey << "' " << (*norm ? "true" : "false");
  return readExpertWidths(moe);
}

llvm::Error GgufReader::readTokens() {
  MOEC_ASSIGN(config.bos, settings.integer("tokenizer.ggml.bos_token_id"));
  for (llvm::StringRef name :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    MOEC_ASSIGN(std::optional<int64_t> id, settings.integer(name));
    if (id && !llvm::is_contained(config.eos, *id))
      config.eos.push_back(*id);
  }
  return llvm::Error::success();
}

llvm::Error GgufReader::checkOtherKeys() {
  for (const JsonMember &member : settings.root().members) {
    llvm::StringRef suffix = member.key;
    if (!suffix.consume_front(prefix) || known.contains(suffix))
      continue;
    const NeutralKey *unsupported =
        llvm::find_if(kChangeResults, [&](const NeutralKey &entry) {
          return entry.suffix == suffix;
        });
    if (unsupported == std::end(kChangeResults)) {
      result.warnings.push_back("the metadata key '" + member.key +
                                "' is not known and was ignored");
      continue;
    }
    const JsonValue &value = member.value;
    double number = value.isBoolean() ? double(value.boolean) : value.number;
    bool isScalar = value.isBoolean() || value.isNumber();
    if (!isScalar || number != unsupported->neutral)
      return settings.errorAt(value)
             << "the metadata key '" << member.key
             << "' changes results and is not supported, found "
             << value.describe();
  }
  return llvm::Error::success();
}

llvm::Error GgufReader::read() {
  MOEC_TRY(readArchitecture());
  MOEC_ASSIGN(config.layers, require("block_count", kMaxLayers));
  MOEC_ASSIGN(config.hidden, require("embedding_length"));
  MOEC_ASSIGN(config.ffn, require("feed_forward_length"));
  MOEC_ASSIGN(config.context, require("context_length"));
  // Some files leave it to the embedding's shape.
  const CheckpointTensor *embedding = checkpoint.find("token_embd.weight");
  int64_t rows =
      embedding && embedding->shape.size() == 2 ? embedding->shape[0] : -1;
  MOEC_ASSIGN(config.vocab, integer("vocab_size", rows));
  if (config.vocab < 1 || config.vocab > INT32_MAX)
    return error(Location::inFile(settings.path()))
           << "expected the metadata key '" << prefix
           << "vocab_size' or the tensor 'token_embd.weight', found neither";
  MOEC_TRY(readNorms());
  MOEC_TRY(readAttention());
  MOEC_TRY(readGemma());
  MOEC_TRY(readRope());
  MOEC_TRY(readMoe());
  MOEC_TRY(readTokens());
  config.tiedEmbeddings = !checkpoint.find("output.weight");
  return checkOtherKeys();
}

llvm::Error moec::readGgufConfig(const Checkpoint &checkpoint,
                                 ModelConfigResult &result, ConfigKeys &keys) {
  return GgufReader(checkpoint, result, keys).read();
}
