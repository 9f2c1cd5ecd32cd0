"""
What those who follow the events cost those who lock.

    python -m bench.streams [--streams 10000] [--rounds 3] [--seconds 3] [--store sqlite]

Clients take and release locks as fast as they can, so that there are always events, while so many others follow them all. In the
table ``x alone`` is how many times as many turns are taken as with nobody following, ``behind`` how many seconds the slowest of the
followers is behind at most.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import select
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.throughput import Load, measure_at
from tests.daemon import READ, Daemon, eventually

STORES = {"volatile": {"RESOURCED_VOLATILE_LOCKS": "1"}, "sqlite": {}}
CLIENTS = 16
#: Streams that are opened before it is looked whether they are.
STEP = 100

_LAST = re.compile(rb".*\nid: (\d+)\n", re.DOTALL)
_AT = re.compile(rb".*\"at\": \"[^\"]*T(\d+):(\d+):(\d+\.\d+)Z", re.DOTALL)


def follow(port: int, streams: int, ready: int, done: int) -> None:
    """Open streams, say so, read all that comes until told to stop, and say how long ago the last event that the slowest got was."""
    epoll = select.epoll()
    opened: dict[int, socket.socket] = {}
    newest: dict[int, float] = {}
    request = f"GET /events HTTP/1.1\r\nHost: localhost\r\nx-api-key: {READ}\r\n\r\n".encode()
    for start in range(0, streams, STEP):
        fresh = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(start, min(start + STEP, streams))]
        for client in fresh:
            client.sendall(request)
        for client in fresh:
            if b" 200 " not in client.recv(4096):
                raise RuntimeError("a stream was refused")
            client.setblocking(False)
            epoll.register(client.fileno(), select.EPOLLIN)
            opened[client.fileno()] = client
    os.write(ready, b"1")
    behind = 0.0
    while True:
        for number, _ in epoll.poll(0.1):
            if (at := _AT.match(opened[number].recv(1 << 20))) is not None:
                newest[number] = float(at[1]) * 3600 + float(at[2]) * 60 + float(at[3])
        now = time.time() % 86400
        if len(newest) == streams:
            behind = max(behind, now - min(newest.values()))
        if select.select([done], [], [], 0)[0]:
            os.write(ready, f"{behind:.2f}\n".encode())
            os._exit(0)


@contextmanager
def followers(daemon: Daemon, streams: int) -> Iterator[list[float]]:
    """Have so many streams read by a process of its own; in the end the list has by how much the slowest was behind."""
    behind: list[float] = []
    if not streams:
        yield behind
        return
    (told, ready), (done, stop) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        follow(daemon.port, streams, ready, done)
    try:
        os.read(told, 1)
        yield behind
        os.write(stop, b"1")
        behind.append(float(os.read(told, 100)))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for end in (told, ready, done, stop):
            os.close(end)


def measure(folder: Path, store: str, numbers: list[int], rounds: int, seconds: float) -> list[list[str]]:
    """Measure in alternation; return the rows of the table."""
    most = max(numbers)
    options = (f"--max-connections={most + 100}", f"--max-streams={most}")
    turns: dict[int, list[float]] = {number: [] for number in numbers}
    behind: dict[int, list[float]] = {number: [] for number in numbers}
    waits: dict[int, list[float]] = {number: [] for number in numbers}
    with Daemon(folder, STORES[store], options) as daemon:
        daemon.create("bench")
        for _ in range(rounds):
            for number in numbers:
                eventually(daemon.healthy)
                with followers(daemon, number) as late:
                    found = measure_at(daemon.port, Load("", "cycle", CLIENTS), seconds)
                turns[number].append(found["turns"])
                waits[number].append(found["p99"])
                behind[number] += late
    return [
        [
            f"{number}",
            f"{median(turns[number]) / median(turns[0]):.2f}",
            f"{median(turns[number]):.0f}",
            f"{median(waits[number]):.1f}",
            f"{median(behind[number] or [0]):.2f}",
        ]
        for number in numbers
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.streams", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=10_000, help="how many at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--store", choices=STORES, default="sqlite")
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    numbers = [0, *(number for number in (10, 100, 1000) if number < arguments.streams), arguments.streams]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rows = measure(Path(folder), arguments.store, numbers, arguments.rounds, arguments.seconds)
    for row in [["streams", "x alone", "turns/s", "p99 ms", "behind"], *rows]:
        print("  ".join(cell.rjust(8) for cell in row))


if __name__ == "__main__":
    main()
