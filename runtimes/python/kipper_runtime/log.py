"""The wrapper's own lines, on stderr. While serving, a record is one line whatever it holds, so that a log collector
keeps a stack together; a process that is about to exit prints the stack as people read it. The handler's own output
is never touched."""

import os
import sys

MAX_MESSAGE = 4_096
OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep
LIBRARY = os.path.dirname(os.__file__) + os.sep
said = set()


class Expected(Exception):
    """A failure whose message says everything: no stack is printed for it. `detail` is what a program said that failed."""

    def __init__(self, message, detail=""):
        super().__init__(message)
        self.detail = detail


def log(message, error=None):
    text = message if error is None else f"{message}: {message_of(error)}\n{describe(error)}"
    write("kipper: " + " | ".join(line.rstrip() for line in text.split("\n") if line.strip()) + "\n")


def log_once(message):
    """For advice that is worth one line, not one per request."""
    if message not in said:
        said.add(message)
        log(message)


def fail(message, error=None, code=1):
    """The line that says why is the last one of a failure without a stack: of a long log the end is kept."""
    text = f"kipper: {message}"
    if error is not None:
        text += ": " + message_of(error).split("\n")[0]
        if not isinstance(error, Expected):
            text += "\n" + describe(error).rstrip()
        elif error.detail:
            text = error.detail.rstrip() + "\n" + text
    sys.stdout.flush()
    write(text + "\n")
    os._exit(code)


def message_of(error):
    """The type and the text: what stands in the log."""
    if isinstance(error, Expected):
        return str(error)
    text, name = safe_text(error), type(error).__name__
    return f"{name}: {text}" if text else name


def text_of(error):
    """The text alone, where it says something by itself: what a caller is told."""
    text = safe_text(error)
    return message_of(error) if not text or isinstance(error, KeyError) else text


def safe_text(error):
    """An exception's own text, whatever its class does when it is asked for it."""
    try:
        return readable(str(error)[:MAX_MESSAGE])
    except BaseException:
        return "an exception whose text cannot be made"


def describe(error):
    import traceback

    try:
        shown = traceback.TracebackException.from_exception(error)
        keep_own_frames(shown)
        return readable("".join(shown.format()))
    except BaseException:
        return message_of(error)


def keep_own_frames(shown, seen=None):
    """Leaves the frames of the function, and of what it called: those of this runtime go, and what stands between it and
    the function. An exception that never reached the function keeps all of them, but for a file that cannot be
    compiled: its own lines are in the message."""
    seen = set() if seen is None else seen
    if shown is None or id(shown) in seen:
        return
    seen.add(id(shown))
    for other in (shown.__cause__, shown.__context__, *(getattr(shown, "exceptions", None) or ())):
        keep_own_frames(other, seen)
    begin = next((at for at, frame in enumerate(shown.stack) if is_functions(frame.filename)), None)
    if begin is not None:
        shown.stack[:] = [frame for frame in shown.stack[begin:] if not is_runtimes(frame.filename)]
    elif hasattr(shown, "offset"):  # of a SyntaxError
        shown.stack[:] = []


def is_runtimes(name):
    return name.startswith((OWN, "<frozen "))


def is_functions(name):
    """Neither of this runtime nor of the standard library; installed packages lie within that one's folder."""
    is_library = name.startswith(LIBRARY) and "-packages" not in name[len(LIBRARY) :]
    return not is_library and not is_runtimes(name)


def readable(text):
    """Kubernetes mounts a ConfigMap's files as links into `..2026_07_04_12_00_00.123/`; people know the mounted path."""
    if "/.." not in text:
        return text
    import re

    return re.sub(r"/\.\.(?:\d{4}_\d\d_\d\d[^/\s]*|data)(?=/)", "", text)


def write(text, descriptor=2):
    """Straight to the descriptor: one record is one write, from whichever thread."""
    data = text.encode("utf-8", "backslashreplace")
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        pass
