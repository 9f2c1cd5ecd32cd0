"""
One connection of the HTTP edge: what Twisted would refuse by itself, or wait for without end, is answered here.

Twisted parses. This module adds the limits, the deadlines, the answers in JSON, and the access log for requests that never
reach the application.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IHalfCloseableDescriptor, ITCPTransport
from twisted.python.failure import Failure
from twisted.web.http import Request

from resourced.forwarded import UNIX
from resourced.http.access_log import AccessRecord, logged
from resourced.http.connection_state import (
    ANSWERED,
    ANSWERING,
    BEGIN,
    BODY,
    BODY_COMPLETE,
    CLOSE,
    CLOSED,
    CLOSING,
    FAST,
    HEAD,
    HEAD_COMPLETE,
    IDLE,
    LOST,
    PLAIN,
    REFUSE,
    TRANSITIONS,
    ConnectionEvent,
    ConnectionState,
)
from resourced.http.deadline import Deadline
from resourced.http.edge import Edge
from resourced.http.json_errors import closing_answer, error_body
from resourced.http.strict import REQUEST_LINE, StrictChannel
from resourced.transitions import next_state

#: To look a member up in its class each time takes ten times as long.
_READING = (HEAD, BODY)
_BUSY = (ANSWERING, FAST)
_OVER = (CLOSING, CLOSED)


class Channel(StrictChannel):
    """
    A connection.

    Twisted's own idle timeout, which every byte renews, is switched off by its site. Instead there is one deadline:
    for the next request to begin, for the whole of a request to arrive, or for a closed connection to be gone.

    :ivar state: where it stands; it only changes as the table says.
    :ivar peer: the address of the other end.
    :ivar client: the address of whoever the request comes from, which a proxy may have passed on.
    :ivar proxied: whether the peer is a proxy that is believed when it says who its clients are.
    """

    site: Edge
    transport: Any
    _deadline: Deadline

    def __init__(self) -> None:
        super().__init__()
        self.peer = self.client = "-"
        self.proxied = False
        self.state: ConnectionState = IDLE
        self._began = 0.0

    @property
    def closing(self) -> bool:
        """Whether what still arrives is dropped."""
        return self.state in _OVER

    @property
    def idle(self) -> bool:
        """Whether no part of a request has arrived that is not answered yet."""
        return self.state is IDLE

    @property
    def reading(self) -> bool:
        """Whether a request has begun, and is not complete."""
        return self.state in _READING

    @property
    def holds(self) -> bool:
        """Whether what arrives comes too early."""
        return self.state in _BUSY or self.full

    @property
    def undecided(self) -> bool:
        """Whether a request has begun of which it is not known yet what it asks for."""
        return self.state is HEAD

    def _move(self, event: ConnectionEvent) -> None:
        """Take the one step that the table has for an event."""
        self.state = next_state(TRANSITIONS, self.state, event)

    # What Twisted tells about the connection.

    def connectionMade(self) -> None:
        self._deadline = Deadline(self.site.reactor, self._lapse)
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
                self._move(CLOSE)
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
        state = self.state
        self._move(LOST)
        self._deadline.stop()
        self.forget()
        request = self.requests[0] if self.requests else None
        try:
            super().connectionLost(reason)
            if state in _BUSY or (state in _READING and self.request_line):
                self._tell(499, getattr(request, "sentLength", 0), getattr(request, "notes", {}))
        finally:
            # Last, because a drain may be over with it.
            self.site.left(self)

    def loseConnection(self) -> None:
        """Close when everything written has been sent, and at the latest after the time to linger."""
        self._move(CLOSE)
        # A client that still reads a long answer says goodbye in TLS only when it has read all of it.
        patient = self.full or self.isSecure()
        self._deadline.set(self.site.limits.stall if patient else self.site.limits.linger)
        self.send_all()
        super().loseConnection()

    # What Twisted tells about a request as it arrives.

    def dataReceived(self, data: bytes) -> None:
        if self.state in _OVER:
            return
        if self.holds:
            self.hold(data)
            return
        # A CR LF too many after a body is no request.
        if self.state is IDLE and data != b"\r\n":
            self.begin()
        super().dataReceived(data)
        if self.reading:
            self._expect_rest_of_request()
            if self.line_mode and b"\n" in data.rpartition(b"\r\n")[2][1:]:
                self.refuse(400, "bad_request", "Every line of a request's head has to end in CR LF.")

    def allHeadersReceived(self) -> None:
        self._move(HEAD_COMPLETE)
        if self.proxied:
            self.find_client(self.requests[-1])
        if self.length == 0 or self.admit_body(self.length):
            super().allHeadersReceived()

    def find_client(self, request: Request) -> None:
        """Take note of whom a request comes from, of which a trusted proxy tells."""
        header = request.requestHeaders.getRawHeaders
        self.attribute(
            request, self.site.proxies.client(self.peer, header(b"forwarded", ()), header(b"x-forwarded-for", ()))
        )

    def attribute(self, request: Request, client: str) -> None:
        """Let a request count as that of another address than the peer's."""
        self.client = client
        if client != self.peer:
            request.client = (IPv6Address if ":" in client else IPv4Address)("TCP", client, 0)

    def allContentReceived(self) -> None:
        if not self.closing:
            self._move(BODY_COMPLETE)
            self._deadline.due = None
            super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        self.end_request()
        # Twisted has the bytes that arrived together with the request, and so before these.
        early = self.take_early()
        super().requestDone(request)
        if self.idle and self.site.draining:
            self.loseConnection()
        elif early:
            self.dataReceived(early)

    # What the transport says about what was written.

    def stalled(self) -> None:
        self._deadline.set(self.site.limits.stall)

    def flowing(self) -> None:
        if self.state is IDLE:
            self._rest()
        elif self.state in _READING:
            self._expect_rest_of_request()
        elif self.state in _BUSY:
            self._deadline.due = None
        self._go_on()

    def _go_on(self) -> None:
        """Read what came too early, if it is not too early any more."""
        if not (self.full or self.state in _BUSY or self.state in _OVER):
            data = self.clearLineBuffer() + self.take_early()
            if data:
                self.dataReceived(data)

    # How a request ends that has no answer from above.

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
        if self.state is IDLE:
            self.begin()
        self._move(REFUSE)
        body = error_body(code, sentence)
        head_only = self.request_line.startswith(b"HEAD ")
        self.send_all()
        self.transport.write(closing_answer(status, body, headers, head_only=head_only))
        self._tell(status, 0 if head_only else len(body), {})
        # TLS knows no half of a connection; its close waits for the other side by itself.
        halves = bool(IHalfCloseableDescriptor.providedBy(self.transport)) and not self.isSecure()
        if not halves:
            self.loseConnection()
            return
        self._deadline.set(self.site.limits.linger)
        self.transport.unregisterProducer()
        self.transport.resumeProducing()
        self.transport.loseWriteConnection()

    def _tell(self, status: int, length: int, notes: Mapping[str, object]) -> None:
        parts = REQUEST_LINE.fullmatch(self.request_line)
        # A line that is none may be anything that a confused client sends, a key too: it stays out of the log.
        method, uri = (parts[1], parts[2]) if parts else (b"-", b"-")
        self.tell(*logged(method, uri), status, length, notes)

    def tell(self, method: str, uri: str, status: int, length: int, notes: Mapping[str, object]) -> None:
        """Put the request that has just ended into the access log."""
        site = self.site
        seconds = site.seconds
        ms = (seconds() - self._began) * 1000
        site.access(AccessRecord(method, uri, status, ms, self.client, length, notes))

    # The time that a request may take.

    def begin(self) -> None:
        super().begin()
        self._move(BEGIN)
        self.client = self.peer
        self._began = self.site.seconds()

    def begin_fast(self, line: bytes) -> None:
        """Begin a request that is complete already, and was read on the fast path."""
        self.request_line = line
        # Not in one expression: what looks like a call of a method is looked up in the class first.
        seconds = self.site.seconds
        self._began = seconds()
        self.state = TRANSITIONS[self.state][PLAIN]
        self._deadline.due = None

    def end_request(self) -> None:
        """Be ready for the next request, unless the connection is to end."""
        if self.state in _BUSY:
            self.state = TRANSITIONS[self.state][ANSWERED]
            self._rest()

    def _rest(self) -> None:
        if self.body:
            self.keep_body(0)
        self._deadline.set(self.site.limits.stall if self.full else self.site.limits.idle)

    def _expect_rest_of_request(self) -> None:
        self._deadline.set(self._began + self.site.limits.request - self.site.seconds())

    def _lapse(self) -> None:
        if self.full:
            self.transport.abortConnection()
        elif self.reading:
            self.refuse(408, "request_timeout", f"The request took longer than {self.site.limits.request:g} s.")
        elif self.state is IDLE:
            self.loseConnection()
        else:
            self.transport.abortConnection()
