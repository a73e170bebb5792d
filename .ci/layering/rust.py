"""Reads Rust source as far as imports need it: which items a module defines, what its `use` lines name, and the
paths in its code. Comments, and code that is compiled for tests only, are left out. Types are not inferred, so a
method call or a field is no import; whoever calls one got the value through a name."""

import os
import re
from dataclasses import dataclass, field

TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
      | (?P<comment>/\*)
      | (?P<raw>(?:br|cr|r)(?P<hashes>\#*)")
      | (?P<string>[bc]?"(?:[^"\\]|\\.)*")
      | (?P<char>b?'(?:\\(?:x..|u\{[^}]*\}|.)|[^\\'])')
      | (?P<lifetime>'\w+)
      | (?P<id>(?:r\#)?[^\W\d]\w*)
      | (?P<number>\d\w*(?:\.\d\w*)?)
      | (?P<punct>::|.)""",
    re.VERBOSE | re.DOTALL,
)
# What defines a name at the level of a module. `type` and the like can have names below them, a value cannot.
ITEMS = {"struct": "type", "enum": "type", "trait": "type", "type": "type", "fn": "value", "const": "value", "static": "value"}
OPENING = {"(": ")", "[": "]", "{": "}"}


@dataclass
class Token:
    kind: str
    text: str
    line: int


@dataclass
class Import:
    """A name of a `use` line: `segments` is what it stands for, `*` at their end is everything."""

    alias: str
    segments: list
    line: int
    public: bool


@dataclass
class Path:
    segments: list
    line: int
    macro: bool = False


@dataclass
class Module:
    name: str
    file: str
    parent: "Module" = None
    # Where the files of its child modules are.
    folder: str = ""
    items: dict = field(default_factory=dict)
    children: dict = field(default_factory=dict)
    imports: list = field(default_factory=list)
    # `use` lines inside functions: they name something for that function only, not for other modules.
    local_imports: list = field(default_factory=list)
    paths: list = field(default_factory=list)
    words: dict = field(default_factory=dict)

    def tree(self):
        yield self
        for child in self.children.values():
            yield from child.tree()


def tokens_of(text):
    tokens, position, line = [], 0, 1
    while position < len(text):
        match = TOKEN.match(text, position)
        kind, end = match.lastgroup, match.end()
        if kind == "comment":
            end = comment_end(text, position)
        elif match["raw"] is not None:
            kind, end = "string", text.index('"' + match["hashes"], end) + 1 + len(match["hashes"])
        whole = text[position:end]
        if kind in ("id", "punct", "string"):
            tokens.append(Token(kind, whole.removeprefix("r#") if kind == "id" else whole, line))
        line += whole.count("\n")
        position = end
    return tokens


def comment_end(text, position):
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(text, position):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return match.end()
    return len(text)


def read_crate(root_file):
    """The tree of modules below lib.rs or main.rs."""
    root = Module("crate", root_file, folder=os.path.dirname(root_file))
    Reader(root).read_file()
    return root


class Reader:
    def __init__(self, module, tokens=None):
        self.module = module
        self.tokens = tokens
        self.at = 0
        # The `#[path]` of the item that follows, and whether it has a visibility.
        self.path = None
        self.public = False

    def read_file(self):
        with open(self.module.file, encoding="utf-8") as file:
            self.tokens = tokens_of(file.read())
        self.read_items()

    def text(self, ahead=0):
        return self.tokens[self.at + ahead].text if 0 <= self.at + ahead < len(self.tokens) else ""

    def read_items(self):
        """Up to the end of the file, or behind the brace that closes an inline module."""
        depth = 0
        while self.at < len(self.tokens):
            token, text = self.tokens[self.at], self.text()
            if text == "#" and self.text(1 + (self.text(1) == "!")) == "[":
                if not self.attribute():
                    return
            elif token.kind == "id" and self.text(-1) != "$" and self.item(text, depth):
                self.path, self.public = None, False
            elif text in "{}" and token.kind == "punct":
                depth += 1 if text == "{" else -1
                self.at += 1
                self.public = False
                if depth < 0:
                    return
            elif token.kind == "id":
                self.code()
            else:
                self.at += 1

    def item(self, text, depth):
        """Reads what defines or imports a name; False for everything else."""
        if text == "pub":
            self.public = True
            self.at += 1
            if self.text() == "(" and self.text(1) in ("crate", "super", "self", "in"):
                self.skip_group()
            # The visibility belongs to what follows.
            return self.item(self.text(), depth) if self.text() in ("use", "mod", *ITEMS) else True
        # `impl Trait + use<'a>` captures a lifetime.
        if text == "use" and self.text(1) != "<":
            self.at += 1
            self.use_tree([], self.module.imports if depth == 0 else self.module.local_imports)
            return True
        if depth:
            return False
        if text == "mod":
            return self.child_module()
        if text == "macro_rules" and self.text(1) == "!":
            self.module.items.setdefault(self.text(2), set()).add("macro")
            self.at += 3
            return True
        if text in ITEMS:
            ahead = 2 if self.text(1) == "mut" else 1
            name = self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else None
            if name and name.kind == "id" and name.text not in ("fn", "unsafe", "async", "extern"):
                self.module.items.setdefault(name.text, set()).add(ITEMS[text])
                self.at += ahead + 1
                return True
        return False

    def child_module(self):
        name, after = self.text(1), self.text(2)
        parent = self.module
        folder = os.path.join(parent.folder, name)
        if after == ";":
            self.at += 3
            candidates = [os.path.join(parent.folder, f"{name}.rs"), os.path.join(folder, "mod.rs")]
            if self.path:
                candidates = [os.path.join(os.path.dirname(parent.file), self.path)]
            file = next((file for file in candidates if os.path.exists(file)), None)
            if file:
                parent.children[name] = Module(name, file, parent, os.path.dirname(file) if file.endswith("mod.rs") else folder)
                Reader(parent.children[name]).read_file()
        elif after == "{":
            child = parent.children[name] = Module(name, parent.file, parent, folder)
            reader = Reader(child, self.tokens)
            reader.at = self.at + 3
            reader.read_items()
            self.at = reader.at
        else:
            return False
        return True

    def use_tree(self, prefix, imports):
        """One branch of a `use` tree, and the `;` behind the outermost."""
        segments, line = list(prefix), self.tokens[self.at].line
        while self.at < len(self.tokens):
            token, text = self.tokens[self.at], self.text()
            self.at += 1
            if text == "{":
                while self.text() not in ("}", ""):
                    self.use_tree(segments, imports)
                self.at += 1
                segments = None
            elif text == "as":
                imports.append(Import(self.text(), segments, line, self.public))
                self.at += 1
                segments = None
            elif text in ("}", ",", ";"):
                self.at -= text == "}"
                break
            elif token.kind == "id" or text == "*":
                segments.append(text)
        if segments and segments != prefix:
            if segments[-1] == "self" and len(segments) > 1:
                segments.pop()
            imports.append(Import(segments[-1], segments, line, self.public))

    def code(self):
        """A path, or a word that a glob import may have brought."""
        first = self.tokens[self.at]
        before = self.text(-1)
        segments = [first.text]
        self.at += 1
        while self.text() == "::" and self.at + 1 < len(self.tokens) and self.tokens[self.at + 1].kind == "id":
            segments.append(self.text(1))
            self.at += 2
        if before in ("::", ".") or (before == "$" and first.text != "crate"):
            return
        if len(segments) > 1 or (self.text() == "!" and self.text(1) in OPENING):
            self.module.paths.append(Path(segments, first.line, self.text() == "!"))
        self.module.words.setdefault(segments[0], first.line)

    def attribute(self):
        """False where `#![cfg(test)]` ends the module."""
        inner = self.text(1) == "!"
        start = self.at + 2 + inner
        self.at = start - 1
        self.skip_group()
        inside = self.tokens[start : self.at - 1]
        if inside and inside[0].text == "cfg" and predicate(iter(inside[2:])) is False:
            if inner:
                self.at = len(self.tokens)
                return False
            self.skip_item()
            return True
        if inside and inside[0].text == "path":
            self.path = inside[2].text.strip('"')
        for token in inside:
            # serde and clap take paths as strings.
            if token.kind == "string" and re.fullmatch(r'"\w+(::\w+)+"', token.text):
                self.module.paths.append(Path(token.text.strip('"').split("::"), token.line))
        end, self.at = self.at, start
        while self.at < end:
            if self.tokens[self.at].kind == "id":
                self.code()
            else:
                self.at += 1
        return True

    def skip_group(self):
        """From an opening bracket behind the one that closes it."""
        depth = 0
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            if token.kind == "punct":
                depth += (token.text in OPENING) - (token.text in OPENING.values())
            self.at += 1
            if depth == 0:
                return

    def skip_item(self):
        """The item, statement, field or arm behind an attribute."""
        while self.text() == "#":
            self.at += 1
            self.skip_group()
        keywords = ("pub", "use", "mod", "unsafe", "async", "impl", "extern", "macro_rules", "let", *ITEMS)
        whole, use = self.text() in keywords, self.text() == "use" or self.text(1) == "use"
        while self.at < len(self.tokens) and self.text() not in OPENING.values():
            text = self.text()
            if text in OPENING:
                self.skip_group()
                if text == "{" and not use:
                    return
            else:
                self.at += 1
                if text == ";" or (text == "," and not whole):
                    return


def predicate(tokens):
    """Of `cfg(…)`, when not testing: True, False, or None where it depends on the machine."""
    name = next(tokens).text
    if name == "test":
        return False
    if name not in ("all", "any", "not"):
        return None
    values, depth, inside = [], 0, []
    next(tokens)
    for token in tokens:
        if depth == 0 and token.text in (",", ")"):
            if inside:
                values.append(predicate(iter(inside)))
            inside = []
            if token.text == ")":
                break
            continue
        depth += (token.text == "(") - (token.text == ")")
        inside.append(token)
    if name == "not":
        return None if values[0] is None else not values[0]
    decisive = name == "any"
    if decisive in values:
        return decisive
    return None if None in values else not decisive
