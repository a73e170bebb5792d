"""Which crate may depend on which: the list in ARCHITECTURE.md against `cargo metadata`."""

import fnmatch
import json
import os
import re
import subprocess

FENCE = re.compile(r"^```layers\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Rules:
    """`leaf: <crates>` and `test: <crates>` name groups by folder, `*` for one folder's name; `<crate>: <crates>` lists
    the processes that a process composes."""

    def __init__(self, text):
        lines = [line.split("#")[0] for line in FENCE.search(text)[1].splitlines()]
        rows = dict(line.split(":") for line in lines if line.strip())
        rows = {name.strip(): crates.split() for name, crates in rows.items()}
        self.leaf, self.test = rows.pop("leaf", []), rows.pop("test", [])
        self.edges = {(crate, used) for crate, crates in rows.items() for used in crates}

    def refusal(self, crate, used, dev):
        """Why the crate may not depend on the other; None when it may."""
        if matches(used, self.leaf):
            if matches(used, self.test) and not dev and not matches(crate, self.test):
                return "only tests and test crates may depend on test crates"
            return None
        if matches(crate, self.leaf):
            return "leaf crates may depend only on leaf crates"
        return None if (crate, used) in self.edges else "not in the list of ARCHITECTURE.md"


def matches(crate, patterns):
    return any(crate.count("/") == pattern.count("/") and fnmatch.fnmatch(crate, pattern) for pattern in patterns)


def workspace(repo):
    """Its packages as cargo sees them."""
    command = ["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"]
    out = subprocess.run(command, cwd=repo, check=True, stdout=subprocess.PIPE).stdout
    return json.loads(out)["packages"]


def folder(repo, path):
    return os.path.relpath(path, os.path.realpath(repo))


def check(repo, packages):
    with open(os.path.join(repo, "ARCHITECTURE.md"), encoding="utf-8") as file:
        text = file.read()
    if not FENCE.search(text):
        return ["ARCHITECTURE.md has no list of layers (a block fenced as ```layers)"]
    rules = Rules(text)
    problems, unused = [], set(rules.edges)
    for package in packages:
        crate = folder(repo, os.path.dirname(package["manifest_path"]))
        for dependency in package["dependencies"]:
            if not dependency.get("path"):
                continue
            used = folder(repo, dependency["path"])
            unused.discard((crate, used))
            reason = rules.refusal(crate, used, dependency["kind"] == "dev")
            if reason:
                problems.append(f"{crate} depends on {used} ({dependency['kind'] or 'normal'}): {reason}")
    problems += [f"{crate} does not depend on {used}, but ARCHITECTURE.md lists it" for crate, used in sorted(unused)]
    return problems
