"""Ports for servers that tests start."""

from __future__ import annotations

import secrets
import socket
from contextlib import closing, suppress


def free_port() -> int:
    """
    Find a port below those that systems give to clients.

    A client that keeps asking a port of that range before anyone listens there can end up connected with itself; and some other
    client may have been given it by the time that the server wants it.
    """
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with closing(socket.socket()) as probe, suppress(OSError):
            # As a server does: what one that has ended leaves behind does not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
