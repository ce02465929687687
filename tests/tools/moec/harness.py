"""What the tests of the command line share: running `moec`, and checks.

The binary is named by the environment's MOEC_BINARY.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

BINARY = os.environ["MOEC_BINARY"]
TIMEOUT = 240
# Words of a process that did not end as it should.
CRASHES = ("Sanitizer", "Stack dump", "runtime error:", "Assertion",
           "terminate called", "LLVM ERROR")


def environment(**extra):
    """No terminal, and nothing that the user has set for moec; compiled code is
    shared by the tests of one build."""
    result = {name: value for name, value in os.environ.items()
              if not name.startswith("MOEC_")}
    result["TERM"] = "dumb"
    result["MOEC_CACHE_DIR"] = os.path.join(os.path.dirname(BINARY), "..",
                                            "test-cache")
    result.update(extra)
    return result


class MoecTest(unittest.TestCase):
    """A test with a folder of its own, removed at its end."""

    maxDiff = 4000

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="moec-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def run_moec(self, *arguments, **options):
        """Runs to the end; whatever the exit code, it is no crash."""
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options["env"] = environment(**options.get("env", {}))
        result = subprocess.run([BINARY, *map(str, arguments)],
                                stderr=subprocess.PIPE, timeout=TIMEOUT,
                                **options)
        result.stderr = result.stderr.decode(errors="replace")
        self.assert_no_crash(result.returncode, result.stderr)
        return result

    def assert_no_crash(self, code, stderr):
        self.assertGreaterEqual(code, 0, f"killed by a signal: {stderr}")
        for word in CRASHES:
            self.assertNotIn(word, stderr)

    def succeeds(self, *arguments, **options):
        """Standard output, as text."""
        result = self.run_moec(*arguments, **options)
        self.assertEqual(result.returncode, 0, result.stderr)
        return (result.stdout or b"").decode()

    def json(self, *arguments, **options):
        return json.loads(self.succeeds(*arguments, "--json", **options))

    def fails(self, arguments, *expected, place=None, code=1, **options):
        """Fails with one error, at `place`, that holds every text of
        `expected`."""
        result = self.run_moec(*arguments, **options)
        text = result.stderr
        self.assertEqual(result.returncode, code, text)
        lines = [line for line in text.split("\n") if "error:" in line]
        self.assertEqual(len(lines), 1, f"expects one error, got: {text}")
        self.assertFalse(lines[0].startswith("error:"), "at no place: " + text)
        if place:
            self.assertTrue(lines[0].startswith(str(place)),
                            f"expects it at {place}, got: {lines[0]}")
        for part in expected:
            self.assertIn(part, lines[0])
        return lines[0]

    def start(self, *arguments, stdin=subprocess.DEVNULL, env={}):
        """A process that has installed its handler of Ctrl-C."""
        process = subprocess.Popen(
            [BINARY, *map(str, arguments)], stdin=stdin,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment(**env))

        def end():
            if process.poll() is None:
                process.kill()
            process.communicate()

        self.addCleanup(end)
        self.wait_until(lambda: process.poll() is not None
                        or catches_interrupt(process.pid))
        return process

    def wait_until(self, condition, seconds=120):
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, "waited in vain")
            time.sleep(0.002)

    def finish(self, process):
        """Exit code and standard error."""
        _, stderr = process.communicate(timeout=TIMEOUT)
        text = stderr.decode(errors="replace")
        self.assert_no_crash(process.returncode, text)
        return process.returncode, text

    def left_over(self):
        """Temporary files and folders anywhere in the test's folder."""
        found = []
        for folder, names, files in os.walk(self.folder):
            found += [os.path.join(folder, name) for name in names + files
                      if ".tmp." in name or name.endswith(".partial")]
        return found


def catches_interrupt(pid):
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith("SigCgt:"):
                    caught = int(line.split()[1], 16)
                    return bool(caught >> (signal.SIGINT - 1) & 1)
    except OSError:
        pass
    return False


def digest_of(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def digests(folder):
    """File name -> SHA-256, of a folder's files; without its receipt, which
    tells seconds and memory."""
    return {name: digest_of(os.path.join(folder, name))
            for name in sorted(os.listdir(folder))
            if not name.startswith("receipt.")}
