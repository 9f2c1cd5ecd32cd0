"""
One connection of the HTTP edge: what Twisted would refuse by itself, or wait for without end, is answered here.

Twisted parses; this room adds the limits, the deadlines, the answers in JSON, and the word to the access log for
requests that never become one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableDescriptor, IReactorTime, ITCPTransport
from twisted.python.failure import Failure
from twisted.web.http import Request, datetimeToString
from twisted.web.iweb import IRequest

from resourced import jsontext
from resourced.errors import NotAuthorized
from resourced.forwarded import UNIX, TrustedProxies
from resourced.http.flow import Budget, FlowChannel

#: What ``Server`` says: no version, which would only help an attacker.
SERVER = b"resourced"
#: No browser is to take an answer for something else than it says it is.
NOSNIFF = b"X-Content-Type-Options: nosniff"

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^\x00-\x20\x7f]+) HTTP/(\d\.\d)")
#: More digits than any number of bytes needs, and fewer than Python refuses to read as an integer.
_LENGTH_DIGITS = 18

#: How many chunks a body may have, and for how many of its bytes it may have one more.
CHUNKS, CHUNK = 16_384, 64

#: How late a deadline may be looked at before that means that the process stood still, in seconds; and how much longer it is then.
LATE = 1.5
#: What every refusal of a key tells its client to send.
CHALLENGE = b'Bearer realm="resourced"'


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What one client, and all of them together, may ask of the server. Times are in seconds.

    :ivar max_body: the largest request body, in bytes.
    :ivar max_headers: the request line and all headers together, in bytes.
    :ivar request: the time from the first byte of a request to its last.
    :ivar idle: how long a connection stays open with no request on it.
    :ivar linger: how long what is left of a refused request is read and dropped, so that its client gets the answer.
    :ivar stall: how long a client may take nothing of an answer before its connection is cut.
    :ivar buffered: bytes that all connections together may have in memory, of bodies and of answers; beyond them bodies are refused.
    :ivar peer_connections: open connections of one address, unless it is a trusted proxy's; the ones beyond are answered 429.
    :ivar connections: open connections; the ones beyond are answered 503.
    :ivar requests: requests that are being answered at once, without those that wait for a lock; the ones beyond are answered 503.
    """

    max_body: int = 1_048_576
    max_headers: int = 16_384
    request: float = 30
    idle: float = 60
    linger: float = 5
    stall: float = 30
    buffered: int = 1 << 28
    connections: int = 10_000
    peer_connections: int = 10_000
    requests: int = 1_000


class Phase(Enum):
    """Where a connection stands."""

    IDLE = auto()
    READING = auto()
    ANSWERING = auto()
    CLOSING = auto()


#: To look a member up in its class each time takes ten times as long.
IDLE, READING, ANSWERING, CLOSING = Phase


class Access(NamedTuple):
    """
    One line of the access log.

    :ivar ms: milliseconds from the first byte of the request to the end of its answer.
    :ivar length: bytes of the answer's body.
    """

    method: str
    uri: str
    status: int
    ms: float
    peer: str
    length: int
    notes: Mapping[str, object]


#: Says of a request why its body is not to be read, if it is not, from all values of its headers ``x-api-key`` and ``Authorization``.
Gate = Callable[[Sequence[bytes], Sequence[bytes]], NotAuthorized | None]


class Edge(Protocol):
    """What a connection needs of the site that it belongs to."""

    limits: Limits
    reactor: IReactorTime
    draining: bool
    busy: int
    budget: Budget
    proxies: TrustedProxies

    @property
    def gate(self) -> Gate:
        """Say why the body of a request is not to be read."""

    def date(self) -> bytes:
        """Return the time of day for ``Date``."""

    @property
    def overrun(self) -> bool:
        """Whether a connection that there is no room for is to be dropped rather than told so."""

    def joined(self, channel: Channel) -> bool:
        """Count a new connection in; false if there is no room for it."""

    def is_crowd(self, channel: Channel) -> bool:
        """Whether the address of a connection that was counted in has too many."""

    def left(self, channel: Channel) -> None:
        """Count a connection out."""

    def access(self, access: Access) -> None:
        """Put one request into the access log."""


def error_body(code: str, sentence: str) -> bytes:
    """
    Give the body of every answer that is an error.

    :param code: a word for a program.
    :param sentence: a sentence for a person.
    """
    return jsontext.write({"error": sentence, "code": code})


def json_error(request: IRequest, status: int, code: str, sentence: str) -> bytes:
    """Make an error the answer of ``request``: set its status and headers, and return the body to be written."""
    body = error_body(code, sentence)
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"content-length", b"%d" % len(body))
    return body


def logged(method: bytes, uri: bytes) -> tuple[str, str]:
    """Return what was asked for as it is logged."""
    return method.decode("ascii"), uri.decode("ascii", "backslashreplace")


class Channel(FlowChannel):
    """
    A connection.

    Twisted's own idle timeout, which every byte renews, is switched off by its site. Instead there is one deadline:
    for the next request to begin, for the whole of a request to arrive, or for a closed connection to be gone.

    :ivar closing: whether what still arrives is dropped.
    :ivar peer: the address of the other end.
    :ivar client: the address of whoever the request comes from, which a proxy may have passed on.
    """

    site: Edge
    transport: Any
    peer = client = "-"
    #: Whether the peer is a proxy that is believed when it says who its clients are.
    proxied = False

    #: Whether the head of the request on it has arrived as a whole.
    headed = False

    _phase: Phase = IDLE
    _line = b""
    _began = 0.0
    _lines = 0
    _size = 0
    _due: float | None = None
    _timer: IDelayedCall | None = None

    #: Of how many chunks a body has come.
    _chunks = 0

    @property
    def closing(self) -> bool:
        return self._phase is CLOSING

    @property
    def idle(self) -> bool:
        """Whether no part of a request has arrived that is not answered yet."""
        return self._phase is IDLE

    # What Twisted tells about the connection.

    def connectionMade(self) -> None:
        self.totalHeadersSize = self.MAX_LENGTH = self.site.limits.max_headers
        super().connectionMade()
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpKeepAlive(True)
        address = self.transport.getPeer()
        self.peer = UNIX if isinstance(address, UNIXAddress) else str(getattr(address, "host", "-"))
        self.client = self.peer
        self.proxied = self.site.proxies.trust(self.peer)
        if not self.site.joined(self):
            if self.site.overrun:
                self._phase = CLOSING
                self.transport.abortConnection()
                return
            self.refuse(503, "overloaded", "There are too many connections. Try again later.", (b"Retry-After: 1",))
        elif self.site.is_crowd(self):
            sentence = (
                "This address has as many connections as it may. Its quota is max_peer_connections. Try again later."
            )
            self.refuse(429, "quota_max_peer_connections", sentence, (b"Retry-After: 1",))
        elif self.site.draining:
            self.refuse_for_good()
        else:
            self._rest()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        phase, self._phase, self._due = self._phase, CLOSING, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.forget()
        request = self.requests[0] if self.requests else None
        try:
            super().connectionLost(reason)
            if phase is ANSWERING or (phase is READING and self._line):
                self._tell(499, getattr(request, "sentLength", 0), getattr(request, "notes", {}))
        finally:
            # Last, because a drain may be over with it.
            self.site.left(self)

    def loseConnection(self) -> None:
        """Close when everything written has been sent, and at the latest after the time to linger."""
        if self._phase is not ANSWERING:
            self._phase = CLOSING
        # A client that still reads a long answer says goodbye in TLS only when it has read all of it.
        patient = self.full or self.isSecure()
        self._expect(self.site.limits.stall if patient else self.site.limits.linger)
        self.send_all()
        super().loseConnection()

    # What Twisted tells about a request as it arrives.

    def dataReceived(self, data: bytes) -> None:
        if self._phase is CLOSING:
            return
        if self._phase is ANSWERING or self.full:
            self.hold(data)
            return
        # A CR LF too many after a body is no request.
        if self._phase is IDLE and data != b"\r\n":
            self._begin()
        super().dataReceived(data)
        # Looked at again, because it has changed meanwhile.
        if self._reading():
            self._expect(self._began + self.site.limits.request - self.site.reactor.seconds())
            if self.line_mode and b"\n" in data.rpartition(b"\r\n")[2][1:]:
                self.refuse(400, "bad_request", "Every line of a request's head has to end in CR LF.")

    def lineReceived(self, line: bytes) -> bool:
        """Check a line of the head before Twisted reads it; true makes the rest of what has arrived be dropped."""
        if self._phase is IDLE and line:
            self._begin()
        self._size += len(line)
        self._lines += bool(line)
        if self._size > self.totalHeadersSize or self._lines > self.maxHeaders + 1:
            self.lineLengthExceeded(line)
        elif line and not self._line:
            self._line = line
            self._check_request_line(line)
        if self._phase is not CLOSING:
            super().lineReceived(line)
        return self.closing

    def _check_request_line(self, line: bytes) -> None:
        parts = _REQUEST_LINE.fullmatch(line)
        if parts is None or not line.isascii():
            self._respondToBadRequestAndDisconnect()
        elif parts[3] not in {b"1.0", b"1.1"}:
            self.refuse(505, "unsupported_version", "This server speaks HTTP/1.1 and HTTP/1.0.")

    def headerReceived(self, line: bytes) -> bool:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            digits = value.strip(b" \t")
            # Twisted would let Python try to read the number, and end the connection with a traceback.
            if digits.isdigit() and len(digits) > _LENGTH_DIGITS:
                self.refuse_body()
                return False
        elif name.lower() == b"transfer-encoding" and value.strip(b" \t").lower() != b"chunked":
            # Twisted passes over "identity", which a proxy in front may read in another way (RFC 9112, 6.1).
            self._respondToBadRequestAndDisconnect()
            return False
        return bool(super().headerReceived(line))

    def allHeadersReceived(self) -> None:
        self.headed = True
        if self.proxied:
            self.find_client(self.requests[-1])
        if self.length == 0 or self._admit_body(self.length):
            super().allHeadersReceived()

    def find_client(self, request: Request) -> None:
        """Take note of whom a request comes from, of which a trusted proxy tells."""
        header = request.requestHeaders.getRawHeaders
        self.client = self.site.proxies.client(self.peer, header(b"forwarded", ()), header(b"x-forwarded-for", ()))
        if self.client != self.peer:
            request.client = (IPv6Address if ":" in self.client else IPv4Address)("TCP", self.client, 0)

    def _admit_body(self, length: int | None) -> bool:
        """
        Let a body come, or refuse it before a byte of it is kept and before Twisted says "100 Continue".

        :param length: nothing, if it comes in chunks.
        """
        limits = self.site.limits
        error = self.gate(self.requests[-1].requestHeaders)
        if error is not None:
            self.refuse(401, error.code, error.sentence, (b"WWW-Authenticate: " + CHALLENGE,))
            return False
        if length is not None and length > limits.max_body:
            self.refuse_body()
            return False
        return self._reserve(length or 0)

    def gate(self, headers: Any) -> NotAuthorized | None:
        """Say why the body of a request is not to be read, if it is not."""
        return self.site.gate(headers.getRawHeaders(b"x-api-key", ()), headers.getRawHeaders(b"authorization", ()))

    def _reserve(self, size: int) -> bool:
        """Count so many more bytes of a body in, or refuse it if all connections together have too much already."""
        if not self.site.budget.has_room(size):
            self.refuse(503, "overloaded", "The server has too much to do. Try again later.", (b"Retry-After: 1",))
            return False
        self.keep_body(self.body + size)
        return True

    def admit_chunk(self, size: int) -> bool:
        """Tell whether so many more bytes of a body may be kept; if not, it is refused."""
        if self.length is not None:
            # It was counted when its length was known.
            return True
        self._chunks += 1
        if self.body + size > self.site.limits.max_body:
            self.refuse_body()
            return False
        if self._chunks > CHUNKS + self.body // CHUNK:
            self.refuse(413, "body_too_large", f"The body has more than {CHUNKS} chunks of less than {CHUNK} bytes.")
            return False
        return self._reserve(size)

    def rawDataReceived(self, data: bytes) -> None:
        super().rawDataReceived(data)
        # The chunk that is being read has a length, too, which only Twisted's decoder knows. Without it, only what arrives is counted.
        chunk = getattr(self._transferDecoder, "length", 0) if self.length is None else 0
        if self._reading() and self.body + chunk > self.site.limits.max_body:
            self.refuse_body()

    def allContentReceived(self) -> None:
        if self._phase is not CLOSING:
            self._phase = ANSWERING
            self._due = None
            super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        if self._phase is ANSWERING:
            self._rest()
        # Twisted has the bytes that arrived together with the request, and so before these.
        early = self.take_early()
        super().requestDone(request)
        if self.idle and self.site.draining:
            self.loseConnection()
        elif early:
            self.dataReceived(early)

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002
        self.refuse(
            431,
            "headers_too_large",
            f"The head of the request is longer than {self.site.limits.max_headers} bytes"
            f" or has more than {self.maxHeaders} headers.",
        )

    def _respondToBadRequestAndDisconnect(self) -> None:
        # The one private name of Twisted's that is used here: every answer of 400 that it gives by itself is here.
        self.refuse(400, "bad_request", "The request is not valid HTTP.")

    # What the transport says about what was written.

    def stalled(self) -> None:
        self._expect(self.site.limits.stall)

    def flowing(self) -> None:
        if self._phase is IDLE:
            self._rest()
        elif self._phase is READING:
            self._expect(self._began + self.site.limits.request - self.site.reactor.seconds())
        elif self._phase is ANSWERING:
            self._due = None
        self._go_on()

    def _go_on(self) -> None:
        """Read what came too early, if it is not too early any more."""
        if not self.full and self._phase in {IDLE, READING}:
            data = self.clearLineBuffer() + self.take_early()
            if data:
                self.dataReceived(data)

    # How a request ends that has no answer from above.

    def refuse_body(self) -> None:
        """Answer that the body is too large; whatever is left of it is dropped."""
        self.refuse(413, "body_too_large", f"The body is larger than {self.site.limits.max_body} bytes.")

    def refuse_for_good(self) -> None:
        """Answer that the server is being stopped, and wait for nothing more."""
        self.refuse(503, "shutting_down", "The server is being stopped. Try again later.", (b"Retry-After: 1",))
        self.loseConnection()

    def refuse(self, status: int, code: str, sentence: str, headers: tuple[bytes, ...] = ()) -> None:
        """
        Answer in place of the application, and end the connection such that the client can read the answer.

        A client that is still sending would, after a plain close, be answered by a reset, which destroys what it has
        not read. So only our half is closed, and what it sends is dropped until it closes too or the time is over.

        :param headers: whole lines, without their ends.
        """
        if self._phase is IDLE:
            self._begin()
        self._phase = CLOSING
        body = error_body(code, sentence)
        sent = b"" if self._line.startswith(b"HEAD ") else body
        lines = (
            b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode("ascii")),
            b"Server: " + SERVER,
            b"Date: " + datetimeToString(),
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(body),
            NOSNIFF,
            b"Connection: close",
            *headers,
            b"",
            sent,
        )
        self.send_all()
        self.transport.write(b"\r\n".join(lines))
        self._tell(status, len(sent), {})
        # TLS knows no half of a connection; its close waits for the other side by itself.
        halves = bool(IHalfCloseableDescriptor.providedBy(self.transport)) and not self.isSecure()
        if not halves:
            self.loseConnection()
            return
        self._expect(self.site.limits.linger)
        self.transport.unregisterProducer()
        self.transport.resumeProducing()
        self.transport.loseWriteConnection()

    def _tell(self, status: int, length: int, notes: Mapping[str, object]) -> None:
        parts = _REQUEST_LINE.fullmatch(self._line)
        # A line that is none may be anything that a confused client sends, a key too: it stays out of the log.
        method, uri = (parts[1], parts[2]) if parts else (b"-", b"-")
        self.tell(*logged(method, uri), status, length, notes)

    def tell(self, method: str, uri: str, status: int, length: int, notes: Mapping[str, object]) -> None:
        """Put the request that has just ended into the access log."""
        ms = (self.site.reactor.seconds() - self._began) * 1000
        self.site.access(Access(method, uri, status, ms, self.client, length, notes))

    # The deadline.

    def _begin(self) -> None:
        self._phase = READING
        self.headed = False
        self._line = b""
        self._size = self._lines = self._chunks = 0
        self.client = self.peer
        self._began = self.site.reactor.seconds()

    def _reading(self) -> bool:
        return self._phase is READING

    def _rest(self) -> None:
        self._phase = IDLE
        self.keep_body(0)
        self._expect(self.site.limits.stall if self.full else self.site.limits.idle)

    def _expect(self, seconds: float) -> None:
        """Call :meth:`_lapse` in so many seconds, instead of whatever was due."""
        now = self.site.reactor.seconds()
        self._due = now + seconds
        if self._timer is not None:
            # A timer that runs out too early looks again: a busy connection starts and cancels none at all.
            if self._timer.getTime() <= self._due:
                return
            self._timer.cancel()
        self._timer = self.site.reactor.callLater(max(0.0, seconds), self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._due is None:
            return
        left = self._due - self.site.reactor.seconds()
        if left > 0:
            self._expect(left)
        elif left < -LATE:
            # Nothing was read for a while, so what the client did in time may not be known yet.
            self._expect(LATE)
        else:
            self._lapse()

    def _lapse(self) -> None:
        if self.full:
            self.transport.abortConnection()
        elif self._phase is READING:
            self.refuse(408, "request_timeout", f"The request took longer than {self.site.limits.request:g} s.")
        elif self._phase is IDLE:
            self.loseConnection()
        else:
            self.transport.abortConnection()
