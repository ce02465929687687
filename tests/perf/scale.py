"""Upcycling at scale, by hand: memory, kills, numbers of threads.

    MOEC=build/release/bin/moec python tests/perf/scale.py memory FOLDER [GIGABYTES]
    MOEC=build/release/bin/moec python tests/perf/scale.py kills FOLDER [TIMES]

`memory` upcycles a model whose weights are holes of a sparse file to so many
gigabytes (20) and holds the peak of anonymous memory against 3 times the
largest tensor and 256 MiB. `kills` ends a run by SIGKILL at random moments so
many times (20), takes it up again each time, and compares the folder with those
that runs of 1, 2 and 4 threads wrote without a break. What they write is
removed.
"""

import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import time

MOEC = os.environ["MOEC"]
# The shape of a Llama of 1.1 billion parameters.
LLAMA = dict(hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32,
             num_key_value_heads=4, vocab_size=32000, max_position_embeddings=2048)  # fmt: skip
SMALL = dict(hidden_size=512, intermediate_size=1536, num_hidden_layers=8, num_attention_heads=8,
             num_key_value_heads=4, vocab_size=4096, max_position_embeddings=512)  # fmt: skip


def shapes(m):
    hidden, ffn = m["hidden_size"], m["intermediate_size"]
    kv = hidden // m["num_attention_heads"] * m["num_key_value_heads"]
    yield "model.embed_tokens.weight", [m["vocab_size"], hidden]
    for layer in range(m["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        yield p + "input_layernorm.weight", [hidden]
        yield p + "post_attention_layernorm.weight", [hidden]
        for name, shape in (("q", [hidden, hidden]), ("k", [kv, hidden]), ("v", [kv, hidden]), ("o", [hidden, hidden])):
            yield f"{p}self_attn.{name}_proj.weight", shape
        for name, shape in (("gate", [ffn, hidden]), ("up", [ffn, hidden]), ("down", [hidden, ffn])):
            yield f"{p}mlp.{name}_proj.weight", shape
    yield "model.norm.weight", [hidden]
    yield "lm_head.weight", [m["vocab_size"], hidden]


def write_model(folder, model, filled):
    """A Hugging Face folder in bf16; its weights are holes unless `filled`."""
    folder.mkdir(parents=True)
    config = dict(model, model_type="llama", architectures=["LlamaForCausalLM"], torch_dtype="bfloat16",
                  rms_norm_eps=1e-5, hidden_act="silu", rope_theta=10000.0, tie_word_embeddings=False)  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    header, end, largest = {}, 0, 0
    for name, shape in shapes(model):
        size = 2
        for extent in shape:
            size *= extent
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end, largest = end + size, max(largest, size)
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % 64)
    draw = random.Random(1)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        data = file.tell()
        if filled:
            # Small numbers of either sign.
            block = b"".join(struct.pack("<H", draw.randrange(2) << 15 | draw.randrange(0x3B00, 0x3E00))
                             for _ in range(1 << 16))  # fmt: skip
            for at in range(0, end, len(block)):
                file.write(block[: end - at])
        file.truncate(data + end)
    return largest


def command(source, out, experts, threads=0):
    return [MOEC, "upcycle", source, "-o", out, "--init", "drop" if experts <= 8 else "noise", "--experts", experts,
            "--top-k", 2, "--probe", "", "--dtype", "bf16", "--threads", threads, "--json"]  # fmt: skip


def start(arguments):
    return subprocess.Popen([str(a) for a in arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process):
    out, err = process.communicate()
    if process.returncode:
        sys.exit(err.decode())
    return json.loads(out)


def anonymous(pid):
    """Bytes of anonymous memory now; 0 once the process has ended."""
    try:
        for line in open(f"/proc/{pid}/status"):
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0


def memory(folder, gigabytes):
    experts = round(gigabytes * 1e9 / (22 * 3 * 2048 * 5632 * 2))
    largest = write_model(folder / "virtual", LLAMA, filled=False)
    begin = time.perf_counter()
    process = start(command(folder / "virtual", folder / "out", experts))
    peak = 0
    while process.poll() is None:
        peak = max(peak, anonymous(process.pid))
        time.sleep(0.01)
    finish(process)
    seconds = time.perf_counter() - begin
    written = sum(path.stat().st_size for path in (folder / "out").iterdir())
    limit = 3 * largest + (256 << 20)
    print(f"{experts} experts, {written / 1e9:.1f} GB in {seconds:.0f} s: {written / seconds / 1e9:.2f} GB/s")
    print(f"peak of anonymous memory {peak / 1e6:.0f} MB; 3 x {largest / 1e6:.0f} MB + 256 MiB is {limit / 1e6:.0f} MB")
    if peak >= limit:
        sys.exit("above the limit")


def digest(folder):
    """Of all files but the receipt, which says how long it took."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.name.startswith("receipt"):
            continue
        total.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def kills(folder, times):
    write_model(folder / "model", SMALL, filled=True)
    found, seconds = set(), 0
    for threads in (1, 2, 4):
        begin = time.perf_counter()
        finish(start(command(folder / "model", folder / f"whole{threads}", 8, threads)))
        seconds = time.perf_counter() - begin
        found.add(digest(folder / f"whole{threads}"))
        print(f"{threads} threads: {seconds:.1f} s, {sorted(found)}", flush=True)
    draw = random.Random(time.time_ns())
    out, done = folder / "out", 0
    while done < times:
        process = start(command(folder / "model", out, 8, draw.choice((1, 2, 4))))
        # Within the time that is left, more or less.
        time.sleep(draw.uniform(0, seconds * 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode == -signal.SIGKILL:
            done += 1
        if out.exists():
            # It came to its end: compare, and begin anew.
            found.add(digest(out))
            shutil.rmtree(out)
    receipt = finish(start(command(folder / "model", out, 8)))
    found.add(digest(out))
    print(f"{times} kills; the last run found {receipt['resumed_tensors']} tensors done; digests: {sorted(found)}")
    if len(found) != 1:
        sys.exit("digests differ")


if __name__ == "__main__":
    place = pathlib.Path(sys.argv[2])
    place.mkdir(parents=True)
    try:
        if sys.argv[1] == "memory":
            memory(place, float((sys.argv[3:] or [20])[0]))
        else:
            kills(place, int((sys.argv[3:] or [20])[0]))
    finally:
        shutil.rmtree(place)
