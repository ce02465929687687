//===- HfConfig.cpp - config.json of Hugging Face models ------------------===//
//
// A key is read, or known to change nothing, or known to change results in a
// way that is not supported (an error unless it has its neutral value); of any
// other key the user is told that it was ignored. Defaults are those of each
// family's configuration class.
//
//===----------------------------------------------------------------------===//
#include "frontend/hf/HfDirectory.h"
#include "frontend/models/ConfigReaders.h"
#include "frontend/models/HfKeys.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/StringSwitch.h"

#include <algorithm>
#include <cmath>

using namespace moec;

namespace {
struct Family {
  llvm::StringLiteral modelType;
  llvm::StringLiteral architecture;
  ModelFamily family;
  double normEps;
  double ropeTheta;
  bool tiedByDefault;
};
} // namespace

static constexpr Family kFamilies[] = {
    {"gpt2", "GPT2LMHeadModel", ModelFamily::gpt2, 1e-5, 1e4, true},
    {"llama", "LlamaForCausalLM", ModelFamily::llama, 1e-6, 1e4, false},
    {"mistral", "MistralForCausalLM", ModelFamily::mistral, 1e-6, 1e4, false},
    {"mixtral", "MixtralForCausalLM", ModelFamily::mixtral, 1e-5, 1e6, false},
    {"qwen2", "Qwen2ForCausalLM", ModelFamily::qwen2, 1e-6, 1e4, false},
    {"qwen3", "Qwen3ForCausalLM", ModelFamily::qwen3, 1e-6, 1e4, false},
};

namespace {
class HfReader {
public:
  HfReader(const Config &settings, ModelConfigResult &result, ConfigKeys &keys)
      : settings(settings), result(result), config(result.config), keys(keys) {}

  llvm::Error read();

private:
  llvm::Error readFamily();
  llvm::Error readLlamaLike();
  llvm::Error readGpt2();
  llvm::Error readActivation(llvm::StringRef key, llvm::StringRef byDefault);
  llvm::Error readBiases();
  llvm::Error readRope();
  llvm::Error readRopeScaling(llvm::StringRef key);
  llvm::Error readWindows();
  llvm::Error readMoe();
  llvm::Error readTokens();
  llvm::Error checkOtherKeys();

  /// As the Config's functions, and notes that the key was read.
  llvm::Expected<int64_t>
  require(llvm::StringRef key,
          int64_t max = std::numeric_limits<int32_t>::max()) {
    known.insert(key);
    return settings.requireInteger(key, /*min=*/1, max);
  }
  llvm::Expected<int64_t> integer(llvm::StringRef key, int64_t byDefault) {
    known.insert(key);
    MOEC_ASSIGN(std::optional<int64_t> value, settings.integer(key, 1));
    return value.value_or(byDefault);
  }
  llvm::Expected<double> number(llvm::StringRef key, double byDefault) {
    known.insert(key);
    MOEC_ASSIGN(std::optional<double> value, settings.number(key));
    return value.value_or(byDefault);
  }
  llvm::Expected<bool> boolean(llvm::StringRef key, bool byDefault) {
    known.insert(key);
    MOEC_ASSIGN(std::optional<bool> value, settings.boolean(key));
    return value.value_or(byDefault);
  }

  const Config &settings;
  ModelConfigResult &result;
  ModelConfig &config;
  ConfigKeys &keys;
  const Family *family = nullptr;
  /// Keys that were read.
  llvm::StringSet<> known;
};
} // namespace

static std::string familyList() {
  std::string names;
  for (const Family &family : kFamilies)
    names += (names.empty() ? "" : ", ") + family.modelType.str();
  return names;
}

llvm::Error HfReader::readFamily() {
  MOEC_ASSIGN(std::optional<std::string> type, settings.string("model_type"));
  const JsonValue *architectures = settings.find("architectures");
  const JsonValue *architecture =
      architectures && architectures->isArray() && !architectures->items.empty()
          ? &architectures->items.front()
          : nullptr;
  family = llvm::find_if(kFamilies, [&](const Family &candidate) {
    if (type)
      return candidate.modelType == *type;
    return architecture && candidate.architecture == architecture->string;
  });
  if (family == std::end(kFamilies)) {
    if (!type && !architecture)
      return error(Location::inFile(settings.path()))
             << "expected the setting 'model_type', found none";
    return (type ? settings.errorAt("model_type")
                 : settings.errorAt(*architecture))
           << "expected one of the model types " << familyList() << ", found '"
           << (type ? *type : architecture->string) << "'";
  }
  if (architecture && architecture->string != family->architecture)
    return settings.errorAt(*architecture)
           << "expected the architecture '" << family->architecture
           << "' for model type '" << family->modelType << "', found "
           << architecture->describe();
  config.family = family->family;
  return llvm::Error::success();
}

llvm::Error HfReader::readActivation(llvm::StringRef key,
                                     llvm::StringRef byDefault) {
  known.insert(key);
  MOEC_ASSIGN(std::optional<std::string> name, settings.string(key));
  auto activation =
      llvm::StringSwitch<std::optional<Activation>>(
          name ? llvm::StringRef(*name) : byDefault)
          .Cases("silu", "swish", Activation::silu)
          .Case("gelu", Activation::gelu)
          .Cases("gelu_new", "gelu_pytorch_tanh", Activation::geluTanh)
          .Case("relu", Activation::relu)
          .Default(std::nullopt);
  if (!activation)
    return settings.errorAt(key) << "expected one of silu, gelu, gelu_new, "
                                    "gelu_pytorch_tanh, relu as '"
                                 << key << "', found '" << *name << "'";
  config.activation = *activation;
  return llvm::Error::success();
}

llvm::Error HfReader::readBiases() {
  known.insert("attention_bias");
  MOEC_ASSIGN(std::optional<bool> attention,
              settings.boolean("attention_bias"));
  switch (config.family) {
  case ModelFamily::llama:
  case ModelFamily::qwen3:
    config.qkvBias = config.outBias = attention.value_or(false);
    break;
  case ModelFamily::qwen2:
    config.qkvBias = true;
    if (attention && !*attention)
      return settings.errorAt("attention_bias")
             << "Qwen2 has biases on q, k and v, but 'attention_bias' is false";
    break;
  default:
    if (attention.value_or(false))
      return settings.errorAt("attention_bias")
             << "expected no attention biases in a '" << family->modelType
             << "' model, found 'attention_bias' true";
    break;
  }
  MOEC_ASSIGN(config.ffnBias, boolean("mlp_bias", false));
  if (config.ffnBias && config.family != ModelFamily::llama)
    return settings.errorAt("mlp_bias")
           << "expected no FFN biases in a '" << family->modelType
           << "' model, found 'mlp_bias' true";
  return llvm::Error::success();
}

/// Reads the object `key`, which newer files call `rope_parameters`.
llvm::Error HfReader::readRopeScaling(llvm::StringRef key) {
  known.insert(key);
  if (!settings.has(key))
    return llvm::Error::success();
  const JsonValue &scaling = *settings.find(key);
  if (!scaling.isObject())
    return settings.errorAt(scaling)
           << "expected '" << key << "' to be an object, found "
           << scaling.describe();
  std::string prefix = key.str() + ".";
  auto field = [&](llvm::StringRef name) -> llvm::Expected<double> {
    MOEC_ASSIGN(std::optional<double> value,
                settings.number(prefix + name.str()));
    if (!value)
      return settings.errorAt(scaling)
             << "expected '" << name << "' in '" << key << "', found none";
    if (!(*value > 0))
      return settings.errorAt(prefix + name.str())
             << "expected '" << name << "' to be positive, found " << *value;
    return *value;
  };
  static constexpr llvm::StringLiteral kFields[] = {
      "factor",          "high_freq_factor",
      "low_freq_factor", "mrope_section",
      "rope_theta",      "original_max_position_embeddings",
      "rope_type",       "type"};
  for (const JsonMember &member : scaling.members) {
    bool isFactor = member.key == "partial_rotary_factor" ||
                    member.key == "attention_factor";
    if (isFactor && !isNeutral(member.value, 1))
      return settings.errorAt(member.value)
             << "the setting '" << prefix << member.key
             << "' changes results and is not supported, found "
             << member.value.describe();
    if (!isFactor && !llvm::is_contained(kFields, member.key))
      result.warnings.push_back("the setting '" + prefix + member.key +
                                "' is not known and was ignored");
  }
  RopeConfig &rope = config.rope;
  if (settings.has(prefix + "rope_theta")) {
    MOEC_ASSIGN(rope.theta, field("rope_theta"));
  }
  std::string typeKey = prefix + "rope_type";
  if (!settings.has(typeKey))
    typeKey = prefix + "type";
  MOEC_ASSIGN(std::optional<std::string> type, settings.string(typeKey));
  if (!type || *type == "default") {
    if (settings.has(prefix + "mrope_section"))
      return settings.errorAt(prefix + "mrope_section")
             << "multimodal rotary embedding is not supported";
    return llvm::Error::success();
  }
  if (*type == "linear") {
    rope.scaling = RopeConfig::Scaling::linear;
    MOEC_ASSIGN(rope.factor, field("factor"));
    return llvm::Error::success();
  }
  if (*type == "llama3") {
    rope.scaling = RopeConfig::Scaling::llama3;
    MOEC_ASSIGN(rope.factor, field("factor"));
    MOEC_ASSIGN(rope.lowFactor, field("low_freq_factor"));
    MOEC_ASSIGN(rope.highFactor, field("high_freq_factor"));
    MOEC_ASSIGN(double context, field("original_max_position_embeddings"));
    rope.originalContext = int64_t(std::min(context, 1e9));
    if (rope.highFactor <= rope.lowFactor)
      return settings.errorAt(prefix + "high_freq_factor")
             << "expected 'high_freq_factor' above 'low_freq_factor', found "
             << rope.highFactor << " and " << rope.lowFactor;
    return llvm::Error::success();
  }
  return settings.errorAt(typeKey)
         << "expected rope scaling of type default, linear or llama3, found '"
         << *type << "'";
}

llvm::Error HfReader::readRope() {
  config.rope.dims = config.headDim;
  keys.ropeTheta = "rope_theta";
  MOEC_ASSIGN(config.rope.theta, number("rope_theta", family->ropeTheta));
  MOEC_TRY(readRopeScaling("rope_scaling"));
  return readRopeScaling("rope_parameters");
}

/// Mistral and Mixtral slide in all layers; Qwen in the layers from
/// `max_window_layers` on, where it is switched on; `layer_types` overrides. A
/// window as wide as the context hides nothing.
llvm::Error HfReader::readWindows() {
  bool isQwen = config.family == ModelFamily::qwen2 ||
                config.family == ModelFamily::qwen3;
  // Mistral has a window unless the setting is null.
  bool isDefault =
      config.family == ModelFamily::mistral && !settings.find("sliding_window");
  MOEC_ASSIGN(int64_t window, integer("sliding_window", isDefault ? 4096 : 0));
  MOEC_ASSIGN(bool isUsed, boolean("use_sliding_window", !isQwen));
  known.insert("max_window_layers");
  MOEC_ASSIGN(std::optional<int64_t> firstLayer,
              settings.integer("max_window_layers"));
  if (!isUsed)
    window = 0;
  if (window && config.family == ModelFamily::llama)
    return settings.errorAt("sliding_window")
           << "expected no sliding window in a 'llama' model, found " << window;
  std::vector<int64_t> windows(size_t(config.layers), window);
  if (isQwen)
    std::fill_n(windows.begin(),
                std::min(config.layers, firstLayer.value_or(28)), 0);

  known.insert("layer_types");
  if (settings.has("layer_types")) {
    const JsonValue &types = *settings.find("layer_types");
    if (!types.isArray() || int64_t(types.items.size()) != config.layers)
      return settings.errorAt(types)
             << "expected 'layer_types' to have an item for each of the "
             << config.layers << " layers, found " << types.describe();
    for (auto [layer, type] : llvm::enumerate(types.items)) {
      if (type.string == "full_attention")
        windows[layer] = 0;
      else if (type.string == "sliding_attention" && window)
        windows[layer] = window;
      else
        return settings.errorAt(type)
               << "expected 'full_attention'"
               << (window ? " or 'sliding_attention'" : "") << ", found "
               << type.describe();
    }
  }
  bool isSliding =
      llvm::any_of(windows, [](int64_t size) { return size != 0; });
  if (isSliding && window < config.context)
    config.windows = std::move(windows);
  return llvm::Error::success();
}

llvm::Error HfReader::readMoe() {
  keys.experts = "num_local_experts";
  keys.topk = "num_experts_per_tok";
  if (config.family != ModelFamily::mixtral) {
    if (settings.has(keys.experts))
      return settings.errorAt(keys.experts)
             << "expected no experts in a '" << family->modelType
             << "' model, found '" << keys.experts << "'";
    return llvm::Error::success();
  }
  MoeConfig moe;
  MOEC_ASSIGN(moe.experts, require(keys.experts, kMaxExperts));
  MOEC_ASSIGN(moe.route.k, require(keys.topk, kMaxExperts));
  moe.route.renorm = RouterRenorm::sum;
  moe.ffn = config.ffn;
  config.moe = moe;
  return llvm::Error::success();
}

llvm::Error HfReader::readLlamaLike() {
  MOEC_ASSIGN(config.hidden, require("hidden_size"));
  MOEC_ASSIGN(config.layers, require("num_hidden_layers", kMaxLayers));
  MOEC_ASSIGN(config.heads, require("num_attention_heads"));
  MOEC_ASSIGN(config.ffn, require("intermediate_size"));
  MOEC_ASSIGN(config.vocab, require("vocab_size"));
  MOEC_ASSIGN(config.context, require("max_position_embeddings"));
  keys.kvHeads = "num_key_value_heads";
  if (config.family == ModelFamily::llama) {
    MOEC_ASSIGN(config.kvHeads, integer(keys.kvHeads, config.heads));
  } else {
    MOEC_ASSIGN(config.kvHeads, require(keys.kvHeads));
  }
  keys.headDim = "head_dim";
  MOEC_ASSIGN(config.headDim, integer(keys.headDim, 0));
  if (!config.headDim && config.family == ModelFamily::qwen3)
    config.headDim = 128;
  if (!config.headDim) {
    if (config.hidden % config.heads)
      return settings.errorAt("num_attention_heads")
             << "expected the number of heads to divide 'hidden_size' ("
             << config.hidden << "), found " << config.heads;
    config.headDim = config.hidden / config.heads;
    keys.headDim = "num_attention_heads";
  }
  keys.normEps = "rms_norm_eps";
  MOEC_ASSIGN(config.normEps, number(keys.normEps, family->normEps));
  if (config.family == ModelFamily::qwen3)
    config.qkNorm = QkNorm::head;
  MOEC_TRY(readActivation("hidden_act", "silu"));
  MOEC_TRY(readBiases());
  MOEC_TRY(readRope());
  MOEC_TRY(readWindows());
  return readMoe();
}

llvm::Error HfReader::readGpt2() {
  MOEC_ASSIGN(config.hidden, require("n_embd"));
  MOEC_ASSIGN(config.layers, require("n_layer", kMaxLayers));
  MOEC_ASSIGN(config.heads, require("n_head"));
  MOEC_ASSIGN(config.vocab, require("vocab_size"));
  MOEC_ASSIGN(config.context, require("n_positions"));
  MOEC_ASSIGN(config.ffn, integer("n_inner", 4 * config.hidden));
  if (config.hidden % config.heads)
    return settings.errorAt("n_head")
           << "expected the number of heads to divide 'n_embd' ("
           << config.hidden << "), found " << config.heads;
  config.kvHeads = config.heads;
  config.headDim = config.hidden / config.heads;
  keys.normEps = "layer_norm_epsilon";
  MOEC_ASSIGN(config.normEps, number(keys.normEps, family->normEps));
  MOEC_TRY(readActivation("activation_function", "gelu_new"));
  MOEC_ASSIGN(bool isScaled, boolean("scale_attn_weights", true));
  if (!isScaled)
    return settings.errorAt("scale_attn_weights")
           << "expected attention scores to be scaled by the head's size, "
              "found "
              "'scale_attn_weights' false";
  config.norm = NormKind::layer;
  config.gatedFfn = false;
  config.qkvBias = config.outBias = config.ffnBias = true;
  config.position = PositionKind::learned;
  return llvm::Error::success();
}

/// An id, or a list of ids.
static llvm::Error readIds(const Config &settings, llvm::StringRef key,
                           std::vector<int64_t> &out) {
  if (!settings.has(key))
    return llvm::Error::success();
  const JsonValue &value = *settings.find(key);
  llvm::ArrayRef<JsonValue> items = value;
  if (value.isArray())
    items = value.items;
  std::vector<int64_t> ids;
  for (const JsonValue &item : items) {
    if (!item.isInteger || item.integer < 0)
      return settings.errorAt(item)
             << "expected '" << key << "' to hold token ids, found "
             << item.describe();
    ids.push_back(item.integer);
  }
  out = std::move(ids);
  return llvm::Error::success();
}

llvm::Error HfReader::readTokens() {
  std::vector<int64_t> bos;
  MOEC_TRY(readIds(settings, "bos_token_id", bos));
  if (!bos.empty())
    config.bos = bos.front();
  return readIds(settings, "eos_token_id", config.eos);
}

llvm::Error HfReader::checkOtherKeys() {
  for (const JsonMember &member : settings.root().members) {
    llvm::StringRef key = member.key;
    if (known.contains(key) || isHarmlessHfKey(key))
      continue;
    if (changesResults(key, member.value))
      return settings.errorAt(member.value)
             << "the setting '" << key
             << "' changes results and is not supported, found "
             << member.value.describe();
    if (!isResultKey(key))
      result.warnings.push_back("the setting '" + member.key +
                                "' is not known and was ignored");
  }
  return llvm::Error::success();
}

llvm::Error HfReader::read() {
  MOEC_TRY(readFamily());
  if (config.family == ModelFamily::gpt2) {
    MOEC_TRY(readGpt2());
  } else {
    MOEC_TRY(readLlamaLike());
  }
  MOEC_ASSIGN(config.tiedEmbeddings,
              boolean("tie_word_embeddings", family->tiedByDefault));
  MOEC_TRY(readTokens());
  return checkOtherKeys();
}

llvm::Error moec::readHfConfig(const Checkpoint &checkpoint,
                               ModelConfigResult &result, ConfigKeys &keys) {
  MOEC_TRY(HfReader(checkpoint.config, result, keys).read());
  // Generation settings know more ends than the model's own.
  MOEC_ASSIGN(Config generation, loadGenerationConfig(checkpoint.path));
  return readIds(generation, "eos_token_id", result.config.eos);
}
