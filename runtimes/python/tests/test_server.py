import json
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

from .harness import DEADLINE_SECONDS, WrapperTest

LENGTH = "DEF handler(event, context): return {'length': len(context.rawBody)}"
SLOW = {
    "sync": "import time\ndef handler():\n    print('began'); time.sleep(0.3); return 'done'",
    "async": "import asyncio\nasync def handler():\n    print('began'); await asyncio.sleep(0.3); return 'done'",
}
SLOW_STREAM = {
    "sync": "import time\ndef handler():\n    yield 'began'; time.sleep(0.3); yield ' done'",
    "async": "import asyncio\nasync def handler():\n    yield 'began'; await asyncio.sleep(0.3); yield ' done'",
}
STUCK = {
    "sync": "import time\ndef handler():\n    print('began'); time.sleep(1000)",
    "async": "import asyncio\nasync def handler():\n    print('began'); await asyncio.sleep(1000)",
}


class BodyTest(WrapperTest):
    def test_large_chunked_and_announced_bodies(self):
        for source in self.both(LENGTH):
            run = self.start(source, KIPPER_MAX_BODY="1000000")
            self.assertEqual(run.request("POST", "/", b"a" * 1_000_000).json(), {"length": 1_000_000})
            self.assertEqual(run.request("POST", "/", iter([b"a" * 10, b"b" * 20]), encode_chunked=True,
                                         headers={"transfer-encoding": "chunked"}).json(), {"length": 30})
            head = b"POST / HTTP/1.1\r\nHost: x\r\n"
            chunk = b"927c0\r\n" + b"a" * 600_000 + b"\r\n"
            for data in (
                head + b"Content-Length: 1000001\r\n\r\n" + b"a" * 1_000_001,
                head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + chunk,
            ):
                answer = run.raw(data)
                self.assertRegex(answer, rb"^HTTP/1\.1 413 Content Too Large\r\n(.*\r\n)*connection: close\r\n")
                self.assertIn(b"the body is larger than 1000000 bytes (KIPPER_MAX_BODY)", answer)
            self.assertEqual(run.request("POST", "/", b"x").json(), {"length": 1})

    def test_expect_100_continue_is_granted_or_refused_before_the_body(self):
        for source in self.both(LENGTH):
            run = self.start(source, KIPPER_MAX_BODY="10")
            head = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
            with socket.create_connection(("127.0.0.1", run.port), DEADLINE_SECONDS) as sock:
                sock.sendall((head % 4).encode())
                self.assertEqual(sock.recv(1000), b"HTTP/1.1 100 Continue\r\n\r\n")
                sock.sendall(b"four")
                self.assertRegex(sock.recv(1000), rb"^HTTP/1\.1 200 OK\r\n(.*\r\n)*\r\n\{\"length\":4\}$")
            self.assertRegex(run.raw((head % 11).encode()), rb"^HTTP/1\.1 413 ")

    def test_a_large_answer_to_a_slow_reader(self):
        for source in self.both("DEF handler(): return b'x' * 20_000_000"):
            run = self.start(source)
            self.assertEqual(len(run.get("/").body), 20_000_000)


class ConnectionTest(WrapperTest):
    def test_keep_alive_reuse_and_pipelining(self):
        for source in self.both("DEF handler(event, context): return context.path"):
            run = self.start(source)
            connection = run.connect()
            connection.connect()
            port = connection.sock.getsockname()
            for number in range(5):
                connection.request("GET", f"/{number}")
                response = connection.getresponse()
                self.assertEqual((response.read().decode(), response.headers["keep-alive"]), (f"/{number}", "timeout=75"))
                self.assertEqual(connection.sock.getsockname(), port)
            connection.close()
            many = b"".join(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(3000))
            answer = run.raw(many + b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            self.assertEqual(answer.count(b"HTTP/1.1 200 OK"), 6001)
            self.assertTrue(answer.endswith(b"/last"))
            self.assertLess(answer.index(b"\r\n\r\n/17HTTP"), answer.index(b"\r\n\r\n/18HTTP"))

    def test_an_idle_connection_is_closed(self):
        for source in self.both("DEF handler(): return 'x'"):
            run = self.start(source, KIPPER_KEEPALIVE_SECONDS="1")
            self.assertIn(b"keep-alive: timeout=1\r\n", run.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))

    def test_a_client_may_close_its_side_and_wait(self):
        for source in SLOW.values():
            run = self.start(source)
            with socket.create_connection(("127.0.0.1", run.port), DEADLINE_SECONDS) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                sock.shutdown(socket.SHUT_WR)
                self.assertRegex(sock.makefile("rb").read(), rb"connection: close\r\n\r\ndone$")

    def test_connections_are_bounded(self):
        for source in self.both("DEF handler(): return 'x'"):
            run = self.start(source, KIPPER_MAX_CONNECTIONS="1")
            first = run.connect()
            first.request("GET", "/")
            self.assertEqual(first.getresponse().read(), b"x")
            try:
                self.assertEqual(run.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), b"")
            except ConnectionResetError:
                pass  # closed without an answer, whichever way it shows
            run.sees(r"^kipper: connection refused: 1 are open \(KIPPER_MAX_CONNECTIONS\)$")
            first.close()


class ConcurrencyTest(WrapperTest):
    def meet(self, source, count, **env):
        """Every request waits until all of them are there."""
        run = self.start(source, **env)
        with ThreadPoolExecutor(count) as clients:
            answers = list(clients.map(lambda n: run.post("/event", {"id": n}).json()["id"], range(count)))
        self.assertEqual(answers, list(range(count)))

    def test_async_handlers_run_at_once_on_one_loop(self):
        self.meet("import asyncio\nn, all_here = 0, asyncio.Event()\nasync def handler(event):\n    global n\n    n += 1\n"
                  "    if n == 100: all_here.set()\n    await all_here.wait()\n    return event", 100)

    def test_sync_handlers_run_at_once_in_threads(self):
        self.meet("import threading\nb = threading.Barrier(32)\ndef handler(event):\n    b.wait()\n    return event", 32)

    def test_threads_are_bounded_and_the_rest_waits(self):
        run = self.start("import threading, time\nn, most, lock = 0, 0, threading.Lock()\ndef handler():\n    global n, most\n"
                         "    with lock: n += 1; most = max(most, n)\n    time.sleep(0.02)\n    with lock: n -= 1\n    return most",
                         KIPPER_THREADS="3")
        with ThreadPoolExecutor(20) as clients:
            seen = list(clients.map(lambda _: int(run.get("/").text), range(40)))
        self.assertEqual(max(seen), 3)


STREAMS = {
    "sync": """
        import threading
        go = threading.Semaphore(0)
        def chunks():
            try:
                while True:
                    yield 'data: x\\n\\n'
                    go.acquire()
            finally: print('closed')
        def handler(event, context):
            if context.path == '/next': go.release(); return 'ok'
            return {'statusCode': 200, 'headers': {'content-type': 'text/event-stream'}, 'body': chunks()}
    """,
    "async": """
        import asyncio
        go = asyncio.Semaphore(0)
        async def chunks():
            try:
                while True:
                    yield 'data: x\\n\\n'
                    await go.acquire()
            finally: print('closed')
        async def handler(event, context):
            if context.path == '/next': go.release(); return 'ok'
            return {'statusCode': 200, 'headers': {'content-type': 'text/event-stream'}, 'body': chunks()}
    """,
}


class StreamTest(WrapperTest):
    def test_chunks_arrive_as_they_are_made_and_stop_when_the_client_leaves(self):
        for kind, source in STREAMS.items():
            with self.subTest(kind):
                run = self.start(source)
                connection = run.connect()
                connection.request("GET", "/")
                response = connection.getresponse()
                for left in (2, 1, 0):
                    self.assertEqual(response.read1(100), b"data: x\n\n")
                    if left:
                        run.get("/next")
                response.close()
                connection.close()
                # The first chunk after the client left may still fit into the socket's buffer.
                while "closed" not in run.stdout:
                    run.get("/next")
                run.sees("^closed$")
                self.assertEqual(run.stderr.count("\n"), 1, run.stderr)

    def test_a_failing_stream_is_cut_off_and_logged(self):
        source = """
            DEF handler(event, context):
                yield 'part'
                if context.path == '/bad': yield 7
                raise ValueError('broke')
        """
        for source in self.both(source):
            run = self.start(source)
            answer = b""
            try:
                with socket.create_connection(("127.0.0.1", run.port), DEADLINE_SECONDS) as sock:
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    while part := sock.recv(1000):
                        answer += part
            except ConnectionResetError:
                pass
            self.assertNotIn(b"0\r\n\r\n", answer)
            run.sees("kipper: GET / failed: ValueError: broke")
            try:
                run.raw(b"GET /bad HTTP/1.1\r\nHost: x\r\n\r\n")
            except ConnectionResetError:
                pass
            run.sees("kipper: bad answer to GET /bad: a body stream must give text or bytes, not int")

    def test_a_reader_that_stops_holds_the_stream_back(self):
        for kind, source in {"sync": "def handler():", "async": "async def handler():"}.items():
            with self.subTest(kind):
                run = self.start(f"{source}\n    for n in range(2000):\n        print(n)\n        yield b'x' * 65536")
                with socket.create_connection(("127.0.0.1", run.port), DEADLINE_SECONDS) as sock:
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    run.sees("^1$")
                    # Other requests prove that the stalled one blocks nothing.
                    self.assertEqual(run.get("/health").status, 200)
                    self.assertNotIn("\n1999\n", run.stdout)
                    total = 0
                    while part := sock.recv(1 << 20):
                        total += len(part)
                self.assertGreater(total, 2000 * 65536)


class DrainTest(WrapperTest):
    def test_a_running_request_finishes_and_idle_connections_close(self):
        for kind, source in SLOW.items():
            for number in (signal.SIGTERM, signal.SIGINT):
                with self.subTest(kind=kind, signal=number):
                    run = self.start(source)
                    untouched = socket.create_connection(("127.0.0.1", run.port), DEADLINE_SECONDS)
                    idle = run.connect()
                    idle.request("GET", "/health")
                    idle.getresponse().read()
                    running = run.connect()
                    running.request("GET", "/")
                    run.sees("^began$")
                    run.process.send_signal(number)
                    self.assertEqual((untouched.recv(1), idle.sock.recv(1)), (b"", b""))
                    response = running.getresponse()
                    self.assertEqual((response.read(), response.headers["connection"]), (b"done", "close"))
                    self.assertEqual(run.exit_code(), 0)
                    self.assertRegex(run.stderr, r"kipper: draining, 1 running\n$")
                    with self.assertRaises(ConnectionRefusedError):
                        run.get("/")
                    for one in (untouched, idle, running):
                        one.close()

    def test_a_stop_between_listening_and_serving_is_a_drain(self):
        source = """
            import os, signal, threading
            from kipper_runtime import listen

            bind = listen.listen
            # It gets a signal that the main thread has blocked.
            threading.Thread(target=threading.Event().wait, daemon=True).start()

            def bind_and_stop(host, port):
                listener = bind(host, port)
                os.kill(os.getpid(), signal.SIGTERM)
                return listener

            listen.listen = bind_and_stop

            DEF handler(event, context):
                return "ok"
            """
        for kind in self.both(source):
            with self.subTest(kind):
                run = self.start(kind)
                self.assertEqual(run.exit_code(), 0)
                self.assertRegex(run.stderr, r"kipper: draining, 0 running\n$")

    def test_a_running_stream_finishes(self):
        for kind, source in SLOW_STREAM.items():
            with self.subTest(kind):
                run = self.start(source)
                connection = run.connect()
                connection.request("GET", "/")
                response = connection.getresponse()
                self.assertEqual(response.read1(100), b"began")
                run.process.terminate()
                self.assertEqual(response.read(), b" done")
                self.assertEqual(run.exit_code(), 0)
                connection.close()

    def test_a_drain_is_bounded(self):
        for kind, source in STUCK.items():
            with self.subTest(kind):
                run = self.start(source, KIPPER_DRAIN_SECONDS="1")
                connection = run.connect()
                connection.request("GET", "/")
                run.sees("^began$")
                run.process.terminate()
                self.assertEqual(run.exit_code(), 0)
                self.assertRegex(run.stderr, r"kipper: drain deadline reached, 1 requests cut off\n$")
                connection.close()

    def test_exit_handlers_of_the_function_run(self):
        for threads in ("1", "2"):
            run = self.start("import atexit\natexit.register(lambda: print('goodbye'))\ndef handler(): pass", KIPPER_THREADS=threads)
            run.process.terminate()
            self.assertEqual((run.exit_code(), run.stdout), (0, "goodbye\n"))

    def test_with_one_thread_a_drain_goes_on_whatever_that_thread_does(self):
        run = self.start(SLOW["sync"], KIPPER_THREADS="1")
        connection = run.connect()
        connection.request("GET", "/")
        run.sees("^began$")
        run.process.terminate()
        self.assertEqual(connection.getresponse().read(), b"done")
        self.assertEqual(run.exit_code(), 0)
        connection.close()
        stuck = self.start(STUCK["sync"], KIPPER_THREADS="1", KIPPER_DRAIN_SECONDS="1")
        connection = stuck.connect()
        connection.request("GET", "/")
        stuck.sees("^began$")
        stuck.process.terminate()
        self.assertEqual(stuck.exit_code(), 0)
        connection.close()

    def test_a_drain_waits_for_a_handler_whose_client_has_left(self):
        for kind, source in SLOW.items():
            with self.subTest(kind):
                run = self.start(source.replace("return 'done'", "print('done')"))
                connection = run.connect()
                connection.request("GET", "/")
                run.sees("^began$")
                connection.close()
                run.process.terminate()
                self.assertEqual((run.exit_code(), run.stdout), (0, "began\ndone\n"))
