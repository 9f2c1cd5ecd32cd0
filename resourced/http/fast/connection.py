"""
The fast path through the HTTP edge: for a request that is plain, arrives in one piece, and is alone on its connection.

That is what nearly all requests are. They are read in one pass, and answered by one write. Everything else, and whatever is
in doubt, goes to Twisted's parser as it came: what is taken here has to mean the same there.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from io import BytesIO
from itertools import chain
from typing import Any, AnyStr

from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.http_headers import Headers

from resourced.http.channel import Channel
from resourced.http.connection_state import FAST, IDLE
from resourced.http.fast.internals import Link, Sockets, begin_request
from resourced.http.fast.parser import Head, plain
from resourced.http.flow import SLICE
from resourced.http.json_errors import NOSNIFF, PHRASES, SERVER
from resourced.http.request import EdgeRequest
from resourced.http.site import ResourcedSite


@lru_cache(1000)
def _begun(name: Any) -> bytes:
    """Return what comes before the value of a header: the end of the line before it, and its name as Twisted spells it."""
    ((spelled, _),) = Headers({name: [b""]}).getAllRawHeaders()
    return b"\r\n%s: " % spelled


_TYPE, _LENGTH, _CACHE = map(_begun, (b"content-type", b"content-length", b"cache-control"))


class FastRequest(EdgeRequest):
    """
    A request on the fast path.

    Its answer is put together by hand if it is a usual one: whole, with its length, on a connection that stays.
    """

    channel: FastChannel
    clientproto = b"HTTP/1.1"

    def __init__(self, channel: FastChannel, head: Head) -> None:
        begin_request(self, channel, channel.addresses)
        self.notes = {}
        self._busy = self._waiting = False
        asked, self.requestHeaders, self._body = head  # type: ignore[assignment]
        self.method = asked.method
        self.uri = asked.uri
        self.path = asked.path
        self.args = asked.args
        self._said = asked.said
        self.site = channel.site
        # Of a usual answer, by what comes before their values; others are in Twisted's.
        self._answer_headers: dict[bytes, Any] | None = {}

    def has_any(self, names: frozenset[bytes]) -> bool:
        return not names.isdisjoint(self.requestHeaders)  # type: ignore[arg-type]

    def body(self) -> bytes:
        return self._body

    # Whatever is cached like this makes Python look up all attributes of its request the slow way.

    @cached_property
    def content(self) -> BytesIO:  # type: ignore[override]
        """The body."""
        return BytesIO(self._body)

    @cached_property
    def prepath(self) -> list[bytes]:  # type: ignore[override]
        """The part of the path that brought the request to the root of the site."""
        return []

    @cached_property
    def postpath(self) -> list[bytes]:  # type: ignore[override]
        """The segments of the path as they were sent."""
        return self.path[1:].split(b"/")

    @property
    def responseHeaders(self) -> Headers:  # type: ignore[override]
        """The headers of an answer that is not a usual one: from here on Twisted writes it."""
        if self._answer_headers is not None:
            headers = self._headers = Headers()
            headers.setRawHeaders(b"server", [SERVER])
            headers.setRawHeaders(b"date", [self.channel.site.date()])
            for begun, value in self._answer_headers.items():
                headers.setRawHeaders(begun[2:-2], [value])
            self._answer_headers = None
        return self._headers

    def getHeader(self, key: AnyStr) -> AnyStr | None:
        # Twisted spells some names with capitals.
        return super().getHeader(key.lower())

    def setHeader(self, name: bytes | str, value: bytes | str) -> None:
        headers = self._answer_headers
        if headers is None:
            super().setHeader(name, value)
        else:
            headers[_begun(name)] = value

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        self.code = code
        self.code_message = message or PHRASES[code]

    def begin_whole(self, code: int, content_type: bytes, length: int) -> None:
        headers = self._answer_headers
        if headers is None:
            super().begin_whole(code, content_type, length)
            return
        self.code = code
        self.code_message = PHRASES[code]
        headers[_TYPE] = content_type
        headers[_LENGTH] = b"%d" % length
        headers[_CACHE] = b"no-store"

    def isSecure(self) -> bool:
        return False

    def process(self) -> None:
        try:
            if self.admit():
                self.channel.site.front.pass_on(self)
        except BaseException:  # noqa: BLE001 - as Twisted does
            self.processingFailed(Failure())

    def answer(self, body: bytes) -> None:
        code, headers = self.code, self._answer_headers
        if code == 204:
            body = b""
        if headers is None or self.startedWriting or not self._send(code, headers, body):
            super().answer(body)

    def _send(self, code: int, headers: dict[bytes, Any], body: bytes) -> bool:
        """Send an answer if it is a usual one, and be done."""
        channel = self.channel
        site = channel.site
        try:
            lines = b"".join(chain.from_iterable(headers.items()))
        except TypeError:
            # A value is text, which Twisted knows how to write.
            return False
        if (
            (_LENGTH in headers) == (code == 204)
            or code == 304
            or site.draining
            # A value that goes on in another line is Twisted's to mend.
            or not lines.count(b"\n") == lines.count(b"\r") == len(headers)
        ):
            return False
        self.leave()
        self.channel = None  # type: ignore[assignment]
        self.finished = 1
        length = len(body)
        channel.send(b"%s%s\r\n%s\r\n\r\n%s" % (site.opening(code, self.code_message), lines, NOSNIFF, body))
        channel.tell(*self._said, code, length, self.notes)
        channel.requestDone(self)
        if self.notifications:
            notifications, self.notifications = self.notifications, []
            for notification in notifications:
                notification.callback(None)
        return True


class FastChannel(Channel):
    """A connection whose plain requests go the fast path."""

    site: FastSite
    #: Of the client, and of the server as it knows it: to ask the system for each request takes long.
    addresses: tuple[IAddress, IAddress]
    _link: Link

    def __init__(self) -> None:
        super().__init__()
        # Whether Twisted's parser is at work: it calls back with what comes behind a request.
        self._parsing = False

    def connectionMade(self) -> None:
        self.addresses = (self.transport.getPeer(), self.transport.getHost())
        self._link = Link(self.site.sockets, self.transport)
        super().connectionMade()

    def getPeer(self) -> IAddress:
        return self.addresses[0]

    def getHost(self) -> IAddress:
        return self.addresses[1]

    def dataReceived(self, data: bytes) -> None:
        if self.state is not IDLE or self._parsing or self.full:
            super().dataReceived(data)
            return
        # What came after the last request, and is not a line yet, is where this one begins.
        data = self.clearLineBuffer() + data
        limits = self.site.limits
        head = plain(data, limits.max_headers, limits.max_body)
        if head is not None:
            _, headers, body = head
            # A request without a key goes to Twisted's parser, to be refused in the same words.
            if not body or self.gate(headers) is None:
                self._serve(head)
                return
        self._parsing = True
        try:
            super().dataReceived(data)
        finally:
            self._parsing = False

    def send(self, answer: bytes) -> None:
        """Send a whole answer."""
        if self.full or len(answer) > SLICE or not self._link.send(answer):
            self.write(answer)

    def write(self, data: bytes) -> None:
        self._link.leave()
        super().write(data)

    def send_all(self) -> None:
        self._link.leave()
        super().send_all()

    def _serve(self, head: Head) -> None:
        asked, _, body = head
        self.begin_fast(asked.line)
        if body:
            self.keep_body(len(body))
        request = FastRequest(self, head)
        self.requests.append(request)
        if self.proxied:
            self.find_client(request)
        request.process()

    def requestDone(self, request: Request) -> None:
        if self.state is not FAST:
            super().requestDone(request)
            return
        self.requests.remove(request)
        self.end_request()
        if not self.persistent or self.site.draining:
            self.loseConnection()
        elif self._early:
            self._go_on()


class FastSite(ResourcedSite):
    """
    A site whose plain requests go the fast path.

    :param sockets: reads and writes its connections, if others let answers go out together by it.
    """

    protocol = FastChannel

    def __init__(self, *parts: Any, sockets: Sockets | None = None, **named: Any) -> None:
        super().__init__(*parts, **named)
        self.sockets = sockets or Sockets()
        self._openings: dict[tuple[int, bytes], bytes] = {}
        self._dated = b""

    def opening(self, code: int, message: bytes) -> bytes:
        """Return how an answer begins, up to the end of its date."""
        date = self.date()
        if date is not self._dated:
            self._dated = date
            self._openings.clear()
        opening = self._openings.get((code, message))
        if opening is None:
            opening = b"HTTP/1.1 %d %s\r\nServer: %s\r\nDate: %s" % (code, message, SERVER, date)
            self._openings[code, message] = opening
        return opening
