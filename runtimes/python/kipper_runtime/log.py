"""The wrapper's own lines, on stderr. While serving, a record is one line whatever it holds, so that a log collector
keeps a stack together; a process that is about to exit prints the stack as people read it. The handler's own output
is never touched."""

import os
import sys


class Expected(Exception):
    """A failure whose message says everything: no stack is printed for it."""


def log(message, error=None):
    text = message if error is None else f"{message}: {message_of(error)}\n{describe(error)}"
    write("kipper: " + " | ".join(line.strip() for line in text.split("\n") if line.strip()) + "\n")


def fail(message, error=None, code=1):
    text = f"kipper: {message}"
    if error is not None:
        text += ": " + message_of(error).split("\n")[0]
        if not isinstance(error, Expected):
            text += "\n" + describe(error).rstrip()
    sys.stdout.flush()
    write(text + "\n")
    os._exit(code)


def message_of(error):
    if isinstance(error, Expected):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def describe(error):
    import traceback

    return "".join(traceback.format_exception(error))


def write(text):
    """Straight to the descriptor: one record is one write, from whichever thread."""
    data = text.encode("utf-8", "backslashreplace")
    try:
        while data:
            data = data[os.write(2, data) :]
    except OSError:
        pass
