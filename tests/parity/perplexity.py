"""Perplexity of a novel against transformers', on the same windows.

    python tests/parity/perplexity.py MODEL HF_FOLDER [TOKENS] [WINDOW] [TEXT]

MODEL and HF_FOLDER hold the same numbers (dense.py writes such a folder).
"""

import json
import math
import sys
import tempfile

import common
import torch
import transformers as hf


def main():
    source, folder = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 20000
    window = int(sys.argv[4]) if len(sys.argv) > 4 else 1024
    novel = sys.argv[5] if len(sys.argv) > 5 else common.DATA / "text/novels/Stevenson_Treasure_1883.txt"
    text = open(novel, encoding="utf-8-sig", newline=None).read()[: count * 5]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(text)
        file.flush()
        ids = json.loads(common.moec("tokenize", source, "--file", file.name, "--json"))["ids"][:count]
        ours = {dtype: common.moec_json("eval", source, "--text", file.name, "--dtype", dtype,
                                        "--window", window, "--max-tokens", count)
                for dtype in ("f32", "bf16", "q8_0")}  # fmt: skip
    model = hf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    nll, tokens = 0.0, 0
    for start in range(0, len(ids), window):
        part = torch.tensor([ids[start : start + window]])
        with torch.no_grad():
            rows = model(part).logits[0, :-1]
        nll += torch.nn.functional.cross_entropy(rows, part[0, 1:], reduction="sum").item()
        tokens += part.shape[1] - 1
    theirs = math.exp(nll / tokens)
    common.report("tokens predicted", f"{tokens} and {ours['f32']['tokens']}")
    common.report("transformers, f32", f"{theirs:.5f}")
    for dtype, answer in ours.items():
        common.report(f"moec, {dtype}", f"{answer['perplexity']:.5f} in {answer['seconds']:.1f} s")
    common.check("f32: relative difference", abs(ours["f32"]["perplexity"] / theirs - 1), 1e-3)
    common.finish()


main()
