"""What a request costs, counted in calls of functions in Python from its bytes to those of its answer: so nobody loses unseen what was won."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
import twisted.internet.base
import twisted.internet.task
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

import resourced.testing.store
from resourced.errors import EpochLost
from resourced.testing import MemoryStore
from tests.assembled import configured, serve, surroundings
from tests.leading import open_journal

#: A store and a clock that are others in production.
NOT_COUNTED = {module.__file__ for module in (resourced.testing.store, twisted.internet.base, twisted.internet.task)}

#: How many clients ask at a time: what they ask for goes into one commit.
CLIENTS = 32

#: How many calls a request of each may take, on average.
MOST = {"lock": 151, "unlock": 107, "read": 78, "lock and read": 169, "write": 152}

#: How many units are taken at once, and how many calls each may take.
UNITS = 500
MOST_OF_UNIT = {"lock": 42, "unlock": 39}


class Counted:
    """A server in memory with some clients, each with a selector of its own."""

    def __init__(self, *, durable: bool) -> None:
        self.clock = Clock()
        # All that has arrived goes into one commit, as it does in production.
        around = surroundings(self.clock, _fail, soon=lambda work: self.clock.callLater(0, work))
        server = self.server = serve(configured(volatile_locks=not durable), around, MemoryStore(judge=durable))
        opened: Deferred[Any] = Deferred.fromCoroutine(open_journal(server.locking.journal, server.locking.store))
        assert opened.called
        self.transports = [StringTransport() for _ in range(CLIENTS)]
        self.connections: list[Any] = [server.site.buildProtocol(None) for _ in range(CLIENTS)]
        for connection, transport in zip(self.connections, self.transports, strict=True):
            connection.makeConnection(transport)
        self._calls = 0

    def ask(self, request: Callable[[int], bytes]) -> float:
        """Let each client send a request; return how many calls one takes."""
        for transport in self.transports:
            transport.clear()
        requests = [request(number) for number in range(CLIENTS)]
        self._calls = 0
        sys.setprofile(self._count)
        try:
            for connection, data in zip(self.connections, requests, strict=True):
                connection.dataReceived(data)
            self.clock.advance(0)
        finally:
            sys.setprofile(None)
        assert all(b" 20" in transport.value()[:13] for transport in self.transports)
        return self._calls / CLIENTS

    def keep_tickets(self) -> None:
        """Keep the ticket that each client was given last."""
        self._tickets = [transport.value().partition(b"X-Ticket: ")[2][:32].decode() for transport in self.transports]

    def ticket(self, number: int) -> str:
        """Return the header with the ticket of a client."""
        return f"x-ticket: {self._tickets[number]}"

    def _count(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename not in NOT_COUNTED:
            self._calls += 1


def _fail(error: EpochLost) -> None:
    raise error


def request(line: str, body: str = "", *headers: str) -> bytes:
    lines = [f"{line} HTTP/1.1", "Host: localhost", "x-api-key: write-key", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", body]).encode()


def test_answers_of_a_commit_are_sent_together() -> None:
    """All who waited for a commit are answered before the first answer is sent: a client that has its answer may take the processor away."""
    server = Counted(durable=True)
    server.connections[0].dataReceived(request("POST /resource", '{"name": "printer"}'))
    sockets = server.server.site.sockets  # type: ignore[attr-defined]
    together = []
    for number, connection in enumerate(server.connections):
        connection.dataReceived(request(f"POST /resource/printer/{number}/lock"))
        journal = server.server.locking.journal
        journal.committed(journal.newest).addCallback(lambda _: together.append(sockets.reading))
    server.clock.advance(0)
    assert together == [True] * CLIENTS
    assert not sockets.reading


@pytest.mark.parametrize("durable", [True, False])
def test_calls(durable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No request takes more calls than it may, once everything that is remembered between requests is."""
    # As it is when there are many requests: their lines in the access log are written together.
    monkeypatch.setattr("resourced.http.access_log.SINGLE", 0)
    server = Counted(durable=durable)
    server.connections[0].dataReceived(request("POST /resource", '{"name": "printer"}'))
    counts = {}
    for _ in range(2):
        counts["lock"] = server.ask(lambda number: request(f"POST /resource/printer/{number}/lock"))
        server.keep_tickets()
        counts["write"] = server.ask(lambda n: request(f"PUT /resource/printer/{n}", '{"paper": 1}', server.ticket(n)))
        counts["read"] = server.ask(lambda number: request(f"GET /resource/printer/{number}?lock=0"))
        counts["unlock"] = server.ask(lambda n: request(f"POST /resource/printer/{n}/unlock", "", server.ticket(n)))
        counts["lock and read"] = server.ask(lambda number: request(f"GET /resource/printer/{number}"))
        server.keep_tickets()
        server.ask(lambda n: request(f"POST /resource/printer/{n}/unlock", "", server.ticket(n)))
    assert {name: count for name, count in counts.items() if count > MOST[name]} == {}


def test_calls_of_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """No unit takes more calls than it may when a request gets very many, or gives them back."""
    monkeypatch.setattr(f"{__name__}.CLIENTS", 1)
    server = Counted(durable=True)
    server.ask(lambda _: request("POST /resource", '{"name": "phones"}'))
    for number in range(UNITS):
        server.connections[0].dataReceived(request(f"PATCH /resource/phones/{number}", "{}"))
        server.clock.advance(0)
    counts = {}
    for _ in range(2):
        counts["lock"] = server.ask(
            lambda _: request("POST /lock", '{"want": [{"resource": "phones", "count": "all"}]}')
        )
        server.keep_tickets()
        counts["unlock"] = server.ask(lambda n: request("POST /unlock", "", server.ticket(n)))
    assert {name: count / UNITS for name, count in counts.items() if count / UNITS > MOST_OF_UNIT[name]} == {}
