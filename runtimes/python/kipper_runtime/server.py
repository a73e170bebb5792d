"""The server: its connections, where handlers run, and the drain."""

import os
import threading
from _signal import SIGINT, SIGTERM

from . import invoke
from .answer import Answer, refusal
from .background import Background, run_for_good
from .connection import Connection
from .event import EVENT_TOKEN
from .listen import BACKLOG
from .log import log
from .workers import MainThread, Workers

SWEEP_SECONDS = 1.0
HEALTHY = Answer(200, [(b"content-type", b"text/plain")], b"ok\n")


def serve(listener, handler, config, ready, leave, stops):
    """Serves on a socket of `listen`, until a drain is over; returns the exit code. `leave` ends the process from any
    thread. `stops` are the signals to stop that came before there was somebody to heed them."""
    loop = asyncio_loop() if handler.is_async else small_loop()
    server = Server(handler, config, loop)
    host, port = listener.getsockname()[:2]
    server.accept_from(listener)
    for number in (SIGTERM, SIGINT):
        loop.add_signal_handler(number, server.drain)
    server.drain_for(stops)
    ready(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    if server.on_main is None:
        run_for_good(loop, server.is_stopped)
        return 0

    def run_beside():
        run_for_good(loop, server.is_stopped)
        if server.gave_up:
            leave(0)  # the main thread is in a handler that does not return
        server.on_main.stop()

    threading.Thread(target=run_beside, name="kipper-server", daemon=True).start()
    server.on_main.run()
    return 0


def is_readiness(request):
    return request.method in ("GET", "HEAD") and request.target.partition("?")[0] == "/health"


def small_loop():
    from .loop import Loop

    return Loop()


def asyncio_loop():
    import asyncio

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def request_log():
    from .requestlog import RequestLog

    return RequestLog()


class Server:
    def __init__(self, handler, config, loop):
        self.handler = handler
        self.config = config
        self.loop = loop
        self.draining = self._forgives = False
        self._close_listener = None
        self._connections = set()
        self._running = 0
        self._sweeping = False
        self._stopped = self.gave_up = False
        self.on_main = None
        if config.threads == 1 and not handler.is_async:
            self.on_main = MainThread(handler.uses_asyncio)
        self._workers = self.on_main or Workers(config.threads, handler.uses_asyncio)
        self._tasks = set()
        self.request_log = request_log() if config.log_requests else None
        self._background = None
        self._background_lock = threading.Lock()

    def accept_from(self, listener):
        def connect():
            return Connection(self)

        if self.handler.is_async:
            from socket import socket

            accepting = self.loop.create_server(connect, sock=socket(fileno=listener.detach()), backlog=BACKLOG)
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

    def log_begin(self, request, began):
        """Notes a request that may have a line in the log."""
        kind = "readiness" if is_readiness(request) else "event" if invoke.is_delivery(request) else "request"
        self.request_log.begin(kind, request, began)

    def dispatch(self, request, connection):
        self._running += 1
        if is_readiness(request):
            connection.respond(HEALTHY)
        elif not self._allowed(request):
            message = f"POST /event is for event deliveries, which carry {EVENT_TOKEN}"
            connection.respond(refusal(403, message, request))
        elif self.handler.is_async:
            task = self.loop.create_task(invoke.run_async(self, request, connection))
            self._tasks.add(task)  # the loop itself keeps only a weak reference
            task.add_done_callback(self._tasks.discard)
        else:
            self._workers.submit(invoke.run_sync, self, request, connection)

    def _allowed(self, request):
        """Whether a delivery comes from whoever knows the token; any other request may come from anywhere."""
        if not self.config.event_token or not invoke.is_delivery(request):
            return True
        import hmac

        given = request.headers.get(EVENT_TOKEN, "").encode("latin-1")
        return hmac.compare_digest(given, self.config.event_token.encode())

    def is_stopped(self):
        return self._stopped

    def _stop(self):
        self._stopped = True
        self.loop.stop()

    def finished(self):
        self._running -= 1
        self._stop_when_done()

    def background(self):
        with self._background_lock:
            self._background = self._background or Background()
            return self._background

    def drain_for(self, stops):
        """Drains for signals that were noted. One that came while the loop began to heed them is seen twice."""
        if stops:
            self._forgives = True
            self.loop.call_soon(self.drain)

    def drain(self):
        """Stops accepting, lets running requests finish within the bound. A second signal does not wait."""
        if self.draining and self._forgives:
            self._forgives = False
            return
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
        self.gave_up = True
        self._stop()

    def _stop_when_done(self):
        # A request outlives its client: its handler is part of what a drain waits for.
        if self.draining and not self._connections and not self._running:
            self._stop()

    def _sweep(self):
        now = self.loop.time()
        for connection in list(self._connections):
            connection.expire(now)
        self._sweeping = bool(self._connections)
        if self._sweeping:
            self.loop.call_later(SWEEP_SECONDS, self._sweep)
