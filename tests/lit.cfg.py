"""How lit runs the .moe files under tests/ (see moec_lit_test)."""

import os

import lit.formats

config.name = "moec"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".moe"]
config.excludes = ["Inputs", "corpus"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = lit_config.params["exec_root"]

tools = lit_config.params["tools"]
llvm_tools = lit_config.params["llvm_tools"]
config.substitutions += [
    ("%FileCheck", os.path.join(llvm_tools, "FileCheck")),
    ("%moec", os.path.join(tools, "moec")),
    ("%not", os.path.join(llvm_tools, "not")),
    ("%test-opt", os.path.join(tools, "moec-test-opt")),
]
