"""
What leans on the inside of Twisted: nothing is lost, nothing overtakes, and every end of a connection is noticed as the reactor would.

If one of these fails with a new Twisted, then that has changed what ``resourced.http.fast.internals`` needs of it.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import endpoints, reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.tcp import Server
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from resourced.http.fast.internals import Link, Sockets, begin_request
from resourced.http.request import EdgeRequest
from tests.waiting import until

DONE = Failure(ConnectionDone())


class Echo(Protocol):
    """Says what it hears, and remembers all of its life."""

    factory: House
    transport: Any

    def connectionMade(self) -> None:
        self.link = Link(self.factory.sockets, self.transport)
        self.factory.all.append(self)
        self.heard = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if b"break" in data:
            raise ValueError("broken")
        if b"all" in data:
            for other in self.factory.all:
                other.transport.abortConnection()
        if b"plain" in data:
            # Something that goes through the transport, behind something that does not.
            self.link.send(b"first ")
            self.link.leave()
            self.transport.write(b"second ")
        if not self.link.send(data):
            self.transport.write(data)

    def connectionLost(self, reason: Failure = DONE) -> None:
        self.lost = reason


class Counted(Sockets):
    """Sockets that remember how many answers they sent at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[int] = []
        self.waiting = 0

    def gather(self, link: Link, answer: bytes) -> None:
        self.waiting += 1
        super().gather(link, answer)

    def flush(self) -> None:
        if self.waiting:
            self.sent.append(self.waiting)
            self.waiting = 0
        super().flush()


class House(Factory):
    protocol = Echo  # type: ignore[assignment]

    def __init__(self) -> None:
        self.all: list[Any] = []
        self.sockets = Counted()


@pytest_twisted.async_yield_fixture()
async def house() -> Any:
    house = House()
    port = await endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(house)
    house.port = port.getHost().port  # type: ignore[attr-defined]
    yield house
    for echo in house.all:
        if echo.lost is None:
            echo.transport.abortConnection()
    await maybeDeferred(port.stopListening)
    await until(lambda: all(echo.lost for echo in house.all))
    # Nothing of it is left in the reactor.
    assert house.sockets not in reactor.getReaders()


@pytest_twisted.async_yield_fixture()
async def clients(house: Any) -> Any:
    clients = [socket.create_connection(("127.0.0.1", house.port)) for _ in range(5)]
    await until(lambda: len(house.all) == 5)
    yield clients
    for client in clients:
        client.close()


async def test_all_are_heard_in_one_step(house: Any, clients: list[socket.socket]) -> None:
    """What has arrived on several connections is read in one step, and then all answers are sent."""
    for number, client in enumerate(clients):
        client.sendall(b"%d" % number)
    await until(lambda: all(echo.heard for echo in house.all))
    assert sorted(echo.heard for echo in house.all) == [b"0", b"1", b"2", b"3", b"4"]
    assert house.sockets.sent == [5]
    assert [client.recv(10) for client in clients] == [b"0", b"1", b"2", b"3", b"4"]


async def test_all_are_answered_in_one_step(house: Any, clients: list[socket.socket]) -> None:
    """Who is answered together is sent nothing before all have an answer, even if what answers them fails; later each answer goes at once."""
    sent_before: list[int] = []

    def answer() -> None:
        for number, echo in enumerate(house.all):
            house.sockets.together(lambda number=number, echo=echo: echo.link.send(b"%d" % number))
        sent_before.extend(house.sockets.sent)
        raise LookupError

    with pytest.raises(LookupError):
        house.sockets.together(answer)
    assert sent_before == []
    assert house.sockets.sent == [5]
    answers = {client.recv(10) for client in clients}
    assert answers == {b"0", b"1", b"2", b"3", b"4"}
    house.all[0].link.send(b"later")
    assert house.sockets.sent == [5]
    assert b"later" in b"".join(_received(client) for client in clients)


def _received(client: socket.socket) -> bytes:
    client.setblocking(False)
    with suppress(BlockingIOError):
        return client.recv(10)
    return b""


async def test_a_client_that_hangs_up(house: Any, clients: list[socket.socket]) -> None:
    """The end of a connection is noticed, and its last words are heard; the others go on."""
    clients[0].sendall(b"bye")
    clients[0].close()
    await until(lambda: any(echo.lost for echo in house.all))
    (gone,) = (echo for echo in house.all if echo.lost)
    assert gone.heard == b"bye"
    assert gone.lost.check(ConnectionDone)
    clients[1].sendall(b"still here")
    await until(lambda: any(echo.heard == b"still here" for echo in house.all))


async def test_a_client_that_resets(house: Any, clients: list[socket.socket]) -> None:
    """A connection that is torn down is noticed too."""
    clients[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    clients[0].close()
    await until(lambda: sum(echo.lost is not None for echo in house.all) == 1)


async def test_one_that_fails(house: Any, clients: list[socket.socket], logged_failures: Any) -> None:
    """A protocol that raises loses its connection, and nobody else does."""
    for client in clients:
        client.sendall(b"break" if client is clients[2] else b"fine")
    await until(lambda: any(echo.lost for echo in house.all))
    await until(lambda: sum(echo.heard == b"fine" for echo in house.all) == 4)
    assert [echo.heard for echo in house.all if echo.lost] == [b"break"]
    assert len(logged_failures.flush(ValueError)) == 1


async def test_one_that_ends_the_others(house: Any, clients: list[socket.socket]) -> None:
    """One may close those that would have been read from after it in the same step."""
    for client in clients:
        client.sendall(b"all")
    await until(lambda: all(echo.lost for echo in house.all))


async def test_one_that_does_not_read(house: Any, clients: list[socket.socket]) -> None:
    """A connection that pauses is left alone, and heard again when it goes on."""
    echo = house.all[0]
    echo.transport.pauseProducing()
    for client in clients:
        client.sendall(b"later")
    await until(lambda: sum(bool(echo.heard) for echo in house.all) == 4)
    echo.transport.resumeProducing()
    await until(lambda: echo.heard == b"later")


async def test_the_end_of_the_reactor(house: Any, clients: list[socket.socket]) -> None:
    """When the reactor stops it tells whom it knows, and so does this."""
    assert house.sockets in reactor.getReaders()
    house.sockets.connectionLost(Failure(ConnectionDone()))
    assert all(echo.lost for echo in house.all)
    assert [client.recv(1) for client in clients] == [b""] * 5


async def test_nothing_overtakes(house: Any, clients: list[socket.socket]) -> None:
    """What goes through the transport comes behind what was sent before, and what is sent later comes behind that."""
    for client in clients:
        client.sendall(b"plain")
    await until(lambda: all(echo.heard for echo in house.all))
    await deferLater(reactor, 0)
    for client in clients:
        said = b""
        while len(said) < len(b"first second plain"):
            said += client.recv(100)
        assert said == b"first second plain"


async def test_a_client_that_takes_little(house: Any, clients: list[socket.socket]) -> None:
    """Of an answer that the system does not take at once the transport has the rest, and all that follows."""
    echo, large = house.all[0], bytes(range(256)) * 0x8000
    (client,) = (client for client in clients if client.getsockname()[1] == echo.transport.getPeer().port)
    assert echo.link.send(large)
    assert not echo.link.send(b"the end")
    echo.transport.write(b"the end")
    client.setblocking(False)
    said = bytearray()

    def all_is_there() -> bool:
        with suppress(BlockingIOError):
            said.extend(client.recv(0x100000))
        return len(said) == len(large) + len(b"the end")

    for _ in range(5000):
        if all_is_there():
            break
        await deferLater(reactor, 0.001)
    assert bytes(said) == large + b"the end"


async def test_who_has_gone_is_sent_nothing(house: Any, clients: list[socket.socket]) -> None:
    """A connection that was lost takes no answer, and none that waits is sent to it."""
    echo = house.all[0]
    echo.transport.abortConnection()
    await until(lambda: echo.lost)
    assert not echo.link.send(b"nobody")


def test_what_is_no_socket_goes_through_its_transport() -> None:
    """TLS, and transports in memory, are only written to by themselves."""
    transport = StringTransport()
    link = Link(Sockets(), transport)
    assert not link.send(b"")
    link.leave()


def test_a_system_without_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no epoll, everything goes through the transport."""
    monkeypatch.delattr("select.epoll")
    transport = Server.__new__(Server)
    assert not Link(Sockets(), transport).send(b"")


def test_how_a_request_begins() -> None:
    """A request begins with what Twisted's own has, except the headers, which are set otherwise."""

    class Channel:
        transport = StringTransport()
        site = SimpleNamespace(_parsePOSTFormSubmission=False)

        def getPeer(self) -> str:
            return "client"

        def getHost(self) -> str:
            return "server"

    channel: Any = Channel()
    theirs, ours = EdgeRequest(channel), EdgeRequest.__new__(EdgeRequest)
    begin_request(ours, channel, ("client", "server"))  # type: ignore[arg-type]
    expected = {
        name: value
        for name, value in vars(theirs).items()
        if name not in {"requestHeaders", "responseHeaders", "notes", "_busy", "_waiting"}
    }
    assert vars(ours) == expected
