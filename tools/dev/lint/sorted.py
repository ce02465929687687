#!/usr/bin/env python3
"""Lists are sorted: packages of tools/dev/setup, passes of Passes.def, and in
CMake files every run of two or more lines that name one source each."""

import re

import tree

SOURCE = re.compile(r"^\s*([\w./-]+\.(?:c|cpp|cu))\s*\)?\s*$")


def check(report, path, entries):
    """`entries` are pairs of a line's number and its word."""
    for (_, before), (number, word) in zip(entries, entries[1:]):
        if word < before:
            report.add(path, number,
                       f"'{word}' stands behind '{before}', expects sorted")
            return


def setup_packages():
    lines = tree.read("tools/dev/setup").split("\n")
    first = lines.index("packages=(") + 1
    last = lines.index(")", first)
    return [(i + 1, lines[i].strip()) for i in range(first, last)]


def passes():
    lines = tree.read("passes/Passes.def").split("\n")
    return [(i, line.split('"')[1]) for i, line in enumerate(lines, 1)
            if line.startswith("PASS(")]


def source_lists(path):
    """Runs of lines with a source each."""
    run = []
    for number, line in enumerate(tree.read(path).split("\n"), 1):
        match = SOURCE.match(line)
        if match:
            run.append((number, match.group(1)))
            continue
        yield run
        run = []
    yield run


def main():
    report = tree.Report("sorted")
    check(report, "tools/dev/setup", setup_packages())
    check(report, "passes/Passes.def", passes())
    lists = 2
    for path in tree.files("CMakeLists.txt"):
        for run in source_lists(path):
            lists += len(run) > 1
            check(report, path, run)
    report.finish(f"{lists} lists")


main()
