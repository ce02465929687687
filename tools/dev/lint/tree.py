"""What the lints share: the files of the project, and how a finding prints."""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))


def files(*endings):
    """Tracked files, as paths from the root, that end in one of `endings`."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if listed.returncode == 0:
        paths = listed.stdout.decode().split("\0")
    else:  # An unpacked archive has no history: take all but builds.
        paths = []
        for folder, names, found in os.walk(ROOT):
            names[:] = [n for n in names if n not in ("build", ".git")]
            paths += [os.path.relpath(os.path.join(folder, f), ROOT)
                      for f in found]
    return sorted(p for p in paths if p.endswith(endings)
                  and os.path.exists(os.path.join(ROOT, p)))


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8",
              errors="replace") as file:
        return file.read()


class Report:
    """Collects findings; `finish` prints a verdict and exits."""

    def __init__(self, name):
        self.name = name
        self.findings = 0

    def add(self, path, line, message):
        self.findings += 1
        print(f"{path}:{line}: error: {message}")

    def finish(self, checked):
        verdict = f"{self.findings} findings" if self.findings else "clean"
        print(f"lint {self.name}: {checked}: {verdict}")
        sys.exit(1 if self.findings else 0)
