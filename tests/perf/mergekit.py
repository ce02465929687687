"""Upcycling to 8 experts beside mergekit-moe: wall time and memory.

    MOEC=build/release/bin/moec MERGEKIT=VENV/bin/mergekit-moe \\
        python tests/perf/mergekit.py MODEL OUT [PAIRS]

MODEL is a Hugging Face folder of a Llama with its tokenizer. Both write it as
a Mixtral in bf16 with 8 equal experts and a random router, by turns. Figures of
whole processes: seconds, the peak of resident memory, which counts mapped
files, and that of anonymous memory alone.
"""

import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time


def measure(arguments, out):
    """Seconds, peak resident bytes, peak anonymous bytes."""
    shutil.rmtree(out, ignore_errors=True)
    begin = time.perf_counter()
    log = open(f"{out}.log", "w")
    process = subprocess.Popen([str(a) for a in arguments], stdout=log, stderr=log)
    anonymous = resident = 0
    while process.poll() is None:
        try:
            for line in open(f"/proc/{process.pid}/status"):
                if line.startswith("RssAnon:"):
                    anonymous = max(anonymous, int(line.split()[1]) << 10)
                if line.startswith("VmHWM:"):
                    resident = int(line.split()[1]) << 10
        except OSError:
            pass
        time.sleep(0.01)
    seconds = time.perf_counter() - begin
    if process.returncode:
        sys.exit(pathlib.Path(f"{out}.log").read_text()[-2000:])
    return seconds, resident, anonymous


def main(model, out, pairs):
    out.mkdir(parents=True)
    recipe = out / "recipe.yaml"
    experts = "".join(f"  - source_model: {model}\n    positive_prompts: ['']\n" for _ in range(8))
    recipe.write_text(f"base_model: {model}\ngate_mode: random\ndtype: bfloat16\nexperts:\n{experts}")
    ours = [os.environ["MOEC"], "upcycle", model, "-o", out / "ours", "--init", "copy", "--experts", 8, "--top-k", 2,
            "--probe", "", "--dtype", "bf16"]  # fmt: skip
    theirs = [os.environ["MERGEKIT"], recipe, out / "theirs", "--i-understand-this-is-not-useful-without-training"]
    found = []
    for _ in range(pairs):
        found.append((measure(ours, out / "ours"), measure(theirs, out / "theirs")))
    for number, what, unit in ((0, "wall time", 1), (1, "peak resident", 1e6), (2, "peak anonymous", 1e6)):
        mine = [a[number] / unit for a, _ in found]
        other = [b[number] / unit for _, b in found]
        ratios = [b / a for a, b in zip(mine, other)]
        print(f"{what}, {'s' if unit == 1 else 'MB'}: moec {statistics.median(mine):.1f}, mergekit-moe "
              f"{statistics.median(other):.1f}; ratio {statistics.median(ratios):.1f} "
              f"({min(ratios):.1f}-{max(ratios):.1f})")  # fmt: skip
    for name in ("ours", "theirs"):
        size = sum(path.stat().st_size for path in (out / name).iterdir())
        print(f"{name}: {size / 1e9:.2f} GB")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), int((sys.argv[3:] or [3])[0]))
