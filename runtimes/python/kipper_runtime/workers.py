"""Where sync handlers run: on threads, or, with one thread, on the main one, as in a plain script."""

import queue
import sys
import threading

from .log import log

STOP = object()


class Jobs:
    def __init__(self, wants_event_loop):
        self._queue = queue.SimpleQueue()
        self._wants_event_loop = wants_event_loop
        self._local = threading.local()

    def put(self, job):
        self._queue.put(job)

    def run(self, done=lambda: None):
        while (job := self._queue.get()) is not STOP:
            self._prepare()
            function, args = job
            try:
                function(*args)
            except BaseException as error:
                log("a worker failed in the wrapper", error)
            # Not kept until the next job: a large body would stay in memory.
            job = function = args = None
            done()

    def _prepare(self):
        """`asyncio.get_event_loop()` gives a loop in every thread that runs handlers, not in the main one alone."""
        if not hasattr(self._local, "ready") and (self._wants_event_loop or "asyncio" in sys.modules):
            import asyncio

            asyncio.set_event_loop(asyncio.new_event_loop())
            self._local.ready = True


class Workers:
    """Threads, started as they are needed, up to a bound. What waits for one is bounded by the number of connections:
    each has one request at a time."""

    def __init__(self, limit, wants_event_loop):
        self._limit = limit
        self._count = 0
        self._idle = threading.Semaphore(0)
        self._jobs = Jobs(wants_event_loop)

    def submit(self, function, *args):
        self._jobs.put((function, args))
        if not self._idle.acquire(blocking=False) and self._count < self._limit:
            self._count += 1
            # A daemon: a handler that never returns must not keep the process after its drain.
            work = threading.Thread(target=self._jobs.run, args=(self._idle.release,), name=f"kipper-worker-{self._count}", daemon=True)
            work.start()


class MainThread:
    """One handler at a time, on the thread that imported it: signals, sqlite3 connections and event loops that belong
    to the main thread work. The server's loop runs beside it."""

    def __init__(self, wants_event_loop):
        self._jobs = Jobs(wants_event_loop)

    def submit(self, function, *args):
        self._jobs.put((function, args))

    def run(self):
        self._jobs.run()

    def stop(self):
        self._jobs.put(STOP)
