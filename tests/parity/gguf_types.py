"""A tiny Llama in GGUF files of every element type, and transformers on the
numbers that gguf-py dequantises from them.

    python tests/parity/gguf_types.py FOLDER
"""

import pathlib
import sys

import common
import dense
import gguf
import numpy as np
import torch
import transformers as hf

HIDDEN, FFN, LAYERS, HEADS, KV, VOCABULARY = 256, 512, 2, 8, 4, 160
TYPES = "F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K".split()
# Bytes of a block of 256, and where its half-precision scales lie.
BLOCKS = {"Q4_K": (144, (0, 2)), "Q5_K": (176, (0, 2)), "Q6_K": (210, (208,))}


def encode(rng, numbers, kind):
    """The matrix in this type; K-quants, which gguf-py cannot write, at random."""
    if kind not in BLOCKS:
        return gguf.quants.quantize(numbers, gguf.GGMLQuantizationType[kind])
    size, scales = BLOCKS[kind]
    blocks = rng.integers(0, 256, (numbers.size // 256, size), dtype=np.uint8)
    for at in scales:
        scale = np.full((len(blocks), 1), 4e-4 if kind != "Q6_K" else 6e-5, np.float16)
        blocks[:, at : at + 2] = scale.view(np.uint8)
    return blocks.reshape(numbers.shape[0], -1)


def write(path, kind):
    rng = np.random.default_rng(3)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_vocab_size(VOCABULARY)

    def matrix(name, rows, columns):
        numbers = (rng.standard_normal((rows, columns)) * 0.06).astype(np.float32)
        data = encode(rng, numbers, kind)
        writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType[kind])

    def vector(name):
        writer.add_tensor(name, (1 + 0.2 * rng.standard_normal(HIDDEN)).astype(np.float32))

    matrix("token_embd.weight", VOCABULARY, HIDDEN)
    for n in range(LAYERS):
        vector(f"blk.{n}.attn_norm.weight")
        matrix(f"blk.{n}.attn_q.weight", HIDDEN, HIDDEN)
        matrix(f"blk.{n}.attn_k.weight", HIDDEN // HEADS * KV, HIDDEN)
        matrix(f"blk.{n}.attn_v.weight", HIDDEN // HEADS * KV, HIDDEN)
        matrix(f"blk.{n}.attn_output.weight", HIDDEN, HIDDEN)
        vector(f"blk.{n}.ffn_norm.weight")
        matrix(f"blk.{n}.ffn_gate.weight", FFN, HIDDEN)
        matrix(f"blk.{n}.ffn_up.weight", FFN, HIDDEN)
        matrix(f"blk.{n}.ffn_down.weight", HIDDEN, FFN)
    vector("output_norm.weight")
    matrix("output.weight", VOCABULARY, HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    ids = np.random.default_rng(1).integers(3, VOCABULARY, 40).tolist()
    for kind in sys.argv[2:] or TYPES:
        path = out / f"{kind}.gguf"
        write(path, kind)
        _, facts, tensors = dense.read(path)
        dense.write_folder(out / kind, facts, tensors)
        model = hf.AutoModelForCausalLM.from_pretrained(out / kind, dtype=torch.float32, attn_implementation="eager")
        with torch.no_grad():
            expected = model(torch.tensor([ids])).logits[0].numpy()
        ours = common.logits(path, ids, "--dtype", "f32")
        common.report(f"{kind}: largest logit", f"{np.abs(expected).max():.2f}")
        common.check(f"{kind}: against transformers", np.abs(ours - expected).max(), 1e-4)
        for dtype in ("bf16", "q8_0"):
            other = common.logits(path, ids, "--dtype", dtype)
            common.report(f"{kind}: mean KL of {dtype} to f32", f"{common.kl(ours, other):.1e}")
    common.finish()


main()
