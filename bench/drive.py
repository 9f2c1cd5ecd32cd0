"""
What drives clients against a server: many connections, one thread, no framework. What a client does is a generator of requests.

A generator yields what it sends and is given the answer to it, whole; it yields nothing to be given what comes without being asked for,
and a number to be given nothing after so many seconds.
"""

from __future__ import annotations

import re
import select
import socket
import time
from array import array
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, NamedTuple

Client = Generator[bytes | float, bytes, None]

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)")


@dataclass
class Tally:
    """
    What was done since the measurement began.

    :ivar turns: cycles, or hand-overs, or whatever the clients count.
    :ivar waits: seconds of each answer.
    :ivar handovers: seconds from the sending of an unlock to the next holder's answer.
    :ivar shares: the turns of each client.
    """

    turns: int = 0
    waits: array[float] = field(default_factory=lambda: array("d"))
    handovers: array[float] = field(default_factory=lambda: array("d"))
    shares: dict[int, int] = field(default_factory=dict)
    unlocked: float = 0.0

    def turn(self, number: int) -> None:
        """Count a turn of a client."""
        self.turns += 1
        self.shares[number] = self.shares.get(number, 0) + 1

    def taken(self) -> None:
        """Count a hand-over: a client has learnt that the one lock is its own."""
        if self.unlocked:
            self.handovers.append(time.perf_counter() - self.unlocked)

    def releasing(self) -> None:
        """Take note that the one lock is let go of now."""
        self.unlocked = time.perf_counter()

    def clear(self) -> None:
        """Begin to measure."""
        self.turns = 0
        self.shares.clear()
        del self.waits[:], self.handovers[:]


class Kind(NamedTuple):
    """
    What clients do.

    :ivar client: makes one, by the tally and its number.
    :ivar whole: how many bytes the first answer in what has arrived has, or 0 if it is not all there.
    """

    client: Callable[[Tally, int], Client]
    whole: Callable[[bytes], int]


def http_answer(data: bytes) -> int:
    """Tell how long an answer in HTTP is; a client has only one request under way."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0
    length = _LENGTH.search(data, 0, end + 2)
    if length is not None:
        return len(data) if len(data) >= end + 4 + int(length[1]) else 0
    return len(data) if data.startswith((b"HTTP/1.1 204", b"HTTP/1.1 304")) or data.endswith(b"0\r\n\r\n") else 0


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
        if request:
            self.sent = time.perf_counter()
            self.socket.sendall(request)


class Driver:
    """Lets clients ask and be answered."""

    def __init__(self, connections: list[Connection], kind: Kind, tally: Tally) -> None:
        self._poll = select.epoll()
        self._kind = kind
        self._tally = tally
        self._by_number = {connection.socket.fileno(): connection for connection in connections}
        self._paused: list[tuple[float, int]] = []
        for number, connection in self._by_number.items():
            self._poll.register(number, select.EPOLLIN)
            # One that has nothing to do ends when it goes on.
            self._then(number, next(connection.client, 0.0))

    def drive(self, until: Callable[[], bool]) -> None:
        """Go on until all has been done, or it is time to stop."""
        while self._by_number and not until():
            patience = 0.1
            while self._paused and (patience := min(0.1, self._paused[0][0] - time.perf_counter())) <= 0:
                self._go_on(heappop(self._paused)[1], b"")
                patience = 0.1
            for number, _ in self._poll.poll(patience):
                self._receive(number)

    def _receive(self, number: int) -> None:
        connection = self._by_number[number]
        data = connection.socket.recv(65536)
        if not data:
            raise ConnectionError("the server has hung up")
        data = connection.received + data
        while length := self._kind.whole(data):
            self._tally.waits.append(time.perf_counter() - connection.sent)
            answer, data = data[:length], data[length:]
            self._go_on(number, answer)
        connection.received = data

    def _go_on(self, number: int, answer: bytes) -> None:
        try:
            wanted = self._by_number[number].client.send(answer)
        except StopIteration:
            self._poll.unregister(number)
            del self._by_number[number]
            return
        self._then(number, wanted)

    def _then(self, number: int, wanted: bytes | float) -> None:
        """Do what a client wants next."""
        if isinstance(wanted, float):
            heappush(self._paused, (time.perf_counter() + wanted, number))
        else:
            self._by_number[number].send(wanted)

    def close(self) -> None:
        self._poll.close()
        for connection in self._by_number.values():
            connection.socket.close()


def finish(port: int, kind: Kind, numbers: range) -> None:
    """Let some clients do all that they have to do."""
    tally = Tally()
    with closing(Driver([Connection(port, kind.client(tally, number)) for number in numbers], kind, tally)) as driver:
        driver.drive(lambda: False)


def processor_time(pid: int) -> float:
    """Return how many seconds of a processor all threads of a process have had."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def measure(port: int, kind: Kind, numbers: range, warm: float, seconds: float, pid: int = 0) -> dict[str, Any]:
    """
    Run some clients, and count what they do after they are warm; ``cpu`` is the share of one that it took to drive them.

    :param pid: a process whose time of a processor is measured meanwhile: the server's.
    """
    tally = Tally()
    with closing(Driver([Connection(port, kind.client(tally, number)) for number in numbers], kind, tally)) as driver:
        end = time.perf_counter() + warm
        driver.drive(lambda: time.perf_counter() >= end)
        tally.clear()
        began, cpu, server = time.perf_counter(), time.process_time(), processor_time(pid)
        end = began + seconds
        driver.drive(lambda: time.perf_counter() >= end)
        took = time.perf_counter() - began
        cpu = time.process_time() - cpu
        server = processor_time(pid) - server
    return {
        "requests": len(tally.waits) / took,
        "turns": tally.turns / took,
        "waits": tally.waits,
        "handovers": tally.handovers,
        "shares": [tally.shares.get(number, 0) for number in numbers],
        "cpu": cpu / took,
        "server_cpu": server / took,
    }
