#!/usr/bin/env python3
"""Every C and C++ file is as clang-format-19 would write it. `--fix` rewrites."""

import concurrent.futures
import os
import subprocess
import sys

import tree

FORMAT = "clang-format-19"


def main():
    report = tree.Report("format")
    paths = tree.files(".c", ".cpp", ".h")
    if "--fix" in sys.argv:
        subprocess.run([FORMAT, "-i", *paths], cwd=tree.ROOT, check=True)

    def check(path):
        return subprocess.run([FORMAT, "--dry-run", "-Werror", path],
                              cwd=tree.ROOT, capture_output=True, text=True)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, result in zip(paths, pool.map(check, paths)):
            if result.returncode:
                first = result.stderr.split("\n", 1)[0]
                where = first.split(":")
                line = where[1] if len(where) > 2 else "1"
                report.add(path, line, "is not as clang-format-19 writes it "
                           "(tools/dev/lint/format.py --fix)")
    report.finish(f"{len(paths)} files")


main()
