"""Plans whose weights are packed beforehand: the same answers to the bit, from
two files that need no third, and errors that name the file that is wrong."""

import json
import os
import shutil
import struct
import unittest

import harness
import tiny

IDS = "5,17,200,42,5,99,7"
# Rows that are no whole number of panels, and a bank of several windows' parts.
ODD = dict(tiny.MODEL, hidden=96, ffn=160, heads=3, kv_heads=1, vocab=301)


def one_processor():
    """Before the child starts: it has a single thread."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


class Pack(harness.MoecTest):
    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"), ODD)

    def experts(self, name, *flags):
        out = self.path(name)
        if "--experts" not in flags:
            flags += ("--experts", 3)
        self.succeeds("upcycle", self.model, "-o", out, "--top-k", 2,
                      "--probe", "", *flags)
        return out

    def compile(self, model, name, *flags):
        """Path of a plan."""
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        self.succeeds("compile", model, "-o", self.path(name), *flags)
        return self.path(name)

    def answers(self, plan, *flags):
        """Logits of a prompt and of greedy tokens behind it, as bytes."""
        out = self.path("logits.npy")
        self.succeeds("eval", plan, "--ids", IDS, "--logits", out, *flags)
        with open(out, "rb") as file:
            logits = file.read()
        ids = self.json("generate", plan, "--prompt-ids", IDS, "--max-tokens",
                        12, "--temperature", 0, "--ignore-eos", *flags)["ids"]
        return logits, ids

    def pair(self, model, *flags):
        """The same plan, its weights packed when loaded and beforehand; the
        latter in a folder of its own."""
        return (self.compile(model, "loaded.moep", "--pack=none", *flags),
                self.compile(model, "packed/p.moep", *flags))

    def test_same_answers(self):
        models = {"dense": self.model,
                  "stored experts": self.experts("copy.moe", "--init", "copy"),
                  "computed experts": self.experts("drop.moe", "--init",
                                                   "drop"),
                  "other rotary order": tiny.write_gguf(self.path("m.gguf"),
                                                        ODD)}
        for name, model in models.items():
            for dtype in ("f32", "bf16", "q8_0"):
                with self.subTest(name, dtype=dtype):
                    loaded, packed = self.pair(model, "--dtype", dtype)
                    self.assertEqual(self.answers(loaded),
                                     self.answers(packed))

    def test_weights_across_windows(self):
        """More than is packed at a time, in strips that no window ends with;
        computed experts and stored ones."""
        self.model = tiny.write_hf(self.path("large"), dict(
            tiny.MODEL, hidden=256, ffn=1000, heads=8, kv_heads=4))
        for init in ("drop", "copy"):
            with self.subTest(init):
                sparse = self.experts("large.moe", "--init", init, "--experts",
                                      8)
                loaded, packed = self.pair(sparse, "--target", "native")
                self.assertGreater(os.path.getsize(packed + ".weights"),
                                   2 * 16 * 2 ** 20)
                self.assertEqual(self.answers(loaded), self.answers(packed))

    def test_ungated_experts(self):
        def relu(config):
            config["hidden_act"] = "relu"
        gguf = tiny.write_hf(self.path("relu"), ODD, change=relu)
        loaded, packed = self.pair(gguf)
        self.assertEqual(self.answers(loaded), self.answers(packed))

    def test_needs_no_other_file(self):
        sparse = self.experts("drop.moe", "--init", "drop")
        plan = self.compile(sparse, "packed/p.moep")
        wanted = self.answers(plan)
        shutil.rmtree(self.model)
        os.unlink(sparse)
        os.rename(self.path("packed"), self.path("elsewhere"))
        moved = self.path("elsewhere", "p.moep")
        self.assertEqual(self.answers(moved), wanted)
        self.assertEqual(self.answers(moved, "--verify"), wanted)
        # A link to the plan, with the weights beside it or beside the plan.
        os.symlink(moved, self.path("link.moep"))
        self.assertEqual(self.answers(self.path("link.moep")), wanted)
        os.makedirs(self.path("links"))
        os.rename(moved + ".weights", self.path("blob"))
        os.symlink(moved, self.path("links", "p.moep"))
        os.symlink(self.path("blob"), self.path("links", "p.moep.weights"))
        self.assertEqual(self.answers(self.path("links", "p.moep")), wanted)

    def test_every_variant(self):
        report = self.json("compile", self.model, "-o", self.path("p.moep"),
                           "--pack=all", "--dtype", "bf16")
        packed = report["packed"]
        self.assertEqual(packed["file"], self.path("p.moep.weights"))
        self.assertEqual(packed["bytes"], os.path.getsize(packed["file"]))
        self.assertEqual(report["plan_bytes"],
                         os.path.getsize(self.path("p.moep")))
        self.assertEqual([v["name"] for v in packed["variants"]],
                         [v["name"] for v in report["variants"]])
        # Vectors at least are the same everywhere.
        for variant in packed["variants"][1:]:
            self.assertGreater(variant["shared_bytes"], 0)
        # Two variants of the same panels share all.
        self.assertTrue(any(v["shared_bytes"] == v["bytes"]
                            for v in packed["variants"]))
        shutil.rmtree(self.model)
        runs = [v["what"] for v in self.json("doctor")
                if v["what"].startswith("cpu-") and v["ok"]]
        self.assertGreater(len(runs), 0)
        for variant in runs:
            with self.subTest(variant):
                self.answers(self.path("p.moep"), "--variant", variant)

    def test_some_variants(self):
        report = self.json("compile", self.model, "-o", self.path("p.moep"),
                           "--pack=generic,cpu-x86-avx2")
        self.assertEqual([v["name"] for v in report["packed"]["variants"]],
                         ["cpu-x86-avx2", "cpu-generic"])
        plan = self.json("inspect", self.path("p.moep"))["plan"]
        self.assertEqual(plan["version"], "1.2")
        for variant in plan["variants"]:
            isPacked = variant["name"] in ("cpu-x86-avx2", "cpu-generic")
            self.assertEqual(variant["packed_bytes"],
                             variant["weight_bytes"] if isPacked else 0)
            self.assertEqual(variant["weight_files"],
                             ["p.moep.weights"] if isPacked else [])
        text = self.succeeds("inspect", self.path("p.moep"))
        self.assertRegex(text, r"cpu-generic +\S+ kB +packed in p.moep.weights")
        self.assertRegex(text, r"cpu-x86-amx +\S+ kB +packed when loaded")
        text = self.succeeds("dump", self.path("p.moep"))
        self.assertIn("packed in p.moep.weights", text)
        self.assertEqual(json.loads(self.succeeds(
            "dump", self.path("p.moep"), "--format", "json"))["plan"], plan)
        # The text with its comments reads back.
        with open(self.path("text.moe"), "w") as file:
            file.write(self.succeeds("dump", "--full", self.path("p.moep")))
        self.succeeds("inspect", self.path("text.moe"))
        # A variant that was not packed still wants the model.
        self.answers(self.path("p.moep"), "--variant", "generic")
        shutil.rmtree(self.model)
        self.answers(self.path("p.moep"), "--variant", "generic")
        result = self.run_moec("compile", self.path("p.moep"), "-o",
                               self.path("q.moep"))
        self.assertIn("is a plan already", result.stderr)

    def test_variant_that_was_not_packed(self):
        names = [v["what"] for v in self.json("doctor")
                 if v["what"].startswith("cpu-") and v["ok"]]
        if len(names) < 2:
            self.skipTest("this machine runs one variant only")
        plan = self.compile(self.model, "p.moep", "--pack=generic")
        shutil.rmtree(self.model)
        other = next(name for name in names if name != "cpu-generic")
        result = self.run_moec("generate", plan, "--prompt-ids", IDS,
                               "--variant", other)
        self.assertEqual(result.returncode, 1)
        self.assertIn("model.safetensors: error: cannot open", result.stderr)
        self.assertIn("compile with --pack=" + other, result.stderr)

    def test_unknown_variant(self):
        self.fails(["compile", self.model, "-o", self.path("p.moep"),
                    "--pack=cpu-z80"], "--pack is 'cpu-z80'", "cpu-generic")
        self.fails(["compile", self.model, "-o", self.path("p.moep"),
                    "--target", "cpu-generic", "--pack=avx2"],
                   "--pack is 'avx2'", "some of cpu-generic")
        self.fails(["compile", self.model, "-o", self.path("p.moep"),
                    "--pack=none,all"], "--pack is 'none,all'", "none alone",
                   code=2)
        self.assertEqual(os.listdir(self.folder), ["model"])

    def test_output_that_is_no_file(self):
        self.fails(["compile", self.model, "-o", "/dev/null", "--pack"],
                   "no regular file", place="/dev/null")
        # Nobody asked for the file that cannot be.
        self.succeeds("compile", self.model, "-o", "/dev/null")

    def test_host(self):
        """Packed without being asked, for the variant that is run here; a plan
        for other machines, for all that it has."""
        best = next(v["what"] for v in self.json("doctor")
                    if v["what"].startswith("cpu-") and v["ok"])
        for flags in ([], ["--pack"], ["--pack=host"]):
            report = self.json("compile", self.model, "-o",
                               self.path("p.moep"), *flags)
            self.assertEqual([v["name"] for v in report["packed"]["variants"]],
                             [best])
        report = self.json("compile", self.model, "-o", self.path("q.moep"),
                           "--pack=none")
        self.assertNotIn("packed", report)
        self.assertFalse(os.path.exists(self.path("q.moep.weights")))
        others = [v["what"] for v in self.json("doctor")
                  if v["what"].startswith("cpu-") and not v["ok"]]
        for other in others:
            report = self.json("compile", self.model, "-o",
                               self.path("q.moep"), "--target", other)
            self.assertEqual([v["name"] for v in report["packed"]["variants"]],
                             [other])

    def test_same_bytes_every_time(self):
        sparse = self.experts("noise.moe", "--init", "noise", "--noise-std",
                              0.1)
        digests = []
        for name, options in (("a", {}), ("b", {}),
                              ("c", dict(preexec_fn=one_processor))):
            os.makedirs(self.path(name))
            self.succeeds("compile", sparse, "-o", self.path(name, "p.moep"),
                          "--pack=all", **options)
            digests.append(harness.digests(self.path(name)))
        self.assertEqual(digests[0], digests[1])
        self.assertEqual(digests[0], digests[2])

    def test_old_weights(self):
        plan = self.compile(self.model, "p.moep")
        first = harness.digest_of(plan + ".weights")
        self.compile(self.experts("drop.moe", "--init", "drop"), "p.moep")
        self.assertNotEqual(harness.digest_of(plan + ".weights"), first)
        self.answers(plan)
        result = self.run_moec("compile", self.model, "-o", plan,
                               "--pack=none")
        self.assertEqual(result.returncode, 0)
        self.assertIn("p.moep.weights' holds the packed weights of an earlier "
                      "plan", result.stderr)

    def test_verify_without_digests(self):
        # What a plan of 'compile' states, a model's files do not.
        result = self.run_moec("generate", self.model, "--prompt-ids", IDS,
                               "--max-tokens", 1, "--verify")
        self.assertEqual(result.returncode, 0)
        self.assertIn("--verify compares nothing", result.stderr)


class BadFile(harness.MoecTest):
    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"))
        self.plan = self.path("p.moep")
        self.succeeds("compile", self.model, "-o", self.plan, "--target",
                      "native")
        self.weights = self.plan + ".weights"

    def refused(self, *expected, flags=()):
        """The error is about the file, and a note says what to do."""
        self.fails(["generate", self.plan, "--prompt-ids", IDS, *flags],
                   *expected, place=self.weights)

    def test_missing(self):
        os.unlink(self.weights)
        result = self.run_moec("generate", self.plan, "--prompt-ids", IDS)
        self.assertIn(f"{self.weights}: error: cannot open", result.stderr)
        self.assertIn("keep both in one folder, or compile again",
                      result.stderr)
        self.refused("No such file")
        os.makedirs(self.weights)
        self.refused("found a directory")

    def test_cut_off(self):
        size = os.path.getsize(self.weights)
        for left in (size - 1, 4096, 56, 8):
            with self.subTest(left):
                os.truncate(self.weights, left)
                self.refused(f"expects {size} bytes, found {left}")
        os.truncate(self.weights, 3)
        self.refused("is no file of packed weights")
        os.truncate(self.weights, 0)
        self.refused("is empty")

    def test_longer(self):
        size = os.path.getsize(self.weights)
        os.truncate(self.weights, size + 1)
        self.refused(f"expects {size} bytes, found {size + 1}")

    def patch(self, at, data):
        with open(self.weights, "r+b") as file:
            file.seek(at)
            file.write(data)

    def test_changed_head(self):
        self.patch(24, b"another id")
        self.refused("belongs to another plan", "expects the id")
        self.patch(16, struct.pack("<Q", 7))
        self.refused("states a size of 7 bytes")
        self.patch(8, struct.pack("<I", 2))
        self.refused("version 2", "reads version 1")
        self.patch(0, b"GGUF")
        self.refused("is no file of packed weights")

    def test_changed_weights(self):
        with open(self.weights, "rb") as file:
            file.seek(4096 + 100)
            byte = file.read(1)
        self.patch(4096 + 100, bytes([byte[0] ^ 1]))
        # Not looked for unless asked to.
        self.succeeds("generate", self.plan, "--prompt-ids", IDS)
        self.refused("at byte 4096", "expects bytes with the SHA-256",
                     "compile again", flags=["--verify"])

    def started(self):
        """A long run that has mapped the weights."""
        long = tiny.write_hf(self.path("long"),
                             dict(tiny.MODEL, context=8192))
        self.succeeds("compile", long, "-o", self.plan, "--pack", "--target",
                      "native")
        process = self.start("generate", self.plan, "--prompt-ids", IDS,
                             "--max-tokens", 4000, "--ignore-eos", "--json")

        def is_mapped():
            if process.poll() is not None:
                return True
            with open(f"/proc/{process.pid}/maps") as file:
                return self.weights in file.read()
        self.wait_until(is_mapped)
        self.assertIsNone(process.poll(), "ended before its weights changed")
        return process

    def test_cut_off_while_mapped(self):
        process = self.started()
        os.truncate(self.weights, 4096)
        code, stderr = self.finish(process)
        self.assertEqual(code, 1, stderr)
        self.assertRegex(stderr, f"^{self.weights}: error: .*expect.* bytes, "
                         r"found 4096")

    def test_replaced_while_mapped(self):
        process = self.started()
        with open(self.path("other"), "wb") as file:
            file.write(bytes(4096))
        os.rename(self.weights, self.path("kept"))
        os.rename(self.path("other"), self.weights)
        code, stderr = self.finish(process)
        self.assertEqual(code, 0, stderr)
        self.refused("is no file of packed weights")

    def test_of_another_plan(self):
        other = tiny.write_hf(self.path("other"),
                              dict(tiny.MODEL, context=128))
        with open(os.path.join(other, "model.safetensors"), "r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(b"\0\0\0\0")
        self.succeeds("compile", other, "-o", self.path("q.moep"), "--target",
                      "native")
        os.replace(self.path("q.moep.weights"), self.weights)
        self.refused("belongs to another plan")


if __name__ == "__main__":
    unittest.main()
