import socket

from .harness import WrapperTest

ECHO = """
DEF handler(event, context):
    return {'statusCode': 200, 'body': {'event': event, 'context': context, 'raw': context.rawBody.decode('latin-1')}}
"""

ANSWERS = """
import datetime, decimal, uuid
def generator():
    yield 'one '
    yield b'two'
async def async_generator():
    yield 'one '
    yield b'two'
answers = {
    'nothing': lambda: None, 'text': lambda: 'grüße', 'bytes': lambda: bytes([1, 255]), 'object': lambda: {'ok': True},
    'array': lambda: [1, 2], 'tuple': lambda: (1, 2), 'number': lambda: 7, 'no': lambda: False,
    'row': lambda: {'at': datetime.date(2026, 1, 2), 'price': decimal.Decimal('1.10'), 'id': uuid.UUID(int=1)},
    'shaped': lambda: {'statusCode': 201, 'headers': {'X-A': 1, 'Set-Cookie': ['a=1', 'b=2'], 'x-n': None}, 'body': {'a': 1}},
    'typed': lambda: {'statusCode': 200, 'headers': {'Content-Type': 'text/html'}, 'body': '<p>'},
    'textual': lambda: {'statusCode': '404', 'body': 'gone'},
    'base64': lambda: {'statusCode': 200, 'headers': {'content-type': 'image/png'}, 'isBase64': True, 'body': 'AP+A'},
    'empty': lambda: {'statusCode': 204, 'body': 'dropped'},
    'framing': lambda: {'statusCode': 200, 'headers': {'Content-Length': '999', 'Connection': 'upgrade'}, 'body': 'ok'},
    'generator': generator, 'agenerator': async_generator,
    'shapedstream': lambda: {'statusCode': 202, 'headers': {'content-type': 'text/csv'}, 'body': generator()},
    'status99': lambda: {'statusCode': 99}, 'statusText': lambda: {'statusCode': 'fine'},
    'newline': lambda: {'statusCode': 200, 'headers': {'x-a': 'b\\r\\nx-c: d'}},
    'name': lambda: {'statusCode': 200, 'headers': {'bad name': 'x'}},
    'nested': lambda: {'statusCode': 200, 'headers': {'x-a': {}}},
    'nan': lambda: float('nan'), 'thing': lambda: object(),
    'notbase64': lambda: {'statusCode': 200, 'isBase64': True, 'body': '###'},
}
DEF handler(event, context):
    return answers[context.path[1:]]()
"""

JSON, TEXT, BYTES = "application/json", "text/plain; charset=utf-8", "application/octet-stream"
GOOD = [
    ("nothing", 204, None, b""),
    ("text", 200, TEXT, "grüße".encode()),
    ("bytes", 200, BYTES, b"\x01\xff"),
    ("object", 200, JSON, b'{"ok":true}'),
    ("array", 200, JSON, b"[1,2]"),
    ("tuple", 200, JSON, b"[1,2]"),
    ("number", 200, JSON, b"7"),
    ("no", 200, JSON, b"false"),
    ("row", 200, JSON, b'{"at":"2026-01-02","price":"1.10","id":"00000000-0000-0000-0000-000000000001"}'),
    ("shaped", 201, JSON, b'{"a":1}'),
    ("typed", 200, "text/html", b"<p>"),
    ("textual", 404, TEXT, b"gone"),
    ("base64", 200, "image/png", b"\x00\xff\x80"),
    ("empty", 204, None, b""),
    ("framing", 200, TEXT, b"ok"),
    ("generator", 200, BYTES, b"one two"),
    ("agenerator", 200, BYTES, b"one two"),
    ("shapedstream", 202, "text/csv", b"one two"),
]
BAD = {
    "status99": "statusCode must be a whole number from 200 to 599, not 99",
    "statusText": "statusCode must be a whole number from 200 to 599, not 'fine'",
    "newline": "header x-a holds a line break",
    "name": "'bad name' is not a header name",
    "nested": "header x-a must be a string",
    "nan": "the answer cannot be written as JSON",
    "thing": "the answer cannot be written as JSON: a object is not",
    "notbase64": "isBase64 is set, but the body is not valid base64",
}

FAILING = """
import sys, threading
DEF handler(event, context):
    if context.path == '/raise': raise ValueError('boom')
    if context.path == '/exit': sys.exit(3)
    if context.path == '/thread': threading.Thread(target=lambda: 1 / 0).start()
    return 'alive'
"""


class EventTest(WrapperTest):
    def test_event_and_context(self):
        for source in self.both(ECHO):
            run = self.start(source, KIPPER_TRIGGER="redis")

            def check(body, kind, event, is_base64=False):
                seen = run.request("POST", "/x", body, {"content-type": kind} if kind else {}).json()
                self.assertEqual((seen["event"], seen["context"]["isBase64"]), (event, is_base64), (kind, body))

            check(b'{"id":42}', "application/json", {"id": 42})
            check(b'{"id":42}', "Application/JSON; charset=utf-8", {"id": 42})
            check(b"[1]", "application/cloudevents+json", [1])
            check('\ufeff"bom"'.encode(), "application/json", "bom")
            check(b"", "application/json", None)
            check(b"a=1&b=2&a=3&c=x+y%21&d=", "application/x-www-form-urlencoded", {"a": ["1", "3"], "b": "2", "c": "x y!", "d": ""})
            check("grüße".encode(), "text/plain", "grüße")
            check(b"\xfc", "text/plain; charset=iso-8859-1", "ü")
            check(b"\x01\x02", "text/plain; charset=nonsense", "AQI=", True)
            check(b'{"id":42}', "", "eyJpZCI6NDJ9", True)
            check(b"\x00\xff\x80", "image/png", "AP+A", True)
            seen = run.get("/a%20b/../c?x=1&y=2&x=3&z", {"X-Request-Id": "r1", "X-Thing": "T"}).json()
            self.assertIsNone(seen["event"])
            context = seen["context"]
            self.assertEqual((context["method"], context["path"], context["trigger"]), ("GET", "/a%20b/../c", "redis"))
            self.assertEqual(context["query"], {"x": ["1", "3"], "y": "2", "z": ""})
            self.assertEqual((context["headers"]["x-thing"], context["requestId"]), ("T", "r1"))
            self.assertIsNone(run.get("/").json()["context"]["requestId"])
            self.assertEqual(run.post("/", {"a": 1}).json()["raw"], '{"a": 1}')
            absolute = run.raw(b"GET http://example.com/p?q=1 HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
            self.assertIn(b'"path":"/p","query":{"q":"1"}', absolute)

    def test_invalid_json_is_400_and_never_reaches_the_handler(self):
        for source in self.both("DEF handler(event):\n    print('called')"):
            run = self.start(source)
            for body in (b"{bad", b'"\xff"', b"NaN", b"[" * 100_000):
                answer = run.request("POST", "/event", body, {"content-type": "application/json"})
                self.assertEqual(answer.status, 400)
                self.assertRegex(answer.json()["error"], "^the body is not valid JSON: ")
            self.assertEqual(run.stdout, "")


class AnswerTest(WrapperTest):
    def test_answers(self):
        for source in self.both(ANSWERS):
            run = self.start(source)
            for name, status, kind, body in GOOD:
                answer = run.get(f"/{name}")
                self.assertEqual((answer.status, answer.type, answer.body), (status, kind, body), name)
            shaped = run.get("/shaped").headers
            self.assertEqual((shaped["x-a"], shaped.get_all("set-cookie"), shaped["x-n"]), ("1", ["a=1", "b=2"], None))
            self.assertEqual(run.get("/framing").headers.get_all("content-length"), ["2"])
            for name, message in BAD.items():
                answer = run.get(f"/{name}")
                self.assertEqual((answer.status, answer.headers["x-c"]), (500, None), name)
                self.assertTrue(answer.json()["error"].startswith(message), answer.text)
                run.sees(rf"^kipper: bad answer to GET /{name}: .+\n")

    def test_an_event_without_an_answer_is_done_with_200(self):
        for source in self.both("DEF handler(event):\n    return (event or {}).get('answer')"):
            run = self.start(source)
            self.assertEqual(run.post("/event", {"id": 1}).status, 200)
            self.assertEqual(run.post("/event", {"answer": {"statusCode": 503}}).status, 503)
            self.assertEqual(run.post("/", {"id": 1}).status, 204)
            self.assertEqual(run.get("/event").status, 204)

    def test_an_event_comes_as_the_poller_sends_it(self):
        source = """
            DEF handler(event, context):
                if event["id"] == 2: raise ValueError("no stock")
                return {"event": event, "trigger": context.trigger, "id": context.headers["ce-id"],
                        "attempt": context.headers["kipper-attempt"]}
        """
        headers = {"content-type": "application/json", "ce-id": "ns/fn/1", "ce-specversion": "1.0", "kipper-attempt": "3"}
        for text in self.both(source):
            run = self.start(text, KIPPER_TRIGGER="postgres")
            done = run.request("POST", "/event", '{"id":1,"note":null,"tags":["ä"]}'.encode(), headers)
            expected = {"event": {"id": 1, "note": None, "tags": ["ä"]}, "trigger": "postgres", "id": "ns/fn/1", "attempt": "3"}
            self.assertEqual((done.status, done.json()), (200, expected))
            failed = run.request("POST", "/event", b'{"id":2}', headers)
            self.assertEqual((failed.status, failed.json()), (500, {"error": "no stock"}))

    def test_health_answers_without_the_handler(self):
        for source in self.both("DEF handler():\n    raise ValueError('never')"):
            run = self.start(source)
            answer = run.get("/health?probe=1")
            self.assertEqual((answer.status, answer.text), (200, "ok\n"))
            self.assertEqual(run.request("HEAD", "/health").status, 200)
            self.assertEqual(run.request("POST", "/health").status, 500)

    def test_head_has_the_head_of_get_and_no_body(self):
        source = """
            def chunks():
                try: yield 'x'
                finally: print('closed')
            DEF handler(event, context): return chunks() if context.path == '/s' else 'hello'
        """
        for source in self.both(source):
            run = self.start(source)
            answer = run.raw(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            self.assertRegex(answer, rb"content-length: 5\r\n(.*\r\n)*\r\n$")
            self.assertRegex(run.raw(b"HEAD /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), rb"\r\n\r\n$")

    def test_errors_are_500_and_one_record_and_the_process_stays(self):
        for source in self.both(FAILING):
            run = self.start(source)
            answer = run.get("/raise?secret=1")
            self.assertEqual((answer.status, answer.type, answer.text), (500, JSON, '{"error": "boom"}'))
            run.sees(r'^kipper: GET /raise failed: ValueError: boom \| Traceback .*handler\.py", line 4, .*\n')
            self.assertEqual(run.get("/exit").status, 500)
            self.assertEqual(run.get("/thread").text, "alive")
            run.sees("ZeroDivisionError")
            self.assertEqual(run.get("/").text, "alive")
            self.assertEqual(run.post("/event", {}).status, 200)

    def test_the_handlers_output_is_untouched_and_prompt(self):
        run = self.start("import sys\ndef handler():\n    print('to stdout'); print('to stderr', file=sys.stderr)")
        run.get("/")
        run.sees("^to stderr$")
        run.sees("^to stdout$")


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
