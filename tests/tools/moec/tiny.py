"""Small models of every file format that moec reads, written from nothing.

All have the same shape, MODEL, and the same weights: names of the Hugging Face
form lead to values that depend on the name alone.
"""

import array
import hashlib
import json
import os
import random
import struct
import zlib

MODEL = dict(hidden=32, ffn=64, layers=2, heads=4, kv_heads=2, vocab=300,
             context=64)


def shapes(model):
    """Name -> shape, in the order of a checkpoint."""
    hidden, ffn = model["hidden"], model["ffn"]
    kv = hidden // model["heads"] * model["kv_heads"]
    result = {"model.embed_tokens.weight": [model["vocab"], hidden]}
    for layer in range(model["layers"]):
        p = f"model.layers.{layer}."
        result[p + "input_layernorm.weight"] = [hidden]
        result[p + "self_attn.q_proj.weight"] = [hidden, hidden]
        result[p + "self_attn.k_proj.weight"] = [kv, hidden]
        result[p + "self_attn.v_proj.weight"] = [kv, hidden]
        result[p + "self_attn.o_proj.weight"] = [hidden, hidden]
        result[p + "post_attention_layernorm.weight"] = [hidden]
        result[p + "mlp.gate_proj.weight"] = [ffn, hidden]
        result[p + "mlp.up_proj.weight"] = [ffn, hidden]
        result[p + "mlp.down_proj.weight"] = [hidden, ffn]
    result["model.norm.weight"] = [hidden]
    result["lm_head.weight"] = [model["vocab"], hidden]
    return result


def size(shape):
    count = 1
    for extent in shape:
        count *= extent
    return count


def values(name, shape):
    """float32 bytes. Large tensors repeat a block, which is quick to make."""
    draw = random.Random(zlib.crc32(name.encode()))
    mean = 1.0 if len(shape) == 1 else 0.0
    block = array.array("f", (draw.gauss(mean, 0.1)
                              for _ in range(min(size(shape), 65521))))
    count = size(shape)
    whole = block * (count // len(block)) + block[:count % len(block)]
    return whole.tobytes()


def config(model):
    return {"model_type": "llama", "architectures": ["LlamaForCausalLM"],
            "torch_dtype": "float32", "vocab_size": model["vocab"],
            "hidden_size": model["hidden"], "intermediate_size": model["ffn"],
            "num_hidden_layers": model["layers"],
            "num_attention_heads": model["heads"],
            "num_key_value_heads": model["kv_heads"], "hidden_act": "silu",
            "max_position_embeddings": model["context"],
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "tie_word_embeddings": False, "bos_token_id": 1,
            "eos_token_id": 2}


def safetensors_header(tensors):
    """Header of tensors given as name -> shape, in F32, and the data's size."""
    header, offset = {}, 0
    for name, shape in tensors.items():
        end = offset + 4 * size(shape)
        header[name] = {"dtype": "F32", "shape": shape,
                        "data_offsets": [offset, end]}
        offset = end
    return header, offset


def write_safetensors(path, header, data):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for piece in data:
            file.write(piece)


def write_hf(folder, model=None, change=None, tensors=None, tokenizer=True):
    """A Hugging Face directory. `change` edits config.json's object, `tensors`
    the names and shapes."""
    model = model or MODEL
    os.makedirs(folder, exist_ok=True)
    settings = config(model)
    if change:
        change(settings)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(settings, file, indent=2)
    table = shapes(model)
    if tensors:
        tensors(table)
    header, _ = safetensors_header(table)
    write_safetensors(os.path.join(folder, "model.safetensors"), header,
                      (values(name, shape) for name, shape in table.items()))
    if tokenizer:
        with open(os.path.join(folder, "tokenizer.json"), "w") as file:
            json.dump(tokenizer_json(), file)
    return folder


def byte_alphabet():
    """The printable stand-ins of bytes in byte-level vocabularies."""
    plain = (list(range(33, 127)) + list(range(161, 173))
             + list(range(174, 256)))
    others = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain},
            **{b: chr(256 + i) for i, b in enumerate(others)}}


def tokenizer_json():
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for symbol in byte_alphabet().values():
        vocab[symbol] = len(vocab)
    special = [{"id": i, "content": t, "single_word": False, "lstrip": False,
                "rstrip": False, "normalized": False, "special": True}
               for t, i in list(vocab.items())[:3]]
    level = {"type": "ByteLevel", "add_prefix_space": False,
             "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": special, "normalizer": None,
            "pre_tokenizer": level, "post_processor": None, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None,
                      "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False,
                      "byte_fallback": False, "vocab": vocab, "merges": []}}


def pieces(count):
    """Pieces of a llama2.c or GGUF vocabulary: special, bytes, then letters."""
    table = ["<unk>", "<s>", "</s>"]
    table += [f"<0x{byte:02X}>" for byte in range(256)]
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    table += [" "] + letters
    table += [a + b for a in letters for b in "ea"]
    return table[:count]


def write_llama2c(path, model=None):
    """A version-0 checkpoint with a head of its own."""
    model = model or MODEL
    head = struct.pack("<7i", model["hidden"], model["ffn"], model["layers"],
                       model["heads"], model["kv_heads"], -model["vocab"],
                       model["context"])
    table = shapes(model)

    def each(name):
        return b"".join(values(f"model.layers.{i}.{name}.weight",
                               table[f"model.layers.{i}.{name}.weight"])
                        for i in range(model["layers"]))

    half = model["hidden"] // model["heads"] // 2
    with open(path, "wb") as file:
        file.write(head)
        file.write(values("model.embed_tokens.weight",
                          table["model.embed_tokens.weight"]))
        for name in ("input_layernorm", "self_attn.q_proj", "self_attn.k_proj",
                     "self_attn.v_proj", "self_attn.o_proj",
                     "post_attention_layernorm", "mlp.gate_proj",
                     "mlp.down_proj", "mlp.up_proj"):
            file.write(each(name))
        file.write(values("model.norm.weight", [model["hidden"]]))
        file.write(bytes(2 * 4 * model["context"] * half))
        file.write(values("lm_head.weight", table["lm_head.weight"]))
    return path


def write_llama2c_tokenizer(path, count):
    table = [piece.encode() for piece in pieces(count)]
    with open(path, "wb") as file:
        file.write(struct.pack("<I", max(map(len, table))))
        for index, piece in enumerate(table):
            file.write(struct.pack("<fI", -float(index), len(piece)) + piece)
    return path


def gguf_string(text):
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def gguf_value(value):
    """Type tag and value."""
    if isinstance(value, str):
        return struct.pack("<I", 8) + gguf_string(value)
    if isinstance(value, bool):
        return struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    items = [gguf_value(item) for item in value]
    return (struct.pack("<I", 9) + items[0][:4]
            + struct.pack("<Q", len(items)) + b"".join(i[4:] for i in items))


GGUF_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm",
              "lm_head": "output", "input_layernorm": "attn_norm",
              "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
              "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
              "post_attention_layernorm": "ffn_norm",
              "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
              "mlp.down_proj": "ffn_down"}


def gguf_name(name):
    stem = name[:-len(".weight")]
    if stem in GGUF_NAMES:
        return GGUF_NAMES[stem] + ".weight"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{GGUF_NAMES[rest]}.weight"


def plan_place(data, *path):
    """Where a field of a plan lies. `path` goes on from the root table: the
    number of a field (runtime/schema/plan.fbs), then that of an entry or of a
    field of the table there. A vector begins with its length."""
    def follow(at):
        return at + struct.unpack_from("<I", data, at)[0]

    at = 0
    for step in path:
        at = follow(at)
        if isinstance(step, list):  # An entry of a vector.
            at += 4 + 4 * step[0]
            continue
        offsets = at - struct.unpack_from("<i", data, at)[0]
        at += struct.unpack_from("<H", data, offsets + 4 + 2 * step)[0]
    return at


def sealed_plan(data):
    """A plan that was changed, with the digest of what it now says."""
    field = plan_place(data, 12)
    digest = field + struct.unpack_from("<I", data, field)[0] + 4
    before, after = data[:digest], data[digest + 32:]
    return before + hashlib.sha256(before + bytes(32) + after).digest() + after


def write_gguf(path, model=None, change=None, record=None):
    """A GGUF file in F32. `change` edits the metadata; `record` edits one
    tensor's [name, dimensions, type tag, offset] before it is written."""
    model = model or MODEL
    table = pieces(model["vocab"])
    metadata = {"general.architecture": "llama", "general.name": "tiny",
                "general.alignment": 32,
                "llama.context_length": model["context"],
                "llama.embedding_length": model["hidden"],
                "llama.block_count": model["layers"],
                "llama.feed_forward_length": model["ffn"],
                "llama.attention.head_count": model["heads"],
                "llama.attention.head_count_kv": model["kv_heads"],
                "llama.attention.layer_norm_rms_epsilon": 1e-5,
                "llama.rope.dimension_count":
                    model["hidden"] // model["heads"],
                "llama.rope.freq_base": 10000.0,
                "llama.vocab_size": model["vocab"],
                "tokenizer.ggml.model": "llama",
                "tokenizer.ggml.tokens":
                    [p.replace(" ", "\u2581") for p in table],
                "tokenizer.ggml.scores": [-float(i) for i in range(len(table))],
                "tokenizer.ggml.token_type":
                    [2, 3, 3] + [6] * 256 + [1] * (len(table) - 259),
                "tokenizer.ggml.bos_token_id": 1,
                "tokenizer.ggml.eos_token_id": 2}
    if change:
        change(metadata)
    body, data, offset = b"", [], 0
    tensors = shapes(model)
    for name, shape in tensors.items():
        entry = [gguf_name(name), list(reversed(shape)), 0, offset]
        if record:
            record(entry)
        body += gguf_string(entry[0]) + struct.pack("<I", len(entry[1]))
        body += b"".join(struct.pack("<Q", extent) for extent in entry[1])
        body += struct.pack("<IQ", entry[2], entry[3])
        numbers = values(name, shape)
        data.append(numbers + bytes(-len(numbers) % 32))
        offset += len(data[-1])
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        head += gguf_string(key) + gguf_value(value)
    head += body
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % 32))
        for piece in data:
            file.write(piece)
    return path
