"""
The fast path through the HTTP edge: for a request that is plain, arrives in one piece, and is alone on its connection.

That is what nearly all requests are. They are read in one pass, and answered by one write that is sent at once. Everything
else, and whatever is in the least doubtful, goes to Twisted's parser as it came: what is taken here has to mean the same there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from io import BytesIO
from types import MappingProxyType
from typing import Any, cast

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.tcp import Connection as TCPConnection
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource

from resourced.forwarded import TrustedProxies
from resourced.http.channel import ANSWERING, IDLE, NOSNIFF, SERVER, Access, Channel, Gate, Limits
from resourced.http.fast.parser import Head, plain
from resourced.http.fast.poller import Poller, can_poll
from resourced.http.site import PHRASES, EdgeRequest, ResourcedSite

#: After how many seconds without an answer the next one is sent at once.
QUIET = 0.00015


@lru_cache(1000)
def _spelled(name: bytes) -> bytes:
    """Spell the name of a header as Twisted does."""
    ((spelled, _),) = Headers({name: [b""]}).getAllRawHeaders()
    return spelled


class ExpressRequest(EdgeRequest):
    """
    A request on the fast path.

    Its answer is put together by hand if it is a usual one: whole, with its length, on a connection that stays.
    """

    channel: ExpressChannel
    site: ExpressSite
    clientproto = b"HTTP/1.1"
    queued = False
    # What a plain request has no use for.
    received_cookies: Mapping[bytes, bytes] = MappingProxyType({})  # type: ignore[assignment]
    cookies: Sequence[bytes] = ()  # type: ignore[assignment]

    def __init__(self, channel: ExpressChannel, head: Head) -> None:
        # Not that of Twisted, which asks the system for both addresses and makes what a plain request has no use for.
        Componentized.__init__(self)
        asked, self.requestHeaders, self._body = head  # type: ignore[assignment]
        _, self.method, self.uri, self.path, self.args, self._said = asked
        self.channel = channel
        self.transport = channel.transport
        self.site = channel.site
        self.client, self.host = channel.addresses
        self.notifications = []
        self.notes = {}
        self._answer_headers: dict[bytes, bytes] = {}

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
        headers = self.__dict__.get("responseHeaders")
        if headers is None:
            headers = self.__dict__["responseHeaders"] = Headers()
            headers.setRawHeaders(b"server", [SERVER])
            headers.setRawHeaders(b"date", [self.site.date()])
            for name, value in self._answer_headers.items():
                headers.setRawHeaders(name, [value])
        return cast(Headers, headers)

    def setHeader(self, name: bytes | str, value: bytes | str) -> None:
        if "responseHeaders" in self.__dict__ or type(name) is not bytes or type(value) is not bytes:
            super().setHeader(name, value)
        else:
            self._answer_headers[_spelled(name)] = value

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        self.code = code
        self.code_message = message or PHRASES[code]

    def isSecure(self) -> bool:
        return False

    def process(self) -> None:
        try:
            if self.admit():
                self.site.front.pass_on(self)
        except BaseException:  # noqa: BLE001 - as Twisted does
            self.processingFailed(Failure())

    def answer(self, body: bytes) -> None:
        headers = self._answer_headers
        if self.code == 204:
            body = b""
        lines = b"".join([b"\r\n%s: %s" % header for header in headers.items()])
        if (
            (b"Content-Length" in headers) == (self.code == 204)
            or self.code == 304
            or self.startedWriting
            or self.site.draining
            or "responseHeaders" in self.__dict__
            # A value that goes on in another line is Twisted's to mend.
            or not lines.count(b"\n") == lines.count(b"\r") == len(headers)
        ):
            super().answer(body)
            return
        self.leave()
        channel, self.channel = self.channel, None  # type: ignore[assignment]
        self.startedWriting = self.finished = 1
        self.sentLength = len(body)
        channel.send(b"%s%s\r\n%s\r\n\r\n%s" % (self.site.opening(self.code, self.code_message), lines, NOSNIFF, body))
        channel.tell(*self._said, self.code, self.sentLength, self.notes)
        channel.requestDone(self)
        notifications, self.notifications = self.notifications, []
        for notification in notifications:
            notification.callback(None)


class ExpressChannel(Channel):
    """
    A connection whose plain requests go the fast path.

    :ivar _express: whether a request is under way on it.
    :ivar _direct: whether nothing was ever left to the transport to be sent later, so that nothing can be overtaken.
    """

    site: ExpressSite
    _express = False
    _direct = False
    _within = False
    #: Of the client, and of the server as it knows it.
    addresses: tuple[IAddress, IAddress]

    def connectionMade(self) -> None:
        self.addresses = (self.transport.getPeer(), self.transport.getHost())
        super().connectionMade()
        # TLS is another class, around this one.
        self._direct = isinstance(self.transport, TCPConnection) and self._phase is IDLE
        poller = self.site.outbox.attend(self.transport.reactor) if self._direct else None
        if poller is not None:
            self.transport.stopReading()
            self.transport.reactor = poller
            self.transport.startReading()

    def getPeer(self) -> IAddress:
        return self.addresses[0]

    def getHost(self) -> IAddress:
        return self.addresses[1]

    def dataReceived(self, data: bytes) -> None:
        if self._phase is ANSWERING or self.full:
            self.hold(data)
            return
        if self._phase is IDLE and not self._within:
            # What came after the last request, and is not a line yet, is where this one begins.
            data = self.clearLineBuffer() + data
            limits = self.site.limits
            head = plain(data, limits.max_headers, limits.max_body)
            # Whoever has no key is refused by Twisted's way, and so in the same words.
            if head is not None and (not head.body or self.gate(head.headers) is None):
                self._serve(head)
                return
        self._leave_direct()
        self._within = True
        try:
            super().dataReceived(data)
        finally:
            self._within = False

    def _serve(self, head: Head) -> None:
        self._began = self.site.reactor.seconds()
        self._line = head.asked.line
        self.headed = True
        self._phase = ANSWERING
        self._due = None
        self._express = True
        if head.body:
            self.keep_body(len(head.body))
        request = ExpressRequest(self, head)
        self.requests.append(request)
        if self.proxied:
            self.find_client(request)
        request.process()

    def send(self, data: bytes) -> None:
        """Send an answer, at the latest when all that has arrived by now has been looked at."""
        if self._direct and self.transport.connected and not self.transport.disconnecting:
            self.site.outbox.put(self, data)
        else:
            self.write(data)

    def send_now(self, data: bytes) -> None:
        """Let the system have an answer, or as much of it as it takes; the transport has the rest."""
        if self._direct and self.transport.connected:
            sent = self.transport.writeSomeData(data)
            if sent == len(data):
                return
            self._direct = False
            if isinstance(sent, int):
                data = data[sent:]
        self.write(data)

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
        if self._phase is ANSWERING:
            self._rest()
        if not self.persistent or (self.idle and self.site.draining):
            self.loseConnection()
            return
        if self._early:
            self._go_on()


class Outbox:
    """
    The answers that are about to be sent.

    To send one wakes its client, who may then take the processor away. So when there is much to do, answers are sent
    together when all that has arrived has been looked at; after a moment of quiet, one is sent at once.
    """

    def __init__(self) -> None:
        self._poller: Poller | None = None
        self._waiting: list[tuple[ExpressChannel, bytes]] = []
        self._last = 0.0

    def attend(self, reactor: Any) -> Poller | None:
        """Return what reads from connections in the place of their reactor, if the system has what that takes."""
        if self._poller is None and can_poll():
            self._poller = Poller(reactor, self.empty)
        return self._poller

    def put(self, channel: ExpressChannel, answer: bytes) -> None:
        """Send an answer, now or in a moment."""
        reactor = channel.transport.reactor
        if self._waiting or (self._poller is not None and self._poller.reading):
            self._waiting.append((channel, answer))
            return
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
    """A site whose plain requests go the fast path."""

    protocol = ExpressChannel

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.outbox = Outbox()
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


def make_express_site(
    resource: IResource,
    clock: IReactorTime,
    limits: Limits | None = None,
    measure: Callable[[Access], object] = lambda _: None,
    gate: Gate = lambda _key, _authorization: None,
    proxies: TrustedProxies | None = None,
    crowded: Callable[[], object] = lambda: None,
) -> ResourcedSite:
    """Put the HTTP edge in front of a resource, as ``resourced.http.site.make_site`` does, and with the fast path through it."""
    return ExpressSite(resource, clock, limits or Limits(), measure, gate, proxies or TrustedProxies(), crowded)
