"""Speed beside llama.cpp: interleaved pairs of runs on the same numbers.

    python tests/perf/peers.py make MODEL.gguf FOLDER   # writes the models
    python tests/perf/peers.py run FOLDER [PAIRS] [CASE...]
    python tests/perf/peers.py load FOLDER [RUNS] [CASE...]

A run is one prefill of 512 tokens and 128 decode steps behind it, on 2
threads. The 8-expert model has distinct random experts, since copies would
sit in caches. Needs what the parity scripts need, llama_cpp included; run it
on a machine that does nothing else.

`load` compares plans with packed weights beside them with those of `compile
--pack=none`, which pack them when they are loaded: seconds of loading and to
the first token, and whether mapped weights are read as fast.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parity"))

import common
import gguf
import numpy as np

PREFILL, DECODE, THREADS = 512, 128, 2
# An F32 file of numbers that are bf16, as converting a bf16 checkpoint to F32 makes.
OF_BF16 = "f32-of-bf16"
TYPES = {"f32": "F32", "bf16": "BF16", "q8_0": "Q8_0", OF_BF16: "F32"}
MATRICES = {"w1": "ffn_gate_exps", "w3": "ffn_up_exps", "w2": "ffn_down_exps"}


def write(path, facts, tensors, kind, more=()):
    """A GGUF file whose matrices are of this type and vectors in F32."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, (value, types) in (facts | dict(more)).items():
        sub = types[-1] if types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, value, types[0], sub_type=sub)
    for name, data in tensors():
        wide = data.ndim == 1 or "ffn_gate_inp" in name
        target = gguf.GGMLQuantizationType["F32" if wide else TYPES[kind]]
        data = np.ascontiguousarray(data, np.float32)
        if kind == OF_BF16:
            bf16 = gguf.GGMLQuantizationType.BF16
            data = gguf.quants.dequantize(gguf.quants.quantize(data, bf16), bf16)
        writer.add_tensor(name, gguf.quants.quantize(data, target), raw_dtype=target)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def prompt_ids(size):
    """What `moec bench` feeds too: the prompt, and a token for each step."""
    return [(i * 2654435761 + 12345) % size for i in range(PREFILL)]


def step_id(size, i):
    return (i * 7919 + 31) % size


def balance(folder):
    """Gives every layer a router that uses its experts about equally on the
    tokens of a run, since an untrained one on untrained experts sends most of
    them to a few. A layer sees what the layers before it make once they are
    balanced."""
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    path = folder / "model.safetensors"
    tensors = {}

    def calibrate(layer):
        def hook(block, arguments):
            # As a bf16 program has them.
            x = arguments[0].reshape(-1, arguments[0].shape[-1]).bfloat16().float()
            mean = x.mean(0)
            axes = torch.linalg.svd(x - mean, full_matrices=False)
            # Random directions of equal variance that do not see the mean.
            keep = 16
            whiten = axes.Vh[:keep].T / axes.S[:keep] * len(x) ** 0.5
            rows = torch.randn(8, keep) @ whiten.T / keep**0.5
            # One that is about 1 for every token serves as a bias.
            gram = x.T @ x
            ridge = 0.1 * gram.diagonal().mean() * torch.eye(len(gram))
            direction = torch.linalg.solve(gram + ridge, x.sum(0))
            rows -= torch.outer(rows @ mean, direction)
            bias = torch.zeros(8)
            best_weight, best_worst = None, float("inf")
            for step in range(600):
                weight = (rows + torch.outer(bias, direction)).bfloat16().float()
                chosen = (x @ weight.T).topk(2).indices.flatten()
                load = torch.bincount(chosen, minlength=8) / len(x) * 4 - 1
                if load.abs().max() < best_worst:
                    best_weight, best_worst = weight, load.abs().max()
                bias -= 0.3 * 0.99**step * load
            block.gate.weight.data.copy_(best_weight)
            tensors[f"model.layers.{layer}.block_sparse_moe.gate.weight"] = best_weight

        return hook

    torch.manual_seed(1)
    for n, layer in enumerate(model.model.layers):
        layer.mlp.register_forward_pre_hook(calibrate(n))
    size = model.config.vocab_size
    ids = prompt_ids(size) + [step_id(size, i) for i in range(DECODE)]
    with torch.no_grad():
        model(torch.tensor([ids]))
    # The module reads tensors where they lie: the same order and sizes.
    with open(path, "r+b") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(start - 8))
        for name, tensor in tensors.items():
            file.seek(start + header[name]["data_offsets"][0])
            kind = {"F32": torch.float32, "BF16": torch.bfloat16}[header[name]["dtype"]]
            file.write(tensor.to(kind).contiguous().view(torch.uint8).numpy().tobytes())


def make(source, out):
    import dense
    import torch
    from safetensors import safe_open

    out.mkdir(parents=True, exist_ok=True)
    reader, _, tensors = dense.read(source)
    skip = ("general.architecture", "general.file_type")
    facts = {key: (field.contents(), field.types) for key, field in reader.fields.items()
             if not key.startswith("GGUF.") and key not in skip}  # fmt: skip
    for kind in TYPES:
        write(out / f"dense-{kind}.gguf", facts, tensors.items, kind)
    folder = out / "experts"
    if not folder.exists():
        common.moec("upcycle", source, "-o", folder, "--init", "noise", "--noise-relative", "--noise-std", 0.05,
                    "--experts", 8, "--top-k", 2, "--probe", "", "--dtype", "bf16")  # fmt: skip
        balance(folder)
    files = [safe_open(path, "pt") for path in sorted(folder.glob("*.safetensors"))]
    where = {key: file for file in files for key in file.keys()}

    def read(name):
        return where[name].get_tensor(name).to(torch.float32).numpy()

    def experts():
        for name, data in tensors.items():
            if ".ffn_gate." in name or ".ffn_up." in name:
                continue
            if ".ffn_down." not in name:
                yield name, data
                continue
            layer = name.split(".")[1]
            prefix = f"model.layers.{layer}.block_sparse_moe"
            yield f"blk.{layer}.ffn_gate_inp.weight", read(f"{prefix}.gate.weight")
            for matrix, to in MATRICES.items():
                bank = [read(f"{prefix}.experts.{e}.{matrix}.weight") for e in range(8)]
                yield f"blk.{layer}.{to}.weight", np.stack(bank)

    number = [gguf.GGUFValueType.UINT32]
    more = {"llama.expert_count": (8, number), "llama.expert_used_count": (2, number)}
    for kind in TYPES:
        write(out / f"experts-{kind}.gguf", facts, experts, kind, more)


def peer(path):
    """One warm-up and one measured run in llama.cpp; its flags as they come."""
    import llama_cpp as lc

    silence = lc.llama_log_callback(lambda *_: None)
    lc.llama_log_set(silence, None)
    lc.llama_backend_init()
    model = lc.llama_model_load_from_file(path.encode(), lc.llama_model_default_params())
    params = lc.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = 1024, PREFILL, PREFILL
    params.n_threads = params.n_threads_batch = THREADS
    context = lc.llama_init_from_model(model, params)
    size = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model))
    prompt = prompt_ids(size)
    batch = lc.llama_batch_init(PREFILL, 0, 1)

    def feed(tokens, start):
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.logits[i] = token, start + i, i == len(tokens) - 1
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
        if lc.llama_decode(context, batch):
            sys.exit("llama_decode failed")
        lc.llama_synchronize(context)

    for _ in range(2):
        lc.llama_memory_clear(lc.llama_get_memory(context), True)
        start = time.perf_counter()
        feed(prompt, 0)
        middle = time.perf_counter()
        for i in range(DECODE):
            feed([step_id(size, i)], PREFILL + i)
        end = time.perf_counter()
    info = lc.llama_print_system_info().decode()
    print(json.dumps({"prefill": PREFILL / (middle - start), "decode": DECODE / (end - middle), "system": info}))


def spread(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def cases_of(cases):
    return cases or [f"{m}-{t}" for m in ("dense", "experts") for t in TYPES]


def models(out, case):
    """moec's model and --dtype, and llama.cpp's model."""
    size, kind = case.split("-", 1)
    theirs = out / f"{case}.gguf"
    # The folder has what the files of experts in bf16 and q8_0 were made of.
    folder = size == "experts" and TYPES[kind] != "F32"
    return out / "experts" if folder else theirs, kind.split("-")[0], theirs


def load(out, runs, cases):
    for case in cases_of(cases):
        ours_path, kind, _ = models(out, case)
        plans = {"packed when loaded": ["--pack=none"], "packed beforehand": []}
        for name, flags in plans.items():
            folder = out / name.replace(" ", "-")
            folder.mkdir(exist_ok=True)
            answer = common.moec_json("compile", ours_path, "-o", folder / f"{case}.moep", "--dtype", kind,
                                      "--target", "native", *flags)  # fmt: skip
            if "packed" in answer:
                print(f"{case}: packing takes {answer['packed']['seconds']:.2f} s for {answer['packed']['bytes']} bytes")
        found = {name: [] for name in plans}
        for _ in range(runs):
            for name in plans:
                plan = out / name.replace(" ", "-") / f"{case}.moep"
                first = common.moec_json("generate", plan, "--prompt-ids", "1", "--max-tokens", 1, "--ignore-eos",
                                         "--threads", THREADS)["timings"]  # fmt: skip
                answer = common.moec_json("bench", plan, "--prefill", PREFILL, "--decode", DECODE, "--threads", THREADS,
                                          "--runs", 1)  # fmt: skip
                found[name].append((
                    answer["load_seconds"], first["load_seconds"] + first["first_token_seconds"],
                    answer["prefill_tokens_per_second"]["median"], answer["decode_tokens_per_second"]["median"],
                    answer["read_gb_per_second"]["median"]))  # fmt: skip
        for name, rows in found.items():
            load_s, first_s, prefill, decode, read = ([row[i] for row in rows] for i in range(5))
            precise = " ".join(f"{s:.3f}" for s in load_s)
            print(f"  {name}: load {precise} s, to the first token {' '.join(f'{s:.3f}' for s in first_s)} s; prefill "
                  f"{spread(prefill)}, decode {spread(decode)} tokens/s; read {spread(read)} GB/s", flush=True)  # fmt: skip


def run(out, pairs, cases):
    for case in cases_of(cases):
        ours_path, kind, path = models(out, case)
        ours, theirs, last = [], [], None
        for _ in range(pairs):
            answer = common.moec_json("bench", ours_path, "--dtype", kind, "--prefill", PREFILL, "--decode", DECODE,
                                      "--threads", THREADS, "--runs", 1)  # fmt: skip
            ours.append(answer)
            done = subprocess.run([sys.executable, __file__, "peer", str(path)], capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            last = json.loads(done.stdout)
            theirs.append(last)
        print(f"{case}, {ours[0]['variant']}", flush=True)
        for what, key in (("prefill", "prefill_tokens_per_second"), ("decode", "decode_tokens_per_second")):
            mine = [a[key]["median"] for a in ours]
            other = [a[what] for a in theirs]
            ratios = [a / b for a, b in zip(mine, other)]
            print(f"  {what}: moec {spread(mine)}, llama.cpp {spread(other)} tokens/s; "
                  f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})", flush=True)  # fmt: skip
        print(f"  load: {spread([a['load_seconds'] for a in ours])} s; read bandwidth "
              f"{spread([a['read_gb_per_second']['median'] for a in ours])} GB/s; "
              f"load of experts off by {ours[0].get('expert_load_deviation', 0):.2f}", flush=True)  # fmt: skip
    print(last["system"])


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], pathlib.Path(sys.argv[3]))
    elif sys.argv[1] == "peer":
        peer(sys.argv[2])
    elif sys.argv[1] == "load":
        load(pathlib.Path(sys.argv[2]), int((sys.argv[3:] or [5])[0]), sys.argv[4:])
    else:
        run(pathlib.Path(sys.argv[2]), int((sys.argv[3:] or [5])[0]), sys.argv[4:])
