//===- HfConfig.cpp - config.json of Hugging Face models ------------------===//
//
// A key is read, or known to change nothing, or known to change results in a
// way that is not supported (an error unless it has its neutral value); of any
// other key the user is told that it was ignored. Defaults are those of each
// family's configuration class.
//
//===----------------------------------------------------------------------===//
#include "frontend/hf/HfDirectory.h"
#include "frontend/models/HfKeys.h"
#include "frontend/models/HfReader.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSwitch.h"

#include <cmath>

using namespace moec;

static constexpr HfFamily kFamilies[] = {
    {"deepseek_v2", "DeepseekV2ForCausalLM", ModelFamily::deepseek2, 1e-6, 1e4,
     false},
    {"dots1", "Dots1ForCausalLM", ModelFamily::dots1, 1e-6, 1e4, false},
    {"gemma", "GemmaForCausalLM", ModelFamily::gemma, 1e-6, 1e4, true},
    {"gemma2", "Gemma2ForCausalLM", ModelFamily::gemma2, 1e-6, 1e4, true},
    {"glm4_moe", "Glm4MoeForCausalLM", ModelFamily::glm4moe, 1e-5, 1e4, false},
    {"gpt2", "GPT2LMHeadModel", ModelFamily::gpt2, 1e-5, 1e4, true},
    {"granitemoe", "GraniteMoeForCausalLM", ModelFamily::granitemoe, 1e-6, 1e4,
     false},
    {"granitemoeshared", "GraniteMoeSharedForCausalLM",
     ModelFamily::granitemoeshared, 1e-6, 1e4, false},
    {"llama", "LlamaForCausalLM", ModelFamily::llama, 1e-6, 1e4, false},
    {"mistral", "MistralForCausalLM", ModelFamily::mistral, 1e-6, 1e4, false},
    {"mixtral", "MixtralForCausalLM", ModelFamily::mixtral, 1e-5, 1e6, false},
    {"nemotron", "NemotronForCausalLM", ModelFamily::nemotron, 1e-5, 1e4,
     false},
    {"olmo2", "Olmo2ForCausalLM", ModelFamily::olmo2, 1e-5, 1e4, false},
    {"olmoe", "OlmoeForCausalLM", ModelFamily::olmoe, 1e-5, 1e4, false},
    {"phi3", "Phi3ForCausalLM", ModelFamily::phi3, 1e-5, 1e4, false},
    {"qwen2", "Qwen2ForCausalLM", ModelFamily::qwen2, 1e-6, 1e4, false},
    {"qwen2_moe", "Qwen2MoeForCausalLM", ModelFamily::qwen2moe, 1e-6, 1e4,
     false},
    {"qwen3", "Qwen3ForCausalLM", ModelFamily::qwen3, 1e-6, 1e4, false},
    {"qwen3_moe", "Qwen3MoeForCausalLM", ModelFamily::qwen3moe, 1e-6, 1e4,
     false},
    {"starcoder2", "Starcoder2ForCausalLM", ModelFamily::starcoder2, 1e-5, 1e4,
     true},
};

static std::string familyList() {
  std::string names;
  for (const HfFamily &family : kFamilies)
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
  family = llvm::find_if(kFamilies, [&](const HfFamily &candidate) {
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
          .Case("quick_gelu", Activation::quickGelu)
          .Case("relu", Activation::relu)
          .Case("relu2", Activation::squaredRelu)
          .Default(std::nullopt);
  if (!activation)
    return settings.errorAt(key)
           << "expected one of silu, gelu, gelu_new, gelu_pytorch_tanh, "
              "quick_gelu, relu, relu2 as '"
           << key << "', found '" << *name << "'";
  config.activation = *activation;
  return llvm::Error::success();
}

llvm::Expected<double> HfReader::positive(llvm::StringRef key,
                                          double byDefault) {
  MOEC_ASSIGN(double value, number(key, byDefault));
  if (settings.has(key) && !(value > 0 && std::isfinite(value)))
    return settings.errorAt(key)
           << "expected '" << key << "' to be positive, found "
           << settings.find(key)->describe();
  return value;
}

/// A setting of which a family supports one value.
llvm::Error HfReader::expectString(llvm::StringRef key,
                                   llvm::StringRef wanted) {
  known.insert(key);
  MOEC_ASSIGN(std::optional<std::string> value, settings.string(key));
  if (value && *value != wanted)
    return settings.errorAt(key)
           << "expected '" << key << "' to be '" << wanted << "' in a '"
           << family->modelType << "' model, found '" << *value << "'";
  return llvm::Error::success();
}

llvm::Error HfReader::readActivation() {
  config.gatedFfn = !isOneOf({ModelFamily::nemotron, ModelFamily::starcoder2});
  bool isGemma = isOneOf({ModelFamily::gemma, ModelFamily::gemma2});
  if (!isGemma) {
    llvm::StringRef byDefault = "silu";
    if (config.family == ModelFamily::nemotron)
      byDefault = "relu2";
    if (config.family == ModelFamily::starcoder2)
      byDefault = "gelu_pytorch_tanh";
    return readActivation("hidden_act", byDefault);
  }
  // Gemma was trained with the tanh form, which its first files call "gelu";
  // of the two keys the newer one counts.
  bool hasNewKey = settings.has("hidden_activation");
  MOEC_TRY(readActivation("hidden_act", "gelu_pytorch_tanh"));
  if (config.family == ModelFamily::gemma2 || hasNewKey)
    MOEC_TRY(readActivation("hidden_activation", "gelu_pytorch_tanh"));
  known.insert("hidden_activation");
  if (config.family == ModelFamily::gemma &&
      config.activation == Activation::gelu)
    config.activation = Activation::geluTanh;
  return llvm::Error::success();
}

llvm::Error HfReader::readNorms() {
  keys.normEps = "rms_norm_eps";
  switch (config.family) {
  case ModelFamily::gemma:
    config.normOffset = 1;
    break;
  case ModelFamily::gemma2:
    config.normOffset = 1;
    config.normPlace = NormPlace::both;
    break;
  case ModelFamily::nemotron:
    keys.normEps = "norm_eps";
    config.norm = NormKind::layer;
    config.normOffset = 1;
    break;
  case ModelFamily::olmo2:
    config.normPlace = NormPlace::after;
    break;
  case ModelFamily::starcoder2:
    keys.normEps = "norm_epsilon";
    config.norm = NormKind::layer;
    MOEC_TRY(expectString("norm_type", "layer_norm"));
    MOEC_TRY(expectString("mlp_type", "default"));
    break;
  default:
    break;
  }
  MOEC_ASSIGN(config.normEps, number(keys.normEps, family->normEps));
  return llvm::Error::success();
}

/// Constants that multiply embeddings, residuals and logits.
llvm::Error HfReader::readScales() {
  if (isOneOf({ModelFamily::gemma, ModelFamily::gemma2}))
    config.embeddingScale = std::sqrt(double(config.hidden));
  if (isOneOf({ModelFamily::granitemoe, ModelFamily::granitemoeshared})) {
    MOEC_ASSIGN(config.embeddingScale, positive("embedding_multiplier", 1));
    MOEC_ASSIGN(config.residualScale, positive("residual_multiplier", 1));
    MOEC_ASSIGN(double divisor, positive("logits_scaling", 1));
    config.logitScale = 1 / divisor;
  }
  return llvm::Error::success();
}

llvm::Error HfReader::readLlamaLike() {
  MOEC_ASSIGN(config.hidden, require("hidden_size"));
  MOEC_ASSIGN(config.layers, require("num_hidden_layers", kMaxLayers));
  MOEC_ASSIGN(config.heads, require("num_attention_heads"));
  MOEC_ASSIGN(config.ffn, require("intermediate_size"));
  MOEC_ASSIGN(config.vocab, require("vocab_size"));
  MOEC_ASSIGN(config.context, require("max_position_embeddings"));
  MOEC_TRY(readHeads());
  MOEC_TRY(readNorms());
  MOEC_TRY(readActivation());
  MOEC_TRY(readBiases());
  MOEC_TRY(readCaps());
  MOEC_TRY(readScales());
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
    if (key == "auto_map") {
      result.warnings.push_back("the model brings code of its own "
                                "('auto_map'), which is not run; it is read "
                                "as a plain '" +
                                family->modelType.str() + "' model");
      continue;
    }
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
