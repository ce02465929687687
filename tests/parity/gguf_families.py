"""Tiny random models of dense families as GGUF files against transformers and llama.cpp.

    python tests/parity/gguf_families.py [FOLDER] [FAMILY...]

The files are written here, as llama.cpp's converter lays tensors and keys out:
norms of Gemma and Nemotron with their 1 added, q and k as they are. Logits in
f32 agree with transformers to 1e-4 of the largest, with llama.cpp to 1e-2 (it
rounds what goes into its products, and the cache, to f16).
"""

import contextlib
import os
import pathlib
import sys

import common
import gguf
import llama_cpp
import numpy as np
import torch
import transformers as hf

SHAPE = dict(vocab_size=160, hidden_size=64, intermediate_size=96, num_hidden_layers=3,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
             initializer_range=0.2, bos_token_id=1, eos_token_id=2, pad_token_id=None)  # fmt: skip
FAMILIES = {
    "gemma": (hf.GemmaConfig, dict(head_dim=16)),
    "gemma2": (hf.Gemma2Config, dict(
        head_dim=16, query_pre_attn_scalar=16, sliding_window=8, attn_logit_softcapping=4.0,
        final_logit_softcapping=5.0)),
    "phi3": (hf.Phi3Config, {}),
    "olmo2": (hf.Olmo2Config, {}),
    "nemotron": (hf.NemotronConfig, {}),
    "starcoder2": (hf.Starcoder2Config, {}),
}  # fmt: skip
NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.gate_up_proj": "ffn_up", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip


def stored_name(name, family):
    base, kind = name.rsplit(".", 1)
    prefix = ""
    if base.startswith("model.layers."):
        number, base = base.removeprefix("model.layers.").split(".", 1)
        prefix = f"blk.{number}."
    if base == "post_attention_layernorm" and family in ("gemma2", "olmo2"):
        return prefix + "post_attention_norm." + kind
    return prefix + NAMES[base] + "." + kind


def write(model, family, path):
    config = model.config
    writer = gguf.GGUFWriter(path, family)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(
        int(head * config.rope_parameters.get("partial_rotary_factor", 1.0)))
    if family in ("nemotron", "starcoder2"):
        writer.add_layer_norm_eps(1e-5)
    else:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if family == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
        writer.add_sliding_window(config.sliding_window)
    if family == "phi3":
        writer.add_rope_scaling_orig_ctx_len(config.max_position_embeddings)
    writer.add_tokenizer_model("none")
    tied = config.tie_word_embeddings
    offset = family in ("gemma", "gemma2", "nemotron")
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and tied:
            continue
        if offset and name.endswith("norm.weight"):
            tensor = tensor + 1
        writer.add_tensor(stored_name(name, family), tensor.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@contextlib.contextmanager
def quiet():
    """llama.cpp writes to the file itself."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)


def llama_logits(path, ids):
    with quiet():
        model = llama_cpp.Llama(str(path), n_ctx=64, n_batch=64, n_ubatch=64, logits_all=True,
                                n_threads=2, verbose=False)  # fmt: skip
        model.eval(ids)
        return np.array(model.scores[: len(ids)], copy=True)


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "parity-gguf")
    folder.mkdir(exist_ok=True)
    torch.manual_seed(2)
    ids = np.random.default_rng(2).integers(3, 160, 40).tolist()
    for family in sys.argv[2:] or FAMILIES:
        make, more = FAMILIES[family]
        model = hf.AutoModelForCausalLM.from_config(make(**SHAPE, **more), attn_implementation="eager")
        model = model.float().eval()
        for tensor in model.parameters():
            if tensor.dim() == 1:
                tensor.data += torch.randn_like(tensor) * 0.2
        path = folder / f"{family}.gguf"
        write(model, family, path)
        with torch.no_grad():
            expected = model(torch.tensor([ids])).logits[0].numpy()
        ours = common.logits(path, ids, "--dtype", "f32")
        scale = np.abs(expected).max()
        common.report(f"{family}: largest logit", f"{scale:.2f}")
        common.check(f"{family}: against transformers, relative to it",
                     np.abs(ours - expected).max() / scale, 1e-4)  # fmt: skip
        common.check(f"{family}: against llama.cpp, relative to it",
                     np.abs(ours - llama_logits(path, ids)).max() / scale, 1e-2)  # fmt: skip
    common.finish()


main()
