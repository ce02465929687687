"""Names of inputs and outputs in every combination: no command destroys what it
reads, or begins long work whose result has no place."""

import json
import os
import shutil
import subprocess
import threading
import unittest

import harness
import tiny

READS = "the command reads this file"
# As a name it is no UTF-8.
STRANGE = os.fsdecode(b"\xff\xe2\x96")


class Paths(harness.MoecTest):
    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"))
        self.weights = os.path.join(self.model, "model.safetensors")
        self.gguf = tiny.write_gguf(self.path("model.gguf"))
        self.module = self.path("m.moe")
        self.succeeds("import", self.model, "-o", self.module)
        self.text = self.path("text.txt")
        with open(self.text, "w") as file:
            file.write("a little text\n" * 4)

    def everything(self):
        return {os.path.join(folder, name):
                harness.digest_of(os.path.join(folder, name))
                for folder, _, names in os.walk(self.folder)
                for name in names}

    def test_no_output_takes_the_place_of_an_input(self):
        kernels = self.path("k.moe")
        self.succeeds("opt", self.module, "--passes=expand-ffn,form-kernels",
                      "-o", kernels)
        os.symlink(self.module, self.path("link.moe"))
        os.link(self.weights, self.path("hard"))
        around = os.path.join(self.folder, "model", "..", "m.moe")
        config = os.path.join(self.model, "config.json")
        recipe = self.path("own.yaml")
        with open(recipe, "w") as file:
            file.write(self.succeeds("recipes", "skywork", "--yaml"))
        before = self.everything()
        for command in (
                ["import", self.module, "-o", self.module],
                ["import", self.module, "-o", self.path("link.moe")],
                ["import", self.path("link.moe"), "-o", self.module],
                ["import", self.module, "-o", around],
                ["import", self.gguf, "-o", self.gguf],
                # Weights of the module.
                ["import", self.module, "-o", self.weights],
                ["import", self.module, "-o", self.path("hard")],
                ["import", self.model, "-o", config],
                ["dump", self.module, "-o", self.module],
                ["dump", self.model, "-o", self.weights],
                ["upcycle", self.module, "-o", self.module],
                ["upcycle", self.module, "-o", self.path("u.moe"), "--html",
                 self.module],
                ["upcycle", self.module, "-o", self.path("u.moe"), "--html",
                 self.weights],
                ["upcycle", self.module, "-o", self.path("u.moe"), "--html",
                 recipe, "--recipe", recipe],
                ["upcycle", self.module, "-o", self.path("u.moe"), "--html",
                 self.text, "--calibration-text", self.text],
                ["upcycle", self.module, "-o", self.path("u.moe"), "--html",
                 self.gguf, "--init", "btx", "--donor", self.gguf],
                ["upcycle", self.gguf, "-o", self.path("u.moe"), "--html",
                 config, "--init", "btx", "--donor", self.model],
                ["compile", self.module, "-o", self.module],
                ["compile", self.module, "-o", self.weights],
                ["compile", self.gguf, "-o", self.gguf],
                ["compile", self.module, "-o", self.path("p.moep"),
                 "--remarks", self.module],
                ["compile", self.module, "-o", self.path("p.moep"),
                 "--reproducer", self.module],
                ["export", self.gguf, "-o", self.gguf],
                ["export", self.module, "-o", self.weights, "--format",
                 "gguf"],
                ["eval", self.module, "--ids", "1,2", "--logits", self.module],
                ["eval", self.module, "--ids", "1,2", "--logits",
                 self.weights],
                ["eval", self.module, "--text", self.text, "--logits",
                 self.text],
                ["diff", self.model, self.module, "--html", self.module],
                ["diff", self.module, self.gguf, "--html", self.gguf],
                ["diff", self.module, self.gguf, "--html", self.weights],
                ["opt", self.module, "-o", self.module],
                ["opt", self.module, "-o", self.path("o.moe"), "--reproducer",
                 self.module],
                ["emit", kernels, "-o", kernels]):
            with self.subTest(command[0], rest=command[1:]):
                self.fails(command, READS)
                self.assertEqual(self.everything(), before)

    def test_a_folder_that_moec_wrote_is_an_input_too(self):
        out = self.path("out")
        self.succeeds("upcycle", self.module, "-o", out, "--experts", 2,
                      "--top-k", 1)
        before = self.everything()
        for name in ("module.moe", "model.safetensors"):
            with self.subTest(name):
                self.fails(["import", out, "-o", os.path.join(out, name)],
                           READS)
        self.fails(["upcycle", out, "-o", out, "--to-dense", "average"],
                   "new or empty directory")
        self.assertEqual(self.everything(), before)
        # What is no part of it may stand there.
        self.succeeds("import", out, "-o", os.path.join(out, "other.moe"))
        self.succeeds("import", out, "-o", os.path.join(out, "other.moe"))

    def test_two_outputs_of_one_name(self):
        before = self.everything()
        page = self.path("p.moe")
        for command in (
                ["upcycle", self.module, "-o", page, "--html", page],
                ["upcycle", self.module, "-o", page, "--html",
                 os.path.join(self.folder, ".", "p.moe")],
                ["compile", self.module, "-o", page, "--remarks", page],
                ["compile", self.module, "-o", page, "--remarks",
                 page + ".weights"]):
            with self.subTest(command):
                self.fails(command, "two outputs have this name")
                self.assertEqual(self.everything(), before)
        # Two uses of a device are none.
        self.succeeds("compile", self.module, "-o", "/dev/null", "--remarks",
                      "/dev/null", "--target", "cpu-generic", "--pack=none")

    def test_every_output_is_tried_before_the_work(self):
        none = self.path("none", "x")
        before = self.everything()
        for command in (
                # The page's name begins as the module's does.
                ["upcycle", self.module, "-o", self.path("u.moe"), "--html",
                 self.path("u.moe2", "page.html")],
                ["upcycle", self.module, "-o", none, "--html", self.text],
                ["compile", self.module, "-o", self.path("p.moep"),
                 "--remarks", none],
                ["export", self.module, "-o", none],
                ["eval", self.module, "--text", "-", "--logits", none],
                ["diff", self.model, self.module, "--html", none]):
            with self.subTest(command):
                self.fails(command, "No such file", place=self.folder)
                self.assertEqual(self.everything(), before)

    def test_page_in_the_folder_that_is_made(self):
        out = self.path("out")
        recipe = ["--experts", 2, "--top-k", 1]
        for name in ("model.safetensors", "config.json", "deep/page.html"):
            with self.subTest(name):
                self.fails(["upcycle", self.module, "-o", out, "--html",
                            os.path.join(out, name), *recipe],
                           "ends in .html", code=2)
                self.assertFalse(os.path.exists(out))
        self.succeeds("upcycle", self.module, "-o", out + "/", "--html",
                      os.path.join(out, "page.html"), *recipe)
        self.assertIn("page.html", os.listdir(out))

    def test_dangling_link_as_output(self):
        os.symlink("later.moe", self.path("link.moe"))
        self.succeeds("import", self.model, "-o", self.path("link.moe"))
        self.assertTrue(os.path.islink(self.path("link.moe")))
        self.assertEqual(harness.digest_of(self.path("later.moe")),
                         harness.digest_of(self.module))

    @unittest.skipIf(os.geteuid() == 0, "root may write everywhere")
    def test_output_that_may_not_be_written(self):
        with open(self.path("x.moe"), "w") as file:
            file.write("mine")
        os.chmod(self.path("x.moe"), 0o444)
        self.fails(["import", self.model, "-o", self.path("x.moe")],
                   "Permission denied")

    def test_pipe_as_output(self):
        """Opened once, so that its reader sees all of it."""
        pipe = self.path("pipe")
        os.mkfifo(pipe)
        for command in (["diff", self.model, self.module, "--html", pipe],
                        ["eval", self.module, "--ids", "1,2,3", "--logits",
                         pipe],
                        ["dump", self.module, "-o", pipe],
                        ["import", self.module, "-o", pipe]):
            with self.subTest(command[0]):
                read = []

                def reader():
                    with open(pipe, "rb") as file:
                        read.append(file.read())

                thread = threading.Thread(target=reader)
                thread.start()
                self.succeeds(*command)
                thread.join(harness.TIMEOUT)
                self.assertGreater(len(read[0]), 100)

    def test_json_of_names_that_are_no_text(self):
        folder = self.path(STRANGE)
        os.makedirs(folder)
        model = os.path.join(folder, "model")
        shutil.copytree(self.model, model)
        module = os.path.join(folder, "m.moe")
        plan = os.path.join(folder, "p.moep")
        self.succeeds("import", model, "-o", module)
        replaced = "\ufffd"
        out = os.path.join(folder, "out")
        for command, shows in (
                (["inspect", module], False),
                (["compile", module, "-o", plan, "--target", "native",
                  "--remarks", os.path.join(folder, "r.json")],
                 True),
                (["inspect", plan], False),
                (["diff", module, model], True),
                (["upcycle", module, "-o", out, "--experts", 2, "--top-k", 1],
                 True),
                (["upcycle", model, "-o", out + ".moe"], True),
                (["upcycle", model, "--dry-run", "-o", out + "2"], True),
                (["export", model, "-o", out + "3"], False),
                (["generate", module, "--prompt", STRANGE + "a",
                  "--max-tokens", 3], None),
                (["eval", module, "--text", self.text], False),
                (["tokenize", module, "--text", STRANGE], True)):
            with self.subTest(command):
                # Python takes nothing but UTF-8.
                text = self.succeeds(*command, "--json")
                json.loads(text)
                # What a model writes may be anything.
                if shows is not None:
                    self.assertEqual(replaced in text, shows, text)
        for name in ("receipt.json", "module.moe", "config.json"):
            with open(os.path.join(out, name), "rb") as file:
                if name.endswith(".json"):
                    json.loads(file.read().decode())
        for form in ("json", "model-explorer"):
            self.assertTrue(json.loads(self.succeeds(
                "dump", module, "--format", form)))

    def test_json_of_a_module_that_is_no_text(self):
        """Names and facts of a hand-written module."""
        text = self.succeeds("dump", self.module, "--full")
        strange = self.path("s.moe")
        written = text.replace("lm_head", "lm_h\udcffead").replace(
            "@step", "@s\udcfftep")
        with open(strange, "w", errors="surrogateescape") as file:
            file.write(written)
        result = self.run_moec("inspect", strange, "--json")
        if result.returncode:
            # Such names are refused, with one error.
            self.fails(["inspect", strange, "--json"], place=strange)
            return
        for command in (["dump", strange, "--format=json"],
                        ["dump", strange, "--format=model-explorer"],
                        ["diff", strange, self.module, "--json"],
                        ["inspect", strange, "--json"]):
            with self.subTest(command):
                json.loads(self.succeeds(*command))


class ClosedStreams(harness.MoecTest):
    """`moec ... >&-`: what is opened next must not take a stream's place."""

    def run_with(self, arguments, redirections):
        result = subprocess.run(
            ["bash", "-c", f'exec "$@" {redirections}', "bash",
             harness.BINARY, *arguments],
            capture_output=True, env=harness.environment(),
            timeout=harness.TIMEOUT)
        self.assert_no_crash(result.returncode, result.stderr.decode())
        return result

    def test_closed_streams(self):
        model = tiny.write_hf(self.path("model"))
        module, plain = self.path("m.moe"), self.path("plain.moe")
        self.succeeds("import", model, "-o", plain)
        for redirections in (">&-", "2>&-", "<&-", "<&- >&- 2>&-"):
            with self.subTest(redirections):
                result = self.run_with(["import", model, "-o", module],
                                       redirections)
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertEqual(harness.digest_of(module),
                                 harness.digest_of(plain))
                os.unlink(module)
                code = self.run_with(["inspect", model],
                                     redirections).returncode
                self.assertEqual(code, 1 if ">&-" in redirections.split()
                                 else 0)
        for redirections in ("2>&-", "2>/dev/full"):
            with self.subTest(redirections):
                self.assertEqual(self.run_with(
                    ["inspect", self.path("none")], redirections).returncode,
                    1)
                self.assertEqual(self.run_with(
                    ["inspekt"], redirections).returncode, 2)
        self.assertIn(b"error: cannot be read: Bad file", self.run_with(
            ["opt"], "<&-").stderr)


if __name__ == "__main__":
    unittest.main()
