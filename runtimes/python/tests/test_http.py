"""What the conformance table cannot say: requests that are not built by a client library, and what is on stderr."""

import socket
import unittest

from kipper_runtime.http1 import Parser, parse
from kipper_runtime.limits import Limits, Refused
from kipper_runtime.requestlog import shown

from .harness import WrapperTest

FAILING = """
import threading
DEF handler(event, context):
    if context.path == '/raise': raise ValueError('two\\nlines')
    if context.path == '/thread': threading.Thread(target=lambda: 1 / 0).start()
    return 'alive'
"""


class RecordTest(WrapperTest):
    def test_every_record_is_one_line_and_the_process_stays(self):
        for source in self.both(FAILING):
            run = self.start(source)
            run.get("/raise?secret=1")
            run.sees(r'^kipper: GET /raise failed: ValueError: two \| lines \| Traceback .*handler\.py", line 4, .*\n')
            self.assertTrue(all(line.startswith("kipper: ") for line in run.stderr.splitlines()), run.stderr)
            run.get("/thread")
            run.sees("ZeroDivisionError")
            self.assertEqual(run.get("/").text, "alive")

    def test_what_a_line_quotes_is_one_line_with_an_end(self):
        for text, expected in (
            ("/orders", "/orders"),
            ("/a\nb\x1b[2J", r"/a\x0ab\x1b[2J"),
            ("/gr\u00fc\u00df", r"/gr\xfc\xdf"),
            ("/" + "x" * 20, "/" + "x" * 9 + "…"),
        ):
            self.assertEqual(shown(text, 10), expected)

    def test_readiness_has_one_line_and_a_client_that_leaves_is_told(self):
        leaving = """
            import MODULE
            gate = MODULE.Event()
            DEF handler(event, context):
                print('working on', context.path)
                if context.path == '/left': WAIT
                if context.path == '/release': gate.set()
                return 'ok'
        """
        ways = (("threading", "gate.wait()"), ("asyncio", "await gate.wait()"))
        for source, (module, wait) in zip(self.both(leaving), ways):
            run = self.start(source.replace("MODULE", module).replace("WAIT", wait), KIPPER_LOG_REQUESTS="true")
            for _ in range(3):
                run.get("/health")
            with socket.create_connection(("127.0.0.1", run.port)) as sock:
                sock.sendall(b"GET /left HTTP/1.1\r\nHost: x\r\n\r\n")
                run.sees("^working on /left$")
                # A reset: an end of what is sent may be all that a client has to say.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            run.get("/release")
            run.sees(r"^kipper: request GET /left - \d+ ms cold \d+ MiB, cut off$")
            run.sees(r"^kipper: request GET /release 200 \d+ ms warm \d+ MiB$")
            self.assertEqual(run.stdout.count("kipper: readiness "), 1, run.stdout)

    def test_output_is_prompt(self):
        run = self.start("def handler():\n    print('to stdout')")
        run.get("/")
        run.sees("^to stdout$")

    def test_an_absolute_target(self):
        run = self.start("def handler(event, context): return {'path': context.path, 'query': context.query}")
        answer = run.raw(b"GET http://example.com/p?q=1 HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
        self.assertIn(b'{"path":"/p","query":{"q":"1"}}', answer)

    def test_deeply_nested_json_is_refused(self):
        run = self.start("def handler(event): return event")
        body = b"[" * 100_000 + b"]" * 100_000
        self.assertEqual(run.request("POST", "/", body, {"content-type": "application/json"}).status, 400)


class ParseTest(unittest.TestCase):
    """The parser as a function: no sockets, no process."""

    def test_requests_and_the_rest(self):
        one = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
        requests, rest = parse(one + b"GET /b HTTP/1.1\r\nHost: x\r\n\r\nGET", Limits())
        self.assertEqual([(each.method, each.target, each.body) for each in requests], [("POST", "/a", b"abc"), ("GET", "/b", b"")])
        self.assertEqual(rest, b"GET")

    def test_empty_lines_between_requests_are_ignored_however_the_bytes_are_cut(self):
        get = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"
        post = b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n\r\n\r\n"
        data = b"\r\n\r\n".join([b"", get % b"/a", post, get % b"/c", b""])
        for step in range(1, len(data) + 1):
            parser, found = Parser(Limits()), []
            for at in range(0, len(data), step):
                parser.feed(data[at : at + step])
                while (request := parser.next()) is not None:
                    found.append((request.target, request.body))
            self.assertEqual(found, [("/a", b""), ("/b", b"\r\n\r\n"), ("/c", b"")], step)
            self.assertTrue(parser.at_rest, step)

    def test_refusals(self):
        with self.assertRaises(Refused) as refused:
            parse(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n", Limits(max_body=10))
        self.assertEqual(refused.exception.status, 413)


class FramingTest(WrapperTest):
    def test_what_two_parsers_could_read_differently_is_refused(self):
        post = b"POST / HTTP/1.1\r\nHost: x\r\n"
        cases = [
            (post + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            (post + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
            (post + b"Content-Length: +1\r\n\r\nx", 400),
            (post + b"Content-Length : 1\r\n\r\nx", 400),
            (post + b"X-Fold: a\r\n b\r\n\r\n", 400),
            (post + b"X-Bare: a\nX-Other: b\r\n\r\n", 400),
            (post + b"X-Null: a\0\r\n\r\n", 400),
            (post + b"Host: y\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
            (post + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
            (post + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", 400),
            (post + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: x\r\nX-Big: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        ]
        run = self.start("def handler():\n    print('called')")
        for data, status in cases:
            answer = run.raw(data)
            self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % status), (data[:80], answer[:200]))
            self.assertEqual(answer.count(b"content-length: "), 1, "one answer, then the end")
        self.assertEqual(run.stdout, "")

    def test_bytes_may_come_one_at_a_time(self):
        for source in self.both("DEF handler(event): return event"):
            run = self.start(source)
            message = b"\r\nPOST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nConnection: close\r\n"
            message += b"Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n"
            with socket.create_connection(("127.0.0.1", run.port)) as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for at in range(len(message)):
                    sock.sendall(message[at : at + 1])
                answer = b""
                while part := sock.recv(65536):
                    answer += part
            self.assertTrue(answer.endswith(b"\r\n\r\nabc0123456789"), answer)

    def test_http_1_0(self):
        run = self.start("def handler(event, context):\n    return iter(['a', 'b']) if context.path == '/s' else 'x'")
        self.assertRegex(run.raw(b"GET / HTTP/1.0\r\n\r\n"), rb"connection: close\r\n\r\nx$")
        self.assertRegex(run.raw(b"GET /s HTTP/1.0\r\n\r\n"), rb"connection: close\r\n\r\nab$")
