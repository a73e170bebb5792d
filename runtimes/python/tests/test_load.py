import base64
import json
import os
from textwrap import dedent

from .harness import WrapperTest


def own(modules):
    """The runtime's among them."""
    return {name.partition(".")[2] for name in modules if name.startswith("kipper_runtime.")}


class LoadTest(WrapperTest):
    def test_a_taken_port_is_one_line_and_exit_code_1(self):
        first = self.start("def handler(): pass")
        second = self.launch(self.folder("def handler(): pass"), PORT=str(first.port))
        self.assertEqual(second.exit_code(), 1)
        self.assertRegex(second.stderr, r"^kipper: cannot listen on 127\.0\.0\.1:\d+: Address already in use[^\n]*\n$")

    def test_a_start_imports_no_more_than_it_needs(self):
        # What is installed may have an interpreter import more at its own start: without that.
        source = "import sys\nfirst = set(sys.modules)\ndef handler():\n    return ' '.join(first) + '\\n' + ' '.join(sys.modules)"
        run = self.start_at(self.folder(source), flags=("-S",))
        first, all = (set(line.split()) for line in run.get("/").text.split("\n"))
        load = {"config", "limits", "load", "log", "start"}
        serve = {"answer", "background", "connection", "error", "event", "http1", "invoke", "listen", "loop", "server", "workers"}
        self.assertEqual(own(first), load)
        self.assertEqual(own(all), load | serve)
        seldom = {"asyncio", "email", "enum", "inspect", "json", "re", "signal", "socket", "ssl", "subprocess", "traceback"}
        late = {"collections", "functools", "queue", "selectors", "threading"}
        self.assertEqual(first & (seldom | late), set())
        self.assertEqual(all & seldom, set())

    def test_code_in_the_environment_is_a_folder_that_nobody_writes_to(self):
        root = self.folder({})
        self.addCleanup(lambda: [os.chmod(folder, 0o755) for folder, _, _ in os.walk(root)])
        text = "\ufeffcaf\u00e9 \U0001f600\r\n$(PORT)\n"
        code = """
            import json, os, subprocess, sys, traceback
            from lib.read import text

            def shown(env):
                return [name for name in env if name.startswith("KIPPER_FILE")]

            def mode(name):
                return oct(os.stat(os.path.dirname(__file__) + name).st_mode & 0o777)

            def handler():
                command = "import json, os; print(json.dumps(dict(os.environ)))"
                child = subprocess.run([sys.executable, "-c", command], capture_output=True)
                return {
                    "file": __file__,
                    "text": text,
                    "own": shown(os.environ),
                    "childs": shown(json.loads(child.stdout)),
                    "modes": [mode(name) for name in ("", "/lib", "/handler.py", "/lib/read.py")],
                    "names": sorted(os.listdir(os.path.dirname(__file__)) + os.listdir(os.path.dirname(__file__) + "/lib")),
                    "stack": traceback.format_stack()[-1].splitlines()[0].strip(),
                }
            """
        reader = """
            import base64, os

            with open(os.path.join(os.path.dirname(__file__), "..", "a b.txt"), "rb") as file:
                text = base64.b64encode(file.read()).decode()
            """
        files = {"a b.txt": text, "handler.py": dedent(code), "lib/read.py": dedent(reader)}
        env = {f"KIPPER_FILE_{place}": text for place, text in enumerate(files.values())}
        run = self.launch(root, KIPPER_FILES="\n".join(files), PYTHONDONTWRITEBYTECODE="", **env)
        run.port = int(run.sees(r"listening on http://127\.0\.0\.1:(\d+)")[1])
        found = json.loads(run.get("/").body)
        stack = found.pop("stack")
        self.assertEqual(found, {
            "file": os.path.join(root, "handler.py"),
            "text": base64.b64encode(text.encode()).decode(),
            "own": [],
            "childs": [],
            "modes": ["0o555", "0o555", "0o444", "0o444"],
            # Nothing is compiled into the folder.
            "names": ["a b.txt", "handler.py", "lib", "read.py"],
        })
        self.assertIn(f'File "{root}/handler.py"', stack)

    def test_a_folder_that_cannot_be_written_to_is_one_line_that_says_so(self):
        run = self.launch("/dev/null/function", KIPPER_FILES="handler.py", KIPPER_FILE_0="")
        self.assertEqual(run.exit_code(), 1)
        why = r"^kipper: cannot load the function: cannot write /dev/null/function/handler\.py: Not a directory\n$"
        self.assertRegex(run.stderr, why)
