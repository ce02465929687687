"""Outputs appear whole or not at all: unwritable places, full disks, readers
that went away."""

import os
import resource
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
        self.text = self.path("text.txt")
        with open(self.text, "w") as file:
            file.write("a little text\n")

    def writers(self, folder):
        """A command for every kind of output, each into `folder`."""
        def at(name):
            return os.path.join(folder, name)
        return {
            "import": (["import", self.model, "-o"], at("a.moe")),
            "upcycle to a module": (["upcycle", self.module, "-o"],
                                    at("b.moe")),
            "upcycle to a folder": (["upcycle", self.module, "-o"], at("c")),
            "compile": (["compile", self.module, "-o"], at("d.moep")),
            "compile with packed weights": (
                ["compile", self.module, "--pack", "-o"], at("h.moep")),
            "export to a folder": (["export", self.module, "-o"], at("f")),
            "export to a file": (["export", self.module, "--format", "gguf",
                                  "-o"], at("g.gguf")),
            "eval": (["eval", self.module, "--ids", "1,2,3", "--logits"],
                     at("e.npy")),
        }

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
        """On a file system of 64 kB of our own, where one can be had."""
        script = ('mount -t tmpfs -o size=64k tmpfs "$1" || exit 77; shift; '
                  'exec "$@"')
        os.makedirs(self.path("small"))
        wrapper = ["unshare", "--mount", "--map-root-user", "--user", "sh",
                   "-c", script, "sh", self.path("small")]
        tried = subprocess.run([*wrapper, "true"], capture_output=True)
        if tried.returncode:
            self.skipTest("no file system can be mounted here")
        for name, (command, out) in self.writers(self.path("small")).items():
            if name in ("import", "upcycle to a module", "eval"):
                continue  # These fit.
            with self.subTest(name):
                result = subprocess.run(
                    [*wrapper, harness.BINARY, *map(str, command), out],
                    capture_output=True, env=harness.environment())
                text = result.stderr.decode()
                self.assertEqual(result.returncode, 1, text)
                self.assertEqual(text.count("error:"), 1, text)
                self.assertIn("No space left", text)

    def test_no_room_for_the_plan_beside_its_weights(self):
        """The weights fit; the plan, which comes last, does not."""
        out = self.path("p.moep")
        report = self.json("compile", self.module, "--pack", "-o", out)
        weights = report["packed"]["bytes"]
        self.assertGreater(report["plan_bytes"], weights)
        os.unlink(out)
        os.unlink(out + ".weights")
        self.fails(["compile", self.module, "--pack", "-o", out],
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
