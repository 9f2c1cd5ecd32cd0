"""Connections to nodes: what an answer is, however it arrives, and what becomes of a connection after it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import URI, ResponseDone, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgentEndpointFactory, IResponse
from zope.interface import implementer

from resourced.connections import IDLE_TIMEOUT, PER_SERVER
from resourced.passing.kept import KeptConnections
from resourced.passing.link import FREE, HEAD, OVER, TRANSITIONS, Link
from tests.states import reached

pytestmark = pytest.mark.trial

PLAIN = (
    b'HTTP/1.1 200 OK\r\nX-Ticket: 0f\r\nContent-Length: 16\r\nContent-Type: application/json\r\n\r\n{"locked": true}'
)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n3\r\nfgh\r\n0\r\n\r\n"


class Body(Protocol):
    """What has arrived of a body, and how that has ended."""

    def __init__(self) -> None:
        self.data = b""
        self.end: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.end = reason


class LinkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.freed: list[Link] = []
        self.link = Link(self.freed.append)
        self.transport = StringTransport()
        self.link.makeConnection(self.transport)

    def ask(self, *, no_body: bool = False) -> Deferred[IResponse]:
        return self.link.ask(b"GET / HTTP/1.1\r\n\r\n", no_body=no_body)

    def answered(self, data: bytes, *, no_body: bool = False) -> tuple[Any, Body]:
        """Let an answer arrive; return it, and its body."""
        answer, body = self.ask(no_body=no_body), Body()
        self.link.dataReceived(data)
        response = self.successResultOf(answer)
        response.deliverBody(body)
        return response, body

    def assert_unclear(self, data: bytes) -> None:
        """What arrives is no answer: the connection ends, and there is none."""
        self.setUp()
        answer = self.ask()
        self.link.dataReceived(data)
        self.assertTrue(self.transport.disconnecting, data)
        self.link.connectionLost(Failure(ConnectionLost()))
        self.failureResultOf(answer, ConnectionLost)
        self.assertEqual((self.link.state, self.freed), (OVER, []))

    def test_states(self) -> None:
        """Each state can be reached, and from each the connection may end."""
        self.assertEqual(reached(TRANSITIONS, FREE), set(TRANSITIONS))

    def test_answer(self) -> None:
        """An answer has a status, headers without those about its connection, a length and a body; then the connection is free."""
        response, body = self.answered(PLAIN)
        self.assertEqual((response.code, response.length, body.data), (200, 16, b'{"locked": true}'))
        self.assertEqual(dict(response.headers), {b"X-Ticket": [b"0f"], b"Content-Type": [b"application/json"]})
        assert body.end is not None
        self.assertTrue(body.end.check(ResponseDone))
        self.assertEqual((self.link.state, self.freed), (FREE, [self.link]))
        self.answered(PLAIN)

    @given(st.sampled_from([PLAIN, CHUNKED]), st.lists(st.integers(1, 90)))
    def test_in_pieces(self, data: bytes, cuts: Sequence[int]) -> None:
        """It is the same in however many pieces it arrives."""
        self.setUp()
        whole, body = self.answered(data)
        self.setUp()
        answer, again = self.ask(), Body()
        places = [0, *sorted({cut for cut in cuts if cut < len(data)}), len(data)]
        wanted = False
        for start, end in pairwise(places):
            self.link.dataReceived(data[start:end])
            if answer.called and not wanted:
                response, wanted = self.successResultOf(answer), True
                response.deliverBody(again)
        self.assertEqual((response.code, response.headers, again.data), (whole.code, whole.headers, body.data))
        self.assertEqual(self.link.state, FREE)

    def test_chunks(self) -> None:
        """The length of a body in chunks is not known before its end."""
        response, body = self.answered(CHUNKED)
        self.assertEqual((response.length, response.headers, body.data), (UNKNOWN_LENGTH, {}, b"abcdefgh"))

    def test_no_body(self) -> None:
        """An answer without a body is over with its head; to a HEAD it says how long the other one would be."""
        for status in (b"204 No Content", b"304 Not Modified"):
            self.setUp()
            response, body = self.answered(b"HTTP/1.1 %s\r\nETag: a\r\n\r\n" % status)
            self.assertEqual((response.length, body.data, self.link.state), (0, b"", FREE))
        self.setUp()
        response, _ = self.answered(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", no_body=True)
        self.assertEqual((response.headers, self.link.state), ({b"content-length": [b"5"]}, FREE))

    def test_close(self) -> None:
        """A connection that its node ends after the answer is not kept."""
        _, body = self.answered(PLAIN.replace(b"X-Ticket: 0f", b"Connection: close"))
        self.assertEqual((body.data, self.freed), (b'{"locked": true}', []))
        self.assertTrue(self.transport.disconnecting)

    def test_unclear(self) -> None:
        """An answer of which it is not clear where it ends, or that is none, is none."""
        for data in (
            b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"220 mail.example.org ESMTP\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n folded\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + (HEAD + 1) * b"x",
        ):
            self.assert_unclear(data)

    def test_too_much(self) -> None:
        """What arrives beyond an answer, or without a request, ends the connection: it could be taken for the next one."""
        self.answered(PLAIN)
        self.link.dataReceived(b"HTTP")
        self.assertTrue(self.transport.disconnecting)
        self.setUp()
        self.answered(PLAIN + b"HTTP")
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.freed, [])

    def test_broken_chunk(self) -> None:
        """A body with a chunk that is none breaks off."""
        _, body = self.answered(CHUNKED[:-13] + b"xyz\r\n")
        self.assertTrue(self.transport.disconnecting)
        self.link.connectionLost(Failure(ConnectionDone()))
        assert body.end is not None
        self.assertTrue(body.end.check(ResponseFailed))

    def test_breaks_off(self) -> None:
        """A body that breaks off says so, be it before anybody wants it."""
        _, body = self.answered(PLAIN[:-1])
        self.link.connectionLost(Failure(ConnectionDone()))
        assert body.end is not None
        self.assertTrue(body.end.check(ResponseFailed))
        self.setUp()
        answer, body = self.ask(), Body()
        self.link.dataReceived(PLAIN[:-1])
        self.link.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(answer).deliverBody(body)
        assert body.end is not None
        self.assertTrue(body.end.check(ResponseFailed))

    def test_cancel(self) -> None:
        """Who does not want the answer any more hangs up."""
        answer = self.ask()
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertTrue(self.transport.disconnecting)
        self.link.connectionLost(Failure(ConnectionLost()))

    def test_paused(self) -> None:
        """A connection that a slow client had pause goes on with the next request."""
        self.answered(PLAIN[:-1])
        self.transport.pauseProducing()
        self.link.dataReceived(PLAIN[-1:])
        self.assertEqual((self.link.state, self.transport.producerState), (FREE, "producing"))


@implementer(IAgentEndpointFactory)
class Endpoint:
    """Connects at once."""

    def __init__(self) -> None:
        self.links: list[tuple[Link, StringTransport]] = []

    def endpointForURI(self, uri: URI) -> Endpoint:
        return self

    def connect(self, factory: Any) -> Deferred[Any]:
        link, transport = factory.buildProtocol(None), StringTransport()
        link.makeConnection(transport)
        self.links.append((link, transport))
        connected: Deferred[Any] = Deferred()
        connected.callback(link)
        return connected


class KeptTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.endpoint = Clock(), Endpoint()
        self.elsewhere: list[str] = []
        self.kept = KeptConnections(self.clock, self.endpoint, self)

    def request(self, method: str, url: str, **_: Any) -> Deferred[Any]:
        """Take note of what goes another way."""
        self.elsewhere.append(url)
        return Deferred()

    def ask(
        self, method: str = "GET", data: bytes | None = None, url: str = "http://node:1/a?b"
    ) -> Deferred[IResponse]:
        return self.kept.request(method, url, headers=Headers({b"X-A": [b"1", b"2"]}), data=data)

    def answer(self, asked: Deferred[IResponse], number: int) -> None:
        self.endpoint.links[number][0].dataReceived(PLAIN)
        self.successResultOf(asked).deliverBody(Body())

    def test_request(self) -> None:
        """A request is sent with its headers and its body, and says how long that is."""
        for method, data, end in (
            ("GET", None, b""),
            ("POST", None, b"Content-Length: 0\r\n"),
            ("DELETE", b"x", b"Content-Length: 1\r\n"),
        ):
            self.setUp()
            self.ask(method, data)
            sent = self.endpoint.links[0][1].value()
            head = b"%s /a?b HTTP/1.1\r\nHost: node:1\r\nX-A: 1\r\nX-A: 2\r\n" % method.encode()
            self.assertEqual(sent, head + end + b"\r\n" + (data or b""))

    def test_kept(self) -> None:
        """A connection is used again once its answer is there, and not while one is awaited, nor when it has lain idle for long, or ended."""
        first = self.ask()
        second = self.ask()
        self.assertEqual(len(self.endpoint.links), 2)
        self.answer(first, 0)
        self.answer(second, 1)
        self.answer(self.ask(), 1)
        self.assertEqual(len(self.endpoint.links), 2)
        self.clock.advance(IDLE_TIMEOUT)
        self.endpoint.links[1][0].connectionLost()
        self.ask()
        self.assertEqual(len(self.endpoint.links), 3)
        self.assertTrue(self.endpoint.links[0][1].disconnecting)

    def test_so_many(self) -> None:
        """Only so many are kept, and to each node its own."""
        asked = [self.ask() for _ in range(PER_SERVER + 1)]
        for number, each in enumerate(asked):
            self.answer(each, number)
        closed = [transport.disconnecting for _, transport in self.endpoint.links]
        self.assertEqual(closed, [False] * PER_SERVER + [True])
        self.ask(url="http://other:1/")
        self.assertEqual(len(self.endpoint.links), PER_SERVER + 2)

    def test_another_way(self) -> None:
        """What goes over TLS, or to an address with a scope, is sent by Twisted's own client."""
        urls = ["https://node:1/", "http://[fe80::1%25eth0]:1/"]
        for url in urls:
            self.ask(url=url)
        self.assertEqual((self.elsewhere, self.endpoint.links), (urls, []))
