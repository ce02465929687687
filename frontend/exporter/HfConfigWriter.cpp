#include "frontend/exporter/HfConfigWriter.h"

#include "llvm/Support/FormatVariadic.h"

#include <algorithm>
#include <cmath>

using namespace moec;

using Family = ModelFamily;
using Object = JsonFields;

static std::string textOf(llvm::json::Value value, unsigned indent) {
  std::string text = llvm::formatv("{0:2}", value).str();
  std::string lines;
  for (char c : text)
    lines += c == '\n' ? "\n" + std::string(indent, ' ') : std::string(1, c);
  return lines;
}

void JsonFields::set(llvm::StringRef key, int64_t value) {
  values[key.str()] = std::to_string(value);
}

void JsonFields::set(llvm::StringRef key, double value) {
  values[key.str()] = formatDouble(value);
}

void JsonFields::set(llvm::StringRef key, bool value) {
  values[key.str()] = value ? "true" : "false";
}

void JsonFields::set(llvm::StringRef key, llvm::StringRef value) {
  values[key.str()] = textOf(llvm::json::fixUTF8(value), 2);
}

void JsonFields::set(llvm::StringRef key, llvm::json::Array value) {
  values[key.str()] = textOf(std::move(value), 2);
}

void JsonFields::set(llvm::StringRef key, const JsonFields &value) {
  values[key.str()] = value.text(2);
}

std::string JsonFields::text(unsigned indent) const {
  std::string lines, margin(indent, ' ');
  for (auto &[key, value] : values)
    lines += (lines.empty() ? "\n  " : ",\n  ") + margin +
             textOf(llvm::json::fixUTF8(key), 0) + ": " + value;
  return "{" + lines + "\n" + margin + "}";
}

static llvm::StringRef activationKey(Activation activation) {
  switch (activation) {
  case Activation::silu:
    return "silu";
  case Activation::gelu:
    return "gelu";
  case Activation::geluTanh:
    return "gelu_pytorch_tanh";
  case Activation::quickGelu:
    return "quick_gelu";
  case Activation::relu:
    return "relu";
  case Activation::squaredRelu:
    return "relu2";
  }
  llvm_unreachable("every activation is listed");
}

static void addTokens(const ModelConfig &config, Object &object) {
  if (config.bos)
    object.set("bos_token_id", *config.bos);
  else
    object.set("bos_token_id", nullptr);
  if (config.eos.empty())
    object.set("eos_token_id", nullptr);
  else if (config.eos.size() == 1)
    object.set("eos_token_id", config.eos[0]);
  else
    object.set("eos_token_id", llvm::json::Array(config.eos));
}

/// In the words that every version of transformers reads.
static void addRope(const ModelConfig &config, const ExportTarget &target,
                    Object &object) {
  const RopeConfig &rope = config.rope;
  object.set("rope_theta", rope.theta);
  Object scaling;
  switch (rope.scaling) {
  case RopeConfig::Scaling::linear:
    scaling.set("rope_type", "linear");
    scaling.set("factor", rope.factor);
    break;
  case RopeConfig::Scaling::llama3:
    scaling.set("rope_type", "llama3");
    scaling.set("factor", rope.factor);
    scaling.set("low_freq_factor", rope.lowFactor);
    scaling.set("high_freq_factor", rope.highFactor);
    scaling.set("original_max_position_embeddings", rope.originalContext);
    break;
  default:
    break; // No target has others.
  }
  if (!scaling.empty())
    object.set("rope_scaling", scaling);
  // Families differ in what they take where nothing is said.
  if (target.partialRope)
    object.set("partial_rotary_factor",
               double(rope.dims) / double(config.headDim));
}

static void addWindows(const ModelConfig &config, const ExportTarget &target,
                       Object &object) {
  if (target.windows == Windows::none)
    return;
  int64_t size = 0;
  for (int64_t window : config.windows)
    size = std::max(size, window);
  if (target.windows == Windows::all) {
    if (size)
      object.set("sliding_window", size);
    else
      object.set("sliding_window", nullptr);
    return;
  }
  if (target.family != Family::gemma2) {
    object.set("use_sliding_window", size != 0);
    object.set("max_window_layers", config.layers);
    if (!size)
      return;
  }
  // A window as wide as the context hides nothing.
  object.set("sliding_window", size ? size : config.context);
  llvm::json::Array types;
  for (int64_t layer = 0; layer < config.layers; ++layer)
    types.push_back(size && config.windows[size_t(layer)] ? "sliding_attention"
                                                          : "full_attention");
  object.set("layer_types", std::move(types));
}

static Object gpt2Config(const ModelConfig &config) {
  Object object;
  object.set("n_embd", config.hidden);
  object.set("n_layer", config.layers);
  object.set("n_head", config.heads);
  object.set("n_positions", config.context);
  object.set("n_inner", config.ffn);
  object.set("vocab_size", config.vocab);
  object.set("activation_function", config.activation == Activation::geluTanh
                                        ? llvm::StringRef("gelu_new")
                                        : activationKey(config.activation));
  object.set("layer_norm_epsilon", config.normEps);
  object.set("scale_attn_weights", true);
  for (const char *key : {"attn_pdrop", "embd_pdrop", "resid_pdrop"})
    object.set(key, 0.0);
  return object;
}

static void addGraniteScales(const ModelConfig &config, Object &object) {
  object.set("attention_multiplier", config.attentionScale);
  object.set("embedding_multiplier", config.embeddingScale);
  object.set("residual_multiplier", config.residualScale);
  object.set("logits_scaling", 1 / config.logitScale);
}

static void addSoftmaxExperts(const ModelConfig &config, Object &object) {
  const MoeConfig &moe = *config.moe;
  object.set("num_experts", moe.experts);
  object.set("num_experts_per_tok", moe.route.k);
  object.set("norm_topk_prob", moe.route.renorm == RouterRenorm::sum);
  object.set("output_router_logits", false);
}

static void addSigmoidExperts(const ModelConfig &config, Object &object) {
  const MoeConfig &moe = *config.moe;
  object.set("n_routed_experts", moe.experts);
  object.set("num_experts_per_tok", moe.route.k);
  object.set("moe_intermediate_size", moe.ffn);
  object.set("n_shared_experts", moe.sharedFfn / moe.ffn);
  object.set("n_group", moe.route.groups);
  object.set("topk_group", moe.route.topGroups);
  object.set("norm_topk_prob", moe.route.renorm == RouterRenorm::sum);
  object.set("routed_scaling_factor", moe.route.scale);
  object.set("first_k_dense_replace", int64_t(moe.denseLayers.size()));
}

/// What one family alone has.
static void addOwn(const ModelConfig &config, Object &object) {
  switch (config.family) {
  case Family::llama:
    object.set("attention_bias", config.qkvBias);
    object.set("mlp_bias", config.ffnBias);
    break;
  case Family::qwen3:
  case Family::olmo2:
    object.set("attention_bias", config.qkvBias);
    break;
  case Family::gemma:
    object.set("hidden_activation", activationKey(config.activation));
    break;
  case Family::gemma2: {
    object.set("hidden_activation", activationKey(config.activation));
    // Scores are divided by this number's root.
    double inverse = 1 / (config.attentionScale * config.attentionScale);
    double whole = std::round(inverse);
    if (std::abs(inverse / whole - 1) < 1e-9)
      object.set("query_pre_attn_scalar", int64_t(whole));
    else
      object.set("query_pre_attn_scalar", inverse);
    auto setCap = [&](llvm::StringRef key, double cap) {
      if (cap != 0)
        object.set(key, cap);
      else
        object.set(key, nullptr);
    };
    setCap("attn_logit_softcapping", config.attentionSoftcap);
    setCap("final_logit_softcapping", config.logitSoftcap);
    break;
  }
  case Family::phi3:
    object.set("original_max_position_embeddings", config.context);
    object.set("pad_token_id", nullptr);
    break;
  case Family::nemotron:
    object.set("attention_bias", config.qkvBias);
    object.set("mlp_bias", config.ffnBias);
    object.set("norm_eps", config.normEps);
    break;
  case Family::starcoder2:
    object.set("use_bias", true);
    object.set("norm_epsilon", config.normEps);
    break;
  case Family::mixtral:
    object.set("num_local_experts", config.moe->experts);
    object.set("num_experts_per_tok", config.moe->route.k);
    object.set("output_router_logits", false);
    break;
  case Family::granitemoe:
  case Family::granitemoeshared:
    object.set("attention_bias", config.qkvBias);
    object.set("num_local_experts", config.moe->experts);
    object.set("num_experts_per_tok", config.moe->route.k);
    if (config.family == Family::granitemoeshared)
      object.set("shared_intermediate_size", config.moe->sharedFfn);
    addGraniteScales(config, object);
    break;
  case Family::qwen2moe:
    addSoftmaxExperts(config, object);
    object.set("qkv_bias", config.qkvBias);
    object.set("shared_expert_intermediate_size", config.moe->sharedFfn);
    break;
  case Family::qwen3moe:
    addSoftmaxExperts(config, object);
    object.set("attention_bias", config.qkvBias);
    break;
  case Family::olmoe:
    addSoftmaxExperts(config, object);
    if (config.clipQkv != 0)
      object.set("clip_qkv", config.clipQkv);
    object.set("attention_bias", config.qkvBias);
    object.set("pad_token_id", nullptr);
    break;
  case Family::glm4moe:
    addSigmoidExperts(config, object);
    object.set("attention_bias", config.qkvBias);
    object.set("use_qk_norm", config.qkNorm == QkNorm::head);
    break;
  case Family::dots1:
    addSigmoidExperts(config, object);
    object.set("attention_bias", config.qkvBias);
    object.set("sliding_window", nullptr);
    break;
  case Family::mistral:
  case Family::qwen2:
  case Family::gpt2:
  case Family::deepseek2:
    break;
  }
}

/// The width of experts where settings have one width, or a key of their own.
static void addWidths(const ModelConfig &config, Object &object) {
  bool single = config.family == Family::mixtral ||
                config.family == Family::olmoe ||
                config.family == Family::granitemoe ||
                config.family == Family::granitemoeshared;
  object.set("intermediate_size",
             config.moe && single ? config.moe->ffn : config.ffn);
  bool qwen =
      config.family == Family::qwen2moe || config.family == Family::qwen3moe;
  if (!qwen)
    return;
  object.set("moe_intermediate_size", config.moe->ffn);
  object.set("decoder_sparse_step", int64_t(1));
  object.set("mlp_only_layers", llvm::json::Array(config.moe->denseLayers));
}

Object moec::hfConfig(const ExportTarget &target, const ModelConfig &config,
                      ElementType element) {
  Object object;
  if (config.family == Family::gpt2) {
    object = gpt2Config(config);
  } else {
    object.set("vocab_size", config.vocab);
    object.set("hidden_size", config.hidden);
    object.set("num_hidden_layers", config.layers);
    object.set("num_attention_heads", config.heads);
    object.set("num_key_value_heads", config.kvHeads);
    if (target.anyHeadDim)
      object.set("head_dim", config.headDim);
    object.set("hidden_act", activationKey(config.activation));
    object.set("max_position_embeddings", config.context);
    if (config.norm == NormKind::rms)
      object.set("rms_norm_eps", config.normEps);
    object.set("attention_dropout", 0.0);
    addWidths(config, object);
    addRope(config, target, object);
    addWindows(config, target, object);
  }
  addOwn(config, object);
  object.set("model_type", target.name);
  object.set("architectures", llvm::json::Array({target.className}));
  object.set("torch_dtype", element == ElementType::bf16  ? "bfloat16"
                            : element == ElementType::f16 ? "float16"
                                                          : "float32");
  object.set("tie_word_embeddings", config.tiedEmbeddings);
  object.set("initializer_range", 0.02);
  object.set("use_cache", true);
  addTokens(config, object);
  return object;
}

Object moec::hfGenerationConfig(const ModelConfig &config) {
  Object object;
  object.set("_from_model_config", true);
  addTokens(config, object);
  return object;
}
