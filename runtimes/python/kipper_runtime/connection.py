"""One client connection: bytes in, one request at a time to the server, its answer out. Runs on the loop's thread.

Every state has a bound: the time between requests, to send a head, to send a whole request, to take the answer, and
to go away after a refusal. A running handler has none; that is for the caller to decide. What waits to be sent must
move at a least rate, whoever waits for it.
"""

import time

from .answer import refusal as refusal_answer
from .http1 import Parser
from .limits import Refused
from .log import log

HEAD_SECONDS = 60
REQUEST_SECONDS = 300
LINGER_SECONDS = 5
# Counted over a whole period (KIPPER_WRITE_SECONDS), because a slow reader takes its bytes in bursts.
LEAST_BYTES_PER_SECOND = 256
# Read ahead of a running request; beyond it the client is left to wait.
MAX_AHEAD = 64 * 1024

# What a request that was understood is refused with before its body was read.
BODY_REFUSED = (413, 503)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
REASONS = {200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 301: "Moved Permanently", 302: "Found"}
REASONS |= {304: "Not Modified", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found"}
REASONS |= {408: "Request Timeout", 413: "Content Too Large", 422: "Unprocessable Content", 429: "Too Many Requests"}
REASONS |= {431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented"}
REASONS |= {502: "Bad Gateway", 503: "Service Unavailable", 505: "HTTP Version Not Supported"}
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Connection:
    def __init__(self, server):
        self.server = server
        self.loop = server.loop
        self.parser = Parser(server.config.limits)
        self.transport = None
        self.request = None  # the one being handled
        self.lost = False
        self.deadline = 0.0
        self._began = None
        self._half_closed = False
        self._lingering = False
        self._read_paused = False
        self._write_paused = False
        self._waiters = []
        self._chunked = False
        self._status = None  # of the answer to the request being handled, once it is sent
        self._written = 0
        self._mark = None  # (since when, bytes taken by then) while something waits to be sent

    @property
    def idle(self):
        return self.request is None and self.parser.at_rest

    # What the loop calls.

    def connection_made(self, transport):
        self.transport = transport
        if not self.server.admit(self):
            transport.abort()
            return
        self.deadline = self.loop.time() + self.server.config.keepalive_seconds

    def connection_lost(self, _error):
        self.lost = True
        if self.request is None:
            self.parser.hold.release()
        self._release_writers()
        self.server.forget(self)

    def data_received(self, data):
        if self._lingering:
            return
        self.parser.feed(data)
        if self.request is None:
            self.advance()
        elif len(self.parser.buffer) > MAX_AHEAD and not self._read_paused:
            self._read_paused = True
            self.transport.pause_reading()

    def eof_received(self):
        """A client may close its sending side and still wait for the answer."""
        self._half_closed = True
        return self.request is not None

    def pause_writing(self):
        self._write_paused = True

    def resume_writing(self):
        self._write_paused = False
        self._release_writers()
        if self.request is None:
            self.advance()

    # Reading.

    def advance(self):
        if self.request is not None or self._lingering or self.transport.is_closing():
            return
        if self._write_paused:
            return  # answers pile up unread: no further request until they are taken
        try:
            request = self.parser.next()
        except Refused as refusal:
            self._refuse(refusal)
            return
        if request is not None:
            if self.server.request_log:
                self.server.log_begin(request, self._began or self.loop.time())
            self.request, self._began, self._status = request, None, None
            self.server.dispatch(request, self)
            return
        if self.parser.take_continue():
            self._write(CONTINUE)
        self._arm()

    def _arm(self):
        now = self.loop.time()
        if self.parser.at_rest:
            self._began = None
            self.deadline = now + self.server.config.keepalive_seconds
        else:
            self._began = self._began or now
            self.deadline = self._began + (REQUEST_SECONDS if self.parser.in_body else HEAD_SECONDS)

    def expire(self, now):
        """Called by the sweep; a running request has no deadline, apart from the one to take its answer."""
        if self._stalls(now):
            period = self.server.config.write_seconds
            log(f"connection closed: its client did not read its answer for {period} s (KIPPER_WRITE_SECONDS)")
            self.transport.abort()
            return
        if self.request is not None or now < self.deadline:
            return
        if self._lingering:
            self.transport.abort()
        elif not self.parser.at_rest:
            self._refuse(Refused(408, "the request did not arrive in time"))
        elif not self.transport.get_write_buffer_size():
            self.transport.abort()

    def _stalls(self, now):
        waiting = self.transport.get_write_buffer_size()
        if not waiting:
            self._mark = None
            return False
        taken = self._written - waiting
        if self._mark is None:
            self._mark = (now, taken)
        since, before = self._mark
        period = self.server.config.write_seconds
        if now - since < period:
            return False
        self._mark = (now, taken)
        return taken - before < LEAST_BYTES_PER_SECOND * period

    def _write(self, data):
        self._written += len(data)
        self.transport.write(data)

    def _refuse(self, refusal):
        """Answers without having read everything: closing now would reset the connection under the answer."""
        self.parser.hold.release()
        request = self.parser.request
        if self.server.request_log and request and refusal.status in BODY_REFUSED:
            self.server.log_begin(request, self._began or self.loop.time())
            self.server.request_log.end(request, refusal.status, False)
        answer = refusal_answer(refusal.status, str(refusal), request, refusal.headers)
        self._write(self._head(answer, keep_alive=False) + answer.body)
        self._lingering = True
        self.deadline = self.loop.time() + LINGER_SECONDS
        if self.transport.is_closing():
            return
        self.transport.write_eof()

    # Answering: what the server calls, always on the loop's thread.

    def respond(self, answer):
        if self.lost:
            return self._finish(keep_alive=False)
        keep_alive = self._keep_alive()
        self._status = answer.status
        head = self._head(answer, keep_alive)
        if answer.body and not bodyless(answer, self.request):
            if len(answer.body) > 16 * 1024:
                self._write(head)
                head = answer.body
            else:
                head += answer.body
        self._write(head)
        self._finish(keep_alive)

    def start_stream(self, answer):
        """Returns whether the body is wanted at all."""
        if self.lost:
            return False
        self._status = answer.status
        wanted = not bodyless(answer, self.request)
        self._chunked = wanted and self.request.version == b"HTTP/1.1"
        keep_alive = self._keep_alive() and (self._chunked or not wanted)
        self.request.keep_alive = keep_alive
        self._write(self._head(answer, keep_alive))
        return wanted

    def write_chunk(self, data, done):
        """Calls `done` when there is room for the next one, or nobody to write for."""
        if not self.lost:
            self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
            if self._write_paused:
                self._waiters.append(done)
                return
        done()

    def end_stream(self):
        if self._chunked and not self.lost:
            self._write(b"0\r\n\r\n")
        self._finish(self.request.keep_alive)

    def abort_stream(self):
        """A body cut short must look cut short: the connection ends without the closing chunk."""
        self.transport.abort()
        self._finish(keep_alive=False, is_cut=True)

    def _finish(self, keep_alive, is_cut=False):
        request, self.request = self.request, None
        if self.server.request_log:
            self.server.request_log.end(request, self._status, is_cut or self.lost)
        self.parser.hold.release()
        self.server.finished()
        if self.lost:
            return
        if not keep_alive or self.server.draining and self.parser.at_rest:
            self.transport.close()
            return
        if self._read_paused:
            self._read_paused = False
            self.transport.resume_reading()
        self._arm()
        if self.parser.buffer:
            self.loop.call_soon(self.advance)

    def _release_writers(self):
        waiters, self._waiters = self._waiters, []
        for done in waiters:
            done()

    def _keep_alive(self):
        return self.request.keep_alive and not self.server.draining and not self._half_closed

    def _head(self, answer, keep_alive):
        lines = [f"HTTP/1.1 {answer.status} {reason(answer.status)}".encode()]
        lines += [name + b": " + value for name, value in answer.headers]
        if not any(name == b"date" for name, _ in answer.headers):
            lines.append(b"date: " + http_date(int(time.time())))
        if not answer.stream and answer.status not in (204, 304):
            lines.append(b"content-length: %d" % len(answer.body))
        elif answer.stream and self._chunked:
            lines.append(b"transfer-encoding: chunked")
        if keep_alive:
            lines.append(b"connection: keep-alive\r\nkeep-alive: timeout=%d" % self.server.config.keepalive_seconds)
        else:
            lines.append(b"connection: close")
        return b"\r\n".join(lines) + b"\r\n\r\n"


def bodyless(answer, request):
    return answer.status in (204, 304) or request.method == "HEAD"


def reason(status):
    if status not in REASONS:
        from http import HTTPStatus

        known = {int(one): one.phrase for one in HTTPStatus}
        REASONS[status] = known.get(status, "")
    return REASONS[status]


def http_date(now, cache=[0, b""]):
    """RFC 9110's date, made once a second."""
    if cache[0] != now:
        year, month, day, hour, minute, second, weekday, _, _ = time.gmtime(now)
        text = f"{DAYS[weekday]}, {day:02} {MONTHS[month - 1]} {year} {hour:02}:{minute:02}:{second:02} GMT"
        cache[0], cache[1] = now, text.encode()
    return cache[1]
