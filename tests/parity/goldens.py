"""The golden texts, on every variant of the code, thread count and run.

    python tests/parity/goldens.py

Logits of a variant do not depend on threads or the run, down to the bit.
"""

import json

import common
import numpy as np

VARIANTS = ["cpu-x86-avx512bf16", "cpu-x86-avx512", "cpu-x86-avx2", "cpu-generic"]


def main():
    goldens = json.loads((common.DATA / "goldens.json").read_text())
    models = common.DATA / "models"
    cases = {
        "stories260K": [models / "stories260K/stories260K.bin", "--tokenizer",
                        models / "stories260K/tok512.bin"],
        "tinystories-656k": [models / "tinystories-656k"],
    }  # fmt: skip
    for name, (model, *tokenizer) in cases.items():
        golden = goldens[name]
        for case in golden["encode"]:
            answer = json.loads(common.moec("tokenize", model, *tokenizer, "--text", case["text"], "--json"))
            common.claim(f"{name}: ids of {case['text']!r}", answer["ids"] == case["ids"])
        for case in golden["greedy"]:
            prompt, ids = case["prompt_ids"], case["ids"]
            reference = None
            for variant in VARIANTS:
                flags = ["--dtype", "f32", "--variant", variant, *tokenizer]
                written = prompt + common.greedy(model, prompt, len(ids) - len(prompt), *flags)
                common.claim(f"{name}, {variant}: {len(ids) - len(prompt)} golden tokens", written == ids)
                one = common.logits(model, ids, *flags, "--threads", 1)
                two = common.logits(model, ids, *flags, "--threads", 2)
                again = common.logits(model, ids, *flags, "--threads", 2)
                step = common.logits(model, ids, *flags, "--step", 1)
                odd = common.logits(model, ids, *flags, "--step", 7)
                equal = all(np.array_equal(one.view(np.uint32), x.view(np.uint32)) for x in (two, again))
                common.claim(f"{name}, {variant}: same bits with 1 and 2 threads and again", equal)
                common.check(f"{name}, {variant}: token by token against whole", np.abs(step - one).max(), 0)
                common.check(f"{name}, {variant}: 7 tokens a step against whole", np.abs(odd - one).max(), 0)
                if reference is None:
                    reference = one
                common.check(f"{name}, {variant}: against {VARIANTS[0]}", np.abs(one - reference).max(), 1e-4)
            for dtype in ("bf16", "q8_0"):
                other = [common.logits(model, ids, "--dtype", dtype, *tokenizer, *flag)
                         for flag in ([], ["--step", 1], ["--threads", 1])]  # fmt: skip
                common.report(f"{name}: mean KL of {dtype} to f32", f"{common.kl(reference, other[0]):.2e}")
                common.check(f"{name}, {dtype}: token by token against whole", np.abs(other[1] - other[0]).max(), 0)
                common.check(f"{name}, {dtype}: 1 thread against 2", np.abs(other[2] - other[0]).max(), 0)
    common.finish()


main()
