//===- GgufConfig.cpp - metadata of GGUF models ---------------------------===//
#include "frontend/models/ConfigReaders.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSet.h"

#include <cmath>

using namespace moec;

namespace {
struct Architecture {
  llvm::StringLiteral name;
  ModelFamily family;
  /// Rows of q and k are stored for interleaved pairs.
  bool interleaved;
  bool qkvBias;
  bool qkNorm;
};

struct NeutralKey {
  llvm::StringLiteral suffix;
  double neutral;
};
} // namespace

static constexpr Architecture kArchitectures[] = {
    {"llama", ModelFamily::llama, true, false, false},
    {"qwen2", ModelFamily::qwen2, false, true, false},
    {"qwen3", ModelFamily::qwen3, false, false, true},
};

/// Keys behind the architecture's name whose other values change results.
static constexpr NeutralKey kChangeResults[] = {
    {"attention.clamp_kqv", 0},  {"attention.max_alibi_bias", 0},
    {"attention.scale", 0},      {"attn_logit_softcapping", 0},
    {"embedding_scale", 1},      {"expert_shared_count", 0},
    {"expert_weights_scale", 1}, {"final_logit_softcapping", 0},
    {"logit_scale", 1},          {"residual_scale", 1},
    {"rope.scale_linear", 1},    {"use_parallel_residual", 0},
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
  llvm::Error readMoe();
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
           << "expected one of the architectures llama, qwen2, qwen3, found '"
           << *name << "'";
  prefix = *name + ".";
  config.family = architecture->family;
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
  MOEC_ASSIGN(int64_t window, integer("attention.sliding_window", 0));
  if (window && window < config.context)
    return settings.errorAt(prefix + "attention.sliding_window")
           << "expected no sliding window in architecture '"
           << architecture->name << "', found " << window;
  auto hasTensor = [&](llvm::StringRef name) {
    return checkpoint.find(name) != nullptr;
  };
  // The file does not say which biases there are, except by having them.
  config.qkvBias = architecture->qkvBias || hasTensor("blk.0.attn_q.bias");
  config.outBias = hasTensor("blk.0.attn_output.bias");
  config.ffnBias = hasTensor("blk.0.ffn_up.bias");
  config.qkNorm = architecture->qkNorm ? QkNorm::head : QkNorm::none;
  return llvm::Error::success();
}

/// `rope_freqs.weight` holds a divisor for each pair: how the file says
/// llama3's scaling.
llvm::Error GgufReader::readRopeFactors() {
  const CheckpointTensor *factors = checkpoint.find("rope_freqs.weight");
  if (!factors)
    return llvm::Error::success();
  Location loc = checkpoint.locationOf(*factors);
  if (config.rope.scaling != RopeConfig::Scaling::none)
    return error(loc) << "the metadata scales rope as well";
  if (factors->shape != std::vector<int64_t>{config.rope.dims / 2})
    return error(loc) << "expected " << config.rope.dims / 2
                      << " rope factors, one for each pair";
  config.rope.scaling = RopeConfig::Scaling::factors;
  config.rope.divisors.resize(size_t(config.rope.dims / 2));
  checkpoint.readF32(*factors, 0, config.rope.divisors);
  for (float divisor : config.rope.divisors)
    if (!(divisor > 0 && std::isfinite(divisor)))
      return error(loc) << "expected positive rope factors, found " << divisor;
  return llvm::Error::success();
}

llvm::Error GgufReader::readRope() {
  RopeConfig &rope = config.rope;
  rope.interleaved = architecture->interleaved;
  MOEC_ASSIGN(rope.dims, integer("rope.dimension_count", config.headDim));
  if (rope.dims != config.headDim)
    return settings.errorAt(prefix + "rope.dimension_count")
           << "expected rope to turn the whole head of " << config.headDim
           << ", found " << rope.dims;
  keys.ropeTheta = key("rope.freq_base");
  MOEC_ASSIGN(std::optional<double> theta, settings.number(keys.ropeTheta));
  rope.theta = theta.value_or(10000);
  std::string typeKey = key("rope.scaling.type");
  MOEC_ASSIGN(std::optional<std::string> type, settings.string(typeKey));
  std::string factorKey = key("rope.scaling.factor");
  MOEC_ASSIGN(std::optional<double> factor, settings.number(factorKey));
  // What else there is belongs to scalings that are refused.
  known.insert("rope.scaling.original_context_length");
  known.insert("rope.scaling.finetuned");
  if (type && *type != "none" && *type != "linear")
    return settings.errorAt(typeKey)
           << "expected rope scaling of type none or linear, found '" << *type
           << "'";
  // A factor alone means linear scaling; 0 and 1 mean none.
  double divisor = factor.value_or(0);
  if (!(divisor >= 0 && std::isfinite(divisor)))
    return settings.errorAt(factorKey)
           << "expected a positive rope factor, found " << divisor;
  if (divisor != 0 && divisor != 1 && (!type || *type == "linear")) {
    rope.scaling = RopeConfig::Scaling::linear;
    rope.factor = divisor;
  }
  return readRopeFactors();
}

llvm::Error GgufReader::readMoe() {
  keys.experts = prefix + "expert_count";
  keys.topk = prefix + "expert_used_count";
  MOEC_ASSIGN(int64_t experts, integer("expert_count", 0));
  MOEC_ASSIGN(int64_t topk, integer("expert_used_count", 0));
  if (!experts && !topk)
    return llvm::Error::success();
  if (config.family != ModelFamily::llama || experts < 1 ||
      experts > kMaxExperts || topk < 1)
    return settings.errorAt(experts ? keys.experts : keys.topk)
           << "expected experts in architecture 'llama' only, at most "
           << kMaxExperts << ", with at least one used; found " << experts
           << " experts, " << topk << " used, in '" << architecture->name
           << "'";
  config.family = ModelFamily::mixtral;
  MoeConfig &moe = config.moe.emplace();
  moe.experts = experts;
  moe.ffn = config.ffn;
  moe.route.k = topk;
  moe.route.renorm = RouterRenorm::sum;
  return llvm::Error::success();
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
    if (number != unsupported->neutral)
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
  keys.normEps = key("attention.layer_norm_rms_epsilon");
  MOEC_ASSIGN(std::optional<double> eps, settings.number(keys.normEps));
  if (!eps)
    return error(Location::inFile(settings.path()))
           << "expected the metadata key '" << keys.normEps << "', found none";
  config.normEps = *eps;
  MOEC_TRY(readAttention());
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
