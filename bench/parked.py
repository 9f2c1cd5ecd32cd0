"""
What it costs to hold thousands of requests open that wait for a lock: memory, and what others notice of it.

Each poll waits at one of some selectors, of which another ticket has the lock; while they wait another client asks, one request
after the other, for what needs nothing but the reactor, so what it waits for is the reactor's lag.
"""

from __future__ import annotations

import gc
import resource
import selectors
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from bench.load import quantile
from bench.start import memory
from tests.daemon import LOCK, Daemon

#: Selectors at which the polls wait in equal numbers.
SELECTORS = 50
#: Polls that are sent before the answers to others are looked at.
STEP = 100


def request(target: str, key: str = LOCK) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\nx-api-key: {key}\r\n\r\n".encode()


def park(daemon: Daemon, number: int, polls: list[socket.socket], stack: ExitStack) -> None:
    """Open so many polls, some at a time, each of which is to stay open."""
    for start in range(0, number, STEP):
        for poll in range(start, min(start + STEP, number)):
            client = stack.enter_context(closing(socket.create_connection(("127.0.0.1", daemon.port), 30)))
            client.sendall(request(f"/resource/printer/{poll % SELECTORS}?wait=300"))
            polls.append(client)
        # What came after them has been answered, so they are in.
        daemon.healthy()


def answered(polls: list[socket.socket]) -> int:
    """Count the polls that did not stay open."""
    with selectors.DefaultSelector() as selector:
        for poll in polls:
            selector.register(poll, selectors.EVENT_READ)
        return len(selector.select(0))


def lag(daemon: Daemon, seconds: float) -> list[float]:
    """Ask again and again, with a pause, for what costs nothing; return the seconds that each answer took, in their order."""
    taken: list[float] = []
    ask = request("/no/such/path")
    end = time.perf_counter() + seconds
    # Our own collector would be taken for the daemon's.
    gc.disable()
    with closing(socket.create_connection(("127.0.0.1", daemon.port), 30)) as client:
        while time.perf_counter() < end:
            began = time.perf_counter()
            client.sendall(ask)
            client.recv(4096)
            taken.append(time.perf_counter() - began)
            time.sleep(0.001)
    gc.enable()
    return sorted(taken)


def measure(folder: Path, environ: Mapping[str, str], polls: int, seconds: float) -> dict[str, float]:
    """
    Park polls.

    :returns: ``polls``; ``kib``, the memory of one; ``lag_p50``, ``lag_p99`` and ``lag_worst`` while they are parked, and ``idle_p99`` and
        ``idle_worst`` before, in milliseconds.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    options = (f"--max-connections={polls + 100}", "--max-wait=300", f"--max-queue={polls + 100}")
    # They all come from one address.
    environ = {**environ, "RESOURCED_MAX_PEER_CONNECTIONS": "1000000"}
    with Daemon(folder, environ, options) as daemon, ExitStack() as clients:
        daemon.create("printer", timeout=3600)
        for selector in range(SELECTORS):
            daemon.post(f"/resource/printer/{selector}/lock", key=LOCK)
        idle = lag(daemon, seconds)
        before = memory(daemon.pid)
        parked: list[socket.socket] = []
        park(daemon, polls, parked, clients)
        after = memory(daemon.pid)
        under = lag(daemon, seconds)
        if refused := answered(parked):
            raise RuntimeError(f"{refused} of {polls} polls were answered at once")
        return {
            "polls": polls,
            "kib": (after - before) * 1024 / polls,
            "lag_p50": quantile(under, 0.5),
            "lag_p99": quantile(under, 0.99),
            "lag_worst": quantile(under, 1),
            "idle_p99": quantile(idle, 0.99),
            "idle_worst": quantile(idle, 1),
        }
