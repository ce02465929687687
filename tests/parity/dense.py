"""SmolLM2's GGUF against transformers and llama.cpp, on the same numbers.

    python tests/parity/dense.py MODEL.gguf FOLDER

gguf-py dequantises the weights into a Hugging Face folder and an F32 GGUF
under FOLDER. In f32, moec reads the GGUF itself and the folder; transformers
reads the folder, llama.cpp the F32 GGUF with an f32 KV cache and without flash
attention.
"""

import json
import pathlib
import sys

import common
import gguf
import numpy as np
import torch
import transformers as hf
from safetensors.torch import save_file

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a village by the sea,",
    "def fibonacci(n):\n",
    "Water boils at 100 degrees because",
    "List three colours of the rainbow:",
]
TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def hf_name(name):
    parts = name.split(".")
    if parts[0] != "blk":
        return f"{TOP[parts[0]]}.{parts[1]}"
    return f"model.layers.{parts[1]}.{LAYER[parts[2]]}.{parts[3]}"


def unpermute(rows, heads):
    """GGUF keeps rotary pairs together; Hugging Face, halves."""
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def read(path):
    reader = gguf.GGUFReader(path)
    facts = {key: field.contents() for key, field in reader.fields.items()}
    tensors = {}
    for tensor in reader.tensors:
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        tensors[tensor.name] = data.reshape([int(n) for n in reversed(tensor.shape)])
    return reader, facts, tensors


def write_folder(folder, facts, tensors):
    heads, kv = facts["llama.attention.head_count"], facts["llama.attention.head_count_kv"]
    state = {}
    for name, data in tensors.items():
        if name.endswith("attn_q.weight"):
            data = unpermute(data, heads)
        if name.endswith("attn_k.weight"):
            data = unpermute(data, kv)
        state[hf_name(name)] = torch.from_numpy(np.ascontiguousarray(data))
    config = hf.LlamaConfig(
        vocab_size=tensors["token_embd.weight"].shape[0],
        hidden_size=facts["llama.embedding_length"],
        intermediate_size=facts["llama.feed_forward_length"],
        num_hidden_layers=facts["llama.block_count"],
        num_attention_heads=heads,
        num_key_value_heads=kv,
        max_position_embeddings=facts["llama.context_length"],
        rms_norm_eps=facts["llama.attention.layer_norm_rms_epsilon"],
        rope_parameters=dict(rope_type="default", rope_theta=facts["llama.rope.freq_base"]),
        tie_word_embeddings="output.weight" not in tensors,
        bos_token_id=facts["tokenizer.ggml.bos_token_id"],
        eos_token_id=facts["tokenizer.ggml.eos_token_id"],
        dtype="float32",
        architectures=["LlamaForCausalLM"],
    )
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def write_gguf(path, reader, tensors):
    """The same file with every tensor in F32."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), kind, sub_type=sub)
    for name, data in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class LlamaCpp:
    """llama.cpp through its C interface: f32 KV cache, no flash attention."""

    def __init__(self, path, context=512):
        import llama_cpp as lc

        self.lc = lc
        self.silence = lc.llama_log_callback(lambda *_: None)
        lc.llama_log_set(self.silence, None)
        lc.llama_backend_init()
        self.model = lc.llama_model_load_from_file(str(path).encode(), lc.llama_model_default_params())
        params = lc.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = context, context, context
        params.type_k = params.type_v = 0  # GGML_TYPE_F32
        params.flash_attn_type = 0  # disabled
        params.n_threads = params.n_threads_batch = 1
        self.context = lc.llama_init_from_model(self.model, params)
        self.size = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(self.model))

    def logits(self, ids):
        lc = self.lc
        lc.llama_memory_clear(lc.llama_get_memory(self.context), True)
        batch = lc.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i] = token, i
            batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = 1, 0, 1
        if lc.llama_decode(self.context, batch):
            sys.exit("llama_decode failed")
        rows = [np.ctypeslib.as_array(lc.llama_get_logits_ith(self.context, i), (self.size,)).copy()
                for i in range(len(ids))]  # fmt: skip
        lc.llama_batch_free(batch)
        return np.stack(rows)


def main():
    source, out = sys.argv[1], pathlib.Path(sys.argv[2])
    reader, facts, tensors = read(source)
    write_folder(out / "hf", facts, tensors)
    if not (out / "f32.gguf").exists():
        write_gguf(out / "f32.gguf", reader, tensors)
    del tensors
    model = hf.AutoModelForCausalLM.from_pretrained(out / "hf", dtype=torch.float32, attn_implementation="eager")
    peer = None
    if "--no-llama.cpp" not in sys.argv:
        peer = LlamaCpp(out / "f32.gguf")
    divergence = {"bf16": [], "q8_0": []}
    for prompt in PROMPTS:
        ids = json.loads(common.moec("tokenize", source, "--text", prompt, "--json"))["ids"]
        with torch.no_grad():
            every = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                                   max_new_tokens=64, min_new_tokens=64, do_sample=False, eos_token_id=[],
                                   pad_token_id=0)[0].tolist()  # fmt: skip
            expected = model(torch.tensor([every])).logits[0].numpy()
        print(repr(prompt), flush=True)
        f32 = common.logits(source, every, "--dtype", "f32")
        common.claim("GGUF: same 64 tokens as transformers",
                     common.greedy(source, ids, 64, "--dtype", "f32") == every[len(ids):])  # fmt: skip
        common.check("GGUF: logits against transformers", np.abs(f32 - expected).max(), 2e-3)
        folder = common.logits(out / "hf", every, "--dtype", "f32")
        common.claim("folder: same 64 tokens as transformers",
                     common.greedy(out / "hf", ids, 64, "--dtype", "f32") == every[len(ids):])  # fmt: skip
        common.check("folder: logits against transformers", np.abs(folder - expected).max(), 2e-3)
        common.report("folder against GGUF", f"{np.abs(folder - f32).max():.2e}")
        if peer:
            theirs = peer.logits(every)
            common.check("GGUF: logits against llama.cpp in F32", np.abs(f32 - theirs).max(), 2e-3)
            common.claim("llama.cpp chooses the same tokens",
                         (theirs.argmax(-1) == expected.argmax(-1)).all())  # fmt: skip
        for dtype in divergence:
            other = common.logits(source, every, "--dtype", dtype)
            divergence[dtype].append(common.kl(f32, other))
    common.check("bf16: mean KL to f32", np.mean(divergence["bf16"]), 1e-3)
    common.report("q8_0: mean KL to f32", f"{np.mean(divergence['q8_0']):.2e}")
    common.finish()


if __name__ == "__main__":
    main()
