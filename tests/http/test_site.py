"""
The HTTP edge over real sockets, with bytes made by hand, and with timers that run by a ``Clock``.

The clock stands at a few seconds after 1970 all the time, so whatever would take it for the time of day shows.
"""

from __future__ import annotations

import gc
import json
import re
import select
import socket
import time
import weakref
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from klein import Klein
from twisted.internet import defer, endpoints, reactor, ssl
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, eventAsText, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from zope.interface import implementer

from resourced.errors import NotAuthorized
from resourced.forwarded import TrustedProxies
from resourced.http.access_log import GATHER
from resourced.http.channel import Channel
from resourced.http.deadline import LATE
from resourced.http.fast.connection import FastSite
from resourced.http.json_errors import error_body, json_error
from resourced.http.limits import EdgeLimits
from resourced.http.request import EdgeRequest
from resourced.http.routing import Segment
from resourced.http.site import ResourcedSite
from tests.daemon import PATIENCE, STOCK
from tests.examples import examples
from tests.waiting import until

pytestmark = pytest.mark.reference_path

GOOD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
PUT = b"PUT /echo HTTP/1.1\r\nHost: localhost\r\n"


class API:
    """An application with what the edge has to cope with: quick, slow, broken, endless."""

    app = Klein()
    app.url_map.converters["segment"] = Segment
    app.url_map.merge_slashes = False

    def __init__(self) -> None:
        self.waiting: list[Deferred[bytes]] = []
        self.cancelled = 0

    @app.route("/health", methods=["GET"])
    def health(self, request: EdgeRequest) -> bytes:
        request.setHeader(b"content-length", b"16")
        return b'{"health": "ok"}'

    @app.route("/echo", methods=["PUT", "POST"])
    def echo(self, request: EdgeRequest) -> bytes:
        return json.dumps([request.content.read().decode("latin-1"), len(request.args)]).encode()

    @app.route("/name/<segment:name>/<segment:other>")
    def name(self, request: EdgeRequest, name: str, other: str) -> bytes:
        request.notes.update(resource=name, selector=other)
        return json.dumps([name, other]).encode()

    @app.route("/wait", methods=["GET", "POST"])
    async def wait(self, request: EdgeRequest) -> bytes:
        request.notes["owner"] = "someone"
        self.waiting.append(Deferred())
        try:
            return await self.waiting[-1]
        except defer.CancelledError:
            self.cancelled += 1
            raise

    @app.route("/stream")
    async def stream(self, request: EdgeRequest) -> bytes:
        request.setHeader(b"content-length", b"6")
        request.write(b"abc")
        self.waiting.append(Deferred())
        return await self.waiting[-1]

    @app.route("/big")
    def big(self, request: EdgeRequest) -> bytes:
        return b"x" * 20_000_000

    @app.route("/status/<int:status>")
    def status(self, request: EdgeRequest, status: int) -> bytes:
        return json_error(request, status, "a_code", "A sentence.")

    @app.route("/broken")
    def broken(self, request: EdgeRequest) -> bytes:
        raise LookupError("the secret of the house")

    @app.route("/breaks-off")
    def breaks_off(self, request: EdgeRequest) -> bytes:
        request.setHeader(b"content-length", b"6")
        request.write(b"abc")
        raise LookupError("the secret of the house")

    @app.handle_errors(HTTPException)  # type: ignore[arg-type]
    def refused(self, request: EdgeRequest, failure: Failure) -> bytes:
        error = failure.value
        assert isinstance(error, HTTPException)
        if isinstance(error, MethodNotAllowed):
            request.setHeader(b"allow", ", ".join(sorted(error.valid_methods or ())).encode())
        return json_error(request, error.code or 500, getattr(error, "word", "refused"), str(error.description))


@dataclass
class Answer:
    status: int
    reason: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Malformed(Exception):
    """The server said something that is not HTTP."""


def parse(data: bytes, *, head: bool = False) -> tuple[list[Answer], bytes]:
    """Take apart what a server sent: its whole answers, and what is left. With ``head`` answers have no bodies."""
    answers: list[Answer] = []
    while b"\r\n\r\n" in data:
        top, rest = data.split(b"\r\n\r\n", 1)
        first, *lines = top.split(b"\r\n")
        status = re.fullmatch(rb"HTTP/1\.[01] ([1-5]\d\d) ([ -~]+)", first)
        fields = [re.fullmatch(rb"([!-9;-~]+): ([ -~]*)", line) for line in lines]
        if status is None or None in fields:
            raise Malformed(top)
        headers = {f[1].decode().lower(): f[2].decode() for f in fields if f is not None}
        code = int(status[1])
        body = b""
        if not head and code >= 200 and code not in {204, 304}:
            if headers.get("transfer-encoding") == "chunked":
                while True:
                    chunk = re.match(rb"([0-9a-f]+)\r\n", rest)
                    size = int(chunk[1], 16) if chunk else 0
                    if chunk is None or len(rest) < chunk.end() + size + 2:
                        return answers, data
                    body += rest[chunk.end() : chunk.end() + size]
                    rest = rest[chunk.end() + size + 2 :]
                    if size == 0:
                        break
            else:
                length = int(headers["content-length"])
                if len(rest) < length:
                    return answers, data
                body, rest = rest[:length], rest[length:]
        answers.append(Answer(code, status[2].decode(), headers, body))
        data = rest
    return answers, data


class Wire(Protocol):
    """A client that sends the bytes it is given."""

    transport: Any

    def __init__(self) -> None:
        self.received = bytearray()
        self.closed = False
        self.reset = False
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def send(self, *pieces: bytes) -> Wire:
        for piece in pieces:
            self.transport.write(piece)
        return self

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True
        self.reset = not reason.check(type(connectionDone.value))
        self._look()

    def _look(self) -> None:
        due = [each for each in self._waiting if each[0]()]
        self._waiting = [each for each in self._waiting if each not in due]
        for _, deferred in due:
            deferred.callback(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        if not condition():
            deferred: Deferred[None] = Deferred()
            self._waiting.append((condition, deferred))
            await deferred

    async def until_closed(self) -> None:
        await self.until(lambda: self.closed)

    def answers(self, *, head: bool = False) -> list[Answer]:
        return parse(bytes(self.received), head=head)[0]

    async def answer(self, number: int = 1, *, head: bool = False) -> Answer:
        """Wait for the answer of this number."""
        await self.until(lambda: self.closed or len(self.answers(head=head)) >= number)
        return self.answers(head=head)[number - 1]

    async def end(self, *, head: bool = False) -> list[Answer]:
        """Wait until the server closes; everything that it sent must be whole answers."""
        await self.until_closed()
        answers, rest = parse(bytes(self.received), head=head)
        assert rest == b""
        return answers


async def turns(number: int = 4) -> None:
    """Let what is on its way between two sockets of this process arrive."""
    for _ in range(number):
        await deferLater(reactor, 0)


@implementer(ILogObserver)
class Edge:
    """A site on a port, its clock, and its access log."""

    def __init__(self, description: str = "tcp:0:interface=127.0.0.1", **limits: Any) -> None:
        self.clock = Clock()
        self.clock.advance(12)
        self.api = API()
        self.site = (ResourcedSite if STOCK else FastSite)(self.api.app.resource(), self.clock, EdgeLimits(**limits))
        self.lines: list[LogEvent] = []
        self.wires: list[Wire] = []
        self._description = description
        self.listening: Any = None

    async def start(self) -> Edge:
        globalLogPublisher.addObserver(self)
        self.listening = await endpoints.serverFromString(reactor, self._description).listen(self.site)
        return self

    def __call__(self, event: LogEvent) -> None:
        if event["log_namespace"] == "resourced.access":
            self.lines.append(event)

    @property
    def address(self) -> tuple[str, int]:
        host = self.listening.getHost()
        return host.host, host.port

    async def connect(self, *pieces: bytes, client: str | None = None) -> Wire:
        where = client or f"tcp:127.0.0.1:{self.address[1]}"
        wire: Wire = await endpoints.clientFromString(reactor, where).connect(Factory.forProtocol(Wire))
        self.wires.append(wire)
        return wire.send(*pieces)

    async def serves(self) -> bool:
        """Whether a client that comes now is served as if nothing had happened."""
        wire = await self.connect(GOOD)
        answer = await wire.answer()
        wire.transport.loseConnection()
        return (answer.status, answer.json) == (200, {"health": "ok"})

    def statuses(self) -> list[int]:
        # When there are very many lines they come many at once, and a little later.
        return [line["status"] for line in self.lines] + [access.status for access in self.site.access_log.gathered]

    async def close(self) -> None:
        for wire in self.wires:
            if not wire.closed:
                wire.transport.abortConnection()
        await maybeDeferred(self.listening.stopListening)
        await until(lambda: self.site.connections == 0 and all(wire.closed for wire in self.wires))
        globalLogPublisher.removeObserver(self)
        # What ends without being waited for by anyone, such as the closing of a refused connection.
        self.clock.advance(100)
        assert not self.clock.getDelayedCalls()


@pytest_twisted.async_yield_fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    # By ``tmp_path`` that is there until the end: one may listen at a socket in it.
    edges: list[Edge] = []

    async def start_one(*args: Any, **limits: Any) -> Edge:
        edges.append(Edge(*args, **limits))
        return await edges[-1].start()

    yield start_one
    for edge in edges:
        await edge.close()


def assert_refusal(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status
    assert set(answer.json) == {"error", "code"}
    assert answer.json["code"] == code
    assert answer.json["error"].endswith(".")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["server"] == "resourced"


# What Twisted would refuse with an empty answer, or none.

REFUSED = {
    "no request line": (b"hello\r\n", 400, "bad_request"),
    "too many words": (b"GET / x HTTP/1.1\r\n\r\n", 400, "bad_request"),
    "method that is no token": (b"G@T / HTTP/1.1\r\n\r\n", 400, "bad_request"),
    "byte beyond ASCII in the path": (b"GET /caf\xc3\xa9 HTTP/1.1\r\n\r\n", 400, "bad_request"),
    "byte beyond ASCII that Twisted lets through": (b"GET /name/a\x82/b HTTP/1.1\r\n\r\n", 400, "bad_request"),
    "DEL in the path": (b"GET /name/a\x7f/b HTTP/1.1\r\n\r\n", 400, "bad_request"),
    "no HTTP": (b"GET / ICAP/1.0\r\n\r\n", 400, "bad_request"),
    "HTTP/2 over TCP": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "unsupported_version"),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\n\r\n", 505, "unsupported_version"),
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "bad_request"),
    "header without a colon": (PUT + b"nonsense\r\n\r\n", 400, "bad_request"),
    "header without a colon, and more": (PUT + b"nonsense\r\nA: b\r\nContent-Length: 2\r\n\r\n{}", 400, "bad_request"),
    "space before the colon": (PUT + b"Content-Length : 2\r\n\r\n{}", 400, "bad_request"),
    "NUL in a header": (PUT + b"A: b\0c\r\n\r\n", 400, "bad_request"),
    "LF in a header": (PUT + b"A: b\nB: c\r\n\r\n", 400, "bad_request"),
    "length and chunks": (PUT + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400, "bad_request"),
    "two lengths": (PUT + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, "bad_request"),
    "negative length": (PUT + b"Content-Length: -1\r\n\r\n", 400, "bad_request"),
    "length in hexadecimal": (PUT + b"Content-Length: 0x2\r\n\r\n{}", 400, "bad_request"),
    "coding that is unknown": (PUT + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 400, "bad_request"),
    "chunk without a size": (PUT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "bad_request"),
    "chunk with a sign": (PUT + b"Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n", 400, "bad_request"),
    "chunk that is too long": (PUT + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n", 400, "bad_request"),
    "chunk size line without end": (PUT + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 2000, 400, "bad_request"),
    "trailers without end": (
        PUT + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 20_000,
        400,
        "bad_request",
    ),
    "request line without end": (b"GET /" + b"a" * 20_000, 431, "headers_too_large"),
    "path too long": (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431, "headers_too_large"),
    "one header too long": (PUT + b"A: " + b"b" * 20_000 + b"\r\n\r\n", 431, "headers_too_large"),
    "one header without end": (PUT + b"A: " + b"b" * 200_000, 431, "headers_too_large"),
    "all headers too long": (
        PUT + b"".join(b"A%d: %s\r\n" % (i, b"b" * 300) for i in range(60)),
        431,
        "headers_too_large",
    ),
    "too many headers": (PUT + b"A: b\r\n" * 501 + b"\r\n", 431, "headers_too_large"),
    "length over the limit": (PUT + b"Content-Length: 1001\r\n\r\n", 413, "body_too_large"),
    "length over the limit, and a body": (PUT + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001, 413, "body_too_large"),
    "length that is no number of bytes": (PUT + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 413, "body_too_large"),
    "chunk over the limit": (PUT + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001, 413, "body_too_large"),
    "chunks over the limit": (
        PUT + b"Transfer-Encoding: chunked\r\n\r\n" + b"2\r\nab\r\n" * 510 + b"0\r\n\r\n" + GOOD,
        413,
        "body_too_large",
    ),
    "chunks over the limit after 100 others": (
        PUT
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"64\r\n"
        + b"x" * 100
        + b"\r\n"
        + b"ffffffffffff\r\n"
        + b"x" * 901,
        413,
        "body_too_large",
    ),
    "bare LF": (b"GET /health HTTP/1.1\nHost: x\n\n", 400, "bad_request"),
    "bare LF after a good request line": (b"GET /health HTTP/1.1\r\nHost: x\n\n", 400, "bad_request"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_no_request_gets_a_json_answer(case: str, start: Callable[..., Any]) -> None:
    """What cannot become a request is answered in JSON, logged, and closed; the server goes on."""
    raw, status, code = REFUSED[case]
    edge = await start(max_body=1000)
    wire = await edge.connect(raw)
    (answer,) = await wire.end()
    assert_refusal(answer, status, code)
    assert answer.headers["connection"] == "close"
    assert edge.statuses() == [status]
    assert await edge.serves()


@pytest.mark.parametrize("case", REFUSED)
async def test_pieces_make_no_difference(case: str, start: Callable[..., Any]) -> None:
    """The same refusals when the head comes in small pieces, after a good request on the same connection."""
    raw, status, code = REFUSED[case]
    edge = await start(max_body=1000)
    wire = await edge.connect(GOOD)
    await wire.answer()
    raw, rest = raw[:200], raw[200:]
    for place in range(0, len(raw), 7):
        wire.send(raw[place : place + 7])
        await turns(2)
    wire.send(rest)
    _, answer = await wire.end()
    assert_refusal(answer, status, code)
    assert edge.statuses() == [200, status]
    assert await edge.serves()


@pytest.mark.parametrize(
    "pushing", [b"Content-Length: 8000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n7a1200\r\n"]
)
async def test_a_client_that_pushes_on_can_read_the_413(pushing: bytes, start: Callable[..., Any]) -> None:
    """A client that sends its 8 MB to the end before it reads still finds the answer, and is not reset."""
    edge = await start(max_body=1000)

    def push() -> bytes:
        with socket.create_connection(edge.address, timeout=PATIENCE) as client:
            client.sendall(PUT + pushing)
            for _ in range(80):
                client.sendall(b"x" * 100_000)
            received = b""
            while data := client.recv(65536):
                received += data
            return received

    received = await in_thread(push)
    (answer,), rest = parse(received)
    assert_refusal(answer, 413, "body_too_large")
    assert rest == b""
    assert await edge.serves()


async def in_thread(call: Callable[[], bytes]) -> bytes:
    return await deferToThread(call)


async def test_a_body_that_is_refused_is_not_asked_for(start: Callable[..., Any]) -> None:
    """With ``Expect: 100-continue`` the 413 comes instead of the 100, and a body that fits is asked for."""
    edge = await start(max_body=10)
    expect = PUT + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    (answer,) = await (await edge.connect(expect % 11)).end()
    assert_refusal(answer, 413, "body_too_large")
    wire = await edge.connect(expect % 10)
    assert (await wire.answer()).status == 100
    assert (await wire.send(b"0123456789").answer(2)).json == ["0123456789", 0]


async def test_a_body_of_just_the_limit_is_taken(start: Callable[..., Any]) -> None:
    """The limit is the size of the largest body, not of the smallest that is too large."""
    edge = await start(max_body=1000)
    wire = await edge.connect(PUT + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000)
    assert (await wire.answer()).json == ["x" * 1000, 0]
    wire.send(PUT + b"Transfer-Encoding: chunked\r\n\r\n", b"1f4\r\n" + b"y" * 500 + b"\r\n", b"1f4\r\n" + b"y" * 500)
    assert (await wire.send(b"\r\n0\r\n\r\n").answer(2)).json == ["y" * 1000, 0]


async def test_a_head_of_just_the_limits_is_taken(start: Callable[..., Any]) -> None:
    """500 headers, and 16,384 bytes of request line and headers together, are not too many yet; one more is."""
    edge = await start()
    many = GOOD[:-2] + b"A: b\r\n" * 499
    long = GOOD[:-2] + b"A: "
    long += b"b" * (16_384 + 2 * 2 - len(long))
    for head in (many, long + b"\r\n"):
        wire = await edge.connect(head + b"\r\n")
        assert (await wire.answer()).status == 200
    for head in (many + b"A: b\r\n", long + b"b\r\n"):
        (answer,) = await (await edge.connect(head + b"\r\n")).end()
        assert_refusal(answer, 431, "headers_too_large")


async def test_a_large_body_stays_in_memory(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """No body is put into a file, which would make the reactor wait for a disk."""
    monkeypatch.setattr("tempfile.TemporaryFile", lambda *a, **k: pytest.fail("a file was made"))
    edge = await start()
    wire = await edge.connect(PUT + b"Content-Length: 300000\r\n\r\n" + b"x" * 300_000)
    assert len((await wire.answer()).json[0]) == 300_000


@pytest.mark.parametrize("kind", [b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x"])
async def test_a_form_is_just_a_body(kind: bytes, start: Callable[..., Any]) -> None:
    """A form is neither parsed into arguments nor refused when it is broken."""
    edge = await start()
    wire = await edge.connect(
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: " + kind + b"\r\nContent-Length: 7\r\n\r\nlock=1&"
    )
    assert (await wire.answer()).json == ["lock=1&", 0]


async def test_a_refusal_of_head_has_no_body(start: Callable[..., Any]) -> None:
    """HEAD gets the status and the headers of a refusal."""
    edge = await start()
    (answer,) = await (await edge.connect(b"HEAD / HTTP/1.1\r\nbroken\r\n\r\n")).end(head=True)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json")


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL")  # it is Twisted that passes them
async def test_a_refusal_over_tls(start: Callable[..., Any], tmp_path: Path) -> None:
    """TLS has no half-closed connection; the refusal arrives all the same, and the connection is closed."""
    certificate(tmp_path / "pem")
    edge = await start(f"ssl:0:interface=127.0.0.1:privateKey={tmp_path}/pem", max_body=1000)
    host, port = edge.address
    endpoint = endpoints.SSL4ClientEndpoint(reactor, host, port, ssl.CertificateOptions(verify=False))
    for request, status in [(GOOD, 200), (PUT + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000_000, 413)]:
        wire: Wire = await endpoint.connect(Factory.forProtocol(Wire))
        edge.wires.append(wire)
        assert (await wire.send(request).answer()).status == status
    await wire.until_closed()
    assert not wire.reset


def certificate(path: Path) -> None:
    """Write a key and a certificate that it has signed itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))).sign(
        key, hashes.SHA256()
    )
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )


# Deadlines.


async def test_a_trickling_head_is_cut_at_the_deadline(start: Callable[..., Any]) -> None:
    """Each byte is in time, but the request as a whole is not: 408."""
    edge = await start(request=30)
    wire = await edge.connect(b"GET /health HTTP/1.1\r\n")
    await until(lambda: edge.site.connections)
    for _ in range(5):
        await turns()
        assert wire.received == b""
        edge.clock.advance(5.9)
        wire.send(b"A: b\r\n")
    await turns()
    edge.clock.advance(0.6)
    (answer,) = await wire.end()
    assert_refusal(answer, 408, "request_timeout")
    assert answer.headers["connection"] == "close"
    assert (edge.lines[0]["status"], edge.lines[0]["uri"]) == (408, "/health")
    assert edge.lines[0]["ms"] == pytest.approx(30_000, abs=600)
    assert await edge.serves()


@pytest.mark.parametrize("framing", [b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n64\r\n"])
async def test_a_trickling_body_is_cut_at_the_deadline(framing: bytes, start: Callable[..., Any]) -> None:
    """The deadline is for head and body together."""
    edge = await start(request=30)
    wire = await edge.connect(PUT + framing)
    await turns()
    for _ in range(29):
        edge.clock.advance(1)
        wire.send(b"x")
        await turns()
    assert wire.received == b""
    edge.clock.advance(1.1)
    assert_refusal((await wire.end())[0], 408, "request_timeout")


async def test_each_request_has_the_whole_time(start: Callable[..., Any]) -> None:
    """A request that arrives in time is served, and the next one on the connection has its own deadline."""
    edge = await start(request=30, idle=60)
    wire = await edge.connect()
    for number in range(1, 4):
        await turns()
        edge.clock.advance(25)
        wire.send(GOOD[:10])
        await turns()
        edge.clock.advance(25)
        assert (await wire.send(GOOD[10:]).answer(number)).status == 200


async def test_a_slow_client_is_no_broken_one(start: Callable[..., Any]) -> None:
    """A request that comes byte by byte, its CR apart from its LF, is served as long as it is in time."""
    edge = await start()
    wire = await edge.connect()
    for byte in PUT + b"Transfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n0\r\n\r\n":
        wire.send(bytes([byte]))
        await turns(2)
    assert (await wire.answer()).json == ["a\nb", 0]


async def test_a_stray_line_end_begins_no_request(start: Callable[..., Any]) -> None:
    """A CR LF too many after a body, as some clients send it, does not start the deadline and is not answered."""
    edge = await start(request=30, idle=60)
    wire = await edge.connect(PUT + b"Content-Length: 2\r\n\r\n{}")
    await wire.answer()
    wire.send(b"\r\n")
    await turns()
    edge.clock.advance(50)
    assert (await wire.send(GOOD).answer(2)).status == 200


async def test_no_deadline_for_the_answer(start: Callable[..., Any]) -> None:
    """A long poll may take longer than a request may take to arrive, and than an idle connection is kept."""
    edge = await start(request=30, idle=60)
    wire = await edge.connect(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: edge.api.waiting)
    for _ in range(10):
        edge.clock.advance(50)
    edge.api.waiting[0].callback(b"{}")
    assert (await wire.answer()).json == {}
    assert edge.lines[0]["ms"] == pytest.approx(500_000)
    assert (await wire.send(GOOD).answer(2)).status == 200


async def test_an_idle_connection_is_closed(start: Callable[..., Any]) -> None:
    """A connection without a request is closed after the idle time, silently, and every request renews it."""
    edge = await start(idle=60)
    fresh, used = await edge.connect(), await edge.connect()
    await until(lambda: edge.site.connections == 2)
    edge.clock.advance(40)
    await used.send(GOOD).answer()
    edge.clock.advance(21)
    await fresh.until_closed()
    assert fresh.received == b""
    edge.clock.advance(38)
    await turns()
    assert not used.closed
    edge.clock.advance(2)
    assert len(await used.end()) == 1
    assert edge.statuses() == [200]


async def test_what_arrived_during_a_pause_is_read(start: Callable[..., Any]) -> None:
    """
    When the process stood still beyond a deadline, what the client had sent in time is read and answered, though the deadline is looked at first;
    if it had sent nothing the deadline counts a moment later.
    """
    edge = await start(request=30, idle=60)
    idle, halfway, silent, slow = [await edge.connect() for _ in range(4)]
    for wire in (halfway, slow):
        wire.send(GOOD[:10])
    await until(lambda: edge.site.connections == 4)
    await turns()
    edge.clock.advance(1000)
    idle.send(GOOD)
    halfway.send(GOOD[10:])
    for wire in (idle, halfway):
        assert (await wire.answer()).status == 200
    edge.clock.advance(LATE + 0.1)
    assert_refusal((await slow.end())[0], 408, "request_timeout")
    await silent.until_closed()
    assert silent.received == b""


async def test_a_refused_client_that_stays_is_cut(start: Callable[..., Any]) -> None:
    """The rest of a refused request is dropped for a while only, whether its client goes on sending or does nothing."""
    edge = await start(max_body=10, linger=5)
    with socket.create_connection(edge.address) as client:
        client.setblocking(False)
        client.send(PUT + b"Content-Length: 100000\r\n\r\n")
        await until(lambda: edge.statuses() == [413])
        edge.clock.advance(4)
        client.send(b"x" * 1000)
        await turns()
        assert edge.site.connections == 1
        edge.clock.advance(1.1)
        await until(lambda: edge.site.connections == 0)


async def test_a_client_that_reads_nothing_is_cut(start: Callable[..., Any]) -> None:
    """An answer that its client does not read ends with the idle time and the time to linger."""
    edge = await start(idle=60, linger=5)
    for last in (b"", b"Connection: close\r\n"):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(edge.address)
            client.send(b"GET /big HTTP/1.1\r\nHost: x\r\n" + last + b"\r\n")
            await until(lambda: edge.statuses().count(200) == 1)
            await turns()
            assert edge.site.connections == 1
            for _ in range(66):
                edge.clock.advance(1)
            await until(lambda: edge.site.connections == 0)
        edge.lines.clear()


async def test_timers_cost_nothing_while_a_connection_is_busy(start: Callable[..., Any]) -> None:
    """However many requests a connection carries, it has one timer, and that one is not started anew for each."""
    edge = await start()
    wire = await edge.connect(GOOD)
    await wire.answer()
    timers = list(edge.clock.getDelayedCalls())
    for number in range(2, 20):
        await wire.send(GOOD).answer(number)
    assert edge.clock.getDelayedCalls() == timers
    assert len(timers) == 1


# Paths, targets, hosts.


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/name/a%2Fb/c%2fd", ["a/b", "c/d"]),
        ("/name/%252F/a+b", ["%2F", "a+b"]),
        ("/name/%C3%A1/%F0%9F%96%A8", ["\u00e1", "\U0001f5a8"]),
        ("/name/a%20b/;x", ["a b", ";x"]),
        ("/name/../.", ["..", "."]),
        ("/name/%00/%0A?x=/y/z", ["\0", "\n"]),
        ("/name/a%/%zz", ["a%", "%zz"]),
        ("http://example.org/name/a%2Fb/c", ["a/b", "c"]),
        ("HTTPS://example.org:99/name/a/b?q", ["a", "b"]),
        ("http://[::1]:80/name/a/b", ["a", "b"]),
    ],
)
async def test_a_segment_is_a_name(path: str, names: list[str], start: Callable[..., Any]) -> None:
    """One segment is one name, decoded once; an absolute target is its path, whatever its host."""
    edge = await start()
    answer = await (await edge.connect(f"GET {path} HTTP/1.1\r\nHost: other\r\n\r\n".encode())).answer()
    assert (answer.status, answer.json) == (200, names)


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        ("GET /name/%ff/a HTTP/1.1\r\nHost: x", 400, "bad_path"),
        ("GET /name/a/%ed%a0%80 HTTP/1.1\r\nHost: x", 400, "bad_path"),
        ("GET /name/a//b HTTP/1.1\r\nHost: x", 404, "refused"),
        ("GET //health HTTP/1.1\r\nHost: x", 404, "unknown_path"),
        ("GET / HTTP/1.1\r\nHost: x", 404, "refused"),
        ("BREW /health HTTP/1.1\r\nHost: x", 405, "refused"),
        ("OPTIONS /health HTTP/1.1\r\nHost: x", 405, "refused"),
        ("OPTIONS * HTTP/1.1\r\nHost: x", 405, "method_not_allowed"),
        ("GET * HTTP/1.1\r\nHost: x", 405, "method_not_allowed"),
        ("GET xhealth HTTP/1.1\r\nHost: x", 400, "bad_target"),
        ("GET ?q HTTP/1.1\r\nHost: x", 400, "bad_target"),
        ("GET ftp://x/health HTTP/1.1\r\nHost: x", 400, "bad_target"),
        ("GET http:///health HTTP/1.1\r\nHost: x", 400, "bad_target"),
        ("CONNECT x:443 HTTP/1.1\r\nHost: x", 400, "bad_target"),
        ("GET http://x HTTP/1.1\r\nHost: x", 404, "refused"),
        ("GET http://x?y HTTP/1.1\r\nHost: x", 404, "refused"),
        ("GET http://a..b/health HTTP/1.1\r\nHost: x", 400, "bad_host"),
        ("GET http://a@b/health HTTP/1.1\r\nHost: x", 400, "bad_host"),
        ("GET /health HTTP/1.1\r\nHost: a..b", 400, "bad_host"),
        ("GET /health HTTP/1.1\r\nHost: " + "a" * 64, 400, "bad_host"),
        ("GET /health HTTP/1.1\r\nHost: a b", 400, "bad_host"),
        ("GET /health HTTP/1.1\r\nHost: a/b", 400, "bad_host"),
        ("GET /health HTTP/1.1\r\nHost: a:b", 400, "bad_host"),
        ("GET /health HTTP/1.1\r\nHost: [::1", 400, "bad_host"),
        ("GET /health HTTP/1.1\r\nHost: \u00e4.example", 400, "bad_host"),
        ("GET /health HTTP/1.1\r\nHost: x\r\nHost: x", 400, "bad_host"),
        ("GET /health HTTP/1.1\r\nHost: x\r\nHost: y", 400, "bad_host"),
        ("GET /health HTTP/1.1\r\nA: b", 400, "bad_host"),
        ("GET /health HTTP/1.1\r\nHost: [::1]:9501", 200, ""),
        ("GET /health HTTP/1.1\r\nHost: localhost:", 200, ""),
        ("GET /health HTTP/1.1\r\nHost:", 200, ""),
        ("GET /health HTTP/1.0\r\nA: b", 200, ""),
    ],
)
async def test_odd_targets_and_hosts(head: str, status: int, code: str, start: Callable[..., Any]) -> None:
    """What Klein or Twisted would answer in HTML, by a 500 or as if it were another path is JSON of the right status."""
    edge = await start()
    wire = await edge.connect(head.encode(), b"\r\n\r\n")
    answer = await wire.answer()
    if status != 200:
        assert_refusal(answer, status, code)
    assert answer.status == status
    assert ("allow" in answer.headers) == (status == 405)
    if "HTTP/1.1" in head:
        # None of these breaks the framing, so none of them ends the connection.
        assert (await wire.send(GOOD).answer(2)).status == 200


async def test_a_local_socket_needs_no_host(start: Callable[..., Any], tmp_path: Path) -> None:
    """Over a UNIX socket a request without Host is served, and the peer's name in the log is ``unix``."""
    edge = await start(f"unix:{tmp_path}/s", max_body=10)
    wire = await edge.connect(b"GET /health HTTP/1.1\r\n\r\n", client=f"unix:{tmp_path}/s")
    assert (await wire.answer()).json == {"health": "ok"}
    wire.send(PUT + b"Content-Length: 11\r\n\r\n")
    assert [answer.status for answer in await wire.end()] == [200, 413]
    assert [line["peer"] for line in edge.lines] == ["unix", "unix"]


# Connections.


async def test_pipelined_requests_are_answered_in_order(start: Callable[..., Any]) -> None:
    """Requests that come in one piece are answered one after the other, slow ones too, and the last may be broken."""
    edge = await start()
    names = [b"GET /name/%d/x HTTP/1.1\r\nHost: x\r\n\r\n" % i for i in range(1000)]
    wire = await edge.connect(*names[:500], b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n", *names[500:], b"broken\r\n\r\n")
    await until(lambda: edge.api.waiting)
    edge.api.waiting[0].callback(b'["late", "x"]')
    *answers, last = await wire.end()
    expected = [[str(i), "x"] for i in range(1000)]
    expected.insert(500, ["late", "x"])
    assert [answer.json for answer in answers] == expected
    assert_refusal(last, 400, "bad_request")
    assert edge.statuses() == [200] * 1001 + [400]
    # There were so many that they are logged many at once.
    edge.clock.advance(GATHER)
    requests = list(edge.lines[-1]["requests"]())
    assert requests[-1]["uri"] == "-"
    assert edge.lines[-1]["lines"].count("\n") == len(requests) - 1
    assert await edge.serves()


async def test_a_client_may_hang_up_anywhere(start: Callable[..., Any]) -> None:
    """At whatever byte a client goes away, by closing, half-closing or reset, nothing is harmed or left open."""
    edge = await start(max_body=20)
    request = b"\r\n" + PUT + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n30\r\nab"
    for cut in range(len(request) + 1):
        wire = await edge.connect(request[:cut])
        (
            wire.transport.loseConnection,
            wire.transport.loseWriteConnection,
            wire.transport.abortConnection,
        )[cut % 3]()
    await until(lambda: edge.site.connections == 0)
    assert set(edge.statuses()) <= {499, 413}
    assert await edge.serves()


@pytest.mark.parametrize("leave", ["loseConnection", "loseWriteConnection", "abortConnection"])
async def test_a_client_that_goes_while_it_waits(leave: str, start: Callable[..., Any]) -> None:
    """A long poll whose client goes, or closes its half, is cancelled and logged as 499 with its notes."""
    edge = await start()
    wire = await edge.connect(b"GET /wait?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: edge.api.waiting)
    edge.clock.advance(2)
    getattr(wire.transport, leave)()
    await until(lambda: edge.lines)
    (line,) = edge.lines
    assert edge.api.cancelled == 1
    assert (line["status"], line["method"], line["uri"], line["owner"]) == (499, "GET", "/wait?x=1", "someone")
    assert line["ms"] == pytest.approx(2000)
    assert await edge.serves()


async def test_too_many_connections(start: Callable[..., Any]) -> None:
    """The connection beyond the limit is answered 503 at once; one that closes makes room for another."""
    edge = await start(connections=3)
    kept = [await edge.connect(GOOD) for _ in range(3)]
    for wire in kept:
        await wire.answer()
    for _ in range(5):
        (answer,) = await (await edge.connect()).end()
        assert_refusal(answer, 503, "overloaded")
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["connection"] == "close"
    assert (await kept[0].send(GOOD).answer(2)).status == 200
    kept[0].transport.loseConnection()
    await until(lambda: edge.site.connections == 2)
    assert await edge.serves()
    assert edge.statuses().count(503) == 5


async def test_refusing_is_bounded_too(start: Callable[..., Any]) -> None:
    """Refused clients that do not go away cannot pile up: from some number on they are dropped."""
    edge = await start(connections=1)
    kept = await edge.connect(GOOD)
    await kept.answer()
    clients = []
    for _ in range(120):
        clients.append(socket.create_connection(edge.address))
        await turns(1)
    await until(lambda: len(edge.statuses()) >= 101)
    await turns(20)
    assert edge.statuses() == [200] + [503] * 100
    stranger = await edge.connect(client=f"tcp:127.0.0.1:{edge.address[1]}:bindAddress=127.0.0.2")
    await stranger.until_closed()
    # Nothing is kept of addresses that have no connection.
    assert len(edge.site.peers) == 1
    edge.clock.advance(6)
    assert (await kept.send(GOOD).answer(2)).status == 200
    for client in clients:
        client.close()


async def test_tcp_keeps_alive(start: Callable[..., Any]) -> None:
    """The server notices a peer that vanished without a word, because its sockets keep alive."""
    edge = await start()
    await edge.connect()
    await until(lambda: edge.site.connections)
    (channel,) = (each for each in gc.get_objects() if isinstance(each, Channel) and each.site is edge.site)
    assert channel.transport.getTcpKeepAlive()


# The end.


async def test_drain_with_nothing_open(start: Callable[..., Any]) -> None:
    """A site without connections has drained at once."""
    edge = await start()
    await edge.site.drain(10)


async def test_drain_closes_what_is_idle_and_finishes_the_rest(start: Callable[..., Any]) -> None:
    """
    Idle connections are closed at once; what is being answered, or has half arrived, is finished and its connection
    closed; who comes late is sent away; all of it is logged.
    """
    edge = await start()
    fresh, idle = await edge.connect(), await edge.connect(GOOD)
    waiting = await edge.connect(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + GOOD)
    streaming = await edge.connect(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    half = await edge.connect(GOOD[:30])
    await idle.answer()
    await until(lambda: len(edge.api.waiting) == 2 and edge.site.connections == 5)
    await turns()
    drained = edge.site.drain(10)
    await fresh.end()
    assert len(await idle.end()) == 1
    assert_refusal((await (await edge.connect()).end())[0], 503, "shutting_down")
    half.send(GOOD[30:])
    (answer,) = await half.end()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert not drained.called
    edge.clock.advance(9)
    first, second = edge.api.waiting
    first.callback(b"{}" if len(waiting.received) == 0 else b"")
    second.callback(b"def")
    (answer,) = await waiting.end()
    assert (answer.json, answer.headers["connection"]) == ({}, "close")
    assert (await streaming.end())[0].body == b"abcdef"
    await drained
    assert sorted(edge.statuses()) == [200, 200, 200, 200, 503]


async def test_drain_gives_up(start: Callable[..., Any]) -> None:
    """
    What is not answered in time makes the drain fail, and is left alone; a second drain may wait for it. It is logged,
    although the port is closed.
    """
    edge = await start()
    wire = await edge.connect(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: edge.api.waiting)
    await edge.listening.stopListening()
    drained = edge.site.drain(10)
    edge.clock.advance(9.9)
    assert not drained.called
    edge.clock.advance(0.2)
    with pytest.raises(defer.TimeoutError):
        await drained
    again = edge.site.drain(10)
    edge.api.waiting[0].callback(b"{}")
    assert (await wire.answer()).json == {}
    await again
    assert edge.statuses() == [200]


async def test_drain_does_not_wait_for_refused_clients(start: Callable[..., Any]) -> None:
    """A client that was refused and does not go away does not hold up the end."""
    edge = await start(max_body=10)
    with socket.create_connection(edge.address) as client:
        client.send(PUT + b"Content-Length: 11\r\n\r\n")
        await until(lambda: edge.statuses() == [413])
        await turns()
        await edge.site.drain(10)


# Answers.


@pytest.mark.parametrize(("status", "reason"), [(423, "Locked"), (428, "Precondition Required"), (404, "Not Found")])
async def test_every_status_has_its_name(status: int, reason: str, start: Callable[..., Any]) -> None:
    """Statuses that Twisted has no name for have theirs on the wire."""
    edge = await start()
    answer = await (await edge.connect(b"GET /status/%d HTTP/1.1\r\nHost: x\r\n\r\n" % status)).answer()
    assert_refusal(answer, status, "a_code")
    assert answer.reason == reason


async def test_what_breaks_is_a_500_that_tells_nothing(start: Callable[..., Any], logged_failures: Any) -> None:
    """An exception that nobody took is logged, and the client gets JSON without a word of it."""
    edge = await start()
    wire = await edge.connect(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await wire.answer()
    assert_refusal(answer, 500, "internal_error")
    assert b"secret" not in wire.received
    assert len(logged_failures.flush(LookupError)) == 1
    assert (await wire.send(GOOD).answer(2)).status == 200


async def test_half_an_answer_is_not_passed_off_as_a_whole_one(start: Callable[..., Any], logged_failures: Any) -> None:
    """If it breaks in the middle of an answer, the connection is broken off, and the log says 500."""
    edge = await start()
    wire = await edge.connect(b"GET /breaks-off HTTP/1.1\r\nHost: x\r\n\r\n")
    await wire.until_closed()
    assert wire.answers() == []
    logged_failures.flush(LookupError)
    assert edge.statuses() == [500]
    assert await edge.serves()


async def test_the_date_is_the_date(start: Callable[..., Any]) -> None:
    """``Date`` and the log's time stamp are the time of day, although the site's clock only counts seconds."""
    edge = await start()
    for request in (GOOD, b"broken\r\n"):
        answer = await (await edge.connect(request)).answer()
        assert parsedate_to_datetime(answer.headers["date"]).timestamp() == pytest.approx(time.time(), abs=5)
    assert [line["log_time"] for line in edge.lines] == [pytest.approx(time.time(), abs=5)] * 2


async def test_old_clients_are_answered_and_closed(start: Callable[..., Any]) -> None:
    """HTTP/1.0 and ``Connection: close`` get an answer that says the connection ends, and then it does."""
    edge = await start()
    for request in (b"GET /health HTTP/1.0\r\n\r\n", GOOD[:-2] + b"Connection: close\r\n\r\n"):
        wire = await edge.connect(request)
        await wire.until_closed()
        assert wire.received.startswith(b"HTTP/1.")
        assert b"\r\nConnection: close\r\n" in wire.received
        assert wire.received.endswith(b'{"health": "ok"}')


def test_an_error_body_is_exact() -> None:
    """The body of an error is these two fields in this order, in UTF-8, even if a name in it is not."""
    assert error_body("bad_name", 'The name "\u00e1" is taken.') == (
        '{"error": "The name \\"\u00e1\\" is taken.", "code": "bad_name"}'.encode()
    )
    assert error_body("bad_name", "\ud800") == b'{"error": "?", "code": "bad_name"}'


# The access log.


async def test_the_access_log(start: Callable[..., Any]) -> None:
    """One event per request, with fields for programs and a line for people; the application's notes are in it."""
    edge = await start()
    wire = await edge.connect(b"GET /name/a%2Fb/c?lock=0 HTTP/1.1\r\nHost: x\r\nX-Ticket: s3cret\r\n\r\n")
    answer = await wire.answer()
    (line,) = edge.lines
    assert {key: line[key] for key in ("method", "uri", "status", "peer", "bytes", "resource", "selector")} == {
        "method": "GET",
        "uri": "/name/a%2Fb/c?lock=0",
        "status": 200,
        "peer": "127.0.0.1",
        "bytes": len(answer.body),
        "resource": "a/b",
        "selector": "c",
    }
    assert line["log_level"].name == "info"
    assert formatEvent(line) == "GET /name/a%2Fb/c?lock=0 200 0.0 ms"


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /\x1b[31m\r\n\r\n",
        b"GET /\x1b[31m HTTP/1.1\r\n\r\n",
        b"GET /\x9b31m HTTP/1.1\r\n\r\n",
        b"GET /{method}{0}{log_source.__class__}%s%(x)s HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /name/%1b%5b31m/%0a%e2%80%ae HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_a_stranger_cannot_write_into_the_log(raw: bytes, start: Callable[..., Any]) -> None:
    """Whatever a request is called, its line is one short line of printable characters, and no format is taken from it."""
    edge = await start()
    await (await edge.connect(raw)).answer()
    (line,) = edge.lines
    text = eventAsText(line)
    assert text.isprintable()
    assert text.endswith(" 0.0 ms")
    assert len(text) < 1200
    assert "Unable to format" not in text
    assert all(value.isprintable() for key, value in line.items() if isinstance(value, str) and key != "log_format")
    if b"{method}" in raw:
        assert line["uri"] == "/{method}{0}{log_source.__class__}%s%(x)s"
        assert line["uri"] in text


@pytest.mark.parametrize("request_", [GOOD, b"GET /status/401 HTTP/1.1\r\nHost: h\r\nTE: x\r\n\r\n", b"hello\r\n"])
async def test_whom_a_proxy_speaks_for(request_: bytes, start: Callable[..., Any]) -> None:
    """A proxy that is trusted says whose request it is, each time anew; anybody else is who he is."""
    edge = await start()
    told = request_.replace(b"Host: h", b"Host: h\r\nX-Forwarded-For: 1.1.1.1, 192.0.2.7")
    told = told.replace(b"Host: localhost", b"Host: localhost\r\nForwarded: for=192.0.2.7")
    (await (await edge.connect(told)).answer())
    edge.site.proxies = TrustedProxies.parse("127.0.0.1")
    wire = await edge.connect(told, request_)
    await wire.answer(1 if request_ == b"hello\r\n" else 2)
    peers = [line["peer"] for line in edge.lines]
    assert peers == (["127.0.0.1"] * 2 if request_ == b"hello\r\n" else ["127.0.0.1", "192.0.2.7", "127.0.0.1"])


async def test_who_is_refused_is_in_the_log(start: Callable[..., Any]) -> None:
    """The line about a refused key has the address, for whoever keeps strangers out."""
    edge = await start()
    wire = await edge.connect(b"GET /status/401 HTTP/1.1\r\nHost: h\r\n\r\n", GOOD)
    await wire.answer(2)
    refused, served = (formatEvent(line) for line in edge.lines)
    assert refused.endswith(" peer=127.0.0.1")
    assert "peer" not in served


async def test_a_key_that_slips_is_not_logged(start: Callable[..., Any]) -> None:
    """A client that gets its framing wrong, so that a header stands where a request line should be, betrays nothing."""
    edge = await start()
    wire = await edge.connect(GOOD + b"X-Api-Key: s3cret\r\n\r\n")
    await wire.end()
    assert edge.statuses() == [200, 400]
    assert "s3cret" not in str(edge.lines)


# Garbage.


class Quick(Resource):
    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[weakref.ref[Request]] = []

    def render(self, request: EdgeRequest) -> int | bytes:
        self.seen.append(weakref.ref(request))
        if request.path == b"/later":
            reactor.callLater(0, request.answer, b"{}")
            return NOT_DONE_YET
        return b"{}"


async def test_a_request_leaves_no_garbage(start: Callable[..., Any]) -> None:
    """A request that is over is gone at once, without the garbage collector, and so is a connection."""
    edge = await start()
    quick = Quick()
    edge.site.resource.inner = quick
    channels: list[weakref.ref[Channel]] = []
    gc.collect()
    gc.disable()
    try:
        wire = await edge.connect()
        for number in range(1, 11):
            path = b"/later" if number % 2 else b"/"
            wire.send(b"PUT " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            await wire.answer(number)
            if number == 1:
                channels = [weakref.ref(each) for each in edge.site.served]
        wire.transport.loseConnection()
        await until(lambda: edge.site.connections == 0)
        await turns()
        assert len(quick.seen) == 10
        assert [request() for request in quick.seen] == [None] * 10
        assert [channel() for channel in channels] == [None]
    finally:
        gc.enable()


# Fuzz.

REQUESTS = (
    GOOD,
    PUT + b"Content-Length: 13\r\nContent-Type: application/json\r\n\r\n" + b'{"name": "x"}',
    PUT + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n",
    b"GET /name/a%2Fb/%C3%A1?lock=0&x=%20;y HTTP/1.1\r\nHost: localhost:9501\r\nX-Ticket: 0123\r\n folded\r\n\r\n",
    b"POST http://example.org/echo?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n" + GOOD,
)
SPICES = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"/",
    b"%",
    b"%ff",
    b"%00",
    b"\xff",
    b"\x85",
    b"{}",
    b"HTTP/9.9",
    b"Host: [\r\n",
    b"Host: \xe4..\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"0" * 5000,
    b"x" * 17_000,
    b"-1",
    b"*",
    b"http://",
)


@pytest_twisted.async_yield_fixture
async def edge() -> AsyncIterator[Edge]:
    """One site for all the examples of a test."""
    edge = await Edge(max_body=100).start()
    yield edge
    await edge.close()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid request, or two, in which a few bytes are missing, doubled, or others."""
    raw = b"".join(draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=2)))
    for _ in range(draw(st.integers(1, 4))):
        start, size = draw(st.integers(0, len(raw))), draw(st.integers(0, 12))
        spice = draw(st.sampled_from(SPICES) | st.binary(max_size=4) | st.just(raw[start : start + size]))
        raw = raw[:start] + spice + raw[start + draw(st.sampled_from((0, size))) :]
    return raw


async def throw(edge: Edge, raw: bytes, cuts: list[int]) -> None:
    """Send bytes in pieces, let all time run out, and judge what comes back."""
    edge.lines.clear()
    wire = await edge.connect()
    places = sorted({min(cut, len(raw)) for cut in cuts})
    for start, end in zip([0, *places], [*places, len(raw)], strict=True):
        wire.send(raw[start:end])
        await turns(2)
    await turns()
    # The request's deadline or the idle time, and then the time to linger.
    for _ in range(20):
        edge.clock.advance(10)
        await turns(1)
        if wire.closed:
            break
    for answer in await wire.end():
        assert answer.status in {100, 200} or 400 <= answer.status < 500 or answer.status == 505, answer
        if answer.status >= 400:
            assert set(answer.json) == {"error", "code"}
            assert answer.headers["content-type"] == "application/json"
    await until(lambda: edge.site.connections == 0)
    assert [status for status in edge.statuses() if status >= 500 and status != 505] == []
    assert all(eventAsText(line).isprintable() for line in edge.lines)
    assert await edge.serves()
    await until(lambda: edge.site.connections == 0)


FUZZ = settings(
    max_examples=examples(400),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(raw=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=3))
@example(raw=b"\r\n\r\n\r\n", cuts=[1, 3])
async def test_any_bytes(raw: bytes, cuts: list[int], edge: Edge) -> None:
    """Whatever arrives is answered by well-formed HTTP or by nothing, never by a 500, and the next client is served."""
    await throw(edge, raw, cuts)


@FUZZ
@given(raw=mutated(), cuts=st.lists(st.integers(0, 300), max_size=3))
async def test_any_mutation_of_a_request(raw: bytes, cuts: list[int], edge: Edge) -> None:
    """The same for requests that are nearly valid."""
    await throw(edge, raw, cuts)


# What is kept of a connection in memory.


async def unread(edge: Edge, *pieces: bytes) -> Wire:
    """Connect a client that reads nothing for the time being, and wait until the server has no room for what it gets."""
    wire = await edge.connect()
    wire.transport.stopReading()
    wire.send(*pieces)
    await until(lambda: any(channel.full for channel in edge.site.served))
    await turns(100)
    return wire


@pytest.mark.parametrize(
    "first", [b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n", b"GET /big HTTP/1.1\r\nHost: h\r\nTE: x\r\n\r\n"]
)
async def test_no_request_is_begun_while_the_answers_are_not_taken(first: bytes, start: Callable[..., Any]) -> None:
    """A client that does not read is answered no further, and everything in its order when it reads on."""
    edge = await start()
    wire = await unread(edge, first + GOOD, GOOD * 3)
    await turns(10)
    assert edge.statuses() == [200]
    # The answer that is under way, and not what it would be followed by.
    assert 15_000_000 < edge.site.budget.used < 21_000_000
    wire.transport.startReading()
    answers = [await wire.answer(5)]
    answers = wire.answers()
    assert [len(answer.body) for answer in answers] == [20_000_000, 16, 16, 16, 16]
    assert edge.site.budget.used == 0
    wire.send(GOOD)
    assert (await wire.answer(6)).status == 200


async def test_a_client_that_takes_nothing_is_cut(start: Callable[..., Any]) -> None:
    """One that takes some of it has the whole time again."""
    edge = await start(stall=30)
    wire = await unread(edge, b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
    edge.clock.advance(29)
    before = edge.site.budget.used
    wire.transport.startReading()
    await until(lambda: edge.site.budget.used < before)
    wire.transport.stopReading()
    # What the system has room for goes on its way still.
    await turns(100)
    edge.clock.advance(29)
    await turns(100)
    assert edge.site.connections == 1

    def cut() -> bool:
        # On a busy machine the system may have taken a little more meanwhile, which has the whole time again.
        edge.clock.advance(2)
        return not edge.site.served

    await until(cut)
    assert edge.site.budget.used == 0
    wire.transport.startReading()
    await wire.until_closed()
    assert wire.reset


async def test_answers_that_nobody_takes_do_not_fill_the_memory(start: Callable[..., Any]) -> None:
    """When all have too much of them in memory, the connection that would have more is cut, and no request is begun."""
    edge = await start(buffered=25_000_000)
    first = await unread(edge, b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
    second = await edge.connect()
    second.transport.stopReading()
    second.send(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
    await until(lambda: edge.site.connections == 1)
    assert await edge.serves()
    first.transport.startReading()
    assert len((await first.answer()).body) == 20_000_000


async def test_an_answer_to_a_connection_that_is_gone_takes_no_memory(start: Callable[..., Any]) -> None:
    """A connection that is lost while its answer is being sent counts for nothing from then on."""
    edge = await start()
    await (await edge.connect(GOOD)).answer()
    (channel,) = edge.site.served
    channel.write(b"x" * 200_000)
    channel.transport.connectionLost(Failure(ConnectionLost()))
    channel.write(b"x" * 200_000)
    await turns(10)
    assert edge.site.connections == 0
    assert edge.site.budget.used == 0


async def test_bodies_beyond_the_memory_are_refused(start: Callable[..., Any]) -> None:
    """Before the client is asked for them; and when the first ones are done there is room again."""
    edge = await start(buffered=2000)
    asking = PUT + b"Expect: 100-continue\r\nContent-Length: 1500\r\n\r\n"
    first = await edge.connect(asking)
    await first.until(lambda: b"100 Continue" in first.received)
    assert edge.site.budget.used == 1500
    second = await edge.connect(asking)
    (answer,) = await second.end()
    assert_refusal(answer, 503, "overloaded")
    assert answer.headers["retry-after"] == "1"
    chunked = await edge.connect(PUT + b"Transfer-Encoding: chunked\r\n\r\n1f4\r\n" + b"x" * 500 + b"\r\n1\r\n")
    await until(lambda: edge.site.budget.used == 2000)
    chunked.send(b"x\r\n")
    assert_refusal((await chunked.end())[0], 503, "overloaded")
    first.send(b"x" * 1500)
    await until(lambda: len(first.answers()) == 2)
    assert edge.site.budget.used == 0
    third = await edge.connect(PUT + b"Content-Length: 1500\r\n\r\n" + b"x" * 1500)
    assert (await third.answer()).status == 200


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 9000000\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"]
)
async def test_a_body_without_a_key_is_not_read(framing: bytes, start: Callable[..., Any]) -> None:
    """It is refused when the head is there, and not asked for."""
    edge = await start()
    edge.site.gate = lambda keys, _: None if b"good" in keys else NotAuthorized("No.")
    wire = await edge.connect(PUT + framing + b"Expect: 100-continue\r\nx-api-key: bad\r\n\r\n")
    (answer,) = await wire.end()
    assert_refusal(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == 'Bearer realm="resourced"'
    assert answer.headers["connection"] == "close"
    good = await edge.connect(PUT + b"Content-Length: 3\r\nx-api-key: good\r\n\r\nabc")
    assert (await good.answer()).json == ["abc", 0]
    assert await edge.serves()


async def test_tiny_chunks_are_counted(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a body costs is bounded by its length, not by how it is cut."""
    edge = await start()
    read: list[bytes] = []
    whole = EdgeRequest.handleContentChunk

    def count(request: EdgeRequest, data: bytes) -> None:
        if not request.channel.closing:
            read.append(data)
        whole(request, data)

    monkeypatch.setattr(EdgeRequest, "handleContentChunk", count)
    wire = await edge.connect(PUT + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 200_000)
    (answer,) = await wire.end()
    assert_refusal(answer, 413, "body_too_large")
    assert len(read) < 17_000
    wire = await edge.connect(
        PUT + b"Transfer-Encoding: chunked\r\n\r\n" + b"40\r\n%s\r\n" % (b"x" * 64) * 16_384 + b"0\r\n\r\n"
    )
    assert (await wire.answer()).status == 200


async def test_a_chunk_that_is_too_large_is_refused_before_it_comes(start: Callable[..., Any]) -> None:
    """Its length is enough; it is Twisted's decoder that tells it."""
    edge = await start(max_body=100)
    wire = await edge.connect(PUT + b"Transfer-Encoding: chunked\r\n\r\n32\r\n" + b"x" * 50 + b"\r\n33\r\nx")
    (answer,) = await wire.end()
    assert_refusal(answer, 413, "body_too_large")


async def test_what_comes_too_early_is_bounded(start: Callable[..., Any]) -> None:
    """A client whose answer goes on may send more behind its request, but it is not read for ever."""
    edge = await start()
    wire = await edge.connect(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
    await until(lambda: edge.api.waiting)
    wire.send(GOOD * 500, b"x" * 5_000_000)
    await until(lambda: edge.site.budget.used > 16_384)
    await turns(50)
    assert edge.site.budget.used < 200_000
    edge.api.waiting[0].callback(b"def")
    assert [answer.status for answer in await wire.end()] == [*[200] * 501, 431]
    await until(lambda: edge.site.budget.used == 0)


@pytest.mark.parametrize(
    "coding", [b"identity", b"chunked\r\nTransfer-Encoding: identity", b"identity, chunked", b"gzip, chunked"]
)
async def test_transfer_codings_that_proxies_read_in_another_way(coding: bytes, start: Callable[..., Any]) -> None:
    """Only ``chunked``, and only once, says how long a body is."""
    edge = await start()
    wire = await edge.connect(PUT + b"Transfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n")
    (answer,) = await wire.end()
    assert_refusal(answer, 400, "bad_request")


@pytest.mark.parametrize(
    "request_",
    [GOOD, b"GET /status/404 HTTP/1.1\r\nHost: h\r\n\r\n", b"hello\r\n", PUT + b"Content-Length: 99999999\r\n\r\n"],
)
async def test_no_answer_is_sniffed_at(request_: bytes, start: Callable[..., Any]) -> None:
    """Every answer tells browsers to take it for what it says it is."""
    edge = await start()
    wire = await edge.connect(request_)
    assert (await wire.answer()).headers["x-content-type-options"] == "nosniff"


async def test_a_system_without_epoll(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are then read by the reactor itself."""
    monkeypatch.delattr(select, "epoll")
    edge = await start()
    wires = [await edge.connect(GOOD) for _ in range(3)]
    assert [(await wire.answer()).status for wire in wires] == [200] * 3
    assert await edge.serves()
