"""Outputs appear whole or not at all: unwritable places, full disks, readers
that went away."""

import os
import pty
import resource
import shutil
import signal
import stat
import subprocess
import unittest

import harness
import tiny


def small_files(limit):
    """Before the child starts: no file of it may grow above `limit` bytes."""
    def prepare():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return dict(preexec_fn=prepare, restore_signals=False)


class Outputs(harness.MoecTest):
    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"))
        self.module = self.path("module.moe")
        self.succeeds("import", self.model, "-o", self.module)
        self.kernels = self.path("kernels.moe")
        self.succeeds("opt", self.module, "-o", self.kernels,
                      "--passes=expand-ffn,form-kernels")
        self.text = self.path("text.txt")
        with open(self.text, "w") as file:
            file.write("a little text\n")

    def writers(self, folder):
        """A command for every kind of output, each into `folder`."""
        def at(name):
            return os.path.join(folder, name)
        return {
            "import": (["import", self.model, "-o"], at("a.moe")),
            "import as text": (["import", self.model, "--text", "-o"],
                               at("t.moe")),
            "diff": (["diff", self.model, self.module, "--html"],
                     at("d.html")),
            "upcycle to a module": (["upcycle", self.module, "-o"],
                                    at("b.moe")),
            "upcycle to a folder": (["upcycle", self.module, "-o"], at("c")),
            "compile": (["compile", self.module, "--pack=none", "-o"],
                        at("d.moep")),
            "compile with packed weights": (
                ["compile", self.module, "--pack", "-o"], at("h.moep")),
            "export to a folder": (["export", self.module, "-o"], at("f")),
            "export to a file": (["export", self.module, "--format", "gguf",
                                  "-o"], at("g.gguf")),
            "opt": (["opt", self.module, "--passes=simplify", "-o"],
                    at("i.moe")),
            "dump": (["dump", self.module, "-o"], at("j.txt")),
            "emit": (["emit", self.kernels, "--target", "cpu-generic", "-o"],
                     at("k.ll")),
            "eval": (["eval", self.module, "--ids", "1,2,3,4,5,6",
                      "--logits"], at("e.npy")),
        }

    def writers_beside(self, folder):
        """What commands write beside their output or answer."""
        def at(name):
            return os.path.join(folder, name)
        failing = "--passes=upcycle{experts=2,top_k=3}"
        return {
            "compile's remarks": (["compile", self.module, "-o",
                                   self.path("p.moep"), "--target",
                                   "cpu-generic", "--remarks"],
                                  at("r.json"), "error"),
            "upcycle's page": (["upcycle", self.module, "-o",
                                self.path("u.moe"), "--html"], at("u.html"),
                               "error"),
            "IR of a pass": (["opt", self.module, "--passes=simplify",
                              "--print-ir-tree-dir"], at("tree"), "error"),
            # The pass's own error is the one to see.
            "reproducer": (["opt", self.module, failing, "--reproducer"],
                           at("r.moe"), "note"),
        }

    def check_beside(self, folder, reason):
        for name, (command, out, kind) in self.writers_beside(folder).items():
            with self.subTest(name):
                result = self.run_moec(*command, out)
                text = result.stderr
                self.assertEqual(result.returncode, 1, text)
                self.assertEqual(text.count("error:"), 1, text)
                line = [line for line in text.split("\n")
                        if line.startswith(folder)]
                self.assertEqual(len(line), 1, text)
                self.assertIn(kind + ":", line[0])
                if name != "IR of a pass" or folder != "/proc":
                    self.assertIn(reason, line[0])
        self.assertEqual(self.left_over(), [])

    def test_beside_the_output_a_file_for_a_folder(self):
        self.check_beside(self.text, "Not a directory")

    def test_beside_the_output_a_place_that_cannot_be_written(self):
        self.check_beside("/proc", "No such file")

    def test_folder_that_is_missing(self):
        for name, (command, out) in self.writers(self.path("none")).items():
            with self.subTest(name):
                self.fails([*command, out], "No such file",
                           place=self.path("none"))
        self.assertFalse(os.path.exists(self.path("none")))

    def test_place_that_is_a_file(self):
        for name, (command, out) in self.writers(self.text).items():
            with self.subTest(name):
                self.fails([*command, out], "Not a directory", place=self.text)

    def test_file_where_a_folder_has_the_name(self):
        for name, (command, out) in self.writers(self.folder).items():
            with self.subTest(name):
                os.makedirs(os.path.join(out, "something"))
                self.fails([*command, out], place=out)
                self.assertEqual(os.listdir(out), ["something"])

    @unittest.skipIf(os.geteuid() == 0, "root may write everywhere")
    def test_folder_without_permission(self):
        os.makedirs(self.path("closed"))
        os.chmod(self.path("closed"), 0o500)
        for name, (command, out) in self.writers(self.path("closed")).items():
            with self.subTest(name):
                self.fails([*command, out], "Permission denied", place=out)

    def test_file_system_that_cannot_be_written(self):
        for name, (command, out) in self.writers("/proc").items():
            with self.subTest(name):
                self.fails([*command, out], place="/proc")

    def test_no_room_for_the_file(self):
        os.makedirs(self.path("small"))
        for name, (command, out) in self.writers(self.path("small")).items():
            with self.subTest(name):
                self.fails([*command, out], "File too large",
                           place=self.path("small"), **small_files(512))
                self.assertFalse(os.path.exists(out))
                self.assertFalse(os.path.exists(out + ".weights"))

    def test_a_folder_that_found_no_room_is_taken_up_again(self):
        os.makedirs(self.path("small"))
        for name, (command, out) in self.writers(self.path("small")).items():
            if not name.endswith("to a folder"):
                continue
            with self.subTest(name):
                result = self.run_moec(*command, out, **small_files(1 << 16))
                self.assertEqual(result.returncode, 1, result.stderr)
                self.assertIn(f"{out}.partial: note: what is written so far "
                              "stays here", result.stderr)
                self.succeeds(*command, out)
                self.succeeds(*command, out + "2")
                self.assertEqual(harness.digests(out),
                                 harness.digests(out + "2"))
        self.assertEqual(self.left_over(), [])

    def test_old_output_survives_a_failure(self):
        os.makedirs(self.path("small"))
        for name, (command, out) in self.writers(self.path("small")).items():
            if name.endswith("to a folder"):
                continue
            with self.subTest(name), open(out, "w") as file:
                file.write("old")
                file.flush()
                self.fails([*command, out], **small_files(512))
                with open(out) as old:
                    self.assertEqual(old.read(), "old")
        self.assertEqual(self.left_over(), [])

    def test_full_device_as_an_output(self):
        for name, (command, _) in self.writers("/dev").items():
            if name.endswith("to a folder"):
                continue
            with self.subTest(name):
                if name == "upcycle to a module":
                    continue  # What is no .moe is a folder.
                if name == "compile with packed weights":
                    continue  # These go beside a file.
                self.fails([*command, "/dev/full"], "No space left",
                           place="/dev/full")
                self.assertTrue(stat.S_ISCHR(os.stat("/dev/full").st_mode))

    def test_full_file_system(self):
        """On file systems of our own, where they can be had: of 64 kB, and
        for what fits there of 4 kB, which can be full from the start."""
        script = ('mount -t tmpfs -o size=$2k tmpfs "$1" || exit 77; '
                  'test "$3" = half || head -c 4096 /dev/zero >"$1/filler"; '
                  'out=$1; shift 3; "$@"; code=$?; ls -A "$out"; exit $code')
        small = self.path("small")
        os.makedirs(small)

        def inside(size, fill, *command):
            return subprocess.run(
                ["unshare", "--mount", "--map-root-user", "--user", "sh", "-c",
                 script, "sh", small, str(size), fill, *map(str, command)],
                capture_output=True, env=harness.environment())

        if inside(4, "half", "true").returncode:
            self.skipTest("no file system can be mounted here")
        writers = {name: (*entry, "error")
                   for name, entry in self.writers(small).items()}
        writers.update(self.writers_beside(small))
        for name, (command, out, kind) in writers.items():
            large = name in ("upcycle to a folder", "compile",
                             "export to a folder", "export to a file")
            for size, fill in ([(64, "half")] if large else
                               [(4, "half"), (4, "full")]):
                with self.subTest(name, size=size, fill=fill):
                    result = inside(size, fill, harness.BINARY, *command, out)
                    text = result.stderr.decode()
                    self.assert_no_crash(result.returncode, text)
                    left = result.stdout.decode().split("\n")
                    if fill == "half" and result.returncode == 0:
                        continue  # It fits.
                    self.assertEqual(result.returncode, 1, text)
                    self.assertEqual(text.count("error:"), 1, text)
                    self.assertIn("No space left", text)
                    if kind == "error" and name != "IR of a pass":
                        self.assertNotIn(os.path.basename(out), left)
                    self.assertEqual([x for x in left if ".tmp." in x], [])

    def test_no_room_for_the_plan_beside_its_weights(self):
        """The weights fit; the plan, which comes last, does not."""
        out = self.path("p.moep")
        report = self.json("compile", self.module, "-o", out)
        weights = report["packed"]["bytes"]
        self.assertGreater(report["plan_bytes"], weights)
        os.unlink(out)
        os.unlink(out + ".weights")
        self.fails(["compile", self.module, "-o", out],
                   "File too large", place=out, **small_files(weights))
        self.assertFalse(os.path.exists(out))
        self.assertFalse(os.path.exists(out + ".weights"))
        self.assertEqual(self.left_over(), [])

    def test_full_standard_output(self):
        for command in (["inspect", self.model], ["dump", self.model],
                        ["generate", self.model, "--prompt", "a"],
                        ["generate", self.model, "--prompt", "a", "--json"],
                        ["opt", self.module], ["recipes"], ["--version"],
                        ["--help"], ["tokenize", self.model, "--text", "a"]):
            with self.subTest(command[0]), open("/dev/full", "w") as full:
                self.fails(command, "standard output", "No space left",
                           stdout=full)

    def test_reader_that_went_away(self):
        """As after `| head`: no word, and the code of a broken pipe."""
        for command in (["dump", self.model, "--full"], ["opt", self.module],
                        ["generate", self.model, "--prompt", "a"],
                        ["inspect", self.model, "--json"], ["--help"],
                        ["upcycle", "--help"]):
            with self.subTest(command[0]):
                reader, writer = os.pipe()
                os.close(reader)
                try:
                    result = self.run_moec(*command, stdout=writer)
                finally:
                    os.close(writer)
                self.assertEqual(result.stderr, "")
                self.assertEqual(result.returncode, 141)

    def test_cache_that_cannot_be_written(self):
        """Compiled code is then not kept; everything else goes on."""
        run = ["generate", self.model, "--prompt", "a", "--max-tokens", 4]
        expected = self.succeeds(*run)
        for cache in (self.text, self.path("none", "below"), "/proc/none"):
            with self.subTest(cache=cache):
                self.assertEqual(expected, self.succeeds(
                    *run, env={"MOEC_CACHE_DIR": cache}))
        with self.subTest("no room"):
            cache = self.path("cache")
            self.assertEqual(expected, self.succeeds(
                *run, env={"MOEC_CACHE_DIR": cache}, **small_files(512)))
            self.assertEqual(os.listdir(cache), [])

    def test_damaged_cache(self):
        run = ["generate", self.model, "--prompt", "a", "--max-tokens", 4]
        cache = self.path("cache")
        expected = self.succeeds(*run, env={"MOEC_CACHE_DIR": cache})
        names = sorted(os.listdir(cache))
        self.assertGreater(len(names), 0)
        whole = {name: harness.digest_of(os.path.join(cache, name))
                 for name in names}
        for damage in ("flip", "cut", "empty"):
            for name in names:
                path = os.path.join(cache, name)
                with open(path, "r+b") as file:
                    data = bytearray(file.read())
                    data[len(data) // 2] ^= 1
                    file.seek(0)
                    file.write(data)
                if damage != "flip":
                    os.truncate(path, len(data) // 2 if damage == "cut" else 0)
            with self.subTest(damage):
                self.assertEqual(expected, self.succeeds(
                    *run, env={"MOEC_CACHE_DIR": cache}))
                # Made again.
                self.assertEqual(whole, {
                    name: harness.digest_of(os.path.join(cache, name))
                    for name in sorted(os.listdir(cache))})

    def on_terminal(self, *arguments):
        """What a command shows on standard error, if that is a terminal."""
        terminal, end = pty.openpty()
        process = subprocess.Popen(
            [harness.BINARY, *map(str, arguments)], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=end,
            env=harness.environment(TERM="xterm"))
        os.close(end)
        shown = b""
        while True:
            try:
                piece = os.read(terminal, 4096)
            except OSError:  # The other end is closed.
                break
            if not piece:
                break
            shown += piece
        os.close(terminal)
        self.assertEqual(process.wait(harness.TIMEOUT), 0, shown)
        return shown.decode()

    def test_progress_is_for_terminals(self):
        other = self.path("other.moe")
        self.succeeds("upcycle", self.model, "-o", other, "--init", "noise")
        for command in (["eval", self.model, "--text", self.text],
                        ["upcycle", self.model, "-o", self.path("u")],
                        ["export", self.model, "-o", self.path("e")],
                        ["diff", other, other, "--weights"]):
            with self.subTest(command[0]):
                shown = self.on_terminal(*command)
                self.assertRegex(shown, r"\d%")
                # The line is taken away in the end.
                self.assertIn("\033[K", shown.rsplit("%", 1)[1])
                if command[0] in ("upcycle", "export"):
                    shutil.rmtree(command[3])
                quiet = self.run_moec(*command)
                self.assertEqual(quiet.returncode, 0)
                self.assertNotIn("%", quiet.stderr)

    def test_outputs_replace_files_and_keep_links(self):
        target = self.path("target.moe")
        with open(target, "w") as file:
            file.write("old")
        os.symlink(target, self.path("link.moe"))
        self.succeeds("import", self.model, "-o", self.path("link.moe"))
        self.assertTrue(os.path.islink(self.path("link.moe")))
        self.assertEqual(harness.digest_of(target),
                         harness.digest_of(self.module))


if __name__ == "__main__":
    unittest.main()
