"""
What is used of the inside of PyMySQL, and nowhere else: to end a connection without a word to its server.

The driver's own ``close`` writes to the server first, and waits for it. ``tests/test_driver.py`` says what a new release has broken.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any


def abandon(connection: Any) -> None:
    """End a connection of this thread."""
    connection._force_close()  # noqa: SLF001


def cut(connection: Any) -> None:
    """End a connection that some other thread may be using: there it is lost."""
    # By the socket alone: what the driver has of it belongs to the other thread, and so does what encrypts.
    with suppress(OSError, TypeError):
        socket.socket.shutdown(connection._sock, socket.SHUT_RDWR)  # noqa: SLF001
