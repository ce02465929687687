#!/usr/bin/env python3
"""Which folder may include which.

A folder includes itself and what LAYERS lists for it, where a word without
a second level stands for all folders below it. ALLOWED adds single headers;
each says why.
"""

import os
import re

import tree

IR = ["ir"]
SUPPORT = ["ir/support"]
LAYERS = {
    "ir/support": [],
    "ir/core": SUPPORT + ["ir/ops"],  # An Operation knows its kind's traits.
    "ir/kernel": SUPPORT + ["ir/core", "ir/ops"],
    "ir/ops": SUPPORT + ["ir/core", "ir/kernel"],
    "ir/target": SUPPORT + ["ir/core", "ir/kernel", "ir/ops"],
    "ir/text": SUPPORT + ["ir/core", "ir/kernel", "ir/ops"],
    "ir/verify": SUPPORT + ["ir/core", "ir/kernel", "ir/ops"],
    "ir/interp": SUPPORT + ["ir/core", "ir/kernel", "ir/ops"],
    "ir/weights": SUPPORT + ["ir/core", "ir/ops"],
    # The binary form stores attributes as their text.
    "ir/binary": SUPPORT + ["ir/core", "ir/kernel", "ir/ops", "ir/text",
                            "ir/verify"],
    "passes/driver": IR,
    "passes/rewrite": IR,
    "passes/analysis": IR,
    "passes/pipeline": IR + ["passes"],
    "codegen/emit": SUPPORT + ["runtime/schema"],
    "codegen/cpu": SUPPORT + ["codegen/emit", "runtime/schema"],
    "codegen/cuda": SUPPORT + ["codegen/emit", "runtime/schema"],
    "codegen/package": IR + ["codegen", "runtime/schema"],
    "runtime/schema": SUPPORT,
    "runtime/hal": SUPPORT + ["runtime/schema"],
    "runtime/text": SUPPORT + ["runtime/schema"],
    "runtime/cpu": SUPPORT + ["runtime/hal", "runtime/schema"],
    "runtime/cuda": SUPPORT + ["runtime/hal", "runtime/schema"],
    "runtime/program": SUPPORT + ["runtime/hal", "runtime/schema"],
    "runtime/generate": SUPPORT + ["runtime"],
    "runtime/capi": SUPPORT + ["runtime"],
    "tools/cudasim": SUPPORT,
    "tools/recipes": ["ir", "passes"],
    "tools/driver": ["ir", "passes", "codegen", "runtime", "frontend",
                     "tools/recipes"],
    "tools/moec": ["ir", "passes", "codegen", "runtime", "frontend",
                   "tools/driver", "tools/recipes"],
}
# Folders that LAYERS does not name, by their first word.
DEFAULTS = {
    "ir": IR,
    # A pass: the driver, the rewriter, the analyses and the list of passes.
    "passes": IR + ["passes/driver", "passes/rewrite", "passes/analysis",
                    "passes/Passes.h", "passes/Passes.def"],
    "frontend": IR + ["frontend"],
    "tests": ["ir", "passes", "codegen", "runtime", "frontend", "tools",
              "tests"],
}
ALLOWED = {
    # Names of a module's facts and programs, which a plan carries on: one
    # spelling for those who write them and those who read them.
    ("frontend", "runtime/schema/Facts.h"),
    ("passes", "runtime/schema/Facts.h"),
    # A tokenizer becomes the asset that the runtime loads; the importer
    # writes what the runtime's own class defines and checks.
    ("frontend/tokenizer", "runtime/text/"),
    # The plan stores the offsets that this analysis computes.
    ("codegen/package", "passes/memory/PlanBuffers.h"),
}
# Libraries that stay in few places, by how an include of theirs begins.
CONFINED = {
    "CUDA": (re.compile(r"^(cuda|cublas|curand|nccl|nv(rtc|JitLink|tx|ml))"),
             ("codegen/cuda", "runtime/cuda", "tools/cudasim", "tests/")),
    "LLVM IR": (re.compile(r"^llvm/(Analysis|Bitcode|CodeGen|ExecutionEngine|"
                           r"IR|IRReader|MC|Object|Passes|Target|Transforms)/"),
                ("codegen/cpu", "runtime/cpu/jit", "tools/moec/Emit.cpp",
                 "tests/")),
}
TOP_LEVEL = {".ci", ".clang-format", ".gitignore", "CMakeLists.txt",
             "CMakePresets.json", "LICENSE", "README.md", "codegen",
             "frontend", "ir", "passes", "runtime", "tests", "tools"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
TOP = ("ir/", "passes/", "codegen/", "runtime/", "frontend/", "tools/",
       "tests/")


def under(path, folder):
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def may_include(path, header):
    home = "/".join(os.path.dirname(path).split("/")[:2])
    if under(header, home):
        return True
    layers = LAYERS.get(home, DEFAULTS.get(path.split("/")[0]))
    if layers is None:
        return False
    return (any(under(header, layer) for layer in layers)
            or any(under(path, who) and under(header, what)
                   for who, what in ALLOWED))


def check_top_level(report):
    """The top level is fixed: what else lies there was left by accident."""
    for path in tree.files(""):
        first = path.split("/")[0]
        if path and first not in TOP_LEVEL:
            report.add(path, 1, f"'{first}' is no part of the top level "
                       "(see TOP_LEVEL in tools/dev/lint/layers.py)")


def main():
    report = tree.Report("layers")
    check_top_level(report)
    paths = tree.files(".c", ".cpp", ".cu", ".cuh", ".def", ".h")
    for path in paths:
        for number, line in enumerate(tree.read(path).split("\n"), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            header = match.group(1) or match.group(2)
            if header.startswith(TOP) and not may_include(path, header):
                report.add(path, number, f"includes '{header}', which is not "
                           "below it (see LAYERS in tools/dev/lint/layers.py)")
            for name, (pattern, homes) in CONFINED.items():
                if pattern.match(header) and not path.startswith(homes):
                    report.add(path, number, f"includes '{header}', but "
                               f"{name} headers stay in {', '.join(homes)}")
    report.finish(f"{len(paths)} files")


main()
