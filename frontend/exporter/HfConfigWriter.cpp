#include "frontend/exporter/HfConfigWriter.h"

#include <algorithm>
#include <cmath>

using namespace moec;

using Family = ModelFamily;
using Object = llvm::json::Object;

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
    object["bos_token_id"] = *config.bos;
  else
    object["bos_token_id"] = nullptr;
  if (config.eos.empty())
    object["eos_token_id"] = nullptr;
  else if (config.eos.size() == 1)
    object["eos_token_id"] = config.eos[0];
  else
    object["eos_token_id"] = llvm::json::Array(config.eos);
}

/// In the words that every version of transformers reads.
static void addRope(const ModelConfig &config, const ExportTarget &target,
                    Object &object) {
  const RopeConfig &rope = config.rope;
  object["rope_theta"] = rope.theta;
  switch (rope.scaling) {
  case RopeConfig::Scaling::linear:
    object["rope_scaling"] =
        Object{{"rope_type", "linear"}, {"factor", rope.factor}};
    break;
  case RopeConfig::Scaling::llama3:
    object["rope_scaling"] =
        Object{{"rope_type", "llama3"},
               {"factor", rope.factor},
               {"low_freq_factor", rope.lowFactor},
               {"high_freq_factor", rope.highFactor},
               {"original_max_position_embeddings", rope.originalContext}};
    break;
  default:
    break; // No target has others.
  }
  // Families differ in what they take where nothing is said.
  if (target.partialRope)
    object["partial_rotary_factor"] =
        double(rope.dims) / double(config.headDim);
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
      object["sliding_window"] = size;
    else
      object["sliding_window"] = nullptr;
    return;
  }
  if (target.family != Family::gemma2) {
    object["use_sliding_window"] = size != 0;
    object["max_window_layers"] = config.layers;
    if (!size)
      return;
  }
  // A window as wide as the context hides nothing.
  object["sliding_window"] = size ? size : config.context;
  llvm::json::Array types;
  for (int64_t layer = 0; layer < config.layers; ++layer)
    types.push_back(size && config.windows[size_t(layer)] ? "sliding_attention"
                                                          : "full_attention");
  object["layer_types"] = std::move(types);
}

static Object gpt2Config(const ModelConfig &config) {
  return Object{
      {"n_embd", config.hidden},
      {"n_layer", config.layers},
      {"n_head", config.heads},
      {"n_positions", config.context},
      {"n_inner", config.ffn},
      {"vocab_size", config.vocab},
      {"activation_function", config.activation == Activation::geluTanh
                                  ? llvm::StringRef("gelu_new")
                                  : activationKey(config.activation)},
      {"layer_norm_epsilon", config.normEps},
      {"scale_attn_weights", true},
      {"attn_pdrop", 0.0},
      {"embd_pdrop", 0.0},
      {"resid_pdrop", 0.0}};
}

static void addGraniteScales(const ModelConfig &config, Object &object) {
  object["attention_multiplier"] = config.attentionScale;
  object["embedding_multiplier"] = config.embeddingScale;
  object["residual_multiplier"] = config.residualScale;
  object["logits_scaling"] = 1 / config.logitScale;
}

static void addSoftmaxExperts(const ModelConfig &config, Object &object) {
  const MoeConfig &moe = *config.moe;
  object["num_experts"] = moe.experts;
  object["num_experts_per_tok"] = moe.route.k;
  object["norm_topk_prob"] = moe.route.renorm == RouterRenorm::sum;
  object["output_router_logits"] = false;
}

static void addSigmoidExperts(const ModelConfig &config, Object &object) {
  const MoeConfig &moe = *config.moe;
  object["n_routed_experts"] = moe.experts;
  object["num_experts_per_tok"] = moe.route.k;
  object["moe_intermediate_size"] = moe.ffn;
  object["n_shared_experts"] = moe.sharedFfn / moe.ffn;
  object["n_group"] = moe.route.groups;
  object["topk_group"] = moe.route.topGroups;
  object["norm_topk_prob"] = moe.route.renorm == RouterRenorm::sum;
  object["routed_scaling_factor"] = moe.route.scale;
  object["first_k_dense_replace"] = int64_t(moe.denseLayers.size());
}

/// What one family alone has.
static void addOwn(const ModelConfig &config, Object &object) {
  switch (config.family) {
  case Family::llama:
    object["attention_bias"] = config.qkvBias;
    object["mlp_bias"] = config.ffnBias;
    break;
  case Family::qwen3:
  case Family::olmo2:
    object["attention_bias"] = config.qkvBias;
    break;
  case Family::gemma:
    object["hidden_activation"] = activationKey(config.activation);
    break;
  case Family::gemma2: {
    object["hidden_activation"] = activationKey(config.activation);
    // Scores are divided by this number's root.
    double inverse = 1 / (config.attentionScale * config.attentionScale);
    double whole = std::round(inverse);
    object["query_pre_attn_scalar"] =
        std::abs(inverse / whole - 1) < 1e-9 ? whole : inverse;
    auto setCap = [&](llvm::StringRef key, double cap) {
      if (cap != 0)
        object[key] = cap;
      else
        object[key] = nullptr;
    };
    setCap("attn_logit_softcapping", config.attentionSoftcap);
    setCap("final_logit_softcapping", config.logitSoftcap);
    break;
  }
  case Family::phi3:
    object["original_max_position_embeddings"] = config.context;
    object["pad_token_id"] = nullptr;
    break;
  case Family::nemotron:
    object["attention_bias"] = config.qkvBias;
    object["mlp_bias"] = config.ffnBias;
    object["norm_eps"] = config.normEps;
    break;
  case Family::starcoder2:
    object["use_bias"] = true;
    object["norm_epsilon"] = config.normEps;
    break;
  case Family::mixtral:
    object["num_local_experts"] = config.moe->experts;
    object["num_experts_per_tok"] = config.moe->route.k;
    object["output_router_logits"] = false;
    break;
  case Family::granitemoe:
  case Family::granitemoeshared:
    object["attention_bias"] = config.qkvBias;
    object["num_local_experts"] = config.moe->experts;
    object["num_experts_per_tok"] = config.moe->route.k;
    if (config.family == Family::granitemoeshared)
      object["shared_intermediate_size"] = config.moe->sharedFfn;
    addGraniteScales(config, object);
    break;
  case Family::qwen2moe:
    addSoftmaxExperts(config, object);
    object["qkv_bias"] = config.qkvBias;
    object["shared_expert_intermediate_size"] = config.moe->sharedFfn;
    break;
  case Family::qwen3moe:
    addSoftmaxExperts(config, object);
    object["attention_bias"] = config.qkvBias;
    break;
  case Family::olmoe:
    addSoftmaxExperts(config, object);
    object["attention_bias"] = config.qkvBias;
    object["pad_token_id"] = nullptr;
    break;
  case Family::glm4moe:
    addSigmoidExperts(config, object);
    object["attention_bias"] = config.qkvBias;
    object["use_qk_norm"] = config.qkNorm == QkNorm::head;
    break;
  case Family::dots1:
    addSigmoidExperts(config, object);
    object["attention_bias"] = config.qkvBias;
    object["sliding_window"] = nullptr;
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
  object["intermediate_size"] =
      config.moe && single ? config.moe->ffn : config.ffn;
  bool qwen =
      config.family == Family::qwen2moe || config.family == Family::qwen3moe;
  if (!qwen)
    return;
  object["moe_intermediate_size"] = config.moe->ffn;
  object["decoder_sparse_step"] = 1;
  object["mlp_only_layers"] = llvm::json::Array(config.moe->denseLayers);
}

Object moec::hfConfig(const ExportTarget &target, const ModelConfig &config,
                      ElementType element) {
  Object object;
  if (config.family == Family::gpt2) {
    object = gpt2Config(config);
  } else {
    object["vocab_size"] = config.vocab;
    object["hidden_size"] = config.hidden;
    object["num_hidden_layers"] = config.layers;
    object["num_attention_heads"] = config.heads;
    object["num_key_value_heads"] = config.kvHeads;
    if (target.anyHeadDim)
      object["head_dim"] = config.headDim;
    object["hidden_act"] = activationKey(config.activation);
    object["max_position_embeddings"] = config.context;
    if (config.norm == NormKind::rms)
      object["rms_norm_eps"] = config.normEps;
    object["attention_dropout"] = 0.0;
    addWidths(config, object);
    addRope(config, target, object);
    addWindows(config, target, object);
  }
  addOwn(config, object);
  object["model_type"] = target.name;
  object["architectures"] = llvm::json::Array{target.className};
  object["torch_dtype"] = element == ElementType::bf16  ? "bfloat16"
                          : element == ElementType::f16 ? "float16"
                                                        : "float32";
  object["tie_word_embeddings"] = config.tiedEmbeddings;
  object["initializer_range"] = 0.02;
  object["use_cache"] = true;
  addTokens(config, object);
  return object;
}

Object moec::hfGenerationConfig(const ModelConfig &config) {
  Object object;
  object["_from_model_config"] = true;
  addTokens(config, object);
  return object;
}
