import os

from .harness import WrapperTest

SHAPES = {
    "two arguments": "def handler(event, context): return context.path",
    "context optional": "def handler(event, context=None): return context['path']",
    "one argument": "def handler(event): return '/'",
    "no arguments": "def handler(): return '/'",
    "handle": "def handle(event, context): return context.path",
    "main": "def main(): return '/'",
    "async": "async def handler(event, context): return context.path",
    "star": "def handler(*args): return args[1].path",
    "third is optional": "def handler(event, context, debug=False): return context.path",
    "object": "class H:\n    def __call__(self, event, context): return context.path\nhandler = H()",
    "async object": "class H:\n    async def __call__(self, event, context): return context.path\nhandler = H()",
    "partial": "import functools\nhandler = functools.partial(lambda a, event, context: a, '/')",
    "decorated": "import functools\ndef f(event): return '/'\n@functools.wraps(f)\ndef handler(*a, **k): return f(*a)",
    "hidden coroutine": "async def inner(c): return c.path\ndef handler(event, context): return inner(context)",
    "dataclass": "import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: str\ndef handler(e): return A('/').x",
    "module beside": {"handler.py": "import other\ndef handler(): return other.x", "other.py": "x = '/'"},
    "names of the wrapper": {"handler.py": "import server\ndef handler(): return server.x", "server.py": "x = '/'"},
}

BROKEN = {
    "syntax": ("def handler(:\n", r"^kipper: cannot load the function: SyntaxError: .*\n(.*\n)*.*handler\.py\", line 1"),
    "raising": ("raise RuntimeError('no db')", r"^kipper: cannot load the function: RuntimeError: no db\nTraceback"),
    "exiting": ("import sys; sys.exit(0)", r"^kipper: cannot load the function: SystemExit: 0\n"),
    "no handler": ("x = 1", r"defines no handler: expected a function called handler, handle or main\n$"),
    "no file": ({"other.py": ""}, r"^kipper: cannot load the function: .* holds no handler\.py\n$"),
    "three arguments": ("def handler(a, b, c): pass", r"must take at most two arguments, \(event, context\)\n$"),
    "named argument": ("def handler(event, *, c): pass", r"must take at most two arguments, \(event, context\)\n$"),
    "missing package": ("import left_out", r"^kipper: cannot load the function: ModuleNotFoundError: .*left_out"),
}


class LoadTest(WrapperTest):
    def test_shapes(self):
        for name, files in SHAPES.items():
            with self.subTest(name):
                run = self.start(files)
                self.assertEqual(run.get("/").text, "/")
                self.assertRegex(run.stderr, r"^kipper: listening [^\n]+\n$")

    def test_broken_functions_are_refused(self):
        for name, (files, expected) in BROKEN.items():
            with self.subTest(name):
                run = self.launch(self.folder(files))
                self.assertEqual(run.exit_code(), 1)
                self.assertRegex(run.stderr, expected)

    def test_a_function_given_as_a_file(self):
        run = self.start_at(os.path.join(self.folder({"greet-me.py": "def handler(): return 'hi'"}), "greet-me.py"))
        self.assertEqual(run.get("/").text, "hi")

    def test_the_function_that_is_named(self):
        files = "def handler(): return 'handler'\ndef greet(): return 'greet'"
        self.assertEqual(self.start(files, KIPPER_HANDLER="greet").get("/").text, "greet")
        wrong = self.launch(self.folder(files), KIPPER_HANDLER="missing")
        self.assertEqual(wrong.exit_code(), 1)
        self.assertRegex(wrong.stderr, r"^kipper: cannot load the function: .* defines no function called missing\n$")

    def test_bad_settings_are_one_line_and_exit_code_64(self):
        for name, value in (("PORT", "70000"), ("KIPPER_MAX_BODY", "1k"), ("KIPPER_MODE", "cron"), ("KIPPER_THREADS", "0")):
            with self.subTest(name):
                run = self.launch(self.folder("def handler(): pass"), **{name: value})
                self.assertEqual(run.exit_code(), 64)
                self.assertRegex(run.stderr, rf'^kipper: {name} must be .*"{value}"\n$')

    def test_a_taken_port_is_one_line_and_exit_code_1(self):
        first = self.start("def handler(): pass")
        second = self.launch(self.folder("def handler(): pass"), PORT=str(first.port))
        self.assertEqual(second.exit_code(), 1)
        self.assertRegex(second.stderr, r"^kipper: cannot listen on 127\.0\.0\.1:\d+: Address already in use[^\n]*\n$")
