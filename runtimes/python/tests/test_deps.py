"""Packages come from local folders with a build backend of their own, so nothing here needs an index."""

import os

from kipper_runtime import deps

from .harness import WrapperTest

BACKEND = '''
import os, zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "greeting-1.0-py3-none-any.whl"
    files = {
        "greeting.py": open("greeting.py").read(),
        "greeting-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: greeting\\nVersion: 1.0\\n",
        "greeting-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        "greeting-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name
'''

FUNCTION = {
    "handler.py": "from greeting import word\nimport tail\ndef handler(): return word + tail.end",
    "tail.py": "end = '!'",
    "requirements.txt": "# what it needs\n--no-index\n./lib\n",
    "lib/greeting.py": "word = 'Hello'",
    "lib/backend.py": BACKEND,
    "lib/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
}


class DependencyTest(WrapperTest):
    def started(self, root, work):
        run = self.start_at(root, KIPPER_WORK_DIR=work)
        return run.get("/").text, "installing requirements.txt with pip" in run.stderr

    def write(self, root, name, text):
        with open(os.path.join(root, name), "w", encoding="utf-8") as file:
            file.write(text)

    def test_installs_once_per_content_and_follows_changes(self):
        root, work = self.folder(FUNCTION), self.folder({})
        self.assertEqual(self.started(root, work), ("Hello!", True))
        self.assertEqual(self.started(root, work), ("Hello!", False))
        self.write(root, "tail.py", "end = '??'")
        self.assertEqual(self.started(root, work), ("Hello??", False))
        self.write(root, "lib/greeting.py", "word = 'Bye'")
        self.assertEqual(self.started(root, work), ("Bye??", True))

    def test_an_interrupted_install_is_done_again(self):
        root, work = self.folder(FUNCTION), self.folder({})
        self.started(root, work)
        (installed,) = os.listdir(work)
        # What a kill in the middle leaves: a folder under its temporary name, without the stamp.
        os.remove(os.path.join(work, installed, ".kipper-complete"))
        os.rename(os.path.join(work, installed), os.path.join(work, installed + ".dead.tmp"))
        self.assertEqual(self.started(root, work), ("Hello!", True))

    def test_starts_at_the_same_time_do_not_disturb_each_other(self):
        root, work = self.folder(FUNCTION), self.folder({})
        runs = [self.launch(root, KIPPER_WORK_DIR=work) for _ in range(3)]
        for run in runs:
            run.port = int(run.sees(r"listening on http://127\.0\.0\.1:(\d+)").group(1))
            self.assertEqual(run.get("/").text, "Hello!")
        self.assertEqual(len(os.listdir(work)), 1, "the losers clean up")

    def test_an_empty_file_installs_nothing(self):
        run = self.start({"handler.py": "def handler(): return 'x'", "requirements.txt": "# nothing\n\n"})
        self.assertNotIn("installing", run.stderr)

    def test_pips_reason_is_its_first_error_line(self):
        versions = ", ".join(f"1.{minor}" for minor in range(40))
        cases = [
            ("ERROR: Could not find a version that satisfies the requirement x==9 (from versions: none)\nERROR: No matching"
             " distribution found for x==9\n", "Could not find a version that satisfies the requirement x==9 (from versions: none)"),
            (f"ERROR: Could not find x==9 (from versions: {versions})\n",
             "Could not find x==9 (from versions: …, 1.35, 1.36, 1.37, 1.38, 1.39)"),
            ("WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError()': /simple/x/\n"
             "ERROR: Could not find x (from versions: none)\n",
             "Could not find x (from versions: none); the package index could not be reached"),
            ("ERROR: Cannot install a and b because of conflicts.\nERROR: ResolutionImpossible: for help visit https://pip\n",
             "Cannot install a and b because of conflicts."),
            ("/usr/bin/python3: No module named pip\n", "/usr/bin/python3: No module named pip"),
            ("", ""),
        ]
        for output, expected in cases:
            self.assertEqual(deps.reason(output), expected)

    def test_a_failed_install_ends_with_one_line_of_pips_reason(self):
        root = self.folder({"handler.py": "", "requirements.txt": "--no-index\nleft-out==1.0\n"})
        work = self.folder({})
        run = self.launch(root, KIPPER_WORK_DIR=work)
        self.assertEqual(run.exit_code(), 1)
        self.assertIn("\nERROR: No matching distribution found for left-out==1.0\nkipper: ", run.stderr)
        self.assertRegex(run.stderr, r"\nkipper: cannot load the function: pip install failed: [^\n]*left-out==1\.0[^\n]*\n$")
        self.assertEqual(os.listdir(work), [], "nothing half done stays behind")

    def test_the_manifest_is_read_as_pip_reads_it(self):
        text = "# what it needs: \u00e9\n--no-index\n./lib\n"
        for name, data in (
            ("utf-8 with a mark", text.encode("utf-8-sig")),
            ("utf-16", text.encode("utf-16")),
            ("utf-16-be", b"\xfe\xff" + text.encode("utf-16-be")),
            ("declared", b"# -*- coding: latin-1 -*-\n" + text.encode("latin-1")),
        ):
            with self.subTest(name):
                root, work = self.folder(FUNCTION), self.folder({})
                with open(os.path.join(root, "requirements.txt"), "wb") as file:
                    file.write(data)
                self.assertEqual(self.started(root, work), ("Hello!", True))
                if name == "utf-16":
                    self.write(root, "lib/greeting.py", "word = 'Bye'")
                    self.assertEqual(self.started(root, work), ("Bye!", True), "the local package was found in it")

    def test_an_encoding_that_is_none_is_one_line(self):
        root = self.folder({"handler.py": "", "requirements.txt": "# coding: nonsense\n./lib\n"})
        run = self.launch(root)
        self.assertEqual(run.exit_code(), 1)
        self.assertEqual(run.stderr, "kipper: cannot load the function: requirements.txt names an unknown encoding: nonsense\n")

    def test_the_machines_settings_do_not_send_packages_elsewhere(self):
        elsewhere = self.folder({"pip.conf": "[install]\nuser = true\n[global]\nrequire-virtualenv = true\n"})
        settings = {"USER": "1", "TARGET": elsewhere, "PREFIX": elsewhere, "ROOT": elsewhere, "REQUIRE_VIRTUALENV": "1"}
        settings |= {"DRY_RUN": "1", "QUIET": "3"}
        for environment in ({"PIP_CONFIG_FILE": os.path.join(elsewhere, "pip.conf")}, {f"PIP_{name}": value for name, value in settings.items()}):
            run = self.start_at(self.folder(FUNCTION), KIPPER_WORK_DIR=self.folder({}), **environment)
            self.assertEqual(run.get("/").text, "Hello!")
            self.assertEqual(os.listdir(elsewhere), ["pip.conf"])
