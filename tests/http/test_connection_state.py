"""The life of a connection: what its tables promise, and that a connection keeps to them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from resourced.http.channel import Channel
from resourced.http.connection_state import TRANSITIONS, ConnectionEvent, ConnectionState
from resourced.http.fast.connection import FastSite
from resourced.http.request import EdgeRequest
from resourced.http.site import ResourcedSite
from resourced.transitions import IllegalTransition
from tests.states import reached


def test_every_state_can_come() -> None:
    """Each state has its row, and there is a way to it."""
    assert set(TRANSITIONS) == set(ConnectionState) == reached(TRANSITIONS, ConnectionState.IDLE)


def test_the_end() -> None:
    """A connection can be lost in any state; what is closing or closed takes no request any more."""
    assert {row[ConnectionEvent.LOST] for row in TRANSITIONS.values()} == {ConnectionState.CLOSED}
    assert reached(TRANSITIONS, ConnectionState.CLOSING) == {ConnectionState.CLOSING, ConnectionState.CLOSED}
    assert reached(TRANSITIONS, ConnectionState.CLOSED) == {ConnectionState.CLOSED}


def test_an_answer_is_finished_before_the_connection_closes() -> None:
    """To close waits for an answer; only to refuse and to lose the connection do not."""
    for state in (ConnectionState.ANSWERING, ConnectionState.FAST):
        assert TRANSITIONS[state][ConnectionEvent.CLOSE] is state
        assert ConnectionEvent.BEGIN not in TRANSITIONS[state]
        assert ConnectionEvent.PLAIN not in TRANSITIONS[state]


class Waits(Resource):
    """Answers when it is told to."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[EdgeRequest] = []

    def render(self, request: EdgeRequest) -> int:
        self.requests.append(request)
        return NOT_DONE_YET


@pytest.fixture(params=[ResourcedSite, FastSite])
def connection(request: pytest.FixtureRequest) -> Iterator[tuple[Channel, Waits]]:
    leaf = Waits()
    channel = request.param(leaf, Clock()).buildProtocol(None)
    channel.makeConnection(StringTransport(lenient=True))
    yield channel, leaf
    if channel.state is not ConnectionState.CLOSED:
        channel.connectionLost(Failure(ConnectionDone()))


def test_a_request_in_pieces(connection: tuple[Channel, Waits]) -> None:
    """A request is read, answered, and the connection is ready for the next one."""
    channel, leaf = connection
    states = [channel.state]
    for piece in (b"PUT /a HTTP/1.1\r\n", b"Host: a\r\nContent-Length: 2\r\n\r\n", b"{}"):
        channel.dataReceived(piece)
        states.append(channel.state)
    assert states == [ConnectionState.IDLE, ConnectionState.HEAD, ConnectionState.BODY, ConnectionState.ANSWERING]
    leaf.requests.pop().answer(b"")
    assert channel.state is ConnectionState.IDLE


def test_a_plain_request(connection: tuple[Channel, Waits]) -> None:
    """A request in one piece is answered, on the fast path if there is one; the next one waits."""
    channel, leaf = connection
    channel.dataReceived(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    assert channel.state is (ConnectionState.FAST if isinstance(channel.site, FastSite) else ConnectionState.ANSWERING)
    channel.dataReceived(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
    assert len(leaf.requests) == 1
    channel.loseConnection()
    assert not channel.closing
    leaf.requests[0].answer(b"")
    assert leaf.requests[0].finished


def test_a_refusal(connection: tuple[Channel, Waits]) -> None:
    """After a refusal nothing more is read."""
    channel, leaf = connection
    channel.dataReceived(b"GET\r\n\r\n")
    assert channel.state is ConnectionState.CLOSING
    channel.dataReceived(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    assert not leaf.requests


def test_what_is_impossible_is_an_error(connection: tuple[Channel, Waits]) -> None:
    """A step that is not in the table is never taken silently."""
    channel, _ = connection
    with pytest.raises(IllegalTransition):
        channel._move(ConnectionEvent.HEAD_COMPLETE)
