import os
import socket
import threading
import unittest

from kipper_runtime.event import marks_of
from kipper_runtime.limits import Hold, Limits, Refused, container_memory

from .harness import DEADLINE_SECONDS, WrapperTest

MEBI = 2**20


class LimitsTest(WrapperTest):
    def test_limits_follow_the_containers_memory_and_the_settings(self):
        for given, expected in (
            ({"memory": None}, (1024 * MEBI, 32 * MEBI)),
            ({"memory": 8192 * MEBI}, (1024 * MEBI, 32 * MEBI)),
            ({"memory": 256 * MEBI}, (64 * MEBI, 32 * MEBI)),
            ({"memory": 1 * MEBI}, (8 * MEBI, 32 * MEBI)),
            ({"memory": 256 * MEBI, "max_body": 1000}, (64 * MEBI, 1000)),
            ({"memory": 256 * MEBI, "body_memory": 128 * MEBI}, (128 * MEBI, 32 * MEBI)),
        ):
            limits = Limits(**given)
            self.assertEqual((limits.memory, limits.body), expected, given)

    def test_the_containers_memory_is_read_from_cgroup_v2_then_v1(self):
        root = self.folder({"v2": "268435456\n", "max": "max\n", "v1": "536870912\n", "none": "9223372036854771712\n"})

        def read(*names):
            return container_memory([os.path.join(root, name) for name in names])

        self.assertEqual(read("v2", "v1"), 268435456)
        self.assertEqual(read("missing", "v1"), 536870912)
        self.assertIsNone(read("max", "none"))

    def test_a_body_costs_4_for_each_byte_and_108_for_each_that_may_begin_a_value(self):
        for media, body, cost in (
            ("text/plain", b'{"a":[1,2]}', 44),
            ("application/json", b'{"a":[1,2]}', 44 + 4 * 108),
            ("application/vnd.x+json", b'"[,"', 16 + 2 * 108),
            ("application/x-www-form-urlencoded", b"a=1&b", 20 + 2 * 108),
        ):
            limits = Limits()
            Hold(limits, marks_of({"content-type": media})).take(body, len(body))
            self.assertEqual(limits.held, cost, (media, body))

    def test_a_refusal_says_which_limit_it_was(self):
        limits = Limits(max_body=90, body_memory=400)
        hold = Hold(limits, marks_of({"content-type": "application/json"}))
        limits.check(90)
        hold.take(b"[1,2", 4)
        for status, setting, call in (
            (413, "KIPPER_MAX_BODY", lambda: limits.check(91)),
            (413, "KIPPER_BODY_MEMORY", lambda: Limits(body_memory=400).check(101)),
            (413, "KIPPER_BODY_MEMORY", lambda: hold.take(b",[3]", 8)),
            (503, "KIPPER_BODY_MEMORY", lambda: Hold(limits).take(b"x" * 50, 50)),
        ):
            with self.assertRaisesRegex(Refused, setting) as refused:
                call()
            self.assertEqual(refused.exception.status, status)

    def test_a_hold_gives_back_what_it_took(self):
        limits = Limits(body_memory=400)
        first, second = Hold(limits), Hold(limits)
        first.take(b"x" * 60, 60)
        with self.assertRaises(Refused):
            second.take(b"x" * 41, 41)
        second.take(b"x" * 40, 40)
        first.release()
        first.release()
        second.take(b"x" * 60, 100)
        second.release()
        self.assertEqual(limits.held, 0)


HOLDING = {
    "sync": """
        import threading
        go = threading.Event()
        def handler(event, context):
            if context.path == '/free': go.set()
            if context.path == '/hold': print('held'); go.wait()
            return str(len(event or ''))
    """,
    "async": """
        import asyncio
        go = asyncio.Event()
        async def handler(event, context):
            if context.path == '/free': go.set()
            if context.path == '/hold': print('held'); await go.wait()
            return str(len(event or ''))
    """,
}


class BodyMemoryTest(WrapperTest):
    def test_what_does_not_fit_beside_other_bodies_is_503_and_fits_when_they_are_done(self):
        for kind, source in HOLDING.items():
            with self.subTest(kind):
                run = self.start(source, KIPPER_BODY_MEMORY="4000")

                def post(path, size, chunked=False):
                    headers = {"content-type": "text/plain"} | ({"transfer-encoding": "chunked"} if chunked else {})
                    body = iter([b"x" * (size // 2), b"x" * (size - size // 2)]) if chunked else b"x" * size
                    return run.request("POST", path, body, headers, encode_chunked=chunked)

                answers = []
                holder = threading.Thread(target=lambda: answers.append(post("/hold", 600).text))
                holder.start()
                run.sees("^held$")
                for chunked in (False, True):
                    refused = post("/", 401, chunked)
                    self.assertEqual((refused.status, refused.headers["retry-after"]), (503, "1"))
                    self.assertIn("KIPPER_BODY_MEMORY", refused.json()["error"])
                self.assertEqual(post("/", 400).text, "400")
                self.assertEqual(post("/", 1001).status, 413, "can never fit")
                run.get("/free")
                holder.join()
                self.assertEqual(answers, ["600"])
                self.assertEqual(post("/", 1000).text, "1000")

    def test_a_body_that_never_ends_gives_its_memory_back(self):
        run = self.start("def handler(event): return str(len(event))", KIPPER_BODY_MEMORY="4000")
        with socket.create_connection(("127.0.0.1", run.port), DEADLINE_SECONDS) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 900\r\n\r\n")
            self.assertIn(b"100 Continue", sock.recv(100))
            sock.sendall(b"x" * 800)
            sock.shutdown(socket.SHUT_WR)
            self.assertEqual(sock.recv(100), b"", "the server has seen the end")
        answer = run.request("POST", "/", b"x" * 1000, {"content-type": "text/plain"})
        self.assertEqual((answer.status, answer.text), (200, "1000"))


ENDLESS = """
DEF handler(event, context):
    if context.path == '/':
        yield 'alive'
        return
    try:
        while True: yield b'x' * 65536
    finally: print('closed')
"""


class SlowReaderTest(WrapperTest):
    def silent(self, run):
        """A client that asks for the large answer and reads nothing."""
        sock = socket.create_connection(("127.0.0.1", run.port), DEADLINE_SECONDS)
        self.addCleanup(sock.close)
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")

    def test_clients_that_do_not_read_give_the_threads_back(self):
        for source in self.both(ENDLESS):
            for threads in ("1", "2"):
                run = self.start(source, KIPPER_WRITE_SECONDS="1", KIPPER_THREADS=threads)
                self.silent(run)
                self.silent(run)
                self.assertEqual(run.get("/").text, "alive")
                run.sees(r"^kipper: connection closed: its client did not read its answer for 1 s \(KIPPER_WRITE_SECONDS\)$")
                run.sees(r"^closed\nclosed$")

    def test_the_rest_of_an_answer_in_one_piece_is_not_kept(self):
        for source in self.both("DEF handler(event, context): return b'x' * 50_000_000"):
            run = self.start(source, KIPPER_WRITE_SECONDS="1")
            self.silent(run)
            run.sees(r"^kipper: connection closed: its client did not read its answer")


if __name__ == "__main__":
    unittest.main()
