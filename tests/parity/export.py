"""Exports against the programs that they are for: transformers and llama.cpp.

    python tests/parity/export.py FOLDER [CASE...]

Tiny random models of every family, dense or upcycled with numbers of experts
that no recipe has. Logits of a Hugging Face export agree with moec's to 1e-4 in
f32 on 5 prompts, and importing and exporting it again gives the same files. A
GGUF export agrees to its type's precision, and with itself as well.
"""

import contextlib
import filecmp
import os
import pathlib
import shutil
import sys

import common
import numpy as np
import torch
import transformers as hf

SHAPE = dict(
    vocab_size=160,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    initializer_range=0.2,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=None,
)
MOE = SHAPE | dict(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=32)
GRANITE = SHAPE | dict(
    num_local_experts=5, num_experts_per_tok=3, embedding_multiplier=2.0, residual_multiplier=0.5,
    attention_multiplier=0.3, logits_scaling=4.0)  # fmt: skip
SIGMOID = SHAPE | dict(
    n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=32, n_shared_experts=2,
    n_group=2, topk_group=2, norm_topk_prob=True, routed_scaling_factor=1.5,
    first_k_dense_replace=1)  # fmt: skip
LLAMA3 = dict(rope_type="llama3", rope_theta=5e5, factor=4.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=1024)  # fmt: skip

SOURCES = {
    "llama": lambda: hf.LlamaConfig(**SHAPE),
    "llama-tied": lambda: hf.LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "llama-biases": lambda: hf.LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True),
    "llama-head-dim": lambda: hf.LlamaConfig(**SHAPE, head_dim=32),
    "llama3-rope": lambda: hf.LlamaConfig(**SHAPE, rope_parameters=LLAMA3),
    "linear-rope": lambda: hf.LlamaConfig(
        **SHAPE, rope_parameters=dict(rope_type="linear", rope_theta=1e4, factor=2.0)),
    "mistral": lambda: hf.MistralConfig(**SHAPE, sliding_window=8),
    "qwen2": lambda: hf.Qwen2Config(**SHAPE),
    "qwen2-window": lambda: hf.Qwen2Config(
        **SHAPE, use_sliding_window=True, sliding_window=8, max_window_layers=1),
    "qwen3": lambda: hf.Qwen3Config(**SHAPE, head_dim=32),
    "gpt2": lambda: hf.GPT2Config(
        vocab_size=160, n_positions=64, n_embd=64, n_layer=3, n_head=4, initializer_range=0.2,
        bos_token_id=1, eos_token_id=2),
    "gemma": lambda: hf.GemmaConfig(**SHAPE, head_dim=16),
    "gemma2": lambda: hf.Gemma2Config(
        **SHAPE, head_dim=16, sliding_window=8, query_pre_attn_scalar=20),
    "phi3": lambda: hf.Phi3Config(**SHAPE, partial_rotary_factor=0.5, sliding_window=None),
    "olmo2": lambda: hf.Olmo2Config(**SHAPE),
    "nemotron": lambda: hf.NemotronConfig(**SHAPE),
    "starcoder2": lambda: hf.Starcoder2Config(**SHAPE, sliding_window=None),
    "mixtral": lambda: hf.MixtralConfig(
        **SHAPE, num_local_experts=5, num_experts_per_tok=3, sliding_window=None),
    "qwen2_moe": lambda: hf.Qwen2MoeConfig(
        **MOE, shared_expert_intermediate_size=48, mlp_only_layers=[1]),
    "qwen2_moe-all": lambda: hf.Qwen2MoeConfig(**MOE, shared_expert_intermediate_size=64),
    "qwen3_moe": lambda: hf.Qwen3MoeConfig(**MOE, norm_topk_prob=True, head_dim=32),
    "olmoe": lambda: hf.OlmoeConfig(**(SHAPE | dict(num_experts=6, num_experts_per_tok=3))),
    "olmoe-mha": lambda: hf.OlmoeConfig(
        **(SHAPE | dict(num_experts=6, num_experts_per_tok=3, num_key_value_heads=4))),
    "olmoe-clip": lambda: hf.OlmoeConfig(
        **(SHAPE | dict(num_experts=6, num_experts_per_tok=3, norm_topk_prob=True, clip_qkv=1.5))),
    "granitemoe": lambda: hf.GraniteMoeConfig(**GRANITE),
    "granitemoeshared": lambda: hf.GraniteMoeSharedConfig(**GRANITE, shared_intermediate_size=40),
    "glm4_moe": lambda: hf.Glm4MoeConfig(
        **SIGMOID, attention_bias=True, rope_parameters=dict(
            rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5)),
    "dots1": lambda: hf.Dots1Config(**SIGMOID, sliding_window=None),
}  # fmt: skip

# Upcycled from a source: flags of `moec upcycle`.
UPCYCLED = {
    "renorm": ("--experts", 5, "--top-k", 3),
    "raw": ("--experts", 7, "--top-k", 3, "--router", "softmax-topk"),
    "scaled": ("--experts", 4, "--top-k", 2, "--router", "softmax-topk", "--router-scale", 2),
    "all": ("--experts", 3, "--top-k", 3, "--router", "softmax-all"),
    "groups": ("--experts", 12, "--top-k", 4, "--granularity", 4, "--init", "virtual-group",
               "--router", "topk-softmax", "--scaling", "exact"),
    "groups-raw": ("--experts", 6, "--top-k", 2, "--granularity", 2, "--init", "virtual-group",
                   "--router", "softmax-topk", "--scaling", "down"),
    "shared": ("--experts", 5, "--top-k", 2, "--shared-experts", 1),
    "shared-gated": ("--experts", 5, "--top-k", 2, "--router", "softmax-topk",
                     "--shared-experts", 1, "--shared-gate"),
    "sigmoid": ("--experts", 6, "--top-k", 3, "--router", "sigmoid-topk-renorm", "--select-bias"),
    "sigmoid-shared": ("--experts", 6, "--top-k", 2, "--router", "sigmoid-topk",
                       "--shared-experts", 1),
    "some-layers": ("--experts", 4, "--top-k", 2, "--layers", "1-2"),
}  # fmt: skip

# Source, upcycling or none, architecture or "" for the one that export takes,
# and the architecture that is expected.
HF_CASES = [(source, "", "", source.split("-")[0].replace("llama3", "llama").replace("linear", "llama"))
            for source in SOURCES]  # fmt: skip
HF_CASES += [
    ("llama", "renorm", "", "mixtral"),
    ("llama", "renorm", "qwen2-moe", "qwen2_moe"),
    ("llama", "renorm", "granitemoe", "granitemoe"),
    ("llama", "renorm", "granitemoeshared", "granitemoeshared"),
    ("llama3-rope", "renorm", "", "mixtral"),
    ("llama", "raw", "", "qwen2_moe"),
    ("llama", "scaled", "", "qwen2_moe"),
    ("llama", "all", "mixtral", "mixtral"),
    ("llama", "all", "qwen2-moe", "qwen2_moe"),
    ("llama", "groups", "", "mixtral"),
    ("llama", "groups-raw", "", "qwen2_moe"),
    ("llama", "shared", "", "granitemoeshared"),
    ("llama", "shared-gated", "", "qwen2_moe"),
    ("llama", "sigmoid", "", "glm4_moe"),
    ("llama", "sigmoid-shared", "", "glm4_moe"),
    ("llama", "some-layers", "", "qwen2_moe"),
    ("mistral", "renorm", "", "mixtral"),
    ("qwen2", "renorm", "", "qwen2_moe"),
    ("qwen2", "raw", "", "qwen2_moe"),
    ("qwen2", "", "llama", "llama"),
    ("qwen3", "renorm", "", "qwen3_moe"),
    ("qwen3", "raw", "", "qwen3_moe"),
    ("qwen3", "sigmoid", "", "glm4_moe"),
    ("qwen3", "sigmoid-shared", "dots1", "dots1"),
    ("qwen3", "some-layers", "", "qwen3_moe"),
]
GGUF_CASES = [
    ("llama", "", "llama"), ("llama-tied", "", "llama"), ("llama-biases", "", "llama"),
    ("llama-head-dim", "", "llama"), ("llama3-rope", "", "llama"), ("linear-rope", "", "llama"),
    ("qwen2", "", "qwen2"), ("qwen3", "", "qwen3"), ("llama", "renorm", "llama"),
    ("llama", "groups", "llama"), ("llama", "raw", "qwen2moe"), ("llama", "scaled", "qwen2moe"),
    ("llama", "shared-gated", "qwen2moe"), ("qwen2", "raw", "qwen2moe"),
    ("qwen2_moe-all", "", "qwen2moe"), ("qwen3", "renorm", "qwen3moe"), ("qwen3_moe", "", "qwen3moe"),
    ("olmoe-mha", "", "olmoe"), ("gemma", "", "gemma"), ("phi3", "", "phi3"),
    ("olmo2", "", "olmo2"), ("nemotron", "", "nemotron"), ("starcoder2", "", "starcoder2"),
]  # fmt: skip
# Of the relative error of a token's logits on the same file, the median token
# where llama.cpp rounds what it multiplies to the type of the matrix (to 8 bits
# beside q8_0), since a token may then choose another expert. It takes GELU
# from a table in f16.
LIMITS = {"f32": 1e-4, "f16": 4e-3, "bf16": 5e-2, "q8_0": 8e-2}
GELU_F32 = 2e-3


def prompts():
    rng = np.random.default_rng(4)
    return [rng.integers(3, 160, size).tolist() for size in (1, 7, 16, 31, 40)]


def randomise(model):
    for name, tensor in model.named_parameters():
        if tensor.dim() == 1:
            norm = "weight" in name
            tensor.data = torch.randn_like(tensor) * 0.2 + (1.0 if norm else 0.0)
    for name, tensor in model.named_buffers():
        if "e_score_correction_bias" in name:
            tensor.data = torch.randn_like(tensor) * 0.1


def source_of(folder, name):
    path = folder / "sources" / name
    if not path.exists():
        torch.manual_seed(sum(map(ord, name)))
        model = hf.AutoModelForCausalLM.from_config(SOURCES[name]()).float()
        randomise(model)
        model.save_pretrained(path)
    return path


def module_of(folder, source, upcycling):
    path = source_of(folder, source)
    if not upcycling:
        return path
    module = folder / f"{source}-{upcycling}.moe"
    if not module.exists():
        # Experts that differ, and a router whose scores differ.
        flags = UPCYCLED[upcycling]
        noise = () if "--init" in flags else ("--init", "noise", "--noise-std", 0.1)
        common.moec("upcycle", path, "-o", module, "--router-std", 0.3, "--probe", "", *flags, *noise)
    return module


def compare_folders(what, a, b):
    names = sorted(os.listdir(a))
    _, different, missing = filecmp.cmpfiles(a, b, names, shallow=False)
    common.claim(f"{what}: exported again, the same files {different + missing}",
                 not different and not missing and names == sorted(os.listdir(b)))  # fmt: skip


def check_hf(folder, source, upcycling, arch, expected):
    what = " ".join(filter(None, ("hf", source, upcycling, arch and f"as {arch}")))
    module = module_of(folder, source, upcycling)
    out, again = folder / "hf", folder / "again"
    for path in (out, again):
        shutil.rmtree(path, ignore_errors=True)
    flags = ("--arch", arch) if arch else ()
    report = common.moec_json("export", module, "-o", out, "--dtype", "f32", *flags)
    if report["architecture"] != expected or not report["exact"]:
        common.claim(f"{what}: {report['architecture']}, exact {report['exact']}", False)
    model, loading = hf.AutoModelForCausalLM.from_pretrained(
        out, attn_implementation="eager", dtype=torch.float32, output_loading_info=True)  # fmt: skip
    problems = [key for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if loading[key]]
    if problems:
        common.claim(f"{what}: loads whole, but {[(p, loading[p]) for p in problems]}", False)
    worst = 0
    for ids in prompts():
        with torch.no_grad():
            theirs = model(torch.tensor([ids])).logits[0].numpy()
        worst = max(worst, np.abs(common.logits(module, ids, "--dtype", "f32") - theirs).max())
    common.check(f"{what}: {report['architecture']} against transformers", worst, 1e-4)
    common.moec("export", out, "-o", again, "--dtype", "f32", *flags)
    compare_folders(what, out, again)


@contextlib.contextmanager
def quiet():
    """llama.cpp talks to the descriptors themselves."""
    saved = os.dup(1), os.dup(2)
    with open(os.devnull, "w") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)


def llama_logits(path, ids):
    import llama_cpp

    with quiet():
        model = llama_cpp.Llama(str(path), n_ctx=64, n_batch=64, n_ubatch=64, logits_all=True,
                                n_threads=2, type_k=0, type_v=0, verbose=False)  # fmt: skip
        model.eval(ids)
        return np.array(model.scores[: len(ids)], copy=True)


def check_gguf(folder, source, upcycling, expected):
    module = module_of(folder, source, upcycling)
    ids = prompts()[-1]
    for dtype, limit in LIMITS.items():
        what = " ".join(filter(None, ("gguf", source, upcycling, dtype)))
        out, again = folder / "x.gguf", folder / "again.gguf"
        report = common.moec_json("export", module, "-o", out, "--format", "gguf", "--dtype", dtype)
        if report["architecture"] != expected or not report["exact"]:
            common.claim(f"{what}: {report['architecture']}, exact {report['exact']}", False)
        theirs = llama_logits(out, ids)
        # Rounded weights choose other experts, so that the file itself is what
        # is compared with.
        ours = common.logits(out, ids, "--dtype", "f32")
        errors = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(ours, axis=1)
        error = errors.max() if dtype == "f32" else np.median(errors)
        if dtype == "f32" and expected in ("gemma", "starcoder2"):
            limit = GELU_F32
        common.check(f"{what}: {report['architecture']} against llama.cpp", error, limit)
        if dtype == "f32":
            whole = common.logits(module, ids, "--dtype", "f32")
            common.check(f"{what}: file against module", np.abs(ours - whole).max(), 1e-4)
        common.moec("export", out, "-o", again, "--format", "gguf", "--dtype", dtype)
        common.claim(f"{what}: exported again, the same bytes", filecmp.cmp(out, again, shallow=False))


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "parity-export")
    folder.mkdir(parents=True, exist_ok=True)
    chosen = sys.argv[2:]

    def wanted(*words):
        return not chosen or any(all(part in words for part in case.split("/")) for case in chosen)

    for case in HF_CASES:
        if wanted("hf", *case):
            check_hf(folder, *case)
    for case in GGUF_CASES:
        if wanted("gguf", *case):
            check_gguf(folder, *case)
    common.finish()


main()
