"""A line per request on stdout, with KIPPER_LOG_REQUESTS=true. Imported only then. Written when the answer is given to
the connection, or the client is gone; of the path without its query, which may hold what is nobody's business."""

import os
import re
import time

from .log import write

MAX_PATH = 200
MAX_METHOD = 32
MIB = 1024 * 1024
STDOUT = 1


class RequestLog:
    """On the loop's thread only."""

    def __init__(self):
        self._served = False
        self._probed = False
        self._page = os.sysconf("SC_PAGE_SIZE")

    def begin(self, kind, request, began):
        """`kind` is request, event or readiness. Readiness is asked for every second: only the first one has a line."""
        request.trace = None
        if kind == "readiness":
            if self._probed:
                return
            self._probed, start = True, ""
        else:
            start, self._served = " warm" if self._served else " cold", True
        request.trace = (kind, began, start)

    def end(self, request, status, is_cut):
        if request.trace is None:
            return
        kind, began, start = request.trace
        took = round((time.monotonic() - began) * 1000)
        what = f"{shown(request.method, MAX_METHOD)} {shown(request.target.partition('?')[0], MAX_PATH)}"
        end = ", cut off" if is_cut else ""
        line = f"kipper: {kind} {what} {'-' if status is None else status} {took} ms{start} {self._memory()} MiB{end}\n"
        write(line, STDOUT)

    def _memory(self):
        try:
            with open("/proc/self/statm", "rb") as file:
                return round(int(file.read().split()[1]) * self._page / MIB)
        except (OSError, ValueError, IndexError):
            return "-"


def shown(text, most):
    """One line whatever it holds, and no longer than this."""
    cut = text[:most] + "…" if len(text) > most else text
    return re.sub("[^\x21-\x7e…]", lambda found: f"\\x{ord(found[0]) & 255:02x}", cut)
