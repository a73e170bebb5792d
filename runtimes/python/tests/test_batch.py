from .harness import WrapperTest


class BatchTest(WrapperTest):
    def test_a_stop_ends_the_run_with_the_signals_exit_code(self):
        run = self.launch(self.folder("import time\ndef handler(): print('began'); time.sleep(1000)"), KIPPER_MODE="batch")
        run.sees("^began$")
        run.process.terminate()
        self.assertEqual(run.exit_code(), 143)
