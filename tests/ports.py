"""Ports for servers that tests start."""

from __future__ import annotations

import atexit
import functools
import itertools
import secrets
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

#: Below those that systems give to clients, and how many of them a process has for itself.
FIRST: Final = 10_000
LAST: Final = 32_000
BLOCK: Final = 100
#: Abstract sockets of Unix of this name and a number say which blocks are taken.
NAME: Final = "\0resourced-tests-ports-"


def free_port() -> int:
    """
    Find a port below those that systems give to clients.

    A client that keeps asking a port of that range before anyone listens there can end up connected with itself; and some other
    client may have been given it by the time that the server wants it. Nor may it be one that another process of the tests was given, whose
    server does not listen yet, or is just being started again: so each process has ports that are its own.

    :raises RuntimeError: all ports are taken.
    """
    for port in itertools.islice(_own().ports, BLOCK):
        with closing(socket.socket()) as probe:
            # As a server does: what one that has ended leaves behind does not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("All ports of this process are in use.")


@dataclass(frozen=True)
class _Own:
    """
    What this process has for itself.

    :ivar ports: over and over again: one is given anew when all others were.
    :ivar held: says so until the process ends, however it does.
    """

    ports: Iterator[int]
    held: socket.socket


@functools.cache
def _own() -> _Own:
    starts = list(range(FIRST, LAST, BLOCK))
    secrets.SystemRandom().shuffle(starts)
    for start in starts:
        held = socket.socket(socket.AF_UNIX)
        try:
            held.bind(f"{NAME}{start}")
        except OSError:
            held.close()
            continue
        # Python complains of a socket that it finds open at its end.
        atexit.register(held.close)
        return _Own(itertools.cycle(range(start, start + BLOCK)), held)
    raise RuntimeError("Other processes have all ports for tests.")
