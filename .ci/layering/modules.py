"""Which file of a crate imports which. A name is followed through `pub use` to the file that defines it; `mod x;`
and the import of a module as such are no arrows, what is used through it is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """A name and the file that defines it; no file: it is another crate's."""

    file: str
    name: str
    value: bool = False


OTHER_CRATE = Item(None, "")


class Crate:
    def __init__(self, root):
        self.root = root
        self.macros = {name: module.file for module in root.tree() for name, kinds in module.items.items() if "macro" in kinds}

    def arrows(self):
        """{(from, to): {name: line}}, both files of this crate."""
        found = {}
        for module in self.root.tree():
            for line, name, target in self.imported(module):
                file = target.file
                if file and file != module.file:
                    found.setdefault((module.file, file), {}).setdefault(name, line)
        return found

    def imported(self, module):
        for entry in module.imports + module.local_imports:
            if entry.segments[-1] == "*":
                yield from self.through_glob(module, entry)
                continue
            for target in self.resolve(module, entry.segments):
                if isinstance(target, Item) or entry.public:
                    yield entry.line, target.name, target
        for path in module.paths:
            for target in self.resolve(module, path.segments, path.macro):
                if isinstance(target, Item):
                    yield path.line, target.name, target

    def through_glob(self, module, entry):
        for target in self.resolve(module, entry.segments[:-1]):
            if isinstance(target, Item):
                yield entry.line, target.name + "::*", target
                continue
            if entry.public:
                yield entry.line, target.name + "::*", target
            for word, line in module.words.items():
                for item in self.lookup(target, word, set()):
                    if isinstance(item, Item) and not module.items.get(word):
                        yield line, word, item

    def resolve(self, module, segments, macro=False, seen=None):
        """The items and modules that a path can mean: types, functions and modules may share a name."""
        seen = set() if seen is None else seen
        head, rest = segments[0], list(segments[1:])
        if head in ("crate", "self", "super"):
            targets = [self.root if head == "crate" else module if head == "self" else module.parent]
            while rest and rest[0] == "super":
                targets = [targets[0].parent]
                rest.pop(0)
        else:
            targets = self.lookup(module, head, seen, inside=True)
            if not targets and macro and not rest and head in self.macros:
                return [Item(self.macros[head], head + "!")]
        for segment in rest:
            targets = [step for target in targets if target for step in self.step(target, segment, seen)]
        return [target for target in targets if target]

    def step(self, target, segment, seen):
        if isinstance(target, Item):
            # `Type::name` is where the type is; below a function there is nothing.
            return [] if target.value else [target]
        # A name that no line of the module shows was made by a macro there.
        return self.lookup(target, segment, seen) or [Item(target.file, segment)]

    def lookup(self, module, name, seen, inside=False):
        """What the name is in the module; nothing when the module has no such name."""
        if (id(module), name, inside) in seen:
            return []
        seen = seen | {(id(module), name, inside)}
        kinds = module.items.get(name, set()) - {"macro"}
        found = [Item(module.file, name, kinds == {"value"})] if kinds else []
        if name in module.children:
            found.append(module.children[name])
        if name in self.macros and "macro" in module.items.get(name, ()):
            found.append(Item(module.file, name + "!", True))
        if inside is False and module is self.root and name in self.macros and not found:
            # `#[macro_export]` puts it there, wherever it is defined.
            found.append(Item(self.macros[name], name + "!", True))
        imports = module.imports + (module.local_imports if inside else [])
        for entry in imports:
            if entry.alias == name and entry.segments[-1] != "*" and entry.segments != [name]:
                found.extend(self.resolve(module, entry.segments, seen=seen) or [OTHER_CRATE])
        if not found:
            for entry in imports:
                if entry.segments[-1] == "*":
                    for target in self.resolve(module, entry.segments[:-1], seen=seen):
                        if not isinstance(target, Item):
                            found.extend(self.lookup(target, name, seen))
        return found


def circles(arrows):
    """The strongly connected components of more than one file (Tarjan), without recursion."""
    graph = {}
    for start, end in arrows:
        graph.setdefault(start, []).append(end)
    index, low, stack, found = {}, {}, [], []
    for first in sorted(graph):
        if first in index:
            continue
        work = [(first, iter(graph.get(first, ())))]
        index[first] = low[first] = len(index)
        stack.append(first)
        while work:
            node, following = work[-1]
            child = next(following, None)
            if child is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = stack[stack.index(node) :]
                    del stack[stack.index(node) :]
                    if len(component) > 1:
                        found.append(sorted(component))
            elif child not in index:
                index[child] = low[child] = len(index)
                stack.append(child)
                work.append((child, iter(graph.get(child, ()))))
            elif child in stack:
                low[node] = min(low[node], index[child])
    return sorted(found)
