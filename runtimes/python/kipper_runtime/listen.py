"""Binds the port. Called when the handler is loaded, because listening means ready, and before the modules of the server
are imported: the first connection waits in the kernel for the few milliseconds that takes, and whoever looks for the
port has found it."""

# `socket` is this and enumerations of all its constants, whose making is a quarter of a start.
import _socket as socket

from .log import fail

BACKLOG = 1024


def listen(host, port):
    """A socket that listens on an address, as `socket.create_server` makes it, or the end of the process."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        fail(f"cannot listen on {host}:{port}: {error.strerror or error}")
    return listener
