"""Tiny random models of every Hugging Face family against transformers.

    python tests/parity/families.py [FOLDER] [FAMILY...]

Logits in f32 agree to 1e-4 of the largest at prefill; token by token they equal prefill's.
Dense models whose FFNs become copies of themselves, routed, give the same logits.
"""

import pathlib
import sys

import common
import numpy as np
import torch
import transformers as hf

SHAPE = dict(
    vocab_size=160,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=64,
    initializer_range=0.2,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=None,
)


def without(*keys, **more):
    return {k: v for k, v in SHAPE.items() if k not in keys} | more


ROPE3 = dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0,
             high_freq_factor=4.0, original_max_position_embeddings=32)  # fmt: skip
LONG_ROPE = dict(rope_type="longrope", rope_theta=10000.0,
                 short_factor=[1.0, 1.1, 1.3, 1.7], long_factor=[1.0, 2.0, 4.0, 9.0])  # fmt: skip
YARN = dict(rope_type="yarn", rope_theta=100.0, factor=8.0, beta_fast=4, beta_slow=1, mscale=0.707,
            mscale_all_dim=0.707, original_max_position_embeddings=32)  # fmt: skip
LATENT = without("num_key_value_heads") | dict(
    kv_lora_rank=12, qk_nope_head_dim=10, qk_rope_head_dim=6, v_head_dim=7)
DEEPSEEK = dict(n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=20,
                n_shared_experts=2, first_k_dense_replace=1)  # fmt: skip
SIGMOID = dict(n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=20,
               n_shared_experts=1, first_k_dense_replace=1, routed_scaling_factor=1.5)  # fmt: skip
FAMILIES = {
    "llama": lambda: hf.LlamaConfig(**SHAPE),
    "llama-tied": lambda: hf.LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "llama-mha": lambda: hf.LlamaConfig(**without("num_key_value_heads")),
    "llama-biases": lambda: hf.LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True),
    "llama-head-dim": lambda: hf.LlamaConfig(**SHAPE, head_dim=16),
    "llama3-rope": lambda: hf.LlamaConfig(**SHAPE, rope_parameters=ROPE3),
    "llama-linear-rope": lambda: hf.LlamaConfig(
        **SHAPE, rope_parameters=dict(rope_type="linear", rope_theta=500.0, factor=2.0)),
    "mistral": lambda: hf.MistralConfig(**SHAPE, sliding_window=None),
    "mistral-window": lambda: hf.MistralConfig(**SHAPE, sliding_window=8),
    "qwen2": lambda: hf.Qwen2Config(**SHAPE),
    "qwen2-window": lambda: hf.Qwen2Config(
        **SHAPE, use_sliding_window=True, sliding_window=8, max_window_layers=0),
    "qwen3": lambda: hf.Qwen3Config(**SHAPE, head_dim=12),
    "qwen3-tied": lambda: hf.Qwen3Config(**SHAPE, head_dim=8, tie_word_embeddings=True),
    "mixtral": lambda: hf.MixtralConfig(
        **SHAPE, num_local_experts=5, num_experts_per_tok=2, sliding_window=None),
    "mixtral-k3": lambda: hf.MixtralConfig(
        **SHAPE, num_local_experts=8, num_experts_per_tok=3, sliding_window=8),
    "gemma": lambda: hf.GemmaConfig(**SHAPE, head_dim=8),
    "gemma-wide-heads": lambda: hf.GemmaConfig(
        **without("num_key_value_heads"), num_key_value_heads=1, head_dim=20),
    "gemma2": lambda: hf.Gemma2Config(
        **SHAPE, head_dim=8, query_pre_attn_scalar=16, sliding_window=8,
        attn_logit_softcapping=4.0, final_logit_softcapping=5.0),
    "gemma2-no-caps": lambda: hf.Gemma2Config(
        **SHAPE, head_dim=16, query_pre_attn_scalar=8, sliding_window=12,
        attn_logit_softcapping=None, final_logit_softcapping=None,
        layer_types=["full_attention", "full_attention", "sliding_attention"]),
    "phi3": lambda: hf.Phi3Config(**SHAPE),
    "phi3-window": lambda: hf.Phi3Config(
        **without("num_key_value_heads"), sliding_window=8,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5)),
    "phi3-longrope": lambda: hf.Phi3Config(
        **without("max_position_embeddings"), max_position_embeddings=256,
        original_max_position_embeddings=48, rope_parameters=LONG_ROPE),
    "phi3-longrope-long": lambda: hf.Phi3Config(
        **without("max_position_embeddings"), max_position_embeddings=256,
        original_max_position_embeddings=16, rope_parameters=LONG_ROPE),
    "olmo2": lambda: hf.Olmo2Config(**SHAPE),
    "olmo2-biases": lambda: hf.Olmo2Config(
        **without("num_key_value_heads"), attention_bias=True, tie_word_embeddings=True),
    "nemotron": lambda: hf.NemotronConfig(**SHAPE),
    "nemotron-biases": lambda: hf.NemotronConfig(
        **SHAPE, head_dim=16, attention_bias=True, mlp_bias=True, partial_rotary_factor=0.25),
    "starcoder2": lambda: hf.Starcoder2Config(**SHAPE),
    "starcoder2-window": lambda: hf.Starcoder2Config(
        **SHAPE, sliding_window=8, tie_word_embeddings=False, use_bias=False),
    "qwen2-moe": lambda: hf.Qwen2MoeConfig(
        **SHAPE, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=20,
        shared_expert_intermediate_size=36),
    "qwen2-moe-mixed": lambda: hf.Qwen2MoeConfig(
        **SHAPE, num_experts=5, num_experts_per_tok=1, moe_intermediate_size=28,
        shared_expert_intermediate_size=12, norm_topk_prob=True, decoder_sparse_step=2,
        qkv_bias=False, use_sliding_window=True, sliding_window=8),
    "qwen2-moe-listed": lambda: hf.Qwen2MoeConfig(
        **SHAPE, num_experts=4, num_experts_per_tok=4, moe_intermediate_size=8,
        shared_expert_intermediate_size=48, mlp_only_layers=[1]),
    "qwen3-moe": lambda: hf.Qwen3MoeConfig(
        **SHAPE, head_dim=12, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=20,
        norm_topk_prob=True),
    "qwen3-moe-raw": lambda: hf.Qwen3MoeConfig(
        **SHAPE, head_dim=8, num_experts=5, num_experts_per_tok=3, moe_intermediate_size=24,
        attention_bias=True, use_sliding_window=True, sliding_window=9, mlp_only_layers=[0]),
    "olmoe": lambda: hf.OlmoeConfig(**SHAPE, num_experts=8, num_experts_per_tok=3),
    "olmoe-clip": lambda: hf.OlmoeConfig(
        **without("num_key_value_heads"), num_experts=5, num_experts_per_tok=2, clip_qkv=0.7,
        norm_topk_prob=True, attention_bias=True),
    "granitemoe": lambda: hf.GraniteMoeConfig(
        **SHAPE, num_local_experts=6, num_experts_per_tok=2, attention_multiplier=0.2),
    "granitemoe-scaled": lambda: hf.GraniteMoeConfig(
        **SHAPE, num_local_experts=5, num_experts_per_tok=4, attention_multiplier=0.35,
        embedding_multiplier=6.0, residual_multiplier=0.22, logits_scaling=4.0,
        attention_bias=True, tie_word_embeddings=True),
    "granitemoe-shared": lambda: hf.GraniteMoeSharedConfig(
        **SHAPE, num_local_experts=4, num_experts_per_tok=2, attention_multiplier=0.2,
        residual_multiplier=0.5, shared_intermediate_size=28),
    "deepseek-v2-lite": lambda: hf.DeepseekV2Config(
        **LATENT, **DEEPSEEK, q_lora_rank=None, topk_method="greedy", rope_parameters=YARN),
    "deepseek-v2": lambda: hf.DeepseekV2Config(
        **LATENT, **DEEPSEEK, q_lora_rank=20, topk_method="group_limited_greedy",
        n_group=4, topk_group=2, routed_scaling_factor=3.0),
    "deepseek-v2-biases": lambda: hf.DeepseekV2Config(
        **LATENT, **DEEPSEEK, q_lora_rank=24, topk_method="greedy", attention_bias=True,
        rope_parameters=YARN | dict(mscale=1.0, mscale_all_dim=0.5)),
    "llama-yarn": lambda: hf.LlamaConfig(
        **SHAPE, rope_parameters=dict(rope_type="yarn", rope_theta=500.0, factor=4.0,
                                      original_max_position_embeddings=16)),
    "glm4-moe": lambda: hf.Glm4MoeConfig(**SHAPE, **SIGMOID, head_dim=8),
    "glm4-moe-groups": lambda: hf.Glm4MoeConfig(
        **SHAPE, **(SIGMOID | dict(n_group=4, topk_group=2, norm_topk_prob=False)), head_dim=16,
        attention_bias=True, use_qk_norm=True, partial_rotary_factor=1.0),
    "dots1": lambda: hf.Dots1Config(**SHAPE, **SIGMOID, norm_topk_prob=True),
    "dots1-window": lambda: hf.Dots1Config(
        **SHAPE, **(SIGMOID | dict(n_shared_experts=2, n_group=2, topk_group=1)),
        sliding_window=8, max_window_layers=1, attention_bias=True),
    "gpt2": lambda: hf.GPT2Config(
        vocab_size=160, n_positions=64, n_embd=48, n_layer=3, n_head=6,
        initializer_range=0.2, bos_token_id=1, eos_token_id=2),
}  # fmt: skip


def randomise(model):
    """Norms and biases too, so that each of them matters."""
    offset = model.config.model_type in ("gemma", "gemma2", "nemotron")
    for name, tensor in model.named_parameters():
        if tensor.dim() == 1:
            norm = "weight" in name
            # Gemma's and Nemotron's gains are offsets from 1.
            tensor.data = torch.randn_like(tensor) * 0.2 + (1.0 if norm and not offset else 0.0)
    for name, tensor in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            tensor.copy_(torch.randn_like(tensor) * 0.1)


def is_dense(config):
    experts = ("num_local_experts", "num_experts", "n_routed_experts")
    return not any(getattr(config, key, None) for key in experts)


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "parity-families"
    torch.manual_seed(1)
    ids = np.random.default_rng(1).integers(3, 160, 40).tolist()
    for name in sys.argv[2:] or FAMILIES:
        config = FAMILIES[name]()
        model = hf.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        model = model.float().eval()
        randomise(model)
        model.save_pretrained(f"{folder}/{name}")
        with torch.no_grad():
            expected = model(torch.tensor([ids])).logits[0].numpy()
        flags = ["--dtype", "f32"] + (["--long-context"] if name.endswith("-long") else [])
        prefill = common.logits(f"{folder}/{name}", ids, *flags)
        decode = common.logits(f"{folder}/{name}", ids, *flags, "--step", 1)
        scale = np.abs(expected).max()
        common.report(f"{name}: largest logit", f"{scale:.2f}")
        common.check(f"{name}: prefill against transformers, relative to it",
                     np.abs(prefill - expected).max() / scale, 1e-4)  # fmt: skip
        common.check(f"{name}: decode against prefill", np.abs(decode - prefill).max(), 0)
        if is_dense(config) and "--long-context" not in flags:
            copies = pathlib.Path(folder) / f"{name}-copies.moe"
            common.moec("upcycle", f"{folder}/{name}", "-o", copies, "--init", "copy",
                        "--experts", 3, "--top-k", 2)  # fmt: skip
            routed = common.logits(copies, ids, *flags)
            common.check(f"{name}: copies as experts against dense, relative to it",
                         np.abs(routed - prefill).max() / scale, 5e-6)  # fmt: skip
    common.finish()


main()
