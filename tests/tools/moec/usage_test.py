"""Help, wrong usage, terminals, and standard input and output as files."""

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import time
import unittest

import harness
import tiny

COMMANDS = os.path.join(os.environ["MOEC_SOURCE_DIR"], "tools", "moec",
                        "Commands.def")


def command_names():
    with open(COMMANDS) as file:
        return [name.lower()
                for name in re.findall(r"^COMMAND\((\w+)\)", file.read(), re.M)]


class Help(harness.MoecTest):
    def test_three_ways_to_ask(self):
        for name in command_names():
            with self.subTest(name):
                text = self.succeeds(name, "--help")
                self.assertEqual(text, self.succeeds(name, "-h"))
                self.assertEqual(text, self.succeeds("help", name))
                self.assertTrue(text.startswith(f"moec {name}: "))
                for line in text.split("\n"):
                    self.assertLessEqual(len(line), 80)

    def test_every_flag_is_explained(self):
        for name in command_names():
            lines = self.succeeds(name, "--help").split("\n")
            flags = [i for i, line in enumerate(lines)
                     if re.match("  --?[a-z]", line)]
            self.assertTrue(flags, name)
            for i in flags:
                with self.subTest(command=name, flag=lines[i]):
                    words = re.split("  +", lines[i].strip(), maxsplit=1)
                    text = words[1] if len(words) > 1 else lines[i + 1].strip()
                    self.assertGreater(len(text), 3)
                    # Types as C++ calls them say nothing.
                    self.assertNotRegex(words[0], "<(u?int|u?long|string)>")

    def test_what_takes_a_model_takes_the_flags_of_models(self):
        """`diff` calls its models A and B."""
        models = 0
        for name in command_names():
            text = self.succeeds(name, "--help")
            usage = text.split("\n")[2]
            if not re.search(r" (MODEL|A B)$", usage):
                continue
            models += 1
            expected = ["--tokenizer=", "--long-context"]
            if name in ("generate", "eval", "bench"):
                expected += ["--dtype=", "--variant=", "--verify"]
            if name not in ("import", "inspect", "dump", "compile"):
                expected.append("--threads=")
            if name not in ("import", "dump"):
                expected.append("--json")
            for flag in expected:
                with self.subTest(command=name, flag=flag):
                    self.assertIn("\n  " + flag, text)
        self.assertGreaterEqual(models, 10)

    def test_help_is_a_value_where_one_is_due(self):
        self.fails(["tokenize", self.path("none"), "--text", "--help"],
                   "No such file")


class WrongUsage(harness.MoecTest):
    def test_what_is_said(self):
        for arguments, words in (
                (["generat"], ["unknown command 'generat'", "'generate'"]),
                (["help", "dumb"], ["unknown command 'dumb'", "'dump'"]),
                (["generate", "m", "--promt", "x"],
                 ["unknown flag '--promt'", "'--prompt'"]),
                (["generate"], ["expects MODEL"]),
                (["inspect", "a", "b"], ["expects MODEL and no more"]),
                (["doctor", "a"], ["unexpected argument 'a'"]),
                (["diff", "a"], ["expects A B"]),
                (["compile", "m"], ["-o is missing"]),
                (["upcycle", "m"], ["-o is missing"]),
                (["bench", "m", "--runs", "-1"],
                 ["--runs is '-1'", "1 or more"]),
                (["generate", "m", "--max-tokens", "many"],
                 ["--max-tokens is 'many'", "an integer"]),
                (["generate", "m", "--max-tokens"],
                 ["--max-tokens wants a value"]),
                (["generate", "m", "--top-p", "x"],
                 ["--top-p is 'x'", "a number"]),
                (["generate", "m", "--temperature", ""],
                 ["--temperature is ''", "a number"]),
                (["generate", "m", "--top-k", "1\n2"],
                 ["--top-k is '1"]),
                (["compile", "m", "-o", "a", "--json=x"], ["--json is 'x'"]),
                (["bench", "m", "--prefill", "0"], ["--prefill", "1 or more"]),
                (["eval", "m", "--ids", "1,2", "--max-tokens", "-5"],
                 ["--max-tokens", "0 or more"]),
                (["eval", "m", "--ids", "1,2", "--step", "-1"], ["--step"]),
                (["eval", "m", "--ids", "1,2", "--step", "1"],
                 ["--step goes with --logits"]),
                (["eval", "m", "--ids", "1", "--logits", "x", "--window", "9"],
                 ["--window"]),
                (["generate", "", "--prompt", "a"], ["MODEL"]),
                (["import", "m", "-o", ""], ["-o is ''", "file.moe"]),
                (["upcycle", "m", "-o", "x", "--recipe="],
                 ["--recipe is ''"]),
                (["diff", "m", "n", "--html", ""], ["--html is ''"]),
                (["upcycle", "m", "-o", "x.moe", "--edit-expert",
                  "layer=0},simplify{"], ["--edit-expert", "braces"]),
                (["eval", "m"], ["--text FILE or --ids"]),
                (["eval", "m", "--ids", "1", "--text", "b"], ["either"]),
                (["opt", "m", "--print-ir-after=simplfy"],
                 ["names no pass: 'simplfy'", "'simplify'"]),
                (["opt", "m", "--remarks=xml"], ["text or json"]),
                (["emit", "m", "--target=sm_9x"], ["--target is 'sm_9x'"]),
                (["emit"], ["FILE.moe"]),
                (["export", "m", "-o", "x", "--format", "onnx"],
                 ["hf or gguf"]),
                (["compile", "m", "-o", "-"], ["standard output"]),
                (["compile", "m", "-o", "x", "--target", "sm_80"],
                 ["cpu-generic"])):
            with self.subTest(arguments):
                line = self.fails(arguments, *words, code=2)
                self.assertNotIn(os.sep + "moec", line)

    def test_numbers_are_whole_and_finite(self):
        """Every flag of every command whose value is a number."""
        flags = 0
        for name in command_names():
            text = self.succeeds(name, "--help")
            arguments = (["-o", self.path("x")] if name in
                         ("compile", "export", "import", "upcycle") else [])
            arguments += ["m"] * (2 if name == "diff" else 1)
            for flag, kind in re.findall(
                    "--([a-z-]+)=<(count|number|tokens|ids)>", text):
                flags += 1
                bad = ["", "1x", "nan", "1e999", "0x10"]
                if kind == "ids":
                    bad += ["1,,2", "1,", "-1"]
                elif kind in ("count", "tokens") and name != "upcycle":
                    bad += [" 1", "-1", "99999999999999999999"]
                for value in bad:
                    with self.subTest(command=name, flag=flag, value=value):
                        result = self.run_moec(name, *arguments,
                                               f"--{flag}={value}")
                        text = result.stderr
                        self.assertIn(result.returncode, (1, 2), text)
                        self.assertEqual(text.count("error:"), 1, text)
                        self.assertNotIn("No such file", text)
                        line = text.split("\n")[0].replace("-", "_")
                        self.assertIn(flag.replace("-", "_"), line)
        self.assertGreater(flags, 40)

    def test_numbers_that_are_taken(self):
        for arguments in (["--temperature", "1e-3"], ["--temperature", ".5"],
                          ["--top-k", "010"], ["--seed", str(2**64 - 1)],
                          ["--max-tokens", "0"], ["--top-p", "1"]):
            with self.subTest(arguments):
                self.fails(["generate", self.path("none"), "--prompt", "a",
                            *arguments], "No such file")

    def test_flags_of_editing_and_of_upcycling(self):
        for flags in (["--recipe", "skywork"], ["--experts", 3],
                      ["--donor", "m"], ["--set", "top_k=1"]):
            with self.subTest(flags):
                self.fails(["upcycle", "m", "-o", "x", "--to-dense", "average",
                            *flags], "take no " + flags[0], code=2)


class Names(harness.MoecTest):
    """However the binary is called, it finds what stands beside it."""

    def test_found_in_path(self):
        bin_folder, name = os.path.split(os.path.realpath(harness.BINARY))
        os.makedirs(self.path("elsewhere"))
        # What has the same name in the working directory is another thing.
        os.makedirs(self.path("elsewhere", name))
        environment = harness.environment()
        environment["PATH"] = bin_folder + os.pathsep + environment["PATH"]
        environment.pop("LD_LIBRARY_PATH", None)
        for called in ([name, "doctor"],
                       ["bash", "-c", f"exec -a else {name} doctor"]):
            with self.subTest(called):
                result = subprocess.run(
                    called, cwd=self.path("elsewhere"), env=environment,
                    capture_output=True, timeout=harness.TIMEOUT)
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertRegex(result.stdout.decode(),
                                 r"(?m)^JIT plug-in +ok ")

    def test_link_to_the_binary(self):
        os.symlink(os.path.realpath(harness.BINARY), self.path("m"))
        text = subprocess.run([self.path("m"), "doctor"], check=True,
                              capture_output=True).stdout.decode()
        self.assertRegex(text, r"(?m)^JIT plug-in +ok ")

    def test_spaces_and_other_alphabets(self):
        folder = self.path("räum 1", "日本")
        os.makedirs(folder)
        model = tiny.write_hf(os.path.join(folder, "a model"))
        module = os.path.join(folder, "ü m.moe")
        self.succeeds("import", model, "-o", module)
        self.succeeds("upcycle", module, "-o", os.path.join(folder, "o ut"),
                      "--experts", 2, "--top-k", 1)
        self.succeeds("inspect", os.path.join(folder, "o ut"))
        # Bytes that are no UTF-8 are a name all the same.
        strange = os.path.join(os.fsencode(folder), b"\xff.moe")
        shutil.copy(module, strange)
        self.assertTrue(self.json("inspect", os.fsdecode(strange)))


class Streams(harness.MoecTest):
    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"))
        self.module = self.path("m.moe")
        self.succeeds("import", self.model, "-o", self.module)

    def test_outputs_by_name(self):
        kernels = ["opt", self.module, "--passes=expand-ffn,form-kernels"]
        self.succeeds(*kernels, "-o", self.path("k.moe"))
        for command, out in ((["dump", self.module], "d.txt"),
                             (["dump", self.module, "--format=json"], "d.json"),
                             (kernels, "k2.moe"),
                             (["emit", self.path("k.moe"),
                               "--target=cpu-generic"], "k.ll")):
            with self.subTest(command):
                printed = self.succeeds(*command)
                self.assertEqual(self.succeeds(*command, "-o", self.path(out)),
                                 "")
                with open(self.path(out)) as file:
                    self.assertEqual(file.read(), printed)

    def test_page_that_cannot_be_written(self):
        """Is found before the model is written."""
        self.fails(["upcycle", self.module, "-o", self.path("u.moe"), "--html",
                    self.path("none", "r.html")], "No such file",
                   place=self.path("none"))
        self.assertFalse(os.path.exists(self.path("u.moe")))

    def test_no_output_of_a_failure(self):
        self.fails(["opt", self.module, "--passes=upcycle{experts=0}", "-o",
                    self.path("x.moe")], "experts is 0")
        self.assertFalse(os.path.exists(self.path("x.moe")))

    def test_module_through_a_pipe(self):
        module = self.run_moec("import", self.model, "-o", "-").stdout
        result = subprocess.run(
            [harness.BINARY, "opt", "--passes=simplify", "-o",
             self.path("o.moe")], input=module, capture_output=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.json("inspect", self.path("o.moe")),
                         self.json("inspect", self.module))

    def test_text_from_standard_input(self):
        with open(self.path("text"), "w") as file:
            file.write("some words " * 20)
        expected = self.json("eval", self.model, "--text", self.path("text"))
        with open(self.path("text")) as file:
            read = self.json("eval", self.model, "--file", "-", stdin=file)
        self.assertEqual(read["nll"], expected["nll"])

    def test_folder_for_opt(self):
        self.fails(["opt", self.model], "is a folder", "moec import",
                   place=self.model)

    def test_printed_ir_leaves_out_assets(self):
        result = self.run_moec("opt", self.module, "--print-ir-before=all",
                               "--passes=simplify", "--print-ir-tree-dir",
                               self.path("tree"))
        self.assertNotRegex(result.stderr, 'base64 "')
        self.assertIn("asset @tokenizer", result.stderr)
        # What is written can be read back.
        self.succeeds("inspect", self.path("tree", "01-simplify.moe"))

    def test_format_of_an_export_by_its_name(self):
        self.succeeds("export", self.module, "-o", self.path("e.gguf"))
        with open(self.path("e.gguf"), "rb") as file:
            self.assertEqual(file.read(4), b"GGUF")
        self.succeeds("export", self.module, "-o", self.path("e"))
        self.assertTrue(os.path.isdir(self.path("e")))

    def test_dry_runs_need_no_output(self):
        plan = self.json("upcycle", self.module, "--dry-run", "--experts", 4)
        self.assertEqual(plan["output"], "")
        self.assertGreater(plan["written_bytes"], 0)
        self.assertIn("a folder", self.succeeds(
            "upcycle", self.module, "--dry-run"))
        self.assertIn("would write", self.succeeds(
            "export", self.module, "--dry-run"))

    def test_bench_fits_the_context(self):
        answer = self.json("bench", self.module, "--runs", 1)
        self.assertEqual(answer["prefill_tokens"] + answer["decode_tokens"],
                         tiny.MODEL["context"])
        self.fails(["bench", self.module, "--prefill", 2**62, "--decode",
                    2**62], "the model's context holds")

    def test_profile_is_in_the_json_too(self):
        answer = self.json("bench", self.module, "--runs", 1, "--profile")
        for part in ("kernels", "launches"):
            costs = [entry["seconds"] for entry in answer["profile"][part]]
            self.assertEqual(costs, sorted(costs, reverse=True))
            self.assertGreater(sum(costs), 0)

    def test_control_characters_stay_in_their_cell(self):
        text = self.succeeds("tokenize", self.model, "--text", "a\n\x1b[31m\tb")
        self.assertNotIn("\x1b", text)
        ids = self.json("tokenize", self.model, "--text", "a\n\x1b[31m\tb")
        self.assertEqual(len(text.splitlines()), len(ids["ids"]) + 1)
        self.assertEqual(len(ids["pieces"]), len(ids["ids"]))

    def test_recipe_of_a_file_is_called_by_its_path(self):
        path = self.path("my own.yaml")
        with open(path, "w") as file:
            file.write(self.succeeds("recipes", "skywork", "--yaml"))
        self.assertIn(f"--recipe '{path}'", self.succeeds("recipes", path))


class Terminal(harness.MoecTest):
    """What a person sees; both streams are one terminal."""

    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"))

    def seen(self, *arguments, columns=80, **extra):
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ,
                    struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen(
            [harness.BINARY, *map(str, arguments)], stdin=follower,
            stdout=follower, stderr=follower,
            env=harness.environment(**{"TERM": "xterm", **extra}))
        os.close(follower)
        data = b""
        end = time.monotonic() + harness.TIMEOUT
        while time.monotonic() < end:
            if not select.select([leader], [], [], 1)[0]:
                continue
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            data += part
        os.close(leader)
        self.assertEqual(process.wait(), 0, data)
        return data.decode()

    def test_colours(self):
        coloured = self.seen("inspect", self.model)
        self.assertIn("\x1b[", coloured)
        for extra in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            with self.subTest(extra):
                self.assertNotIn("\x1b", self.seen("inspect", self.model,
                                                   **extra))
        self.assertIn("\x1b[", self.seen("inspect", self.model, NO_COLOR=""))

    def test_progress(self):
        text = self.path("text")
        with open(text, "w") as file:
            file.write("some words " * 40)
        whole = self.seen("eval", self.model, "--text", text)
        self.assertIn("evaluating 100%", whole)
        # The line is gone before the answer comes.
        self.assertRegex(whole, "evaluating 100%\r\x1b\\[Kperplexity")
        dumb = self.seen("eval", self.model, "--text", text, TERM="dumb")
        self.assertTrue(dumb.startswith("perplexity"), dumb)

    def test_progress_fits_the_terminal(self):
        for columns in (10, 30):
            whole = self.seen("upcycle", self.model, "-o",
                              self.path(f"out{columns}"), "--experts", 2,
                              "--top-k", 1, columns=columns)
            lines = re.findall("\x1b\\[K([^\r\x1b]*)", whole)
            self.assertTrue(any(line.endswith("100%") for line in lines), lines)
            for line in lines:
                if line.endswith("%"):
                    self.assertLess(len(line), columns, lines)

    def test_help_fits_the_terminal(self):
        for columns, most in ((60, 60), (300, 100)):
            text = self.seen("upcycle", "--help", columns=columns)
            widest = max(map(len, text.split("\r\n")))
            self.assertLessEqual(widest, most)
            self.assertGreater(widest, most - 20)


if __name__ == "__main__":
    unittest.main()
