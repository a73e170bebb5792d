from .harness import WrapperTest


class LoadTest(WrapperTest):
    def test_a_taken_port_is_one_line_and_exit_code_1(self):
        first = self.start("def handler(): pass")
        second = self.launch(self.folder("def handler(): pass"), PORT=str(first.port))
        self.assertEqual(second.exit_code(), 1)
        self.assertRegex(second.stderr, r"^kipper: cannot listen on 127\.0\.0\.1:\d+: Address already in use[^\n]*\n$")
