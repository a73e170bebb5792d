"""The wrapper's own lines, on stderr. While serving, a record is one line whatever it holds, so that a log collector
keeps a stack together; a process that is about to exit prints the stack as people read it. The handler's own output
is never touched."""

import os
import sys

MAX_MESSAGE = 4_096
said = set()


class Expected(Exception):
    """A failure whose message says everything: no stack is printed for it."""


def log(message, error=None):
    text = message if error is None else f"{message}: {message_of(error)}\n{describe(error)}"
    write("kipper: " + " | ".join(line.rstrip() for line in text.split("\n") if line.strip()) + "\n")


def log_once(message):
    """For advice that is worth one line, not one per request."""
    if message not in said:
        said.add(message)
        log(message)


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
        return readable("".join(traceback.format_exception(error)))
    except BaseException:
        return message_of(error)


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
