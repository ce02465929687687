"""Upcycling: what the result computes, whose bytes it is made of, and that a
killed run is taken up again."""

import json
import math
import os
import shutil
import signal
import struct
import unittest

import harness
import tiny

LARGE = dict(hidden=256, ffn=1024, layers=6, heads=8, kv_heads=4, vocab=512,
             context=64)


def read_logits(path):
    """Rows of a float32 .npy file."""
    with open(path, "rb") as file:
        data = file.read()
    assert data[:6] == b"\x93NUMPY", "is no .npy file"
    start = 10 + struct.unpack_from("<H", data, 8)[0]
    header = data[10:start].decode()
    rows, columns = eval(header, {"__builtins__": {}})["shape"]
    numbers = struct.unpack_from(f"<{rows * columns}f", data, start)
    assert len(data) == start + 4 * rows * columns
    return [numbers[i * columns:(i + 1) * columns] for i in range(rows)]


class Upcycle(harness.MoecTest):
    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"))

    def logits(self, model):
        out = self.path("logits.npy")
        self.succeeds("eval", model, "--ids", "1,5,9,100,7", "--logits", out)
        return read_logits(out)

    def distance(self, left, right):
        """Largest difference, relative to the largest number."""
        largest = max(abs(x) for row in left for x in row)
        return max(abs(a - b) for x, y in zip(left, right)
                   for a, b in zip(x, y)) / largest

    def upcycle(self, name, *arguments):
        out = self.path(name)
        return out, self.json("upcycle", self.model, "-o", out, "--experts", 4,
                              *arguments)

    def test_copies_compute_the_dense_model(self):
        dense = self.logits(self.model)
        for topk in (1, 2, 4):
            for router in ("softmax-topk-renorm", "topk-softmax"):
                with self.subTest(topk=topk, router=router):
                    out, receipt = self.upcycle(
                        "copy.moe", "--top-k", topk, "--router", router)
                    self.assertTrue(receipt["equals_dense"])
                    for layer in receipt["layers"]:
                        self.assertLessEqual(layer["output_error"], 1e-6)
                        self.assertEqual(sum(layer["load"]),
                                         topk * receipt["probe_tokens"])
                    self.assertLessEqual(
                        self.distance(dense, self.logits(out)), 1e-5)

    def test_copies_without_renormalisation_do_not(self):
        _, receipt = self.upcycle("copy.moe", "--router", "softmax-topk")
        self.assertFalse(receipt["equals_dense"])

    def test_redrawn_experts_differ(self):
        dense = self.logits(self.model)
        for init in (["drop"], ["drop", "--drop-set", "independent"],
                     ["noise"]):
            with self.subTest(init=init):
                out, receipt = self.upcycle("out.moe", "--init", *init)
                self.assertFalse(receipt["equals_dense"])
                self.assertGreater(self.distance(dense, self.logits(out)),
                                   1e-3)

    def test_nothing_dropped_is_a_copy(self):
        _, receipt = self.upcycle("out.moe", "--init", "drop",
                                  "--drop-ratio", 0)
        self.assertTrue(receipt["equals_dense"])

    def test_router_of_zeros_ties_everywhere(self):
        result = self.run_moec("upcycle", self.model, "-o", self.path("z.moe"),
                               "--experts", 4, "--router-init", "zero",
                               "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        receipt = json.loads(result.stdout)
        for layer in receipt["layers"]:
            self.assertEqual(layer["ties"], receipt["probe_tokens"])
            self.assertEqual(layer["load"][2:], [0, 0])
        self.assertIn("ties", result.stderr)

    def test_warns_of_the_dense_model(self):
        result = self.run_moec("upcycle", self.model, "-o", self.path("c.moe"))
        self.assertIn("until it is trained", result.stderr)

    def test_some_layers(self):
        out, receipt = self.upcycle("some.moe", "--layers", "1")
        self.assertEqual([x["layer"] for x in receipt["layers"]], [1])
        summary = self.json("inspect", out)
        self.assertEqual([bool(x.get("experts"))
                          for x in summary["layer_list"]], [False, True])

    def test_layers_by_different_policies(self):
        first, _ = self.upcycle("first.moe", "--layers", "1")
        second = self.path("second.moe")
        receipt = self.json("upcycle", first, "-o", second, "--layers", "0",
                            "--init", "drop", "--experts", 6, "--top-k", 3)
        self.assertEqual([x["measured"] for x in receipt["layers"]],
                         ["differs", "equal"])
        summary = self.json("inspect", second)
        self.assertEqual([(x["experts"], x["top_k"])
                          for x in summary["layer_list"]], [(6, 3), (4, 2)])
        text = self.succeeds("dump", second)
        self.assertIn('fact "upcycle.options" = "{init = drop', text)
        self.assertIn('fact "upcycle.options.earlier" = '
                      r'"{experts = 4, layers = \"1\"}"', text)

    def test_receipt_names_the_source(self):
        _, receipt = self.upcycle("out.moe", "--seed", 7)
        _, again = self.upcycle("out.moe", "--init", "drop")
        self.assertEqual(len(receipt["source_sha256"]), 64)
        self.assertEqual(receipt["source_sha256"], again["source_sha256"])
        self.assertEqual(receipt["seed"], 7)
        self.assertGreater(receipt["peak_rss_anon"], 0)
        self.assertGreater(receipt["seconds"], 0)
        with open(os.path.join(self.model, "model.safetensors"),
                  "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x3e")
        _, changed = self.upcycle("out.moe")
        self.assertNotEqual(receipt["source_sha256"],
                            changed["source_sha256"])

    def test_folder_and_module_agree(self):
        for init in ("copy", "drop"):
            with self.subTest(init=init):
                module, _ = self.upcycle("m.moe", "--init", init)
                folder, _ = self.upcycle("f", "--init", init, "--dtype", "f32")
                self.assertEqual(
                    self.distance(self.logits(module), self.logits(folder)), 0)
                # As an outsider reads it: no module, only Hugging Face's names.
                plain = self.path("plain")
                shutil.copytree(folder, plain)
                os.remove(os.path.join(plain, "module.moe"))
                self.assertLessEqual(
                    self.distance(self.logits(module), self.logits(plain)),
                    1e-5)
                shutil.rmtree(folder)
                shutil.rmtree(plain)

    def test_a_folder_of_a_folder(self):
        folder, _ = self.upcycle("f", "--dtype", "f32")
        dense = self.path("dense")
        self.succeeds("upcycle", folder, "-o", dense, "--to-dense", "average",
                      "--dtype", "f32")
        shutil.rmtree(folder)
        self.assertEqual(
            self.distance(self.logits(dense), self.logits(self.model)), 0)

    def test_seeds(self):
        digests = []
        for seed in (1, 1, 2):
            out, _ = self.upcycle("s", "--init", "drop", "--seed", seed)
            digests.append(harness.digests(out)["model.safetensors"])
            shutil.rmtree(out)
        self.assertEqual(digests[0], digests[1])
        self.assertNotEqual(digests[0], digests[2])


class Folder(harness.MoecTest):
    """On a model of some megabytes."""

    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"), LARGE)
        self.command = ["upcycle", self.model, "--init", "drop", "--probe", "",
                        "--experts", 4, "--dtype", "f32"]

    def test_same_bytes_for_any_number_of_threads(self):
        results = []
        for threads in (1, 2, 3):
            out = self.path(f"threads{threads}")
            self.succeeds(*self.command, "-o", out, "--threads", threads)
            results.append(harness.digests(out))
        self.assertEqual(results[0], results[1])
        self.assertEqual(results[0], results[2])

    def journal(self, out):
        """Lines of the journal of an unfinished output."""
        try:
            with open(os.path.join(out + ".partial",
                                   "moec-journal.jsonl")) as file:
                return file.read().count("\n")
        except OSError:
            return 0

    def broken_off(self, out, how):
        """Runs until some tensors are written, and ends it by a signal; once
        more where the signal came too late."""
        for _ in range(10):
            process = self.start(*self.command, "-o", out, "--threads", 1)
            self.wait_until(lambda: self.journal(out) >= 3
                            or process.poll() is not None)
            process.send_signal(how)
            _, stderr = process.communicate(timeout=harness.TIMEOUT)
            if not os.path.exists(out):
                break
            shutil.rmtree(out)
        return process.returncode, stderr.decode()

    def test_killed_runs_are_taken_up_again(self):
        whole = self.path("whole")
        self.succeeds(*self.command, "-o", whole)
        for how, code in ((signal.SIGKILL, -signal.SIGKILL),
                          (signal.SIGINT, 130), (signal.SIGTERM, 130)):
            with self.subTest(how=how):
                out = self.path(f"out{int(how)}")
                found, stderr = self.broken_off(out, how)
                self.assertEqual(found, code, stderr)
                self.assertFalse(os.path.exists(out))
                self.assertTrue(os.path.isdir(out + ".partial"))
                receipt = self.json(*self.command, "-o", out)
                self.assertGreater(receipt["resumed_tensors"], 0)
                # The folders' names are not in the files.
                self.assertEqual(harness.digests(out), harness.digests(whole))
                self.assertEqual(self.left_over(), [])

    def test_a_killed_export_is_taken_up_again(self):
        module, whole, out = (self.path(name) for name in
                              ("m.moe", "whole", "out"))
        self.succeeds("upcycle", self.model, "-o", module, "--init", "drop",
                      "--experts", 4, "--probe", "")
        self.command = ["export", module, "--format", "hf", "--dtype", "f32"]
        self.succeeds(*self.command, "-o", whole)
        code, stderr = self.broken_off(out, signal.SIGKILL)
        self.assertEqual(code, -signal.SIGKILL, stderr)
        self.assertFalse(os.path.exists(out))
        report = self.json(*self.command, "-o", out)
        self.assertGreater(report["resumed_tensors"], 0)
        self.assertEqual(harness.digests(out), harness.digests(whole))
        self.assertEqual(self.left_over(), [])

    def test_killed_again_and_again(self):
        whole, out = self.path("whole"), self.path("out")
        self.succeeds(*self.command, "-o", whole)
        tensors = (2, 9, 20, 40)
        kills = 0
        for _ in range(20):
            # Other numbers of threads take up what one has left.
            process = self.start(*self.command, "-o", out, "--threads",
                                 1 + kills % 3)
            self.wait_until(lambda: self.journal(out) > tensors[kills]
                            or process.poll() is not None)
            process.kill()
            process.communicate(timeout=harness.TIMEOUT)
            if not os.path.exists(out):
                kills += 1
                if kills == len(tensors):
                    break
            elif kills >= 2:
                break
            else:  # Too late: from the beginning.
                shutil.rmtree(out)
                kills = 0
        self.assertGreaterEqual(kills, 2)
        if not os.path.exists(out):
            self.succeeds(*self.command, "-o", out)
        self.assertEqual(harness.digests(out), harness.digests(whole))
        self.assertEqual(self.left_over(), [])

    def test_another_recipe_starts_anew(self):
        out = self.path("out")
        self.broken_off(out, signal.SIGKILL)
        command = self.command + ["--seed", 2]
        receipt = self.json(*command, "-o", out)
        self.assertEqual(receipt["resumed_tensors"], 0)
        self.succeeds(*command, "-o", self.path("whole"))
        self.assertEqual(harness.digests(out),
                         harness.digests(self.path("whole")))

    def test_memory_is_bounded(self):
        # Each thread holds a piece of its own.
        receipt = self.json(*self.command, "-o", self.path("out"), "--threads",
                            4)
        largest = 4 * LARGE["ffn"] * LARGE["hidden"]
        if "asan" not in harness.BINARY:
            self.assertLess(receipt["peak_rss_anon"], 3 * largest + (256 << 20))


if __name__ == "__main__":
    unittest.main()
