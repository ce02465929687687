#include "frontend/models/HfKeys.h"

#include "llvm/ADT/STLExtras.h"

#include <limits>

using namespace moec;

namespace {
struct NeutralKey {
  llvm::StringLiteral key;
  /// null and false are always neutral.
  double neutral;
  /// Neutral as well: a string, or "{}" for an object without members.
  llvm::StringLiteral neutralText = "";
};
} // namespace

/// For keys with no other neutral value than null and false: equals nothing.
static constexpr double kNever = std::numeric_limits<double>::quiet_NaN();
static constexpr NeutralKey kChangeResults[] = {
    {"add_bias_linear", kNever},
    {"add_cross_attention", kNever},
    {"add_qkv_bias", kNever},
    {"alibi", kNever},
    {"apply_residual_connection_post_layernorm", kNever},
    {"attention_chunk_size", kNever},
    {"attention_in_multiplier", 1},
    {"attention_multiplier", kNever},
    {"attention_out_multiplier", 1},
    {"attn_logit_cap", kNever},
    {"attn_logit_softcapping", kNever},
    {"attn_temperature_tuning", kNever},
    {"bias", kNever},
    {"clip_qkv", kNever},
    {"compression_config", kNever},
    {"dim_model_base", kNever},
    {"embedding_multiplier", 1},
    {"embedding_multiplier_scale", 1},
    {"final_logit_cap", kNever},
    {"final_logit_softcapping", kNever},
    {"global_attn_every_n_layers", 1},
    {"is_encoder_decoder", kNever},
    {"key_multiplier", 1},
    {"kv_lora_rank", kNever},
    {"lm_head_bias", kNever},
    {"lm_head_multiplier", 1},
    {"logit_scale", 1},
    {"logits_scaling", 1},
    {"mlp_multipliers", kNever},
    {"moe_num_experts", kNever},
    {"mup_attn_multiplier", 1},
    {"mup_embedding_multiplier", 1},
    {"mup_enabled", kNever},
    {"mup_width_multiplier", 1},
    {"n_routed_experts", kNever},
    {"no_rope_layer_interval", kNever},
    {"no_rope_layers", kNever},
    {"num_experts", kNever},
    {"output_multiplier_scale", 1},
    {"parallel_attn", kNever},
    {"parallel_residual", kNever},
    {"partial_rotary_factor", 1},
    {"position_embedding_type", kNever, "rope"},
    {"pruned_heads", kNever, "{}"},
    {"qk_layernorm", kNever},
    {"qk_norm", kNever},
    {"qkv_bias", kNever},
    {"quantization", kNever},
    {"quantization_config", kNever},
    {"query_pre_attn_scalar", kNever},
    {"residual_multiplier", 1},
    {"rope_interleave", kNever},
    {"rope_interleaved", kNever},
    {"rope_local_base_freq", kNever},
    {"rope_pct", 1},
    {"rope_percentage", 1},
    {"rope_ratio", 1},
    {"rotary_dim", kNever},
    {"rotary_emb_fraction", 1},
    {"rotary_emb_interleaved", kNever},
    {"rotary_pct", 1},
    {"sandwich_norm", kNever},
    {"scale_attn_by_inverse_layer_idx", kNever},
    {"scale_depth", kNever},
    {"scale_emb", 1},
    {"sliding_window_pattern", kNever},
    {"swiglu_limit", kNever},
    {"tie_embeddings", kNever},
    {"use_alibi", kNever},
    {"use_bias", kNever},
    {"use_bidirectional_attention", kNever},
    {"use_cla", kNever},
    {"use_mrope", kNever},
    {"use_parallel_residual", kNever},
    {"use_post_norm", kNever},
    {"use_qk_norm", kNever},
};

static constexpr llvm::StringLiteral kCausal = "is_causal";

static constexpr llvm::StringLiteral kHarmless[] = {
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "attn_implementation",
    "attn_pdrop",
    "aux_loss_alpha",
    "bos_token_id",
    "cache_implementation",
    "dtype",
    "embd_pdrop",
    "embedding_dropout",
    "eos_token_id",
    "ep_size",
    "finetuning_task",
    "gradient_checkpointing",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "layer_norm_epsilon",
    "model_type",
    "moec",
    "n_ctx",
    "num_mtp_layers",
    "num_nextn_predict_layers",
    "original_max_position_embeddings",
    "output_router_logits",
    "pad_token_id",
    "pretraining_tp",
    "reorder_and_upcast_attn",
    "resid_pdrop",
    "residual_dropout",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "router_z_loss_coef",
    "sep_token_id",
    "seq_aux",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "task_specific_params",
    "tokenizer_class",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
};

bool moec::isHarmlessHfKey(llvm::StringRef key) {
  return llvm::is_contained(kHarmless, key);
}

static const NeutralKey *findResultKey(llvm::StringRef key) {
  const NeutralKey *found =
      llvm::find_if(kChangeResults, [&](const NeutralKey &candidate) {
        return candidate.key == key;
      });
  return found == std::end(kChangeResults) ? nullptr : found;
}

bool moec::isResultKey(llvm::StringRef key) {
  return key == kCausal || findResultKey(key);
}

bool moec::changesResults(llvm::StringRef key, const JsonValue &value) {
  // The one setting whose neutral value is true.
  if (key == kCausal)
    return value.isBoolean() && !value.boolean;
  const NeutralKey *found = findResultKey(key);
  if (!found || isNeutral(value, found->neutral))
    return false;
  llvm::StringRef text = value.string;
  if (value.isObject() && value.members.empty())
    text = "{}";
  return text.empty() || text != found->neutralText;
}

bool moec::isNeutral(const JsonValue &value, double neutral) {
  if (value.isNull() || (value.isBoolean() && !value.boolean))
    return true;
  return value.isNumber() && value.number == neutral;
}
