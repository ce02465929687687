"""Tiny random models of every Hugging Face family against transformers.

    python tests/parity/families.py [FOLDER] [FAMILY...]

Logits in f32 agree to 1e-4 at prefill; token by token they equal prefill's.
"""

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
    "gpt2": lambda: hf.GPT2Config(
        vocab_size=160, n_positions=64, n_embd=48, n_layer=3, n_head=6,
        initializer_range=0.2, bos_token_id=1, eos_token_id=2),
}  # fmt: skip


def randomise(model):
    """Norms and biases too, so that each of them matters."""
    for name, tensor in model.named_parameters():
        if tensor.dim() == 1:
            norm = "weight" in name
            tensor.data = torch.randn_like(tensor) * 0.2 + (1.0 if norm else 0.0)


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
        prefill = common.logits(f"{folder}/{name}", ids, "--dtype", "f32")
        decode = common.logits(f"{folder}/{name}", ids, "--dtype", "f32", "--step", 1)
        scale = np.abs(expected).max()
        common.report(f"{name}: largest logit", f"{scale:.2f}")
        common.check(f"{name}: prefill against transformers", np.abs(prefill - expected).max(), 1e-4)
        common.check(f"{name}: decode against prefill", np.abs(decode - prefill).max(), 0)
    common.finish()


main()
