#!/usr/bin/env python3
"""A file of more than 500 lines owes a reason: a comment `Long because: ...`
within its first 40 lines. A shorter one has none to give."""

import tree

LIMIT = 500
HEAD = 40


def main():
    report = tree.Report("sizes")
    paths = tree.files(".c", ".cpp", ".cu", ".cuh", ".h", ".py")
    for path in paths:
        lines = tree.read(path).split("\n")
        reasons = [number for number, line in enumerate(lines[:HEAD], 1)
                   if line.lstrip("/# ").startswith("Long because:")]
        if len(lines) - 1 > LIMIT and not reasons:
            report.add(path, LIMIT + 1, f"has {len(lines) - 1} lines, more "
                       f"than {LIMIT}, and gives no reason: a comment "
                       f"'Long because: ...' in its first {HEAD}")
        if len(lines) - 1 <= LIMIT and reasons:
            report.add(path, reasons[0], f"says why it is long, but has "
                       f"{len(lines) - 1} lines, no more than {LIMIT}")
    report.finish(f"{len(paths)} files")


main()
