"""The order of a start: configuration, dependencies, handler, then serve it or run it once."""

import os
import sys
import time
from _signal import SIGINT, SIGTERM, signal  # as `socket` in `listen`

from . import config as configuration
from . import load
from .log import fail, log


def main():
    started = time.monotonic()
    config = configuration.read(os.environ)
    # Between the poller and this server: a function that shows its environment does not show it.
    os.environ.pop("KIPPER_EVENT_TOKEN", None)
    # As process 1 of a container there is no default action for a signal: without this, a stop waits for SIGKILL.
    for number in (SIGTERM, SIGINT):
        signal(number, lambda number, _frame: os._exit(128 + number))
    # Log lines leave as they are printed; a pipe would otherwise keep them until a block is full.
    sys.stdout.reconfigure(line_buffering=True)
    try:
        if os.environ.get("KIPPER_FILES"):
            from .unpack import unpack

            unpack(os.environb, config.function_path)
        root, file = load.locate(config.function_path)
        if load.needs_install(root):
            from . import deps

            deps.prepare(root, config)
        handler = load.load_handler(root, file, config.handler)
    except BaseException as error:
        fail("cannot load the function", error)
    if config.mode == "batch":
        from . import batch

        leave(batch.run(handler, config))
    from .listen import listen

    # From now on somebody may be connected: a stop is noted for the server, which then drains. It is not blocked,
    # because a thread of the function would get it all the same.
    stops = []
    for number in (SIGTERM, SIGINT):
        signal(number, lambda number, _frame: stops.append(number))
    listener = listen(config.host, config.port)
    from . import server

    def ready(address):
        version = ".".join(map(str, sys.version_info[:3]))
        elapsed = round((time.monotonic() - started) * 1000)
        log(f"listening on http://{address} (python {version}, {file}, {elapsed} ms after start; {config.limits})")

    leave(server.serve(listener, handler, config, ready, leave, stops))


def leave(code):
    """Exits whatever is still open: a thread or a connection pool of the function does not keep the process."""
    import atexit

    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(code)
