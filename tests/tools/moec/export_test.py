"""Exports: that they are read back to the same model and the same bytes, what
is refused and how, and what stands beside the tensors."""

import json
import os
import shutil
import struct
import unittest

import harness
import tiny


def read_logits(path):
    """Numbers of a float32 .npy file."""
    with open(path, "rb") as file:
        data = file.read()
    assert data[:6] == b"\x93NUMPY", "is no .npy file"
    start = 10 + struct.unpack_from("<H", data, 8)[0]
    return struct.unpack(f"<{(len(data) - start) // 4}f", data[start:])


class Export(harness.MoecTest):
    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"))

    def logits(self, model):
        out = self.path("logits.npy")
        self.succeeds("eval", model, "--ids", "1,5,9,100,7", "--dtype", "f32",
                      "--logits", out)
        return read_logits(out)

    def assert_same_model(self, left, right, limit=1e-5):
        a, b = self.logits(left), self.logits(right)
        largest = max(map(abs, a))
        self.assertLess(max(abs(x - y) for x, y in zip(a, b)) / largest, limit)

    def upcycled(self, *flags):
        out = self.path("sparse.moe")
        self.succeeds("upcycle", self.model, "-o", out, "--experts", 5,
                      "--top-k", 3, "--init", "noise", "--router-std", 0.3,
                      "--probe", "", *flags)
        return out

    def export(self, model, name, *flags):
        out = self.path(name)
        return out, self.json("export", model, "-o", out, *flags)

    def config(self, folder):
        with open(os.path.join(folder, "config.json")) as file:
            return json.load(file)

    def test_dense_model_comes_back_with_its_bytes(self):
        first, report = self.export(self.model, "first")
        self.assertEqual(report["architecture"], "llama")
        self.assertTrue(report["exact"])
        self.assert_same_model(self.model, first)
        self.assertEqual(
            harness.digest_of(os.path.join(first, "tokenizer.json")),
            harness.digest_of(os.path.join(self.model, "tokenizer.json")))
        second, _ = self.export(first, "second")
        self.assertEqual(harness.digests(first), harness.digests(second))

    def test_experts_come_back_with_their_bytes(self):
        for router, flags, architecture in (
                ("softmax-topk-renorm", (), "mixtral"),
                ("softmax-topk-renorm", ("--arch", "granitemoe"), "granitemoe"),
                ("softmax-topk", (), "qwen2_moe"),
                ("sigmoid-topk-renorm", (), "glm4_moe")):
            with self.subTest(architecture):
                sparse = self.upcycled("--router", router)
                first, report = self.export(sparse, architecture, *flags)
                self.assertEqual(report["architecture"], architecture)
                self.assertEqual(self.config(first)["model_type"], architecture)
                self.assert_same_model(sparse, first)
                second, _ = self.export(first, architecture + "-again", *flags)
                self.assertEqual(harness.digests(first),
                                 harness.digests(second))
                os.remove(sparse)

    def test_gguf_comes_back_with_its_bytes(self):
        sparse = self.upcycled()
        for source, name in ((self.model, "dense"), (sparse, "sparse")):
            for dtype, limit in (("f32", 1e-5), ("bf16", 1), ("f16", 1),
                                 ("q8_0", 1)):
                with self.subTest(name, dtype=dtype):
                    flags = ("--format", "gguf", "--dtype", dtype)
                    first, report = self.export(source, "a.gguf", *flags)
                    self.assertEqual(report["architecture"], "llama")
                    self.assertEqual(report["bytes"], os.path.getsize(first))
                    self.assert_same_model(source, first, limit)
                    second, _ = self.export(first, "b.gguf", *flags)
                    self.assertEqual(harness.digest_of(first),
                                     harness.digest_of(second))

    def test_formats_lead_to_each_other(self):
        sparse = self.upcycled()
        gguf, _ = self.export(sparse, "a.gguf", "--format", "gguf")
        folder, report = self.export(gguf, "folder")
        self.assertEqual(report["architecture"], "mixtral")
        self.assert_same_model(sparse, folder)
        direct, _ = self.export(sparse, "direct")
        # Rotary rows were interleaved and are back in their order.
        self.assertEqual(
            harness.digest_of(os.path.join(folder, "model.safetensors")),
            harness.digest_of(os.path.join(direct, "model.safetensors")))

    def test_tokenizers_change_their_form_and_not_their_ids(self):
        texts = ("hello there", "a  b", "déjà vu 12")
        for source in (tiny.write_gguf(self.path("source.gguf")), self.model):
            folder, _ = self.export(source, "hf")
            gguf, report = self.export(folder, "x.gguf", "--format", "gguf")
            for text in texts:
                wanted = self.json("tokenize", source, "--text", text)["ids"]
                for path in (folder, gguf):
                    if path == gguf and report["notes"]:
                        continue
                    found = self.json("tokenize", path, "--text", text)["ids"]
                    self.assertEqual(found, wanted, f"{path}: {text}")
            os.rename(folder, self.path(f"done-{os.path.basename(source)}"))

    def test_model_without_a_tokenizer(self):
        bare = tiny.write_hf(self.path("bare"), tokenizer=False)
        for flags in ((), ("--format", "gguf")):
            out, report = self.export(bare, f"out{len(flags)}", *flags)
            self.assertIn("has no tokenizer", report["notes"][0])
            self.assert_same_model(bare, out)

    def test_licence_and_card(self):
        with open(os.path.join(self.model, "LICENSE"), "w") as file:
            file.write("Do as you like.\n")
        sparse = self.upcycled("--seed", 7)
        folder, _ = self.export(sparse, "folder")
        with open(os.path.join(folder, "LICENSE")) as file:
            self.assertEqual(file.read(), "Do as you like.\n")
        with open(os.path.join(folder, "README.md")) as file:
            card = file.read()
        inspected = self.json("upcycle", self.model, "-o", self.path("x.moe"))
        self.assertIn(inspected["source_sha256"], card)
        self.assertIn("init=noise", card.replace(" ", ""))
        self.assertIn("| lineage.seed | 7 |", card)
        gguf, _ = self.export(sparse, "x.gguf", "--format", "gguf")
        self.assertTrue(os.path.exists(gguf + ".LICENSE"))
        self.assertTrue(os.path.exists(gguf + ".README.md"))
        # The lineage is inside the files as well.
        again, _ = self.export(gguf, "again")
        self.assertEqual(self.config(again)["moec"],
                         self.config(folder)["moec"])

    def test_upcycled_folder_is_a_model_of_transformers(self):
        for router, architecture in (("softmax-topk-renorm", "mixtral"),
                                     ("softmax-topk", "qwen2_moe")):
            out = self.path("up-" + router)
            report = self.json("upcycle", self.model, "-o", out, "--experts", 3,
                               "--router", router, "--dtype", "f32")
            self.assertEqual(report["architecture"], architecture)
            self.assertEqual(self.config(out)["model_type"], architecture)
            self.assertTrue(os.path.exists(os.path.join(out,
                                                        "tokenizer.json")))
            # As the folder's module says, and as its settings say.
            settings = self.path("settings-" + router)
            shutil.copytree(out, settings)
            os.remove(os.path.join(settings, "module.moe"))
            self.assert_same_model(out, settings)

    def test_refusals(self):
        sparse = self.upcycled("--router", "softmax-topk")
        line = self.fails(
            ["export", sparse, "-o", self.path("x"), "--arch", "mixtral"],
            "cannot express this model", "keeps softmax scores as they are",
            place=sparse)
        self.assertNotIn("note", line)
        result = self.run_moec("export", sparse, "-o", self.path("x"),
                               "--arch", "mixtral")
        self.assertIn("exact with --format hf: qwen2_moe", result.stderr)
        self.assertIn("--allow-inexact", result.stderr)
        self.fails(["export", sparse, "-o", self.path("x"), "--arch", "gpt5"],
                   "--arch is 'gpt5'", "mixtral")
        self.fails(["export", sparse, "-o", self.path("x"), "--format", "onnx"],
                   "--format is 'onnx'", "hf or gguf", code=2)
        self.fails(["export", sparse, "-o", self.path("x"), "--dtype", "int4"],
                   "--dtype is 'int4'", code=2)
        self.fails(["export", sparse, "-o", self.path("x"), "--dtype", "q8_0"],
                   "q8_0", "gguf", code=2)
        self.assertFalse(os.path.exists(self.path("x")))
        self.assertEqual(self.left_over(), [])

    def test_refusal_names_what_is_in_the_way(self):
        """Not that the dense family of the same name has no experts."""
        sparse = self.upcycled("--router", "sigmoid-topk")
        result = self.run_moec("export", sparse, "-o", self.path("x.gguf"))
        self.assertEqual(result.returncode, 1)
        self.assertIn("its router takes sigmoids", result.stderr)
        self.assertIn("no architecture of --format gguf is exact",
                      result.stderr)

    def test_inexact_exports_say_what_changed(self):
        sparse = self.upcycled("--router", "softmax-topk")
        result = self.run_moec("export", sparse, "-o", self.path("x"), "--arch",
                               "mixtral", "--allow-inexact", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        report = json.loads(result.stdout)
        self.assertFalse(report["exact"])
        self.assertIn("divides softmax scores by their sum",
                      report["changes"][0])
        self.assertIn("warning: not exact", result.stderr)
        with open(os.path.join(self.path("x"), "README.md")) as file:
            self.assertIn("divides softmax scores by their sum", file.read())

    def test_experts_that_no_format_has(self):
        sparse = self.upcycled("--router", "softmax-topp",
                               "--router-threshold", 0.5)
        self.fails(["export", sparse, "-o", self.path("x")],
                   "reach a probability of 0.5", place=sparse)
        self.succeeds("export", sparse, "-o", self.path("x"),
                      "--allow-inexact")

    def test_dry_run_writes_nothing(self):
        for flags in ((), ("--format", "gguf", "--dtype", "q8_0")):
            out, plan = self.export(self.model, "plan", "--dry-run", *flags)
            self.assertFalse(os.path.exists(out))
            _, report = self.export(self.model, f"out{len(flags)}", *flags)
            for key in ("bytes", "tensors", "parameters", "architecture"):
                self.assertEqual(plan[key], report[key])
        self.assertEqual(self.left_over(), [])

    def test_numbers_that_half_precision_lacks(self):
        def large(settings):
            settings["rms_norm_eps"] = 1e-5
        model = tiny.write_hf(self.path("large"), change=large)
        path = os.path.join(model, "model.safetensors")
        with open(path, "rb") as file:
            data = bytearray(file.read())
        # The last number of the last tensor, the head.
        data[-4:] = struct.pack("<f", 1e6)
        with open(path, "wb") as file:
            file.write(data)
        self.fails(["export", model, "-o", self.path("x"), "--dtype", "f16"],
                   "1e+06", "f16", place="lm_head.weight")
        self.assertFalse(os.path.exists(self.path("x")))
        self.succeeds("export", model, "-o", self.path("y"), "--dtype", "bf16")

    def test_plans_are_no_models_to_export(self):
        plan = self.path("a.moep")
        self.succeeds("compile", self.model, "-o", plan)
        self.fails(["export", plan, "-o", self.path("x")], "is a plan",
                   place=plan)


if __name__ == "__main__":
    unittest.main()
