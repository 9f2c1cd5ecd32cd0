"""
What it costs to hold thousands of requests open that wait for a lock: memory, and what others notice of it.

    .venv/bin/python -m bench.parked [--polls 5000] [--mysql]

The daemon is on an SQLite file, or with ``--mysql`` on a MariaDB server of its own. Each poll waits at a selector of its own, of
which another ticket has the lock; while they wait another client asks for other things, one after the other.
"""

from __future__ import annotations

import argparse
import resource
import selectors
import socket
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

from bench.start import memory
from tests.daemon import LOCK, Daemon
from tests.mariadb import MariaDB

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
            client.sendall(request(f"/resource/printer/{poll % SELECTORS}?wait=50"))
            polls.append(client)
        # What came after them has been answered, so they are in.
        daemon.healthy()


def answered(polls: list[socket.socket]) -> int:
    """Count the polls that did not stay open."""
    with selectors.DefaultSelector() as selector:
        for poll in polls:
            selector.register(poll, selectors.EVENT_READ)
        return len(selector.select(0))


def ask_others(daemon: Daemon, seconds: float) -> tuple[list[float], int]:
    """Take, and let go of, locks that nobody waits for; return how long each request took, and how many were refused."""
    taken: list[float] = []
    refused = 0
    end = time.perf_counter() + seconds
    with closing(daemon.connect()) as client:
        while time.perf_counter() < end:
            ticket = ""
            for target in ("lock", "unlock"):
                began = time.perf_counter()
                answer = client.ask("POST", f"/resource/printer/other/{target}", key=LOCK, ticket=ticket).answer()
                taken.append((time.perf_counter() - began) * 1000)
                ticket = answer.headers.get("x-ticket", "")
                refused += answer.status == 503
    return taken, refused


def processor(pid: int) -> float:
    """Read how many seconds of processor time a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def latency(what: str, taken: list[float], refused: int) -> str:
    cuts = statistics.quantiles(taken, n=100)
    return f"{what:<34} p50 {cuts[49]:6.2f} ms   p99 {cuts[98]:6.2f} ms   {len(taken)} requests, {refused} refused"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what requests cost that wait for a lock.")
    parser.add_argument("--polls", type=int, default=5000, help="how many (default 5000)")
    parser.add_argument("--mysql", action="store_true", help="on a MariaDB server")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack, ExitStack() as clients:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        environ = {}
        if options.mysql:
            environ["MYSQL_PORT"] = str(stack.enter_context(MariaDB()).port)
        daemon = stack.enter_context(Daemon(Path(folder), environ))
        daemon.create("printer", timeout=3600)
        for selector in range(SELECTORS):
            daemon.post(f"/resource/printer/{selector}/lock", key=LOCK)
        print(latency("others, before", *ask_others(daemon, 3)))
        before = memory(daemon.pid)
        polls: list[socket.socket] = []
        began = time.perf_counter()
        park(daemon, options.polls, polls, clients)
        parking = time.perf_counter() - began
        refused = answered(polls)
        after = memory(daemon.pid)
        if refused:
            sys.exit(f"{refused} of {options.polls} polls were answered at once.")
        print(f"{options.polls} polls parked in {parking:.1f} s, all of them held open")
        print(
            f"memory: {before:.1f} MB before, {after:.1f} MB with them: {(after - before) * 1024 / len(polls):.1f} kB each"
        )
        used = processor(daemon.pid)
        time.sleep(5)
        print(f"processor while nobody else asks:  {(processor(daemon.pid) - used) / 5 * 100:.1f} % of one")
        print(latency("others, with them parked", *ask_others(daemon, 3)))


if __name__ == "__main__":
    main()
