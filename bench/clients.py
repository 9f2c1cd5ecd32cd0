"""What the clients of the daemon do, and of the yardsticks, which have the same routes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from itertools import count

from bench.drive import Client, Kind, Tally, http_answer
from tests.daemon import WRITE

_TICKET = re.compile(rb"(?i)\r\nx-ticket: (\w+)")

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


def leaf(_tally: Tally, _number: int) -> Client:
    """Ask for something that costs nothing."""
    ask = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    while True:
        expect(b"200", (yield ask))


def read(tally: Tally, number: int) -> Client:
    """Write once, then look at it again and again."""
    path = f"{RUN}-read{number}"
    ticket = ticket_of((yield request("POST", f"{path}/lock")))
    expect(b"204", (yield request("PUT", f"{path}?unlock=1", f"x-ticket: {ticket}", body='{"state": "ready"}')))
    ask = request("GET", f"{path}?lock=0")
    while True:
        expect(b"200", (yield ask))
        tally.turn(number)


def put(tally: Tally, number: int) -> Client:
    """Lock once, then write something else each time."""
    path = f"{RUN}-put{number}"
    ticket = ticket_of((yield request("POST", f"{path}/lock")))
    for turn in count():
        body = f'{{"state": "ready", "turn": "{turn:08d}", "by": {number}}}'
        expect(b"204", (yield request("PUT", path, f"x-ticket: {ticket}", body=body)))
        tally.turn(number)


def cycle(tally: Tally, number: int) -> Client:
    """Lock and unlock a selector that nobody else wants."""
    return cycle_at(f"{RUN}-cycle{number}", tally, number)


def cycle_at(path: str, tally: Tally, number: int) -> Client:
    """Lock and unlock what is at a path, which nobody else wants."""
    lock = request("POST", f"{path}/lock")
    while True:
        answer = yield lock
        expect(b"200", answer)
        expect(b"200", (yield request("POST", f"{path}/unlock", f"x-ticket: {ticket_of(answer)}")))
        tally.turn(number)


def shared(tally: Tally, number: int) -> Client:
    """Wait for the one lock that all want, and hand it on at once."""
    return shared_for(0.0)(tally, number)


def shared_for(held: float) -> Callable[[Tally, int], Client]:
    """Make clients that wait for the one lock that all want, and hand it on when they have had it for so many seconds."""
    path = f"{RUN}-shared"

    def client(tally: Tally, number: int) -> Client:
        while True:
            answer = yield request("POST", f"{path}/lock?wait=50")
            ticket = ticket_of(answer)
            while not answer.startswith(b"HTTP/1.1 200"):
                expect(b"202", answer)
                answer = yield request("POST", f"{path}/lock?wait=50", f"x-ticket: {ticket}")
            tally.taken()
            if held:
                yield held
            tally.releasing()
            expect(b"200", (yield request("POST", f"{path}/unlock", f"x-ticket: {ticket}")))
            tally.turn(number)

    return client


def queue(tally: Tally, number: int) -> Client:
    """Join the queue of a lock that stays held, and leave it again."""
    lock = request("POST", "/resource/bench/queued/lock")
    while True:
        answer = yield lock
        expect(b"202", answer)
        expect(b"200", (yield request("POST", "/resource/bench/queued/unlock", f"x-ticket: {ticket_of(answer)}")))
        tally.turn(number)


def holders(resources: range, part: int) -> Callable[[Tally, int], Client]:
    """Make clients who lock a selector of each of some resources between them, and keep all that; ``part`` is how many they are."""

    def hold(_tally: Tally, number: int) -> Client:
        for resource in resources[number::part]:
            expect(b"200", (yield request("POST", f"/resource/crowd{resource}/held/lock")))

    return hold


def waiters(number_of: int, part: int) -> Callable[[Tally, int], Client]:
    """Make clients who put that many tickets into the queue of one lock between them."""

    def wait(_tally: Tally, number: int) -> Client:
        for _ in range(number, number_of, part):
            expect(b"20", (yield request("POST", "/resource/bench/queued/lock")))

    return wait


KINDS = {kind.__name__: Kind(kind, http_answer) for kind in (leaf, read, put, cycle, shared, queue)}
