"""A small event loop for sync handlers, with the few methods of asyncio's that the server uses and the same meaning.

asyncio is a good loop, but importing it takes longer than everything else in a start together, and a function that
is not written for it should not wait for it. Async handlers are served by asyncio itself; `server` cannot tell.
"""

import _signal as signal  # as in `listen`, without the enumerations around them
import _socket as socket
import errno
import selectors
import time
from collections import deque

from .log import log

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
RECEIVE_BYTES = 256 * 1024
ACCEPTS_PER_TURN = 64
HIGH_WATER, LOW_WATER = 64 * 1024, 16 * 1024
OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
ACCEPT_PAUSE_SECONDS = 1.0


class Loop:
    def __init__(self):
        self._selector = selectors.DefaultSelector()
        self._ready = deque()
        self._timers = []  # a handful at most: the sweep and the drain's deadline
        self._running = False
        self._awake = False
        self._signals = {}
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_in, READ, self._drain_wakes)

    time = staticmethod(time.monotonic)

    def call_soon(self, callback, *args):
        self._ready.append((callback, args))

    def call_soon_threadsafe(self, callback, *args):
        self._ready.append((callback, args))
        if not self._awake:
            self._awake = True
            self._wake()

    def call_later(self, delay, callback, *args):
        self._timers.append((self.time() + delay, callback, args))

    def add_signal_handler(self, number, callback):
        # The signal's number comes through the wakeup descriptor, whichever thread the signal interrupts and whatever
        # the main one is busy with. Called on the main thread, before the loop runs.
        self._signals[number] = callback
        signal.set_wakeup_fd(self._wake_out.fileno(), warn_on_full_buffer=False)
        signal.signal(number, lambda _number, _frame: None)

    def serve(self, listener, factory):
        listener.setblocking(False)
        self._selector.register(listener, READ, lambda _events: self._accept(listener, factory))
        return lambda: self._close_listener(listener)

    def run_forever(self):
        self._running = True
        while self._running:
            for key, events in self._selector.select(self._timeout()):
                self._run(key.data, (events,))
            self._run_timers()
            for _ in range(len(self._ready)):
                self._run(*self._ready.popleft())

    def stop(self):
        self._running = False

    def watch(self, sock, events, callback):
        try:
            known = self._selector.get_key(sock)
        except (KeyError, ValueError):
            known = None
        if known is None and events:
            self._selector.register(sock, events, callback)
        elif known is not None and events != known.events:
            self._selector.modify(sock, events, callback) if events else self._selector.unregister(sock)

    def _timeout(self):
        if self._ready:
            return 0
        if not self._timers:
            return None
        return max(0, min(due for due, _, _ in self._timers) - self.time())

    def _run_timers(self):
        now = self.time()
        due = [timer for timer in self._timers if timer[0] <= now]
        self._timers = [timer for timer in self._timers if timer[0] > now]
        for _, callback, args in due:
            self._run(callback, args)

    def _run(self, callback, args):
        try:
            callback(*args)
        except BaseException as error:  # one connection's failure is not the others'
            log("the server failed on one connection", error)

    def _wake(self):
        try:
            self._wake_out.send(b"\0")
        except BlockingIOError:
            pass  # full of wakes already

    def _drain_wakes(self, _events):
        try:
            while data := self._wake_in.recv(4096):
                for number in data.replace(b"\0", b""):
                    if number in self._signals:
                        self.call_soon(self._signals[number])
        except BlockingIOError:
            pass
        # Only now: cleared before the read, a wake sent in between would be read here and leave the flag set for
        # good. What was queued without a wake until this line is run later in this very turn.
        self._awake = False

    def _accept(self, listener, factory):
        for _ in range(ACCEPTS_PER_TURN):
            try:
                descriptor, _ = listener._accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in OUT_OF_DESCRIPTORS:
                    raise
                log(f"cannot accept: {error}")
                self._selector.unregister(listener)
                self.call_later(ACCEPT_PAUSE_SECONDS, self._resume_accepting, listener, factory)
                return
            sock = socket.socket(listener.family, listener.type, listener.proto, descriptor)
            Transport(self, sock, factory())

    def _resume_accepting(self, listener, factory):
        if listener.fileno() >= 0:
            self.serve(listener, factory)

    def _close_listener(self, listener):
        self.watch(listener, 0, None)
        listener.close()


class Transport:
    """One connection: asyncio's transport as far as the server uses it."""

    def __init__(self, loop, sock, protocol):
        self._loop = loop
        self._sock = sock
        self._protocol = protocol
        self._out = bytearray()
        self._reading = True
        self._write_paused = False
        self._closing = False
        self._eof = False
        self._lost = False
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        protocol.connection_made(self)
        self._update()

    def is_closing(self):
        return self._closing

    def get_write_buffer_size(self):
        return len(self._out)

    def pause_reading(self):
        self._reading = False
        self._update()

    def resume_reading(self):
        self._reading = not self._closing
        self._update()

    def write(self, data):
        if self._closing or self._eof:
            return
        if not self._out:
            data = memoryview(data)[self._send(data) :]
        if len(data) and not self._lost:
            self._out += data
            self._update()
            if len(self._out) > HIGH_WATER and not self._write_paused:
                self._write_paused = True
                self._protocol.pause_writing()

    def write_eof(self):
        self._eof = True
        self._flushed()

    def close(self):
        if not self._closing:
            self._closing, self._reading = True, False
            self._update()
            self._flushed()

    def abort(self):
        self._out.clear()
        self._lose(None)

    def _update(self):
        if not self._lost:
            self._loop.watch(self._sock, READ * self._reading | WRITE * bool(self._out), self._event)

    def _event(self, events):
        if events & WRITE and not self._lost:
            del self._out[: self._send(self._out)]
            if self._write_paused and len(self._out) <= LOW_WATER:
                self._write_paused = False
                self._protocol.resume_writing()
            self._update()
            self._flushed()
        if events & READ and self._reading and not self._lost:
            self._receive()

    def _send(self, data):
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._out.clear()
            self._lose(error)
            return 0

    def _receive(self):
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        if data:
            self._protocol.data_received(data)
        elif self._protocol.eof_received():
            self.pause_reading()
        else:
            self.close()

    def _flushed(self):
        if self._out or self._lost:
            return
        if self._closing:
            self._lose(None)
        elif self._eof:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                self._lose(error)

    def _lose(self, error):
        if self._lost:
            return
        self._reading = False
        self._closing = True
        self._loop.watch(self._sock, 0, None)
        self._lost = True
        self._sock.close()
        # Later, as asyncio does it: the protocol must not see the end in the middle of its own write.
        self._loop.call_soon(self._protocol.connection_lost, error)
