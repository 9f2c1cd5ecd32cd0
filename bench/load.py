"""
A load generator: many connections, one thread, no framework; what a client does is a generator of requests.

    python -m bench.load --port 9501 --clients 64 --seconds 2 cycle

It prints a line of JSON. Its own share of a CPU is in it: near 1 it was the generator that was measured, so ``--processes``
spreads the clients over more of them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import select
import socket
import sys
import time
from array import array
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.daemon import WRITE

#: What a client sends; it is given the answer to it, head and body.
Client = Generator[bytes, bytes, None]

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)")
_TICKET = re.compile(rb"(?i)\r\nx-ticket: (\w+)")
_POSITION = re.compile(rb'"position": (\d+)')


@dataclass
class Tally:
    """
    What was done since the measurement began.

    :ivar turns: cycles, or hand-overs, or whatever the clients count.
    :ivar waits: seconds of each answer.
    :ivar handovers: seconds from the sending of an unlock to the next holder's answer.
    """

    turns: int = 0
    errors: int = 0
    waits: array[float] = field(default_factory=lambda: array("d"))
    handovers: array[float] = field(default_factory=lambda: array("d"))
    shares: dict[int, int] = field(default_factory=dict)
    unlocked: float = 0.0


#: What a run leaves behind must not be in the way of the next.
RUN = f"/resource/bench/{time.time_ns()}"


def request(method: str, path: str, *headers: str, body: str = "") -> bytes:
    length = [f"Content-Length: {len(body)}"] if body or method != "GET" else []
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"x-api-key: {WRITE}", *headers, *length, "", body]
    return "\r\n".join(lines).encode()


def ticket_of(answer: bytes) -> str:
    found = _TICKET.search(answer)
    if found is None:
        raise ValueError(f"no ticket: {answer!r}")
    return found[1].decode()


def expect(status: bytes, answer: bytes) -> None:
    if not answer.startswith(b"HTTP/1.1 " + status):
        raise ValueError(f"not {status!r}: {answer[:300]!r}")


# -- What clients do


def leaf(_tally: Tally, _number: int) -> Client:
    """Ask for something that costs nothing."""
    ask = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    while True:
        expect(b"200", (yield ask))


def read(_tally: Tally, number: int) -> Client:
    """Write once, then look at it again and again."""
    path = f"{RUN}-read{number}"
    ticket = ticket_of((yield request("POST", f"{path}/lock")))
    expect(b"204", (yield request("PUT", f"{path}?unlock=1", f"x-ticket: {ticket}", body='{"state": "ready"}')))
    ask = request("GET", f"{path}?lock=0")
    while True:
        expect(b"200", (yield ask))


def put(tally: Tally, number: int) -> Client:
    """Lock once, then write something else each time."""
    path = f"{RUN}-put{number}"
    ticket = ticket_of((yield request("POST", f"{path}/lock")))
    for turn in count():
        body = f'{{"state": "ready", "turn": "{turn:08d}", "by": {number}}}'
        expect(b"204", (yield request("PUT", path, f"x-ticket: {ticket}", body=body)))
        tally.turns += 1


def cycle(tally: Tally, number: int) -> Client:
    """Lock and unlock a selector that nobody else wants."""
    path = f"{RUN}-cycle{number}"
    lock = request("POST", f"{path}/lock")
    while True:
        answer = yield lock
        expect(b"200", answer)
        expect(b"200", (yield request("POST", f"{path}/unlock", f"x-ticket: {ticket_of(answer)}")))
        tally.turns += 1


def shared(tally: Tally, number: int) -> Client:
    """Wait for the one lock that all want, and hand it on at once."""
    lock = f"{RUN}-shared/lock?wait=50"
    while True:
        answer = yield request("POST", lock)
        ticket = ticket_of(answer)
        while not answer.startswith(b"HTTP/1.1 200"):
            expect(b"202", answer)
            answer = yield request("POST", lock, f"x-ticket: {ticket}")
        if tally.unlocked:
            tally.handovers.append(time.perf_counter() - tally.unlocked)
        tally.unlocked = time.perf_counter()
        expect(b"200", (yield request("POST", f"{RUN}-shared/unlock", f"x-ticket: {ticket}")))
        tally.turns += 1
        tally.shares[number] = tally.shares.get(number, 0) + 1


CLIENTS: dict[str, Callable[[Tally, int], Client]] = {
    "leaf": leaf,
    "read": read,
    "put": put,
    "cycle": cycle,
    "shared": shared,
}


# -- How they do it


class Connection:
    """One client's connection."""

    def __init__(self, port: int, client: Client) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.client = client
        self.received = b""
        self.sent = 0.0

    def send(self, request: bytes) -> None:
        self.sent = time.perf_counter()
        self.socket.sendall(request)


def whole(data: bytes) -> bool:
    """Tell whether an answer is complete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    length = _LENGTH.search(data, 0, end + 2)
    if length is not None:
        return len(data) >= end + 4 + int(length[1])
    return data.startswith((b"HTTP/1.1 204", b"HTTP/1.1 304")) or data.endswith(b"0\r\n\r\n")


def drive(connections: list[Connection], tally: Tally, until: Callable[[], bool]) -> None:
    """Let clients ask and be answered."""
    poll = select.epoll()
    by_number = {connection.socket.fileno(): connection for connection in connections}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    waits = tally.waits
    while not until():
        for number, _ in poll.poll(0.1):
            connection = by_number[number]
            data = connection.socket.recv(65536)
            if not data:
                raise ConnectionError("the server has hung up")
            if connection.received:
                data = connection.received + data
            if whole(data):
                connection.received = b""
                waits.append(time.perf_counter() - connection.sent)
                connection.send(connection.client.send(data))
            else:
                connection.received = data
    poll.close()


def measure(port: int, kind: str, numbers: range, warm: float, seconds: float) -> dict[str, Any]:
    """Run some clients of a kind, and count what they do after they are warm."""
    tally = Tally()
    connections = [Connection(port, CLIENTS[kind](tally, number)) for number in numbers]
    for connection in connections:
        connection.send(next(connection.client))
    end = time.perf_counter() + warm
    drive(connections, tally, lambda: time.perf_counter() >= end)
    tally.turns = 0
    tally.shares.clear()
    del tally.waits[:], tally.handovers[:]
    began, cpu = time.perf_counter(), time.process_time()
    end = began + seconds
    drive(connections, tally, lambda: time.perf_counter() >= end)
    took = time.perf_counter() - began
    cpu = time.process_time() - cpu
    for connection in connections:
        connection.socket.close()
    shares = [tally.shares.get(number, 0) for number in numbers]
    return {
        "requests": len(tally.waits) / took,
        "turns": tally.turns / took,
        "waits": sorted(tally.waits),
        "handovers": sorted(tally.handovers),
        "spread": max(shares) - min(shares),
        "cpu": cpu / took,
    }


def quantile(ordered: list[float], part: float) -> float:
    """Return a quantile in milliseconds."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000 if ordered else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=CLIENTS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--warm", type=float, default=0.3)
    parser.add_argument("--seconds", type=float, default=1.5)
    options = parser.parse_args()
    parts = [range(n, options.clients, options.processes) for n in range(options.processes)]
    jobs: Iterator[tuple[Any, ...]] = (
        (options.port, options.kind, part, options.warm, options.seconds) for part in parts
    )
    if options.processes == 1:
        results = [measure(*job) for job in jobs]
    else:
        with multiprocessing.Pool(options.processes) as pool:
            results = pool.starmap(measure, jobs, 1)
    waits = sorted(wait for result in results for wait in result["waits"])
    handovers = sorted(handover for result in results for handover in result["handovers"])
    summary = {
        "requests": sum(result["requests"] for result in results),
        "turns": sum(result["turns"] for result in results),
        "p50": quantile(waits, 0.5),
        "p99": quantile(waits, 0.99),
        "handover_p99": quantile(handovers, 0.99),
        "spread": max(result["spread"] for result in results),
        "cpu": max(result["cpu"] for result in results),
    }
    with suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(summary) + "\n")


if __name__ == "__main__":
    main()
