"""What the parity scripts share: running moec and judging numbers.

The scripts compare moec with other programs and are run by hand, in a virtual
environment that has torch, transformers, gguf and (for some) llama-cpp-python.
$MOEC names the binary, by default build/release/bin/moec.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOEC = os.environ.get("MOEC", str(ROOT / "build/release/bin/moec"))
DATA = pathlib.Path(os.environ.get("MOEC_TEST_DATA", ROOT / "../shared/data"))

failures = 0


def moec(*arguments):
    """Output of a moec command; its error ends the script."""
    done = subprocess.run([MOEC, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"moec {' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout


def moec_json(*arguments):
    return json.loads(moec(*arguments, "--json"))


def logits(model, ids, *flags):
    """Logits [tokens, vocabulary] of a sequence."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "logits.npy"
        listed = ",".join(map(str, ids))
        moec("eval", model, "--ids", listed, "--logits", out, *flags)
        return np.load(out)


def greedy(model, ids, count, *flags):
    """Greedy continuation of a prompt, the end token ignored."""
    answer = moec_json(
        "generate", model, "--prompt-ids", ",".join(map(str, ids)),
        "--max-tokens", count, "--temperature", 0, "--ignore-eos", *flags)  # fmt: skip
    return answer["ids"]


def kl(reference, other):
    """Mean Kullback-Leibler divergence of rows of logits, in nats."""

    def log_softmax(x):
        x = x.astype(np.float64)
        x = x - x.max(axis=-1, keepdims=True)
        return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))

    p, q = log_softmax(reference), log_softmax(other)
    return float((np.exp(p) * (p - q)).sum(axis=-1).mean())


def check(what, value, limit):
    """Prints a figure beside its limit; a figure above it fails the script."""
    global failures
    good = bool(value <= limit)
    failures += not good
    print(f"{'ok  ' if good else 'FAIL'} {what}: {value:.3g} (limit {limit:.3g})", flush=True)


def claim(what, good):
    global failures
    failures += not good
    print(f"{'ok  ' if good else 'FAIL'} {what}", flush=True)


def report(what, value):
    print(f"     {what}: {value}", flush=True)


def finish():
    print(f"{failures} failed" if failures else "all hold")
    sys.exit(bool(failures))
