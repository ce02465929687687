//===- TinyFamilies.h - a small model of each further family --------------===//
#pragma once

#include "tests/frontend/TinyModel.h"

namespace moec {

/// Two layers, hidden 16, 4 heads (2 for keys), FFN 24, vocabulary 40, three
/// experts of 8 of which two are used.
class TinyFamily : public TinyModel {
public:
  void makeGemma() {
    makeLlama("gemma", "GemmaForCausalLM");
    set("head_dim", "4");
    set("tie_word_embeddings", "true");
    set("hidden_act", "\"gelu\"");
    remove("lm_head.weight");
  }
  void makeGemma2() {
    makeGemma();
    set("model_type", "\"gemma2\"");
    set("architectures", "[\"Gemma2ForCausalLM\"]");
    set("hidden_act", "\"gelu_pytorch_tanh\"");
    set("hidden_activation", "\"gelu_pytorch_tanh\"");
    set("query_pre_attn_scalar", "16");
    set("sliding_window", "8");
    for (const std::string &layer : layers()) {
      add(layer + "pre_feedforward_layernorm.weight", {16});
      add(layer + "post_feedforward_layernorm.weight", {16});
    }
  }
  void makePhi3() {
    makeLlama("phi3", "Phi3ForCausalLM");
    for (const std::string &layer : layers()) {
      for (std::string part : {"q", "k", "v"})
        remove(layer + "self_attn." + part + "_proj.weight");
      add(layer + "self_attn.qkv_proj.weight", {32, 16});
      remove(layer + "mlp.gate_proj.weight");
      remove(layer + "mlp.up_proj.weight");
      add(layer + "mlp.gate_up_proj.weight", {48, 16});
    }
  }
  void makeOlmo2() {
    makeLlama("olmo2", "Olmo2ForCausalLM");
    for (const std::string &layer : layers()) {
      remove(layer + "input_layernorm.weight");
      add(layer + "post_feedforward_layernorm.weight", {16});
      addRowNorms(layer);
    }
  }
  void makeNemotron() {
    makeLlama("nemotron", "NemotronForCausalLM");
    unset("rms_norm_eps");
    set("norm_eps", "1e-05");
    set("hidden_act", "\"relu2\"");
    addNormBiases();
    for (const std::string &layer : layers())
      remove(layer + "mlp.gate_proj.weight");
  }
  void makeStarcoder2() {
    makeLlama("starcoder2", "Starcoder2ForCausalLM");
    unset("rms_norm_eps");
    set("norm_epsilon", "1e-05");
    set("hidden_act", "\"gelu_pytorch_tanh\"");
    addNormBiases();
    for (const std::string &layer : layers()) {
      for (std::string part : {"gate", "up", "down"})
        remove(layer + "mlp." + part + "_proj.weight");
      add(layer + "mlp.c_fc.weight", {24, 16});
      add(layer + "mlp.c_fc.bias", {24});
      add(layer + "mlp.c_proj.weight", {16, 24});
      add(layer + "mlp.c_proj.bias", {16});
      add(layer + "self_attn.q_proj.bias", {16});
      add(layer + "self_attn.k_proj.bias", {8});
      add(layer + "self_attn.v_proj.bias", {8});
      add(layer + "self_attn.o_proj.bias", {16});
    }
  }

  void makeQwen2Moe() {
    makeLlama("qwen2_moe", "Qwen2MoeForCausalLM");
    setQwenExperts();
    set("shared_expert_intermediate_size", "12");
    for (const std::string &layer : layers()) {
      add(layer + "self_attn.q_proj.bias", {16});
      add(layer + "self_attn.k_proj.bias", {8});
      add(layer + "self_attn.v_proj.bias", {8});
      addExperts(layer, 8);
      addFfn(layer + "mlp.shared_expert.", 12);
      add(layer + "mlp.shared_expert_gate.weight", {1, 16});
    }
  }
  void makeQwen3Moe() {
    makeLlama("qwen3_moe", "Qwen3MoeForCausalLM");
    setQwenExperts();
    set("norm_topk_prob", "true");
    for (const std::string &layer : layers()) {
      add(layer + "self_attn.q_norm.weight", {4});
      add(layer + "self_attn.k_norm.weight", {4});
      addExperts(layer, 8);
    }
  }
  void makeOlmoe() {
    makeLlama("olmoe", "OlmoeForCausalLM");
    set("num_experts", "3");
    set("num_experts_per_tok", "2");
    set("clip_qkv", "8.0");
    for (const std::string &layer : layers()) {
      addRowNorms(layer);
      addExperts(layer, 24);
    }
  }
  void makeGranite(bool isShared) {
    makeLlama(isShared ? "granitemoeshared" : "granitemoe",
              isShared ? "GraniteMoeSharedForCausalLM"
                       : "GraniteMoeForCausalLM");
    set("num_local_experts", "3");
    set("num_experts_per_tok", "2");
    set("embedding_multiplier", "12.0");
    set("residual_multiplier", "0.25");
    set("attention_multiplier", "0.125");
    set("logits_scaling", "8.0");
    if (isShared)
      set("shared_intermediate_size", "12");
    for (const std::string &layer : layers()) {
      removeFfn(layer);
      std::string block = layer + "block_sparse_moe.";
      add(block + "router.layer.weight", {3, 16});
      add(block + "input_linear.weight", {3, 48, 16});
      add(block + "output_linear.weight", {3, 16, 24});
      if (!isShared)
        continue;
      add(layer + "shared_mlp.input_linear.weight", {24, 16});
      add(layer + "shared_mlp.output_linear.weight", {16, 12});
    }
  }
  /// Heads of 6 + 4 for keys and 5 for values, latents of 7 (and 9 for q).
  /// The first layer is dense.
  void makeDeepseek(bool hasQueryLatent) {
    makeLlama("deepseek_v2", "DeepseekV2ForCausalLM");
    set("num_key_value_heads", "4");
    set("kv_lora_rank", "7");
    set("q_lora_rank", hasQueryLatent ? "9" : "null");
    set("qk_nope_head_dim", "6");
    set("qk_rope_head_dim", "4");
    set("v_head_dim", "5");
    setDeepseekExperts();
    for (const std::string &layer : layers()) {
      std::string block = layer + "self_attn.";
      for (std::string part : {"q", "k", "v"})
        remove(block + part + "_proj.weight");
      if (hasQueryLatent) {
        add(block + "q_a_proj.weight", {9, 16});
        add(block + "q_a_layernorm.weight", {9});
        add(block + "q_b_proj.weight", {40, 9});
      } else {
        add(block + "q_proj.weight", {40, 16});
      }
      add(block + "kv_a_proj_with_mqa.weight", {11, 16});
      add(block + "kv_a_layernorm.weight", {7});
      add(block + "kv_b_proj.weight", {44, 7});
      tensor(block + "o_proj.weight").shape = {16, 20};
    }
    addDeepseekExperts(/*hasSelectBias=*/false);
  }
  void makeGlm4Moe() {
    makeLlama("glm4_moe", "Glm4MoeForCausalLM");
    setDeepseekExperts();
    addDeepseekExperts(/*hasSelectBias=*/true);
  }
  void makeDots1() {
    makeLlama("dots1", "Dots1ForCausalLM");
    setDeepseekExperts();
    set("norm_topk_prob", "true");
    set("routed_scaling_factor", "2.5");
    addDeepseekExperts(/*hasSelectBias=*/true);
    for (const std::string &layer : layers()) {
      add(layer + "self_attn.q_norm.weight", {4});
      add(layer + "self_attn.k_norm.weight", {4});
    }
  }

private:
  static std::vector<std::string> layers() {
    return {"model.layers.0.", "model.layers.1."};
  }
  void removeFfn(const std::string &layer) {
    for (std::string part : {"gate", "up", "down"})
      remove(layer + "mlp." + part + "_proj.weight");
  }
  void addFfn(const std::string &prefix, int64_t width) {
    add(prefix + "gate_proj.weight", {width, 16});
    add(prefix + "up_proj.weight", {width, 16});
    add(prefix + "down_proj.weight", {16, width});
  }
  void addExperts(const std::string &layer, int64_t width) {
    removeFfn(layer);
    add(layer + "mlp.gate.weight", {3, 16});
    for (std::string expert : {"0", "1", "2"})
      addFfn(layer + "mlp.experts." + expert + ".", width);
  }
  void addRowNorms(const std::string &layer) {
    add(layer + "self_attn.q_norm.weight", {16});
    add(layer + "self_attn.k_norm.weight", {8});
  }
  void addNormBiases() {
    for (const std::string &layer : layers()) {
      add(layer + "input_layernorm.bias", {16});
      add(layer + "post_attention_layernorm.bias", {16});
    }
    add("model.norm.bias", {16});
  }
  void setQwenExperts() {
    set("num_experts", "3");
    set("num_experts_per_tok", "2");
    set("moe_intermediate_size", "8");
  }
  void setDeepseekExperts() {
    set("n_routed_experts", "3");
    set("num_experts_per_tok", "2");
    set("moe_intermediate_size", "8");
    set("n_shared_experts", "2");
    set("first_k_dense_replace", "1");
  }
  void addDeepseekExperts(bool hasSelectBias) {
    std::string layer = layers()[1];
    addExperts(layer, 8);
    addFfn(layer + "mlp.shared_experts.", 16);
    if (hasSelectBias)
      add(layer + "mlp.gate.e_score_correction_bias", {3});
  }
};

} // namespace moec
