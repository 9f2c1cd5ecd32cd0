"""
The short way through the HTTP edge: for a request that is plain, arrives in one piece, and is alone on its connection.

That is what nearly all requests are. They are read in one pass, and answered by one write that is sent at once; nothing of
it asks for more than a look at bytes that are all there. Everything else, and whatever is in the least doubtful, goes to
Twisted's parser as it came: what is taken here has to mean the same there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any, NamedTuple, cast

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.tcp import Connection as TCPConnection
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.web.http import Request, parse_qs
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource

from resourced.channel import SERVER, Access, Channel, Limits, Phase
from resourced.routing import HOST
from resourced.site import EdgeRequest, ResourcedSite

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
#: A head that nobody can read in two ways: a path, no line that goes on in the next, and every line ending in CR LF.
_HEAD = re.compile(
    rb"(GET|PUT|POST|DELETE|PATCH) (/(?:[!-.0-~][!-~]*)?) HTTP/1\.1\r\n((?:" + _TOKEN + rb":[^\0\r\n]*\r\n){1,50})\r\n"
)
#: Headers that change how the request is to be read or its connection to be kept.
_DELICATE = frozenset({b"transfer-encoding", b"connection", b"expect", b"upgrade", b"te", b"trailer"})
_DIGITS = 10

#: After how many seconds without an answer the next one is sent at once.
QUIET = 0.00015

#: How many bytes of later requests are taken in while one is under way, as with Twisted.
_AHEAD = 0x4000


class Head(NamedTuple):
    """
    A request that is all there.

    :ivar headers: by their names in small letters.
    """

    method: bytes
    uri: bytes
    headers: dict[bytes, list[bytes]]
    body: bytes


def plain(data: bytes, most_head: int, most_body: int) -> Head | None:
    """Read what has arrived if it is exactly one plain request; else return nothing."""
    match = _HEAD.match(data)
    if match is None or match.end() > most_head:
        return None
    method, uri, lines = match.groups()
    headers: dict[bytes, list[bytes]] = {}
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        headers.setdefault(name.lower(), []).append(value.strip(b" \t"))
    if not _DELICATE.isdisjoint(headers):
        return None
    hosts = headers.get(b"host", ())
    if len(hosts) != 1 or HOST.fullmatch(hosts[0]) is None:
        return None
    body = data[match.end() :]
    lengths = headers.get(b"content-length")
    if lengths is None:
        return None if body else Head(method, uri, headers, b"")
    if len(lengths) != 1 or not lengths[0].isdigit() or len(lengths[0]) > _DIGITS:
        return None
    length = int(lengths[0])
    return Head(method, uri, headers, body) if length == len(body) <= most_body else None


class Fields:
    """The headers of a plain request, as far as anyone here looks at them."""

    __slots__ = ("_by_name",)

    def __init__(self, by_name: dict[bytes, list[bytes]]) -> None:
        self._by_name = by_name

    def getRawHeaders(self, name: bytes, default: Any = None) -> Sequence[bytes] | Any:
        """Return all values of a header."""
        return self._by_name.get(name.lower(), default)


@lru_cache(1000)
def _spelled(name: bytes) -> bytes:
    """Spell the name of a header as Twisted does."""
    ((spelled, _),) = Headers({name: [b""]}).getAllRawHeaders()
    return spelled


class ExpressRequest(EdgeRequest):
    """
    A request on the short way.

    Its answer is put together by hand if it is a usual one: whole, with its length, on a connection that stays.
    """

    channel: ExpressChannel
    site: ExpressSite
    clientproto = b"HTTP/1.1"
    queued = False

    def __init__(self, channel: ExpressChannel, head: Head) -> None:
        # Not that of Twisted, which asks the system for both addresses and makes what a plain request has no use for.
        Componentized.__init__(self)
        self.channel = channel
        self.transport = channel.transport
        self.site = channel.site
        self.client = channel.getPeer()
        self.host = channel.getHost()
        self.method = head.method
        self.uri = head.uri
        self.path, _, query = head.uri.partition(b"?")
        self.args = parse_qs(query, 1) if query else {}
        self.requestHeaders = Fields(head.headers)  # type: ignore[assignment]
        self.content = BytesIO(head.body)
        self.received_cookies = {}
        self.cookies = []
        self.notifications = []
        self.notes = {}
        self._busy = self._waiting = False
        self._answer_headers: dict[bytes, bytes] = {}

    @property
    def responseHeaders(self) -> Headers:  # type: ignore[override]
        """The headers of an answer that is not a usual one: from here on Twisted writes it."""
        headers = self.__dict__.get("responseHeaders")
        if headers is None:
            headers = self.__dict__["responseHeaders"] = Headers()
            headers.setRawHeaders(b"server", [SERVER])
            headers.setRawHeaders(b"date", [self.site.date()])
            for name, value in self._answer_headers.items():
                headers.setRawHeaders(name, [value])
        return cast(Headers, headers)

    def setHeader(self, name: bytes | str, value: bytes | str) -> None:
        if (
            "responseHeaders" in self.__dict__
            or not isinstance(name, bytes)
            or not isinstance(value, bytes)
            or b"\r" in value
            or b"\n" in value
        ):
            super().setHeader(name, value)
        else:
            self._answer_headers[_spelled(name)] = value

    def isSecure(self) -> bool:
        return False

    def process(self) -> None:
        self.prepath: list[bytes] = []
        self.postpath = self.path[1:].split(b"/")
        try:
            if self.admit():
                self.site.front.pass_on(self)
        except BaseException:  # noqa: BLE001 - as Twisted does
            self.processingFailed(Failure())

    def answer(self, body: bytes) -> None:
        headers = self._answer_headers
        usual = (b"Content-Length" in headers) != (self.code == 204)
        if (
            not usual
            or self.code == 304
            or self.startedWriting
            or self.site.draining
            or "responseHeaders" in self.__dict__
        ):
            super().answer(body)
            return
        lines = [b"HTTP/1.1 %d %s\r\nServer: %s\r\nDate: %s" % (self.code, self.code_message, SERVER, self.site.date())]
        lines += [b"%s: %s" % header for header in headers.items()]
        if self.code == 204:
            body = b""
        self.leave()
        channel, self.channel = self.channel, None  # type: ignore[assignment]
        self.startedWriting = self.finished = 1
        self.sentLength = len(body)
        channel.send(b"\r\n".join((*lines, b"", body)))
        channel.tell(self.method, self.uri, self.code, self.sentLength, self.notes)
        channel.requestDone(self)
        notifications, self.notifications = self.notifications, []
        for notification in notifications:
            notification.callback(None)


class ExpressChannel(Channel):
    """
    A connection whose plain requests go the short way.

    :ivar _express: whether a request is under way on it.
    :ivar _direct: whether nothing was ever left to the transport to be sent later, so that nothing can be overtaken.
    """

    site: ExpressSite
    _express = False
    _direct = False
    _within = False
    _choked = False
    _paused = False
    _ahead = b""
    _addresses: tuple[IAddress, IAddress] | None = None

    def connectionMade(self) -> None:
        super().connectionMade()
        # TLS is another class, around this one.
        self._direct = isinstance(self.transport, TCPConnection) and self._phase is Phase.IDLE

    def getPeer(self) -> IAddress:
        return self._both()[0]

    def getHost(self) -> IAddress:
        return self._both()[1]

    def _both(self) -> tuple[IAddress, IAddress]:
        if self._addresses is None:
            self._addresses = (self.transport.getPeer(), self.transport.getHost())
        return self._addresses

    def dataReceived(self, data: bytes) -> None:
        if self._express:
            self._hold(data)
            return
        if self._phase is Phase.IDLE and not self._within:
            # What came after the last request, and is not a line yet, is where this one begins.
            data = self.clearLineBuffer() + data
            limits = self.site.limits
            head = plain(data, limits.max_headers, limits.max_body)
            if head is not None:
                self._serve(head)
                return
        self._leave_direct()
        self._within = True
        try:
            super().dataReceived(data)
        finally:
            self._within = False

    def _serve(self, head: Head) -> None:
        self._begin()
        self.headed = True
        self._line = b"%s %s HTTP/1.1" % (head.method, head.uri)
        self._phase = Phase.ANSWERING
        self._due = None
        self._express = True
        request = ExpressRequest(self, head)
        self.requests.append(request)
        request.process()

    def _hold(self, data: bytes) -> None:
        """Keep what comes too early, and read no more if it is too much."""
        self._ahead += data
        if len(self._ahead) > _AHEAD and not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def send(self, data: bytes) -> None:
        """Send an answer, at the latest when all that has arrived by now has been looked at."""
        if self._direct and self.transport.connected and not self.transport.disconnecting:
            self.site.outbox.put(self, data)
        else:
            self.transport.write(data)

    def send_now(self, data: bytes) -> None:
        """Let the system have an answer, or as much of it as it takes; the transport has the rest."""
        if self._direct and self.transport.connected:
            sent = self.transport.writeSomeData(data)
            if sent == len(data):
                return
            self._direct = False
            if isinstance(sent, int):
                data = data[sent:]
        self.transport.write(data)

    def _leave_direct(self) -> None:
        """From here on answers go through the transport, and perhaps not at once: so none may be left behind."""
        if self._direct:
            self.site.outbox.empty()
            self._direct = False

    def loseConnection(self) -> None:
        self._leave_direct()
        super().loseConnection()

    def requestDone(self, request: Request) -> None:
        if not self._express:
            super().requestDone(request)
            return
        self._express = False
        self.requests.remove(request)
        if self._phase is Phase.ANSWERING:
            self._rest()
        if not self.persistent or (self.idle and self.site.draining):
            self.loseConnection()
            return
        if self._paused:
            self._paused = False
            if not self._choked:
                self.transport.resumeProducing()
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            self.dataReceived(ahead)

    # What the transport says about its buffer; Twisted's channel stops reading while it is full.

    def pauseProducing(self) -> None:
        self._choked = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        self._choked = False
        # Twisted's does not know of the request that is under way, nor that too much came after it.
        super().resumeProducing()
        if self._paused:
            self.transport.pauseProducing()


class Outbox:
    """
    The answers that are about to be sent.

    To send one wakes its client, who may then take the processor away. So when there is much to do, answers are sent
    together when all that has arrived has been looked at; after a moment of quiet, one is sent at once.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[ExpressChannel, bytes]] = []
        self._last = 0.0

    def put(self, channel: ExpressChannel, answer: bytes) -> None:
        """Send an answer, now or in a moment."""
        if self._waiting:
            self._waiting.append((channel, answer))
            return
        reactor = channel.transport.reactor
        now, last = reactor.seconds(), self._last
        self._last = now
        if now - last > QUIET:
            channel.send_now(answer)
        else:
            self._waiting.append((channel, answer))
            reactor.callLater(0, self.empty)

    def empty(self) -> None:
        """Send all that waits."""
        waiting, self._waiting = self._waiting, []
        for channel, answer in waiting:
            channel.send_now(answer)


class ExpressSite(ResourcedSite):
    """A site whose plain requests go the short way."""

    protocol = ExpressChannel

    def __init__(
        self, resource: IResource, clock: IReactorTime, limits: Limits, measure: Callable[[Access], object]
    ) -> None:
        super().__init__(resource, clock, limits, measure)
        self.outbox = Outbox()


def make_express_site(
    resource: IResource,
    clock: IReactorTime,
    limits: Limits | None = None,
    measure: Callable[[Access], object] = lambda _: None,
) -> ResourcedSite:
    """Put the HTTP edge in front of a resource, as ``resourced.site.make_site`` does, and with the short way through it."""
    return ExpressSite(resource, clock, limits or Limits(), measure)
