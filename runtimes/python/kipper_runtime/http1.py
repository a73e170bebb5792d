"""HTTP/1.1 requests out of bytes, strictly: what two parsers could read differently is refused. No sockets in here.

`feed` takes what arrived, `next` gives the next complete request or None; bytes of a following request stay in the
buffer. The reader decides how much it feeds ahead. RFC 9112 is the source of the rules.
"""

from .answer import CONTROLS, TOKEN
from .event import marks_of
from .limits import Hold, Refused

MAX_HEAD = 64 * 1024
MAX_CHUNK_LINE = 256
HEX = b"0123456789abcdefABCDEF"
MAX_HEX_DIGITS = 8

HEAD, SIZED, CHUNK_LINE, CHUNK_DATA, TRAILERS = range(5)


class Request:
    __slots__ = ("method", "target", "version", "headers", "body", "hold", "keep_alive", "expects_continue", "trace")


def parse(data, limits):
    """The requests in `data`, and the bytes behind them that are not one yet. Raises `Refused`. The whole parser as one
    function; `limits` is a `Limits`."""
    parser, requests = Parser(limits), []
    parser.feed(data)
    while (request := parser.next()) is not None:
        requests.append(request)
        parser.hold.release()
    return requests, bytes(parser.buffer)


class Parser:
    def __init__(self, limits):
        self.limits = limits
        self.hold = Hold(limits)  # of the request that is read or handled; whoever handles it releases it
        self.buffer = bytearray()
        self._state = HEAD
        self._scanned = 0
        self._request = None
        self._body = None
        self._remaining = 0
        self._overhead = 0

    @property
    def at_rest(self):
        """Between requests, with nothing received of the next one."""
        return self._state == HEAD and not self.buffer

    @property
    def request(self):
        """The one whose body is read, or whose body was refused."""
        return self._request

    @property
    def in_body(self):
        return self._state != HEAD

    def feed(self, data):
        self.buffer += data

    def take_continue(self):
        """Whether the client waits for a 100 before it sends the body; true once."""
        waits = self._state != HEAD and self._request.expects_continue and not self._body and not self.buffer
        if waits:
            self._request.expects_continue = False
        return waits

    def next(self):
        while True:
            step = STEPS[self._state](self)
            if step is None:
                return None
            if step:
                request, self._request = self._request, None
                request.body, self._body = bytes(self._body), None
                request.hold = self.hold
                self._state, self._scanned = HEAD, 0
                return request

    # Each step returns None for "more bytes needed", False for "go on", True for "the request is complete".

    def _head(self):
        # RFC 9112 section 2.2: empty lines before a request are ignored, however they arrive.
        while self.buffer.startswith(b"\r\n"):
            del self.buffer[:2]
            self._scanned = 0
        end = self.buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
        if end > MAX_HEAD or (end < 0 and len(self.buffer) > MAX_HEAD):
            raise Refused(431, f"the request's head is larger than {MAX_HEAD} bytes")
        if end < 0:
            self._scanned = len(self.buffer)
            return None
        lines = bytes(self.buffer[:end]).split(b"\r\n")
        del self.buffer[: end + 4]
        self._request = parse_request_line(lines[0])
        self._request.headers, framing = parse_headers(lines[1:])
        self._body = bytearray()
        return self._frame(framing)

    def _frame(self, framing):
        request, headers = self._request, self._request.headers
        if request.version == b"HTTP/1.1" and framing["host"] != 1:
            raise Refused(400, "an HTTP/1.1 request must carry one host header")
        self.hold.marks = marks_of(headers)
        options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
        is_11 = request.version == b"HTTP/1.1"
        request.keep_alive = "close" not in options and (is_11 or "keep-alive" in options)
        request.expects_continue = is_11 and headers.get("expect", "").lower() == "100-continue"
        if framing["transfer-encoding"]:
            if not is_11 or framing["content-length"]:
                raise Refused(400, "transfer-encoding must not come with content-length or HTTP/1.0")
            if headers["transfer-encoding"].lower() != "chunked":
                raise Refused(501, "the only transfer encoding this server reads is chunked")
            self._state, self._overhead = CHUNK_LINE, 0
            return False
        if not framing["content-length"]:
            return True
        text = headers["content-length"]
        if framing["content-length"] > 1 or not (text.isascii() and text.isdigit()) or len(text) > 18:
            raise Refused(400, "content-length is not one number")
        self._remaining = int(text)
        self.limits.check(self._remaining)
        self._state = SIZED
        return False

    def _sized(self):
        self._move()
        return True if self._remaining == 0 else None

    def _move(self):
        taken = self.buffer[: self._remaining]
        self.hold.take(taken, len(self._body) + len(taken))
        del self.buffer[: len(taken)]
        self._body += taken
        self._remaining -= len(taken)

    def _chunk_line(self):
        end = self.buffer.find(b"\r\n", 0, MAX_CHUNK_LINE + 2)
        if end < 0:
            if len(self.buffer) >= MAX_CHUNK_LINE + 2:
                raise Refused(400, "a chunk's size line is too long")
            return None
        size = bytes(self.buffer[:end]).split(b";", 1)[0].rstrip(b" \t")
        if not size or len(size) > MAX_HEX_DIGITS or size.translate(None, HEX):
            raise Refused(400, "a chunk's size is not a hexadecimal number")
        del self.buffer[: end + 2]
        self._remaining = int(size, 16)
        self.limits.check(len(self._body) + self._remaining)
        self._state = CHUNK_DATA if self._remaining else TRAILERS
        return False

    def _chunk_data(self):
        self._move()
        if self._remaining or len(self.buffer) < 2:
            return None
        if self.buffer[:2] != b"\r\n":
            raise Refused(400, "a chunk is longer than its size line says")
        del self.buffer[:2]
        self._state = CHUNK_LINE
        return False

    def _trailers(self):
        """Read and dropped: no handler has ever asked for one."""
        end = self.buffer.find(b"\r\n")
        if end < 0:
            if len(self.buffer) > MAX_HEAD:
                raise Refused(431, "the trailers are too large")
            return None
        self._overhead += end + 2
        if self._overhead > MAX_HEAD:
            raise Refused(431, "the trailers are too large")
        del self.buffer[: end + 2]
        return end == 0


STEPS = (Parser._head, Parser._sized, Parser._chunk_line, Parser._chunk_data, Parser._trailers)


def parse_request_line(line):
    parts = line.split(b" ")
    if len(parts) != 3 or not parts[0] or parts[0].translate(None, TOKEN):
        raise Refused(400, "the request line is not METHOD TARGET VERSION")
    method, target, version = parts
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise Refused(505, "this server speaks HTTP/1.1")
    if not target or len(target.translate(None, CONTROLS + b"\t")) != len(target):
        raise Refused(400, "the request target holds control characters")
    request = Request()
    request.method, request.version = method.decode("ascii"), version
    request.target = origin_form(target.decode("latin-1"))
    return request


def origin_form(target):
    """The path and query of an absolute target; the path stays as it was sent, percent-encoding included."""
    scheme, mark, rest = target.partition("://")
    if target.startswith("/") or not mark or not scheme.isalnum():
        return target
    cut = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    return rest[cut:] or "/"


def parse_headers(lines):
    """Returns the headers with repeated ones joined, and how often those occurred that framing depends on."""
    headers = {}
    counts = {"host": 0, "content-length": 0, "transfer-encoding": 0}
    for line in lines:
        raw_name, colon, raw_value = line.partition(b":")
        if not colon or not raw_name or raw_name.translate(None, TOKEN):
            raise Refused(400, "a header line is not NAME: VALUE")
        if len(raw_value.translate(None, CONTROLS)) != len(raw_value):
            raise Refused(400, "a header value holds control characters")
        name = raw_name.decode("ascii").lower()
        value = raw_value.strip(b" \t").decode("latin-1")
        if name in counts:
            counts[name] += 1
        if name in headers:
            value = headers[name] + ("; " if name == "cookie" else ", ") + value
        headers[name] = value
    return headers, counts
