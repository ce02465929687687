"""A process that gets no more memory: one error and exit code 1, at whatever
point that happens, and nothing half-written."""

import os
import resource
import shutil
import subprocess
import unittest

import harness
import tiny

MODEL = dict(tiny.MODEL, hidden=256, ffn=1024, layers=4, heads=4, kv_heads=4,
             vocab=2048, context=4096)
MB = 2 ** 20
# From less than the program's own size to more than any command here needs.
LIMITS = [*range(24, 200, 8), *range(200, 1000, 100)]


def addresses(limit):
    """Before the child starts: no more than `limit` bytes of addresses."""
    return dict(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS,
                                                      (limit, limit)))


class Memory(harness.MoecTest):
    def setUp(self):
        super().setUp()
        # What a sanitizer reserves is more than all of these limits.
        result = subprocess.run([harness.BINARY, "--version"],
                                capture_output=True, **addresses(2000 * MB))
        if result.returncode:
            self.skipTest("this build needs more addresses than are limited")
        self.model = tiny.write_hf(self.path("model"), MODEL)

    def check(self, *command, makes=None):
        """At every limit an error or the whole result; both are seen, and the
        message of a process that ran out of memory at least once."""
        codes, texts = set(), ""
        for limit in LIMITS:
            with self.subTest(limit=limit):
                result = self.run_moec(*command, **addresses(limit * MB))
                if "loading shared libraries" in result.stderr:
                    continue  # It did not begin.
                self.assertIn(result.returncode, (0, 1), result.stderr)
                errors = result.stderr.count("error:")
                self.assertEqual(errors, result.returncode, result.stderr)
                if makes:
                    self.assertEqual(os.path.exists(makes),
                                     result.returncode == 0)
                    if os.path.isdir(makes):
                        shutil.rmtree(makes)
                    elif os.path.exists(makes):
                        os.unlink(makes)
                    # A folder that is taken up again may stay.
                    shutil.rmtree(makes + ".partial", ignore_errors=True)
                self.assertEqual(self.left_over(), [])
                codes.add(result.returncode)
                texts += result.stderr
                if result.returncode == 0:
                    break
        self.assertEqual(codes, {0, 1})
        self.assertRegex(texts, "expected more memory, found none left; the "
                         "process had at most .* MB|cannot map|cannot allocate"
                         "|map segment")

    def test_upcycle(self):
        out = self.path("out")
        self.check("upcycle", self.model, "-o", out + ".moe", "--init", "drop",
                   makes=out + ".moe")
        self.check("upcycle", self.model, "-o", out, "--init", "drop",
                   "--probe", "", makes=out)

    def test_compile_and_run(self):
        plan = self.path("plan.moep")
        self.check("compile", self.model, "-o", plan, makes=plan)
        self.check("compile", self.model, "-o", plan, "--pack", makes=plan)
        self.succeeds("compile", self.model, "-o", plan)
        self.check("generate", plan, "--prompt", "a", "--max-tokens", 2)
        logits = self.path("l.npy")
        self.check("eval", plan, "--ids", "5,6,7", "--logits", logits,
                   makes=logits)

    def test_export_and_diff(self):
        sparse = self.path("sparse.moe")
        self.succeeds("upcycle", self.model, "-o", sparse, "--init", "drop",
                      "--probe", "")
        for form in ("hf", "gguf"):
            out = self.path("out-" + form)
            self.check("export", sparse, "-o", out, "--format", form,
                       makes=out)
        self.check("diff", self.model, sparse, "--weights")

    def test_what_is_said(self):
        """By an allocation that no machine could serve."""
        folder = tiny.write_hf(self.path("small"))
        for limit in range(24, 200, 2):
            text = self.run_moec("generate", folder, "--prompt", "a",
                                 **addresses(limit * MB)).stderr
            if "expected more memory" in text:
                self.assertRegex(text, r"^moec: error: expected more memory, "
                                 r"found none left; the process had at most "
                                 rf"\d+ MB at a time and may have "
                                 rf"{limit * MB // 10 ** 6} MB of addresses "
                                 r"\(ulimit -v\)\n$")
                return
        self.fail("memory was never short")


if __name__ == "__main__":
    unittest.main()
