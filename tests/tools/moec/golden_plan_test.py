"""Plans that earlier builds wrote: every later build must run them.

tests/golden/plans/v1 holds a plan of format 1 for `cpu-generic` and the
weights that it names, of a small random model with experts, with what it
answered when it was written: greedy ids and logits. To freeze one of a newer
major format: `python golden_plan_test.py make FOLDER`.
"""

import array
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

import harness
import tiny

PLANS = os.path.join(os.environ["MOEC_SOURCE_DIR"], "tests", "golden", "plans")
PROMPT = "5,17,200,42,5,99"
MODEL = dict(tiny.MODEL, layers=1, vocab=280)


def read_logits(path):
    with open(path, "rb") as file:
        data = file.read()
    header = struct.unpack_from("<H", data, 8)[0]
    numbers = array.array("f")
    numbers.frombytes(data[10 + header:])
    return numbers


def generate(plan):
    return ["generate", plan, "--prompt-ids", PROMPT, "--max-tokens", 16,
            "--temperature", 0, "--ignore-eos"]


def evaluate(plan, out):
    return ["eval", plan, "--ids", PROMPT, "--logits", out]


class GoldenPlan(harness.MoecTest):
    def test_every_frozen_plan(self):
        for name in sorted(os.listdir(PLANS)):
            with self.subTest(name):
                folder = os.path.join(PLANS, name)
                plan = os.path.join(folder, "plan.moep")
                with open(os.path.join(folder, "answers.json")) as file:
                    wanted = json.load(file)
                found = self.json(*generate(plan))
                self.assertEqual(found["ids"], wanted["ids"])
                out = self.path(name + ".npy")
                self.succeeds(*evaluate(plan, out))
                logits = read_logits(out)
                self.assertEqual(len(logits), len(wanted["logits"]))
                # The generic code fuses no products, so that only another
                # order of additions in a later code generator may show.
                largest = max(map(abs, wanted["logits"]))
                for a, b in zip(logits, wanted["logits"]):
                    self.assertLess(abs(a - b), 1e-5 * largest)

    def test_names_are_those_of_formats(self):
        self.assertIn("v1", os.listdir(PLANS))


def make(folder):
    with tempfile.TemporaryDirectory() as work:
        def run(*arguments):
            # From inside, so that the plan names its neighbour.
            return subprocess.run([harness.BINARY, *map(str, arguments)],
                                  check=True, capture_output=True,
                                  cwd=work).stdout

        tiny.write_hf(os.path.join(work, "model"), MODEL)
        run("upcycle", "model", "-o", "experts", "--init", "drop", "--experts",
            4, "--top-k", 2, "--probe", "", "--dtype", "f32")
        shutil.rmtree(os.path.join(work, "model"))
        work = os.path.join(work, "experts")
        run("compile", ".", "-o", "plan.moep", "--target", "cpu-generic",
            "--pack=none")
        # The module inside says where it came from; not on whose machine.
        plan = os.path.join(work, "plan.moep")
        with open(plan, "rb") as file:
            data = file.read()
        source = os.path.dirname(work).encode()
        with open(plan, "wb") as file:
            file.write(tiny.sealed_plan(data.replace(source,
                                                     b"/" * len(source))))
        run(*evaluate("plan.moep", "logits.npy"))
        logits = read_logits(os.path.join(work, "logits.npy"))
        answers = {"ids": json.loads(run(*generate("plan.moep"), "--json"))["ids"],
                   "logits": [float("%.9g" % x) for x in logits]}
        os.makedirs(folder)
        for name in ("plan.moep", "model.safetensors"):
            shutil.copy(os.path.join(work, name), folder)
    with open(os.path.join(folder, "answers.json"), "w") as file:
        json.dump(answers, file)
        file.write("\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["make"]:
        make(sys.argv[2])
    else:
        unittest.main()
