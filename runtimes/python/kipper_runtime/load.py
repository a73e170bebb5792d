"""Finds the function's file, imports it and works out how its handler wants to be called."""

import os
import sys

from .log import Expected

ENTRY = "handler.py"
NAMES = ("handler", "handle", "main")
MANIFEST = "requirements.txt"

VARARGS, COROUTINE, ASYNC_GENERATOR = 0x04, 0x80, 0x200  # bits of a code object's flags, as `inspect` names them


class Handler:
    """The function to call: `call(event, context)` passes as many of the two as it takes."""

    def __init__(self, function, arguments, is_async):
        self.function = function
        self.arguments = arguments
        self.is_async = is_async
        self.uses_asyncio = False  # as far as the file's text tells

    def call(self, event, context):
        return self.function(*(event, context)[: self.arguments])


def locate(function_path):
    full = os.path.abspath(function_path)
    if not os.path.exists(full):
        raise Expected(f"{full} does not exist")
    if os.path.isfile(full):
        return os.path.dirname(full), full
    file = os.path.join(full, ENTRY)
    if not os.path.isfile(file):
        raise Expected(f"{full} holds no {ENTRY}")
    return full, file


def needs_install(root):
    lines = decode_manifest(read_manifest(root)).splitlines()
    return any(line.strip() and not line.strip().startswith("#") for line in lines)


def read_manifest(root):
    try:
        with open(os.path.join(root, MANIFEST), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def decode_manifest(data):
    """As pip reads it: by its byte order mark, else by a `coding` comment in its first two lines, else UTF-8."""
    if not data or data.isascii() and b"coding" not in data:
        return data.decode("ascii")
    import codecs
    import re

    marks = [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32, "utf-32"), (codecs.BOM_UTF16_BE, "utf-16-be")]
    marks += [(codecs.BOM_UTF32_BE, "utf-32-be"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF16_LE, "utf-16-le")]
    for mark, encoding in marks:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    for line in data.split(b"\n")[:2]:
        named = re.match(rb"#.*coding[:=]\s*([-\w.]+)", line)
        if named:
            try:
                return data.decode(named[1].decode("ascii"), "replace")
            except LookupError:
                raise Expected(f"{MANIFEST} names an unknown encoding: {named[1].decode('ascii')}") from None
    return data.decode("utf-8", "replace")


def after_standard_library():
    """Where the function's folders go in the search path. Behind the standard library: a function's file may be called
    json.py. In front of the image's own packages."""
    library = os.path.dirname(os.__file__)
    own = (library, os.path.join(library, "lib-dynload"))
    places = [at for at, folder in enumerate(sys.path) if folder in own]
    return places[-1] + 1 if places else 0


def load_handler(root, file, wanted):
    sys.path.insert(after_standard_library(), root)
    module = import_file(file)
    for name in (wanted,) if wanted else NAMES:
        function = getattr(module, name, None)
        if callable(function):
            handler = describe(function, f"{name} in {file}")
            with open(file, "rb") as source:
                handler.uses_asyncio = b"asyncio" in source.read()
            return handler
    if wanted:
        raise Expected(f"{file} defines no function called {wanted}")
    raise Expected(f"{file} defines no handler: expected a function called {', '.join(NAMES[:-1])} or {NAMES[-1]}")


def import_file(file):
    from importlib.machinery import ModuleSpec, SourceFileLoader

    name = os.path.splitext(os.path.basename(file))[0]
    if name in sys.modules or name in sys.stdlib_module_names or not name.isidentifier():
        name = "kipper_function"  # the file's own name would hide a module that others import
    spec = ModuleSpec(name, SourceFileLoader(name, file), origin=file)
    spec.has_location = True
    module = type(sys)(name)
    module.__spec__, module.__file__, module.__loader__ = spec, file, spec.loader
    # Registered first, as import does: dataclasses and pickle look a class's module up.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def describe(function, where):
    if isinstance(function, type):
        raise Expected(f"{where} is a class: use a function, or an instance that can be called")
    code = getattr(function, "__code__", None)
    plain = type(function) is type(describe) and not hasattr(function, "__wrapped__")
    if plain:
        flags = code.co_flags
        most = 2 if flags & VARARGS else code.co_argcount
        least = code.co_argcount - len(function.__defaults__ or ())
        named = code.co_kwonlyargcount > len(function.__kwdefaults__ or ())
        is_async = bool(flags & (COROUTINE | ASYNC_GENERATOR))
    else:
        least, most, named, is_async = inspect_callable(function)
    if least > 2 or named:
        raise Expected(f"{where} must take at most two arguments, (event, context)")
    return Handler(function, min(most, 2), is_async)


def inspect_callable(function):
    """Classes, partials, decorated functions: rare enough to load `inspect` for."""
    import inspect

    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    least = sum(p.default is p.empty for p in positional)
    most = 2 if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(positional)
    named = any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters)
    is_async = any(
        check(candidate)
        for check in (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
        for candidate in (function, getattr(function, "__call__", None))
    )
    return least, most, named, is_async
