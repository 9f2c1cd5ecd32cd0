"""Reading from many connections in one step of the reactor: nothing is lost, and every end of a connection is noticed as the reactor would."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import endpoints, reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from resourced.http.fast.poller import Poller

DONE = Failure(ConnectionDone())


class Echo(Protocol):
    """Says what it hears, and remembers all of its life."""

    factory: House
    transport: Any

    def connectionMade(self) -> None:
        transport = self.transport
        transport.stopReading()
        transport.reactor = self.factory.poller
        transport.startReading()
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
        self.transport.write(data)

    def connectionLost(self, reason: Failure = DONE) -> None:
        self.lost = reason


class House(Factory):
    protocol = Echo  # type: ignore[assignment]

    def __init__(self) -> None:
        self.rounds = 0
        self.all: list[Any] = []
        self.poller = Poller(reactor, self.after)

    def after(self) -> None:
        self.rounds += 1


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
    assert house.poller not in reactor.getReaders()


async def until(true: Any) -> None:
    for _ in range(500):
        if true():
            return
        await deferLater(reactor, 0.01)
    pytest.fail("waited in vain")


@pytest_twisted.async_yield_fixture()
async def clients(house: Any) -> Any:
    clients = [socket.create_connection(("127.0.0.1", house.port)) for _ in range(5)]
    await until(lambda: len(house.all) == 5)
    yield clients
    for client in clients:
        client.close()


async def test_all_are_heard_in_one_step(house: Any, clients: list[socket.socket]) -> None:
    """What has arrived on several connections is read in one step, after which what gathered is done once."""
    for number, client in enumerate(clients):
        client.sendall(b"%d" % number)
    await until(lambda: all(echo.heard for echo in house.all))
    assert sorted(echo.heard for echo in house.all) == [b"0", b"1", b"2", b"3", b"4"]
    assert house.rounds == 1
    assert [client.recv(10) for client in clients] == [b"0", b"1", b"2", b"3", b"4"]


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
    assert house.poller in reactor.getReaders()
    house.poller.connectionLost(Failure(ConnectionDone()))
    assert all(echo.lost for echo in house.all)
    assert [client.recv(1) for client in clients] == [b""] * 5
