"""What upcycling promises, on real weights.

    python tests/parity/upcycle.py MODEL FOLDER [part...]

Parts: copy, ties, drop, mixtral. MODEL is a dense Llama whose folder form
transformers can load from FOLDER/hf (dense.py writes one).
"""

import filecmp
import json
import pathlib
import shutil
import sys

import common
import numpy as np
import torch
import transformers as hf
from safetensors import safe_open

TEXT = "Once upon a time there was a little mixture of experts, and it wrote a story about the sea."


def upcycled(source, out, *flags):
    shutil.rmtree(out, ignore_errors=True)
    return json.loads(common.moec("upcycle", source, "-o", out, "--json", *flags))


def copies(source, out, ids):
    dense = common.logits(source, ids, "--dtype", "f32")
    for router in ("softmax-topk-renorm", "topk-softmax"):
        for k in (1, 2, 3, 8):
            target = out / "copy.moe"
            target.unlink(missing_ok=True)
            receipt = upcycled(source, target, "--experts", 8, "--top-k", k, "--router", router)
            worst = max(layer["output_error"] for layer in receipt["layers"])
            what = f"copy, {router}, k = {k}"
            common.check(f"{what}: largest error of a block", worst, 1e-6)
            sparse = common.logits(target, ids, "--dtype", "f32")
            common.check(f"{what}: max|diff|/max|y| of logits",
                         np.abs(sparse - dense).max() / np.abs(dense).max(), 1e-5)  # fmt: skip
            step = common.logits(target, ids, "--dtype", "f32", "--step", 1)
            common.check(f"{what}: token by token against whole", np.abs(step - sparse).max(), 0)


def equal_rows(source, out, ids):
    """Equal router rows: every token takes the first k experts."""
    target = out / "ties.moe"
    receipt = upcycled(source, target, "--experts", 8, "--top-k", 2, "--router-init", "zero")
    tokens = receipt["probe_tokens"]
    for layer in receipt["layers"]:
        if layer["load"] != [tokens, tokens] + [0] * 6 or layer["ties"] != tokens:
            common.claim(f"zero router, layer {layer['layer']}: ties go to experts 0 and 1", False)
    reference = None
    for step in (0, 1, 2, 3, 5, 8, 16):
        rows = common.logits(target, ids, "--dtype", "f32", "--step", step)
        reference = rows if reference is None else reference
        common.check(f"zero router, {step or 'all'} tokens a step: bits", np.abs(rows - reference).max(), 0)


def silu(x):
    return x / (1 + np.exp(-x))


def ffn(x, gate, up, down):
    return (silu(x @ gate.T) * (x @ up.T)) @ down.T


def draw_sets(rng, width, ratio, shared):
    """The specification's section 1.1, or 1.2 b where sets are independent."""
    sets = [rng.permutation(width)[: int(np.floor(ratio * width))] for _ in range(3)]
    return [sets[0]] * 3 if shared else sets


def redraw(rng, matrices, sets):
    result = []
    for axis, matrix, chosen in zip((0, 0, 1), matrices, sets):
        matrix = matrix.copy()
        block = matrix[chosen] if axis == 0 else matrix[:, chosen]
        drawn = rng.normal(block.mean(), block.std(ddof=1), block.shape)
        if axis == 0:
            matrix[chosen] = drawn
        else:
            matrix[:, chosen] = drawn
        result.append(matrix)
    return result


def cosine(a, b):
    a, b = a.ravel(), b.ravel()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


class Tensors:
    def __init__(self, folder):
        self.where = {}
        for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
            file = safe_open(path, "np")
            self.where.update({key: file for key in file.keys()})

    def __call__(self, name):
        return self.where[name].get_tensor(name).astype(np.float64)


def drops(source, out, ids):
    dense = Tensors(out / "hf")
    count = sum(name.endswith("mlp.up_proj.weight") for name in dense.where)
    layers = range(0, count, 3 if count > 8 else 1)
    names = ("gate_proj", "up_proj", "down_proj")
    matrices = {n: [dense(f"model.layers.{n}.mlp.{m}.weight") for m in names] for n in layers}
    inputs = {}
    model = hf.AutoModelForCausalLM.from_pretrained(out / "hf", dtype=torch.float32)
    for n in layers:
        model.model.layers[n].mlp.register_forward_pre_hook(
            lambda _, arguments, n=n: inputs.__setitem__(n, arguments[0][0].double().numpy()))  # fmt: skip
    with torch.no_grad():
        model(torch.tensor([ids]))
    del model
    rng = np.random.default_rng(7)
    experts = 4
    for shared in ("shared", "independent"):
        for ratio in (0.25, 0.5, 0.75):
            folder = out / "drop"
            upcycled(source, folder, "--init", "drop", "--drop-ratio", ratio, "--drop-set", shared, "--experts",
                     experts, "--top-k", 2, "--dtype", "f32", "--probe", "")  # fmt: skip
            read = Tensors(folder)
            ours, theirs, own, means, deviations = [], [], [], [], []
            for n in layers:
                base = matrices[n]
                expected = ffn(inputs[n], *base)
                for e in range(experts):
                    prefix = f"model.layers.{n}.block_sparse_moe.experts.{e}"
                    got = [read(f"{prefix}.{w}.weight") for w in ("w1", "w3", "w2")]
                    ours.append(cosine(ffn(inputs[n], *got), expected))
                    sets = []
                    for axis, old, new in zip((0, 0, 1), base, got):
                        changed = np.flatnonzero((old != new).any(axis=1 - axis))
                        sets.append(changed)
                        old, new = old.take(changed, axis), new.take(changed, axis)
                        count = old.size
                        # In standard errors of a sample of this size.
                        means.append((new.mean() - old.mean()) / (old.std(ddof=1) / np.sqrt(count)))
                        deviations.append((new.std() / old.std(ddof=1) - 1) * np.sqrt(2 * count))
                    width = base[0].shape[0]
                    # With the same neurons, so that only the numbers are drawn
                    # anew, and with sets of NumPy's own.
                    drawn = [redraw(rng, base, sets) for _ in range(4)]
                    theirs.append(np.mean([cosine(ffn(inputs[n], *d), expected) for d in drawn]))
                    drawn = redraw(rng, base, draw_sets(rng, width, ratio, shared == "shared"))
                    own.append(cosine(ffn(inputs[n], *drawn), expected))
                    if any(len(s) != int(ratio * width) for s in sets):
                        common.claim(f"{prefix}: {int(ratio * width)} neurons redrawn", False)
                    same = all(np.array_equal(sets[0], s) for s in sets[1:])
                    if same != (shared == "shared"):
                        common.claim(f"{prefix}: one set of neurons, or three", False)
            what = f"drop {ratio}, {shared}"
            common.report(f"{what}: cosine", f"moec {np.mean(ours):.4f}, NumPy {np.mean(theirs):.4f}, with "
                          f"other sets {np.mean(own):.4f} (+-{np.std(own) / np.sqrt(len(own)):.4f})")  # fmt: skip
            # Small models have few neurons to average over.
            apart = np.subtract(ours, theirs)
            noise = apart.std() / np.sqrt(apart.size)
            common.check(f"{what}: difference of cosines (+-{noise:.4f})", abs(apart.mean()), max(0.01, 3 * noise))
            common.check(f"{what}: largest error of a mean, in standard errors", np.abs(means).max(), 4.5)
            common.check(f"{what}: largest error of a deviation, in standard errors", np.abs(deviations).max(), 4.5)
    flags = ("--experts", 4, "--dtype", "f32", "--probe", "")
    upcycled(source, out / "drop", "--init", "drop", "--drop-ratio", 0, *flags)
    upcycled(source, out / "copy", "--init", "copy", *flags)
    files = sorted(path.name for path in (out / "copy").glob("*.safetensors"))
    good = all(filecmp.cmp(out / "copy" / name, out / "drop" / name, shallow=False) for name in files)
    common.claim("drop of ratio 0 and copy write the same bytes", bool(files) and good)
    shutil.rmtree(out / "drop")
    shutil.rmtree(out / "copy")


def mixtral(source, out, ids):
    folder = out / "mixtral"
    receipt = upcycled(source, folder, "--init", "drop", "--dtype", "f32", "--experts", 4, "--top-k", 2)
    common.report("architecture", receipt["architecture"])
    model = hf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                    experts_implementation="eager")  # fmt: skip
    common.claim("transformers loads it as Mixtral", type(model).__name__ == "MixtralForCausalLM")
    with torch.no_grad():
        theirs = model(torch.tensor([ids])).logits[0].numpy()
        exact = model.double()(torch.tensor([ids])).logits[0].numpy()
    ours = common.logits(folder, ids, "--dtype", "f32")
    # A large model rounds more than 1e-4 away in anyone's f32.
    noise = np.abs(theirs - exact).max()
    common.report("upcycled folder against transformers", f"{np.abs(ours - theirs).max():.2e}")
    common.report("transformers in f32 against itself in f64", f"{noise:.2e}")
    common.check("upcycled folder against transformers in f64", np.abs(ours - exact).max(), max(1e-4, 2 * noise))
    shutil.rmtree(folder)


def main():
    source, out = sys.argv[1], pathlib.Path(sys.argv[2])
    parts = sys.argv[3:] or ["copy", "ties", "drop", "mixtral"]
    ids = json.loads(common.moec("tokenize", source, "--text", TEXT, "--json"))["ids"]
    todo = {"copy": copies, "ties": equal_rows, "drop": drops, "mixtral": mixtral}
    for part in parts:
        todo[part](source, out, ids)
    common.finish()


main()
