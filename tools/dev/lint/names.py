#!/usr/bin/env python3
"""One name, respelled: a pass or command has a file, a function, a flag and a
test of that name, and a list that all of them are read from."""

import re

import tree


def dashed(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def check_passes(report, sources, tests):
    listed = "passes/Passes.def"
    entry = re.compile(r'PASS\((\w+), "([^"]*)", "([^"]*)"\)')
    names = []
    for number, line in enumerate(tree.read(listed).split("\n"), 1):
        match = entry.match(line)
        if not match:
            continue
        kind, name, _ = match.groups()
        names.append(name)
        if name != dashed(kind):
            report.add(listed, number, f"pass '{kind}' is named '{name}', "
                       f"expects '{dashed(kind)}'")
        files = [p for p in sources if p.startswith("passes/")
                 and p.endswith(f"/{kind}.cpp")]
        if len(files) != 1:
            report.add(listed, number, f"pass '{name}' is in {len(files)} "
                       f"files named {kind}.cpp, expects one")
        elif f"moec::create{kind}()" not in tree.read(files[0]):
            report.add(files[0], 1, f"does not define moec::create{kind}()")
        if not any(t.endswith(f"/{name}.moe") for t in tests):
            report.add(listed, number, f"pass '{name}' has no test: expects "
                       f"tests/passes/**/{name}.moe")
    return len(names)


def check_commands(report, sources):
    listed = "tools/moec/Commands.def"
    names = re.findall(r"^COMMAND\((\w+)\)", tree.read(listed), re.M)
    for name in names:
        path = f"tools/moec/{name}.cpp"
        if path not in sources:
            report.add(listed, 1, f"command '{name}' lacks {path}")
            continue
        text = tree.read(path)
        if f"moec::k{name}Command" not in text:
            report.add(path, 1, f"does not define moec::k{name}Command")
        if not re.search(rf'cl::SubCommand\s+\w+\(\s*"{name.lower()}"', text):
            report.add(path, 1, f"does not declare command '{name.lower()}'")
    return len(names)


def main():
    report = tree.Report("names")
    sources = tree.files(".cpp")
    tests = [t for t in tree.files(".moe") if t.startswith("tests/passes/")]
    passes = check_passes(report, sources, tests)
    commands = check_commands(report, sources)
    report.finish(f"{passes} passes, {commands} commands")


main()
