"""Plants violations in a small workspace, one at a time, and asserts that the check finds each and nothing else. Plants that
are allowed are there as well: a check that finds circles everywhere would be switched off."""

import os
import shutil
import tempfile

ARCHITECTURE = """
```layers
leaf: contract/* shell testing/*  # depend on leaves only
test: testing/*
server:
tool: server
```
"""

# Each crate's dependencies; `!` before those of its tests.
CRATES = {
    "contract/words": [],
    "shell": ["contract/words"],
    "testing/fake": [],
    "server": ["shell", "!testing/fake"],
    "tool": ["server", "shell"],
}
SERVER = {
    "lib.rs": """
        //! `crate::b::B` in a comment is no import, nor is "crate::b::B" in a string.
        mod a; mod b; mod c; mod macros;
        mod parent;
        pub use b::B as Shown;
        pub use shell as outer;
        #[cfg(test)] mod tests { use super::a; use super::b::B; }
    """,
    "macros.rs": "macro_rules! made { ($name:ident) => { pub struct $name; } }\npub(crate) use made;",
    "a.rs": "use super::b::{self, B}; pub struct A<'a>(&'a B); pub const ONE: char = 'a'; pub fn f() { b::g(); }",
    "b.rs": "use crate::c::C; crate::macros::made!(Made); pub struct B(C); pub enum E { X } pub fn g() {} pub fn made() {}",
    "c.rs": "pub(in crate::c) struct D; pub struct C; #[cfg(test)] use crate::a::A; #[cfg(test)] fn t(_: crate::a::A) {}\n"
    "/* /* */ use crate::a::A; */ const S: &str = r#\"crate::a::A { \"#; #[cfg(not(unix))] fn u() {}",
    "parent.rs": "mod child; mod other; use child::Child; pub use other::Other; pub fn p(_: Child) {} pub fn other() {}",
    "parent/child.rs": "pub struct Child(super::other::Other);",
    "parent/other.rs": "pub struct Other;",
}

# What is planted: a file of the server, what is written at its end, and the arrow that has to be shown; None: it is allowed.
CIRCLES = [
    ("use crate", "c.rs", "use crate::a::A;", "c.rs -> src/a.rs: A (3)"),
    ("use super, in a tree, renamed", "c.rs", "use super::{b::{E as Kind, g}};", "c.rs -> src/b.rs: E (3), g (3)"),
    ("use of a module and more", "c.rs", "use super::a::{self}; fn h() { a::f(); }", "c.rs -> src/a.rs: f (3)"),
    ("use in a function", "c.rs", "fn h() { use crate::a; a::f(); }", "c.rs -> src/a.rs: f (3)"),
    ("a path in code", "c.rs", "fn h() -> u8 { if true { crate::a::f() } 1 }", "c.rs -> src/a.rs: f (3)"),
    ("a path in a type", "c.rs", "impl From<super::a::A<'_>> for C {}", "c.rs -> src/a.rs: A (3)"),
    ("a path behind a module's name", "c.rs", "use super::a as x; fn h() { x::f(); }", "c.rs -> src/a.rs: f (3)"),
    ("a path in an attribute", "c.rs", '#[serde(with = "crate::a::f")] struct X;', "c.rs -> src/a.rs: f (3)"),
    ("a path in a macro", "c.rs", "macro_rules! m { () => { $crate::a::f() } }", "c.rs -> src/a.rs: f (3)"),
    ("a re-export of the root", "c.rs", "use crate::Shown;", "c.rs -> src/b.rs: B (3)"),
    ("everything of a module", "c.rs", "use crate::b::*; fn h(_: E) {}", "c.rs -> src/b.rs: E (3)"),
    ("every variant of a type", "c.rs", "use crate::b::E::*;", "c.rs -> src/b.rs: E::* (3)"),
    ("what a macro made", "c.rs", "use crate::b::Made;", "c.rs -> src/b.rs: Made (3)"),
    ("a macro that needs its caller", "macros.rs", "use crate::b::B;", "macros.rs -> src/b.rs: B (3)"),
    ("for tests or not", "c.rs", "#[cfg(any(test, unix))] use crate::a::A;", "c.rs -> src/a.rs: A (3)"),
    ("a child and its parent", "parent/child.rs", "use super::p;", "parent/child.rs -> src/parent.rs: p (2)"),
    ("a child by way of its parent", "parent/other.rs", "use super::Child;", "parent/other.rs -> src/parent/child.rs: Child (2)"),
    ("a module inside a file", "c.rs", "mod inner { pub fn h(_: super::super::a::A) {} }", "c.rs -> src/a.rs: A (3)"),
    ("a re-exported module", "c.rs", "pub use crate::a as first;", "c.rs -> src/a.rs: a (3)"),
    ("the root's own item", "b.rs", "fn h(_: crate::Root) {}", "b.rs -> src/lib.rs: Root (2)"),
    ("a child that imports from its sibling", "parent/child.rs", "use super::Other;", None),
    ("a module that is used for tests only", "c.rs", "#[cfg(all(test, unix))] mod t { use crate::a::A; }", None),
    ("a variant in code", "c.rs", "fn h() { let _ = crate::b::E::X; }", "c.rs -> src/b.rs: E (3)"),
    ("another crate by way of the root", "b.rs", "use crate::outer::Thing;", None),
    ("another crate of a module's name", "c.rs", "use crate::b; fn h() { ::b::g(); }", None),
    ("a name that another crate has too", "c.rs", "use shell::a::A; use ::a::f; fn h() { self.a(); a::b::<u8>(); }", None),
]

# A crate, what it depends on in addition, and what has to be said.
EDGES = [
    ("contract/words", "server", "contract/words depends on server (normal): leaf crates may depend only on leaf crates"),
    ("shell", "!tool", "shell depends on tool (dev): leaf crates may depend only on leaf crates"),
    ("testing/fake", "tool", "testing/fake depends on tool (normal): leaf crates may depend only on leaf crates"),
    ("server", "tool", "server depends on tool (normal): not in the list of ARCHITECTURE.md"),
    ("shell", "testing/fake", "shell depends on testing/fake (normal): only tests and test crates may depend on test crates"),
    ("shell", "!testing/fake", None),
    ("contract/words", "shell", None),
]


def run(check):
    failures = []

    def expect(name, found, wanted):
        right = not found if wanted is None else len(found) == 1 and wanted in found[0]
        if not right:
            failures.append(f"{name}: expected {wanted or 'nothing'}, found {found or 'nothing'}")

    with tempfile.TemporaryDirectory() as repo:
        write_workspace(repo)
        expect("nothing planted", check(repo), None)
        for name, file, text, wanted in CIRCLES:
            with planted(os.path.join(repo, "server/src", file), text):
                expect(name, check(repo, "server"), wanted and f"src/{wanted}")
        for crate, used, wanted in EDGES:
            with planted(os.path.join(repo, crate, "Cargo.toml"), dependency(crate, used)):
                expect(f"{crate} on {used}", check(repo), wanted)
        with planted(os.path.join(repo, "ARCHITECTURE.md"), "", ARCHITECTURE.replace("tool: server", "tool: server shell")):
            expect("an entry that is not needed", check(repo), None)
        with planted(os.path.join(repo, "ARCHITECTURE.md"), "", ARCHITECTURE.replace("server:", "server: tool")):
            expect("an entry without an edge", check(repo), "server does not depend on tool, but ARCHITECTURE.md lists it")
        with planted(os.path.join(repo, "ARCHITECTURE.md"), "", "No list."):
            expect("no list", check(repo), "ARCHITECTURE.md has no list of layers")
    for failure in failures:
        print(failure)
    print(f"layers: {len(CIRCLES) + len(EDGES) + 4} plants, {len(failures)} failures")
    return 1 if failures else 0


class planted:
    """The file with more at its end, or another text; as it was afterwards."""

    def __init__(self, path, text, whole=None):
        self.path, self.text, self.whole = path, text, whole

    def __enter__(self):
        shutil.copy(self.path, self.path + ".kept")
        with open(self.path, "a" if self.whole is None else "w", encoding="utf-8") as file:
            file.write("\n" + self.text if self.whole is None else self.whole)

    def __exit__(self, *_):
        os.replace(self.path + ".kept", self.path)


def write_workspace(repo):
    members = ", ".join(f'"{crate}"' for crate in CRATES)
    write(repo, "Cargo.toml", f'[workspace]\nresolver = "3"\nmembers = [{members}]\n')
    write(repo, "ARCHITECTURE.md", ARCHITECTURE)
    for crate, used in CRATES.items():
        name = crate.replace("/", "-")
        package = f'[package]\nname = "{name}"\nedition = "2024"\n'
        write(repo, f"{crate}/Cargo.toml", package + "".join(dependency(crate, other) for other in used))
        write(repo, f"{crate}/src/lib.rs", "")
    for file, text in SERVER.items():
        write(repo, f"server/src/{file}", text)


def dependency(crate, used):
    kind, used = ("dev-dependencies", used[1:]) if used.startswith("!") else ("dependencies", used)
    name = used.replace("/", "-")
    root = "../" * (crate.count("/") + 1)
    return f'[{kind}.{name}]\npath = "{root}{used}"\n'


def write(repo, path, text):
    path = os.path.join(repo, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
