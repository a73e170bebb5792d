#!/usr/bin/env python3
"""Copies KEDA's module without the scalers that nothing here uses. The libraries of clouds, brokers and vendors behind them
take longer to compile than the rest of KEDA; what is left is the module's, byte for byte, but for the list of trigger types and the strings
that scalers share.

    trim_keda.py <folder of github.com/kedacore/keda/v2> <folder for the copy>
"""

import os
import re
import shutil
import sys

# By file, without `_scaler.go`.
KEPT = ("cpu_memory", "cron", "external", "external_mock", "kubernetes_workload", "mysql", "postgresql", "redis", "redis_streams")
CONSTRUCTOR = re.compile(r"^func (New\w+)\(", re.MULTILINE)
# A string that scalers share stands in whichever had it first.
CONSTANT = re.compile(r'^\t(\w+) +(= "[^"]*")$', re.MULTILINE)
# One trigger type of `buildScaler`.
CASE = re.compile(r'^\tcase "[^"]*":\n\t\treturn scalers\.(\w+)\(.*\n', re.MULTILINE)


def main():
    module, out = sys.argv[1:]
    shutil.rmtree(out, ignore_errors=True)
    for part in ("apis", "cmd", "controllers", "pkg", "version", "go.mod", "go.sum", "LICENSE"):
        copy(os.path.join(module, part), os.path.join(out, part))
    kept, constants = "", {}
    scalers = os.path.join(out, "pkg", "scalers")
    for name in sorted(os.listdir(scalers)):
        path = os.path.join(scalers, name)
        if not name.endswith("_scaler.go"):
            continue
        if name.removesuffix("_scaler.go") in KEPT:
            kept += read(path)
        else:
            constants.update(CONSTANT.findall(read(path)))
            os.remove(path)
    defined = {name for name, _ in CONSTANT.findall(kept)}
    shared = sorted(name for name in constants if name not in defined and re.search(rf"\b{name}\b", kept))
    lines = "".join(f"\t{name} {constants[name]}\n" for name in shared)
    write(os.path.join(scalers, "shared.go"), f"package scalers\n\nconst (\n{lines})\n")
    builder = os.path.join(out, "pkg", "scaling", "scalers_builder.go")
    constructors = CONSTRUCTOR.findall(kept)
    write(builder, CASE.sub(lambda case: case[0] if case[1] in constructors else "", read(builder)))


def copy(source, target):
    """Without the module cache's write protection, and without tests."""
    if os.path.isdir(source):
        os.makedirs(target)
        for name in os.listdir(source):
            if not name.endswith("_test.go"):
                copy(os.path.join(source, name), os.path.join(target, name))
    else:
        shutil.copyfile(source, target)


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


if __name__ == "__main__":
    main()
