#!/usr/bin/env python3
"""A file of more than 500 lines owes a reason: a line of REASONS, or a comment
`Long because: ...` within its first 40 lines."""

import tree

LIMIT = 500
HEAD = 40
REASONS = {
    "codegen/cpu/Emitter.cpp": "one class: the words all emitters speak",
    "codegen/package/BindKernel.cpp": "one case a kernel op, alike in form",
    "tests/tools/cudasim/machine/OpReference.cpp":
        "one short function an op form, in the order of the table",
    "tests/tools/cudasim/driver/GraphTest.cpp":
        "one test a rule of graphs, on one fixture",
    "tools/cudasim/driver/Graph.cpp": "one entry point a function",
    "tools/cudasim/driver/GraphExec.cpp": "one case a kind of node",
    "tools/cudasim/driver/GraphNodes.cpp": "one case a kind of node",
    "tools/cudasim/driver/Stream.cpp": "one queue and all that waits for it",
    "tools/cudasim/fakes/nccl/Collective.cpp":
        "one function a collective, on one meeting point",
    "tools/cudasim/machine/DecodeMemory.cpp": "one case an op form",
    "tools/cudasim/machine/Decoder.cpp": "one case an op form",
    "tools/cudasim/machine/Grid.cpp":
        "one state machine: blocks, clusters and their turns",
    "tools/cudasim/machine/HandlersFloat.cpp": "one handler an op form",
    "tools/cudasim/machine/HandlersInteger.cpp": "one handler an op form",
    "tools/cudasim/machine/HandlersScalar.cpp": "one handler an op form",
    "tools/cudasim/machine/HandlersWarp.cpp": "one handler an op form",
    "tools/cudasim/machine/Memory.cpp":
        "one table of allocations under one lock",
    "tools/cudasim/machine/MemoryAccess.cpp": "one case an access form",
    "tools/cudasim/machine/WarpRunner.cpp":
        "one loop: fetch, divergence and barriers share its state",
    "tools/cudasim/ptx/Parser.cpp": "one grammar, a function a rule",
}


def main():
    report = tree.Report("sizes")
    paths = tree.files(".c", ".cpp", ".cu", ".cuh", ".h", ".py")
    for path in paths:
        lines = tree.read(path).split("\n")
        if len(lines) - 1 <= LIMIT or path in REASONS:
            continue
        if not any("Long because:" in line for line in lines[:HEAD]):
            report.add(path, LIMIT + 1, f"has {len(lines) - 1} lines, more "
                       f"than {LIMIT}, and gives no reason: a comment "
                       f"'Long because: ...' in its first {HEAD}")
    report.finish(f"{len(paths)} files")


main()
