//===- HfAttention.cpp - attention in config.json -------------------------===//
#include "frontend/models/HfReader.h"
#include "llvm/ADT/STLExtras.h"

#include <algorithm>
#include <cmath>

using namespace moec;

/// DeepSeek's latents: sizes of the parts of a head, and ranks.
llvm::Error HfReader::readLatents() {
  MlaConfig &mla = config.mla.emplace();
  MOEC_ASSIGN(mla.qRank, integer("q_lora_rank", 0));
  // A missing rank is the class's; null says that q is plain.
  if (!settings.find("q_lora_rank"))
    mla.qRank = 1536;
  MOEC_ASSIGN(mla.kvRank, require("kv_lora_rank"));
  MOEC_ASSIGN(int64_t plain, require("qk_nope_head_dim", 1 << 20));
  MOEC_ASSIGN(config.rope.dims, require("qk_rope_head_dim", 1 << 20));
  MOEC_ASSIGN(config.valueDim, require("v_head_dim", 1 << 20));
  config.headDim = plain + config.rope.dims;
  config.rope.interleaved = true;
  MOEC_ASSIGN(bool isInterleaved, boolean("rope_interleave", true));
  if (!isInterleaved)
    return settings.errorAt("rope_interleave")
           << "expected rotary pairs side by side in a '" << family->modelType
           << "' model, found 'rope_interleave' false";
  keys.headDim = "qk_rope_head_dim";
  // What the class derives from these.
  for (llvm::StringRef key : {"head_dim", "qk_head_dim"})
    known.insert(key);
  MOEC_ASSIGN(config.kvHeads, integer(keys.kvHeads, config.heads));
  if (config.kvHeads != config.heads)
    return settings.errorAt(keys.kvHeads)
           << "expected as many key and value heads as query heads, "
           << config.heads << ", in a '" << family->modelType
           << "' model, found " << config.kvHeads;
  return llvm::Error::success();
}

llvm::Error HfReader::readHeads() {
  keys.kvHeads = "num_key_value_heads";
  if (config.family == ModelFamily::deepseek2)
    return readLatents();
  // Families whose class has a default for it.
  if (isOneOf({ModelFamily::dots1, ModelFamily::granitemoe,
               ModelFamily::granitemoeshared, ModelFamily::llama,
               ModelFamily::nemotron, ModelFamily::olmo2, ModelFamily::olmoe,
               ModelFamily::phi3})) {
    MOEC_ASSIGN(config.kvHeads, integer(keys.kvHeads, config.heads));
  } else {
    MOEC_ASSIGN(config.kvHeads, require(keys.kvHeads));
  }
  keys.headDim = "head_dim";
  MOEC_ASSIGN(config.headDim, integer(keys.headDim, 0));
  if (!config.headDim && config.family == ModelFamily::qwen3)
    config.headDim = 128;
  if (!config.headDim && isOneOf({ModelFamily::gemma, ModelFamily::gemma2}))
    config.headDim = 256;
  if (config.headDim)
    return llvm::Error::success();
  if (config.hidden % config.heads)
    return settings.errorAt("num_attention_heads")
           << "expected the number of heads to divide 'hidden_size' ("
           << config.hidden << "), found " << config.heads;
  config.headDim = config.hidden / config.heads;
  keys.headDim = "num_attention_heads";
  return llvm::Error::success();
}

llvm::Error HfReader::readBiases() {
  known.insert("attention_bias");
  MOEC_ASSIGN(std::optional<bool> attention,
              settings.boolean("attention_bias"));
  switch (config.family) {
  case ModelFamily::deepseek2:
  case ModelFamily::dots1:
  case ModelFamily::gemma:
  case ModelFamily::gemma2:
  case ModelFamily::granitemoe:
  case ModelFamily::granitemoeshared:
  case ModelFamily::llama:
  case ModelFamily::nemotron:
  case ModelFamily::olmo2:
  case ModelFamily::olmoe:
  case ModelFamily::qwen3:
  case ModelFamily::qwen3moe:
    config.qkvBias = config.outBias = attention.value_or(false);
    break;
  case ModelFamily::glm4moe:
    config.qkvBias = attention.value_or(false);
    break;
  case ModelFamily::qwen2:
    config.qkvBias = true;
    if (attention && !*attention)
      return settings.errorAt("attention_bias")
             << "Qwen2 has biases on q, k and v, but 'attention_bias' is false";
    break;
  case ModelFamily::qwen2moe: {
    MOEC_ASSIGN(config.qkvBias, boolean("qkv_bias", true));
    break;
  }
  case ModelFamily::starcoder2: {
    MOEC_ASSIGN(bool isBiased, boolean("use_bias", true));
    config.qkvBias = config.outBias = config.ffnBias = isBiased;
    break;
  }
  default:
    if (attention.value_or(false))
      return settings.errorAt("attention_bias")
             << "expected no attention biases in a '" << family->modelType
             << "' model, found 'attention_bias' true";
    break;
  }
  MOEC_ASSIGN(bool ffn, boolean("mlp_bias", false));
  if (ffn && !isOneOf({ModelFamily::llama, ModelFamily::nemotron}))
    return settings.errorAt("mlp_bias")
           << "expected no FFN biases in a '" << family->modelType
           << "' model, found 'mlp_bias' true";
  config.ffnBias |= ffn;
  return llvm::Error::success();
}

/// Norms of q and k, limits of numbers and scores, and the scores' scale.
llvm::Error HfReader::readCaps() {
  switch (config.family) {
  case ModelFamily::dots1:
  case ModelFamily::qwen3:
  case ModelFamily::qwen3moe:
    config.qkNorm = QkNorm::head;
    break;
  case ModelFamily::glm4moe: {
    MOEC_ASSIGN(bool isNormed, boolean("use_qk_norm", false));
    config.qkNorm = isNormed ? QkNorm::head : QkNorm::none;
    break;
  }
  case ModelFamily::olmo2:
    config.qkNorm = QkNorm::row;
    break;
  case ModelFamily::olmoe: {
    config.qkNorm = QkNorm::row;
    MOEC_ASSIGN(config.clipQkv, positive("clip_qkv", 0));
    break;
  }
  case ModelFamily::gemma2: {
    // A null means none, a missing key the class's.
    auto cap = [&](llvm::StringRef key, double byDefault) {
      return positive(key, settings.find(key) ? 0 : byDefault);
    };
    MOEC_ASSIGN(config.attentionSoftcap, cap("attn_logit_softcapping", 50));
    MOEC_ASSIGN(config.logitSoftcap, cap("final_logit_softcapping", 30));
    MOEC_ASSIGN(double width, positive("query_pre_attn_scalar", 256));
    config.attentionScale = 1 / std::sqrt(width);
    break;
  }
  case ModelFamily::granitemoe:
  case ModelFamily::granitemoeshared: {
    MOEC_ASSIGN(config.attentionScale, positive("attention_multiplier", 1));
    break;
  }
  default:
    break;
  }
  return llvm::Error::success();
}

/// The window of each layer where `layer_types` says nothing: Mistral, Mixtral,
/// Phi-3 and StarCoder2 slide in all layers; Qwen2, Qwen3 and dots1 in those
/// from `max_window_layers` on, Qwen2-MoE in every second one before it; Gemma
/// 2 in every second one.
llvm::Expected<std::vector<int64_t>> HfReader::defaultWindows(int64_t window) {
  known.insert("max_window_layers");
  MOEC_ASSIGN(std::optional<int64_t> border,
              settings.integer("max_window_layers"));
  std::vector<int64_t> windows(size_t(config.layers), window);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    bool isFull = false;
    switch (config.family) {
    case ModelFamily::dots1:
      isFull = layer < border.value_or(62);
      break;
    case ModelFamily::gemma2:
      isFull = layer % 2;
      break;
    case ModelFamily::qwen2:
    case ModelFamily::qwen3:
      isFull = layer < border.value_or(28);
      break;
    case ModelFamily::qwen2moe:
      isFull = layer % 2 || layer >= border.value_or(28);
      break;
    default:
      break;
    }
    if (isFull)
      windows[size_t(layer)] = 0;
  }
  return windows;
}

/// A window as wide as the context hides nothing.
llvm::Error HfReader::readWindows() {
  bool isSwitched = isOneOf({ModelFamily::qwen2, ModelFamily::qwen2moe,
                             ModelFamily::qwen3, ModelFamily::qwen3moe});
  // These have a window unless the setting is null.
  bool isDefault = isOneOf({ModelFamily::dots1, ModelFamily::gemma2,
                            ModelFamily::mistral}) &&
                   !settings.find("sliding_window");
  MOEC_ASSIGN(int64_t window,
              integer("sliding_window", isDefault ? 4096 : 0, /*min=*/0));
  MOEC_ASSIGN(bool isUsed, boolean("use_sliding_window", !isSwitched));
  if (!isUsed)
    window = 0;
  bool hasWindows =
      isSwitched || isOneOf({ModelFamily::dots1, ModelFamily::gemma2,
                             ModelFamily::mistral, ModelFamily::mixtral,
                             ModelFamily::phi3, ModelFamily::starcoder2});
  if (window && !hasWindows)
    return settings.errorAt("sliding_window")
           << "expected no sliding window in a '" << family->modelType
           << "' model, found " << window;
  MOEC_ASSIGN(std::vector<int64_t> windows, defaultWindows(window));

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
