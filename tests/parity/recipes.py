"""A table of every recipe: what it promises at step 0, and what it does.

    python tests/parity/recipes.py FOLDER MODEL [MODEL...] [--only RECIPE]

Writes each recipe's result as a folder of f32 safetensors below FOLDER, which
is removed again, and prints Markdown for the README. `nemotron` as a MODEL
stands for a random one with squared ReLU that transformers makes here.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import time

import common

TEXT = "text/tinystories_train_head_944KB.txt"


def nemotron(folder):
    """Squared ReLU, no gate, LayerNorm1p; the shape of a small model."""
    import torch
    import transformers as hf

    torch.manual_seed(3)
    config = hf.NemotronConfig(vocab_size=4096, hidden_size=576, intermediate_size=2304, num_hidden_layers=8,
                               num_attention_heads=9, num_key_value_heads=3, head_dim=64,
                               max_position_embeddings=1024)  # fmt: skip
    hf.NemotronForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(common.DATA / "models/tinystories-656k" / name, folder / name)
    return folder


def donors(model, folder):
    """Two models of the same shape that differ: noise of two seeds."""
    made = []
    for seed in (5, 6):
        to = folder / f"donor{seed}"
        if not to.exists():
            common.moec("upcycle", model, "-o", folder / "noisy", "--init", "noise", "--experts", 1, "--top-k", 1,
                        "--noise-std", 0.1, "--noise-relative=true", "--seed", seed, "--probe", "", "--dtype", "f32")  # fmt: skip
            common.moec("upcycle", folder / "noisy", "--to-dense", "average", "-o", to, "--dtype", "f32")
            shutil.rmtree(folder / "noisy")
        made.append(to)
    return made


def run(recipe, model, folder):
    name = recipe["name"]
    flags = ["--recipe", name]
    if recipe.get("donors"):
        for donor in donors(model, folder):
            flags += ["--donor", donor]
    if "calibration" in recipe and recipe["calibration"].get("router") != "prompts":
        text = folder / "calibration.txt"
        text.write_text((common.DATA / TEXT).read_text()[:8000])
        flags += ["--calibration-text", text]
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [common.MOEC, "upcycle", str(model), "-o", str(out), "--dtype", "f32", "--json", *map(str, flags)]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    shutil.rmtree(out, ignore_errors=True)
    if done.returncode:
        return None, done.stderr.strip().splitlines()[-1]
    receipt = json.loads(done.stdout)
    receipt["wall"] = seconds
    return receipt, None


def cell(receipt, problem):
    if problem:
        return f"refused: {problem}"
    worst = max(layer["output_error"] for layer in receipt["layers"])
    return f"{worst:.1e}, {receipt['wall']:.0f} s, {receipt['peak_rss_anon'] / 1e6:.0f} MB"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--only", action="append")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    models = [nemotron(arguments.folder / m) if m == "nemotron" else pathlib.Path(m) for m in arguments.models]
    names = [m.name.split(".")[0] for m in models]
    print("| recipe | promised | " + " | ".join(names) + " |")
    print("| --- | --- |" + " --- |" * len(models))
    for recipe in common.moec_json("recipes"):
        if arguments.only and recipe["name"] not in arguments.only:
            continue
        cells, promise = [], None
        for model, name in zip(models, names):
            folder = arguments.folder / f"for-{name}"
            folder.mkdir(exist_ok=True)
            receipt, problem = run(recipe, model, folder)
            if receipt:
                promise = receipt.get("promise", {}).get("exactness", promise)
            cells.append(cell(receipt, problem))
        print(f"| {recipe['name']} | {promise} | " + " | ".join(cells) + " |", flush=True)


main()
