"""Every command: what it prints, `--json` that parses, and exit codes."""

import json
import os
import re
import struct
import unittest

import harness
import tiny


class Usage(harness.MoecTest):
    def test_version(self):
        self.assertRegex(self.succeeds("--version"), r"^moec \d+\.\d+\.\d+\n$")

    def test_help_lists_every_command(self):
        text = self.succeeds("--help")
        listed = os.path.join(os.environ["MOEC_SOURCE_DIR"], "tools", "moec",
                              "Commands.def")
        with open(listed) as file:
            names = re.findall(r"^COMMAND\((\w+)\)", file.read(), re.M)
        self.assertGreater(len(names), 10)
        for name in names:
            self.assertRegex(text, rf"(?m)^  {name.lower()} ")
            with self.subTest(name):
                help_text = self.succeeds(name.lower(), "--help")
                self.assertIn(f"usage: moec {name.lower()}", help_text)

    def test_wrong_usage_is_exit_code_2(self):
        for arguments in ([], ["mystery"], ["generate"], ["inspect", "a", "b"],
                          ["upcycle", "model"], ["inspect", "m", "--mystery"],
                          ["generate", "m", "--max-tokens", "many"],
                          ["tokenize", "m"],
                          ["tokenize", "m", "--text", "a", "--file", "b"]):
            with self.subTest(arguments):
                result = self.run_moec(*arguments)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertNotEqual(result.stderr, "")
                self.assertEqual(result.stdout, b"")


class Commands(harness.MoecTest):
    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"))
        self.sparse = self.path("sparse.moe")
        self.succeeds("upcycle", self.model, "-o", self.sparse, "--experts", 4,
                      "--init", "drop")

    def test_every_kind_of_model(self):
        bin_model = tiny.write_llama2c(self.path("m.bin"))
        tokenizer = tiny.write_llama2c_tokenizer(self.path("t.bin"), 300)
        gguf = tiny.write_gguf(self.path("m.gguf"))
        module, plan = self.path("m.moe"), self.path("m.moep")
        self.succeeds("import", gguf, "-o", module)
        self.succeeds("compile", module, "-o", plan, "--target", "native")
        answers = []
        for arguments in ([bin_model, "--tokenizer", tokenizer], [gguf],
                          [module], [plan]):
            with self.subTest(arguments[0]):
                answer = self.json("generate", *arguments, "--prompt", "abc",
                                   "--max-tokens", 8, "--ignore-eos")
                answers.append((answer["prompt_ids"], answer["ids"],
                                answer["text"]))
                summary = self.json("inspect", *arguments)
                self.assertEqual(summary["layers"], 2)
                ids = self.json("tokenize", *arguments, "--text", "abc")
                self.assertEqual(ids["ids"], answer["prompt_ids"])
                with open(self.path("text"), "w") as file:
                    file.write("abc")
                self.assertEqual(ids, self.json(
                    "tokenize", *arguments, "--file", self.path("text")))
        # One model in four forms.
        self.assertEqual(answers, answers[:1] * 4)
        self.assertEqual(len(answers[0][1]), 8)

    def test_text_form_reads_back(self):
        text, binary = self.path("text.moe"), self.path("binary.moe")
        self.succeeds("import", self.model, "-o", text, "--text")
        self.succeeds("import", self.model, "-o", binary)
        again = self.path("again.moe")
        self.succeeds("import", text, "-o", again)
        whole = self.succeeds("dump", "--full", binary)
        self.assertEqual(self.succeeds("dump", "--full", again), whole)
        self.assertEqual(self.succeeds("dump", "--full", text), whole)

    def test_inspect(self):
        dense = self.json("inspect", self.model)
        sparse = self.json("inspect", self.sparse)
        whole = sum(tiny.size(s) for s in tiny.shapes(tiny.MODEL).values())
        self.assertEqual(dense["parameters"], whole)
        self.assertEqual(dense["active_parameters"], whole)
        ffn = 3 * tiny.MODEL["ffn"] * tiny.MODEL["hidden"]
        router = 4 * tiny.MODEL["hidden"]
        layers = tiny.MODEL["layers"]
        self.assertEqual(sparse["parameters"],
                         whole + layers * (3 * ffn + router))
        self.assertEqual(sparse["active_parameters"],
                         whole + layers * (ffn + router))
        self.assertGreater(sparse["flops_per_token"],
                           dense["flops_per_token"])
        for model in (self.model, self.sparse):
            self.assertIn("parameters", self.succeeds("inspect", model))

    def test_inspect_tells_where_each_expert_comes_from(self):
        key = "model.layers.0.mlp.{}_proj.weight"
        dense = self.json("inspect", self.model)["layer_list"][0]
        self.assertEqual(dense["from"], {name: [key.format(name)] for name in
                                         ("gate", "up", "down")})
        out = self.path("experts.moe")
        self.succeeds("upcycle", self.model, "-o", out, "--experts", 4)
        sparse = self.json("inspect", out)["layer_list"][0]
        self.assertEqual(sparse["from"], {name: [key.format(name)] * 4
                                          for name in ("gate", "up", "down")})
        self.assertEqual(sparse["weights"], f"4 x ({key.format('up')})")
        # Parts of one tensor, and tensors of one name from several files.
        self.succeeds("upcycle", self.model, "-o", out, "--init", "split",
                      "--experts", 2, "--top-k", 2)
        parts = self.json("inspect", out)["layer_list"][1]["from"]
        self.assertEqual(parts["up"],
                         [f"model.layers.1.mlp.up_proj.weight[{part}]"
                          for part in ("0:32", "32:64")])
        self.assertEqual(parts["down"],
                         [f"model.layers.1.mlp.down_proj.weight[:, {part}]"
                          for part in ("0:32", "32:64")])
        donor = tiny.write_hf(self.path("donor"))
        self.succeeds("upcycle", self.model, "-o", out, "--init", "btx",
                      "--donor", donor, "--experts", 2, "--top-k", 1)
        up = key.format("up")
        self.assertIn(f"1 x (@src: {up}), 1 x (@donor1: {up})",
                      self.succeeds("inspect", out))

    def test_inspect_of_matrices_that_are_no_weights(self):
        path = self.path("m.moe")
        with open(path, "w") as file:
            file.write("""module @m {
  dim t <= 4
  program @step(%x: tensor<[t, 2], f32>, %u: tensor<[1, 2], f32>, %d: tensor<[2, 1], f32>) -> (y: tensor<[t, 2], f32>) {
    %y = ffn %x, %u, %d {gated = false} : tensor<[t, 2], f32>
    return %y
  }
}""")
        layer = self.json("inspect", path)["layer_list"][0]
        self.assertEqual(layer["from"], {"up": ["computed by the program"],
                                         "down": ["computed by the program"]})
        self.assertIn("computed by the program", self.succeeds("inspect", path))
        self.assertIn("the same graph", self.succeeds("diff", path, path))

    def test_dump(self):
        text = self.succeeds("dump", self.sparse)
        self.assertIn("moe.route", text)
        self.assertTrue(json.loads(
            self.succeeds("dump", self.sparse, "--format", "json")))
        dot = self.succeeds("dump", self.sparse, "--format", "dot")
        self.assertTrue(dot.startswith("digraph"))
        self.fails(["dump", self.sparse, "--format", "xml"], "xml", "dot",
                   code=2)
        full = self.path("full.moe")
        with open(full, "w") as file:
            file.write(self.succeeds("dump", self.sparse, "--full"))
        self.assertEqual(self.json("inspect", full)["parameters"],
                         self.json("inspect", self.sparse)["parameters"])

    def test_compile_report(self):
        plan = self.path("p.moep")
        report = self.json("compile", self.sparse, "-o", plan)
        self.assertEqual(report["plan_bytes"], os.path.getsize(plan))
        names = [variant["name"] for variant in report["variants"]]
        self.assertIn("cpu-generic", names)
        self.assertIn("cpu-x86-avx2", names)
        for program in report["programs"]:
            self.assertLessEqual(program["arena_bytes"],
                                 program["unshared_bytes"])
        self.assertIn("peak arena",
                      self.succeeds("compile", self.sparse, "-o", plan))

    def test_same_plan_every_time(self):
        plan = self.path("p.moep")
        digests = []
        for _ in range(2):
            self.succeeds("compile", self.sparse, "-o", plan)
            digests.append([harness.digest_of(file)
                            for file in (plan, plan + ".weights")])
        self.assertEqual(digests[0], digests[1])

    def test_eval(self):
        text = self.path("text.txt")
        with open(text, "w") as file:
            file.write("some words to predict, " * 20)
        answer = self.json("eval", self.model, "--text", text)
        # A window's first token is given, not predicted.
        ids = len("some words to predict, " * 20)
        windows = -(-ids // tiny.MODEL["context"])
        self.assertEqual(answer["tokens"], ids - windows)
        self.assertGreater(answer["perplexity"], 1)
        out = self.path("l.npy")
        self.succeeds("eval", self.model, "--ids", "1,203,7",
                      "--logits", out)
        with open(out, "rb") as file:
            data = file.read()
        self.assertEqual(len(data) % 64, 3 * 300 * 4 % 64)
        start = 10 + struct.unpack_from("<H", data, 8)[0]
        self.assertEqual(len(data) - start, 3 * 300 * 4)
        self.assertIn(b"(3, 300)", data[:start])

    def test_bench(self):
        answer = self.json("bench", self.sparse, "--prefill", 16, "--decode",
                           8, "--runs", 2, "--threads", 2)
        for key in ("prefill_tokens_per_second", "decode_tokens_per_second",
                    "read_gb_per_second"):
            self.assertGreater(answer[key]["median"], 0)
        self.assertEqual(answer["threads"], 2)

    def test_recipes_can_be_run(self):
        text = self.path("text.txt")
        with open(text, "w") as file:
            file.write("Once upon a time there was a compiler. " * 20)
        for recipe in self.json("recipes"):
            if recipe["donors"]:
                continue  # They want more than one model.
            with self.subTest(recipe["name"]):
                self.succeeds("upcycle", self.model, "-o", self.path("r.moe"),
                              "--recipe", recipe["name"],
                              "--calibration-text", text)

    def test_opt_and_emit(self):
        kernels = self.path("kernels.moe")
        with open(kernels, "w") as file:
            file.write(self.succeeds(
                "opt", self.sparse, "--passes=expand-ffn,form-kernels"))
        self.assertIn("define", self.succeeds("emit", "--op", kernels,
                                              "--target", "cpu-generic"))
        self.assertIn("__global__", self.succeeds("emit", "--op", kernels,
                                                  "--target", "cuda"))
        self.fails(["emit", "--op", self.sparse], "no kernel op")
        passes = self.succeeds("opt", "--list-passes")
        self.assertIn("form-kernels", passes)

    def test_passes_can_be_watched(self):
        for flag in ("--print-ir-after=change", "--print-ir-after-change",
                     "--print-ir-after=all", "--print-ir-before=all",
                     "--print-ir-before-all", "--print-ir-after=upcycle"):
            with self.subTest(flag):
                module = self.path("m.moe")
                self.succeeds("import", self.model, "-o", module)
                result = self.run_moec("opt", module, flag,
                                       "--passes=upcycle{experts=2,top_k=1}")
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertIn("program @step", result.stderr)

    def test_a_file_for_every_pass_of_a_compile(self):
        tree = self.path("tree")
        self.succeeds("compile", self.sparse, "-o", self.path("p.moep"),
                      "--print-ir-tree-dir", tree)
        names = sorted(os.listdir(tree))
        # Numbered through both pipelines, each file from the one before it.
        self.assertEqual([name.split("-")[0] for name in names],
                         [f"{i:02}" for i in range(len(names))])
        self.assertEqual(names[0], "00-input.moe")
        self.assertTrue(names[-1].endswith("-form-kernels.moe"), names)
        for name in names:
            with self.subTest(name):
                self.succeeds("opt", os.path.join(tree, name))
        with open(os.path.join(tree, names[-1])) as file:
            self.assertIn("kernel.", file.read())

    def test_failures_can_be_replayed(self):
        module, kept = self.path("m.moe"), self.path("kept.moe")
        self.succeeds("import", self.model, "-o", module)
        command = ["opt", module, "--passes=simplify,upcycle{experts=2,"
                   "top_k=3},cse", "--reproducer", kept]
        self.fails(command, "top-k is 3")
        with open(kept) as file:
            text = file.read()
        self.assertIn('// pipeline: "upcycle{experts = 2, top_k = 3},cse"',
                      text)
        self.fails(["opt", "--replay", kept], "top-k is 3")
        # Changed, it runs through: what is replayed is the file.
        with open(kept, "w") as file:
            file.write(text.replace("top_k = 3", "top_k = 1"))
        self.assertIn("moe.route", self.succeeds("opt", "--replay", kept))
        # A pass may break a model for a compile, too.
        broken = self.path("broken.moe")
        with open(broken, "w") as file:
            file.write(text.replace("program @step", "program @other"))
        self.fails(["compile", broken, "-o", self.path("p.moep")], "step")
        self.assertEqual(self.left_over(), [])

    def test_doctor(self):
        report = {entry["what"]: entry for entry in self.json("doctor")}
        self.assertTrue(report["cpu-generic"]["ok"])
        self.assertTrue(report["JIT plug-in"]["ok"],
                        report["JIT plug-in"]["detail"])

    def test_tokenize_knows_models_by_their_contents(self):
        named = tiny.write_gguf(self.path("m.gguf"))
        os.rename(named, self.path("model without a suffix"))
        self.assertTrue(self.json(
            "tokenize", self.path("model without a suffix"), "--text",
            "ab")["ids"])

    def test_tokenize_a_folder_whose_module_has_the_tokenizer(self):
        model = tiny.write_hf(self.path("model"))
        out = self.path("out")
        self.succeeds("upcycle", model, "-o", out, "--experts", 2, "--top-k", 1)
        expected = self.json("tokenize", model, "--text", "ab c")
        os.unlink(os.path.join(out, "tokenizer.json"))
        self.assertEqual(self.json("tokenize", out, "--text", "ab c"), expected)

    def test_tokenize_a_checkpoint_without_a_tokenizer(self):
        checkpoint = tiny.write_llama2c(self.path("m.bin"))
        self.fails(["tokenize", checkpoint, "--text", "a"],
                   "brings no tokenizer", "--tokenizer", place=checkpoint)
        tokenizer = tiny.write_llama2c_tokenizer(self.path("t.bin"), 300)
        self.assertTrue(self.json("tokenize", checkpoint, "--tokenizer",
                                  tokenizer, "--text", "a")["ids"])
        # A name that is wrong is not passed over.
        self.fails(["tokenize", self.path("none"), "--tokenizer", tokenizer,
                    "--text", "a"], "No such file", place=self.path("none"))

    def test_tokenize_a_tokenizer_alone(self):
        path = os.path.join(self.model, "tokenizer.json")
        answer = self.json("tokenize", path, "--text", "ab")
        self.assertEqual(len(answer["ids"]), 2)
        self.assertIn("piece", self.succeeds("tokenize", path, "--text", "ab"))


if __name__ == "__main__":
    unittest.main()
