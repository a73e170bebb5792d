from .harness import WrapperTest

RUNS = {
    "success": ("import json\ndef handler(event, context): print(json.dumps([event, context]))", 0, '[null, {"trigger": "test"}]\n', "^$"),
    "main without arguments": ("import os\ndef main(): print(os.environ['KIPPER_TRIGGER'])", 0, "test\n", "^$"),
    "async": ("import asyncio\nasync def handler(): await asyncio.sleep(0.05); print('end')", 0, "end\n", "^$"),
    "open threads": ("import threading\ndef handler(): threading.Thread(target=threading.Event().wait).start(); print('end')", 0, "end\n", "^$"),
    "generator": ("def handler():\n    yield 1\n    print('ran')", 0, "ran\n", "^$"),
    "async generator": ("async def handler():\n    yield 1\n    print('ran')", 0, "ran\n", "^$"),
    "answer": ("def handler(): return {'statusCode': 200}", 0, "", "^$"),
    "exit 0": ("import sys\ndef handler(): sys.exit()", 0, "", "^$"),
    "exit 3": ("import sys\ndef handler(): sys.exit(3)", 3, "", "^$"),
    "exit with a message": ("import sys\ndef handler(): sys.exit('sorry')", 1, "", "^sorry\n$"),
    "error": ("def handler(): raise ValueError('boom')", 1, "", r"^kipper: the run failed: ValueError: boom\nTraceback(.*\n)+.*handler\.py"),
    "async error": ("async def handler(): raise ValueError('boom')", 1, "", r"^kipper: the run failed: ValueError: boom\nTraceback"),
    "failing answer": ("def handler(): return {'statusCode': 500}", 1, "", r"^kipper: the run failed: the handler answered 500\n$"),
}


class BatchTest(WrapperTest):
    def test_runs(self):
        for name, (source, code, stdout, stderr) in RUNS.items():
            with self.subTest(name):
                run = self.launch(self.folder(source), KIPPER_MODE="batch", KIPPER_TRIGGER="test")
                self.assertEqual((run.exit_code(), run.stdout), (code, stdout), run.stderr)
                self.assertRegex(run.stderr, stderr)

    def test_a_stop_ends_the_run_with_the_signals_exit_code(self):
        run = self.launch(self.folder("import time\ndef handler(): print('began'); time.sleep(1000)"), KIPPER_MODE="batch")
        run.sees("^began$")
        run.process.terminate()
        self.assertEqual(run.exit_code(), 143)
