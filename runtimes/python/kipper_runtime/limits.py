"""How much memory request bodies may take, one and all together, derived from the container's memory limit.

A body takes more memory than its bytes, the more the more values it holds. So each of its bytes costs BYTE_COST,
and each that may begin a value (a mark, wherever it stands) MARK_COST besides. Measured with bodies of 1.4 to 4 MB:
the peak of the process above what it was before, garbage included, as multiples of the body's bytes.

                                    Python  Node  counted
  [[],[],                               28    30       76
  {"":0},{"":0},                        31    14       50
  {"a":{}},{"a":{}},                    32    19       52
  [[[[ 900 deep                         50    34       58
  [0,0,                                  8    17       58
  [1.5,1.5,                             14    16       31
  objects of one distinct key each      31    28       31
  one object of distinct short keys     26    33       31
  orders of 20 fields                    6     7       17
  a webhook of GitHub's                  5     7       12
  a form of short names and values      37    22       31

Distinct keys take 30 times their bytes in Node where its heap is tight. Counted too low are forms (one of names only
takes 54 times, counted 31), numbers that a double cannot hold in Node (13, counted 10) and JSON or text with a
character beyond U+FFFF in Python (9, counted 4 and more). There is room for them: a quarter of the memory limit is for
bodies and what is made of them, the rest for the interpreter, the handler and garbage.
"""

from _thread import allocate_lock

BYTE_COST = 4
MARK_COST = 108
BODY_SHARE = 4
MOST_BODY = 32 * 1024 * 1024
MOST_BODY_MEMORY = 1024 * 1024 * 1024
LEAST_BODY_MEMORY = 8 * 1024 * 1024
# cgroup v2, then v1. "max", or v1's number near 2^63, means no limit.
LIMIT_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
NO_LIMIT = 2**50


def container_memory(files=LIMIT_FILES):
    for name in files:
        try:
            with open(name, "rb") as file:
                size = int(file.read())
        except (OSError, ValueError):
            continue  # not this version of cgroups, or no limit
        if 0 < size < NO_LIMIT:
            return size
    return None


class Refused(Exception):
    """A request that is answered by the server itself; the connection ends with it."""

    def __init__(self, status, message, headers=()):
        super().__init__(message)
        self.status = status
        self.headers = headers


class Limits:
    """The limits of one process. `max_body` and `body_memory` are the settings, where they are set."""

    def __init__(self, max_body=None, body_memory=None, memory=None):
        share = max(LEAST_BODY_MEMORY, memory // BODY_SHARE) if memory else MOST_BODY_MEMORY
        self.memory = min(MOST_BODY_MEMORY, share) if body_memory is None else body_memory
        self.body = MOST_BODY if max_body is None else max_body
        self.held = 0
        self.lock = allocate_lock()

    def check(self, size, cost=None):
        """Raises `Refused` for a body of that many bytes that can never be taken; without its cost, by the least it can
        be."""
        if size > self.body:
            raise Refused(413, f"the body is larger than {self.body} bytes (KIPPER_MAX_BODY)")
        if (size * BYTE_COST if cost is None else cost) > self.memory:
            what = f"more than the {self.memory} bytes of memory for bodies"
            raise Refused(413, f"the body takes {what} (KIPPER_BODY_MEMORY)")

    def __str__(self):
        return f"bodies up to {self.body} bytes (KIPPER_MAX_BODY) in {self.memory} bytes of memory (KIPPER_BODY_MEMORY)"


class Hold:
    """One request's share of the memory for bodies; `marks` is what `marks_of` says of its body. Taken on the loop's
    thread and, for what is unpacked, on a worker."""

    __slots__ = ("limits", "marks", "taken")

    def __init__(self, limits, marks=b""):
        self.limits = limits
        self.marks = marks
        self.taken = 0

    def take(self, piece, size):
        """Counts a piece of a body of `size` bytes so far; raises `Refused` when it does not fit."""
        limits = self.limits
        cost = BYTE_COST * len(piece) + MARK_COST * sum(map(piece.count, self.marks))
        limits.check(size, self.taken + cost)
        with limits.lock:
            if limits.held + cost > limits.memory:
                headers = [(b"retry-after", b"1")]
                raise Refused(503, "the memory for request bodies is in use (KIPPER_BODY_MEMORY)", headers)
            limits.held += cost
        self.taken += cost

    def release(self):
        with self.limits.lock:
            self.limits.held -= self.taken
        self.taken = 0
