"""The server: a listener, its connections, where handlers run, and the drain. Listening means ready: the handler is
loaded before the port is bound."""

import os
import queue
import signal
import socket
import threading

from . import invoke
from .answer import Answer
from .connection import Connection
from .log import fail, log

BACKLOG = 1024
SWEEP_SECONDS = 1.0
HEALTHY = Answer(200, [(b"content-type", b"text/plain")], b"ok\n")


def serve(handler, config, ready):
    """Runs until a drain is over; returns the exit code."""
    try:
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        listener = socket.create_server((config.host, config.port), family=family, backlog=BACKLOG)
    except OSError as error:
        fail(f"cannot listen on {config.host}:{config.port}: {error.strerror or error}")
    loop = asyncio_loop() if handler.is_async else small_loop()
    server = Server(handler, config, loop)
    server.accept_from(listener)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.drain)
    host, port = listener.getsockname()[:2]
    ready(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    loop.run_forever()
    return 0


def small_loop():
    from .loop import Loop

    return Loop()


def asyncio_loop():
    import asyncio

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


class Server:
    def __init__(self, handler, config, loop):
        self.handler = handler
        self.config = config
        self.loop = loop
        self.draining = False
        self._close_listener = None
        self._connections = set()
        self._running = 0
        self._sweeping = False
        self._workers = Workers(config.threads)
        self._tasks = set()
        self._background = None
        self._background_lock = threading.Lock()

    def accept_from(self, listener):
        def connect():
            return Connection(self)

        if self.handler.is_async:
            accepting = self.loop.create_server(connect, sock=listener, backlog=BACKLOG)
            self._close_listener = self.loop.run_until_complete(accepting).close
        else:
            self._close_listener = self.loop.serve(listener, connect)

    def admit(self, connection):
        if len(self._connections) >= self.config.max_connections:
            log(f"connection refused: {self.config.max_connections} are open (KIPPER_MAX_CONNECTIONS)")
            return False
        self._connections.add(connection)
        if not self._sweeping:
            self._sweeping = True
            self.loop.call_later(SWEEP_SECONDS, self._sweep)
        return True

    def forget(self, connection):
        self._connections.discard(connection)
        self._stop_when_done()

    def dispatch(self, request, connection):
        self._running += 1
        if request.target.partition("?")[0] == "/health" and request.method in ("GET", "HEAD"):
            connection.respond(HEALTHY)
        elif self.handler.is_async:
            task = self.loop.create_task(invoke.run_async(self, request, connection))
            self._tasks.add(task)  # the loop itself keeps only a weak reference
            task.add_done_callback(self._tasks.discard)
        else:
            self._workers.submit(invoke.run_sync, self, request, connection)

    def finished(self):
        self._running -= 1
        self._stop_when_done()

    def background(self):
        with self._background_lock:
            self._background = self._background or invoke.Background()
            return self._background

    def drain(self):
        """Stops accepting, lets running requests finish within the bound. A second signal does not wait."""
        if self.draining:
            os._exit(1)
        self.draining = True
        log(f"draining, {self._running} running")
        self._close_listener()
        for connection in list(self._connections):
            if connection.idle:
                connection.transport.close()
        self.loop.call_later(self.config.drain_seconds, self._give_up)
        self._stop_when_done()

    def _give_up(self):
        log(f"drain deadline reached, {self._running} requests cut off")
        self.loop.stop()

    def _stop_when_done(self):
        # A request outlives its client: its handler is part of what a drain waits for.
        if self.draining and not self._connections and not self._running:
            self.loop.stop()

    def _sweep(self):
        now = self.loop.time()
        for connection in list(self._connections):
            connection.expire(now)
        self._sweeping = bool(self._connections)
        if self._sweeping:
            self.loop.call_later(SWEEP_SECONDS, self._sweep)


class Workers:
    """Threads for sync handlers, started as they are needed, up to a bound. What waits for one is bounded by the
    number of connections: each has one request at a time."""

    def __init__(self, limit):
        self._limit = limit
        self._count = 0
        self._idle = threading.Semaphore(0)
        self._jobs = queue.SimpleQueue()

    def submit(self, function, *args):
        self._jobs.put((function, args))
        if not self._idle.acquire(blocking=False) and self._count < self._limit:
            self._count += 1
            # A daemon: a handler that never returns must not keep the process after its drain.
            threading.Thread(target=self._work, name=f"kipper-worker-{self._count}", daemon=True).start()

    def _work(self):
        while True:
            function, args = self._jobs.get()
            try:
                function(*args)
            except BaseException as error:
                log("a worker failed in the wrapper", error)
            # Not kept until the next job: a large body would stay in memory.
            function = args = None
            self._idle.release()
