"""
The HTTP edge below Klein: what all connections share, the drain, and the access log.

Nothing here takes the time of day from the clock that it is given, because the daemon's clock only counts seconds:
``Date`` headers and the time stamps of the log come from the machine.
"""

from __future__ import annotations

from http import HTTPStatus
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import datetimeToString
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from resourced.channel import SERVER, Access, Channel, Limits, error_body, json_error
from resourced.routing import METHODS, Front

#: How long the head of a request may still take when a drain begins, in seconds.
LAST_CALL = 1.0

__all__ = ["EdgeRequest", "Limits", "ResourcedSite", "error_body", "json_error", "make_site"]


class EdgeRequest(Request):
    """
    A request.

    :ivar notes: what the application wants to have in the access log beside the usual, by field. Keys and tickets
        have no place in it.
    """

    defaultContentType = b"application/json"
    channel: Channel
    content: BytesIO
    site: ResourcedSite

    def __init__(self, channel: Channel, *args: Any, **kwargs: Any) -> None:
        super().__init__(channel, *args, **kwargs)
        self.notes: dict[str, object] = {}
        self._counted = False

    def handleContentChunk(self, data: bytes) -> None:
        # A chunked body says nowhere in advance how long it is.
        if self.channel.closing:
            return
        if self.content.tell() + len(data) > self.channel.site.limits.max_body:
            self.channel.refuse_body()
        else:
            super().handleContentChunk(data)

    def process(self) -> None:
        if self.path == b"*":
            # Twisted would answer it here without asking the resource.
            self.setHeader(b"allow", METHODS)
            self.answer(json_error(self, 405, "method_not_allowed", "The server as a whole has no methods."))
        elif self.path == b"/health":
            # Whoever asks how the server does has to learn it above all when it does badly.
            super().process()
        elif self.channel.site.busy >= self.channel.site.limits.requests:
            # Before it costs anything: the more come, the less there is time for.
            self.setHeader(b"retry-after", b"1")
            self.answer(json_error(self, 503, "overloaded", "The server has too much to do. Try again later."))
        else:
            self._counted = True
            self.channel.site.busy += 1
            super().process()

    def stand_aside(self) -> None:
        """Count as busy no longer: from here on this request waits for others, and costs nothing but memory."""
        if self._counted:
            self._counted = False
            self.site.busy -= 1

    def finish(self) -> None:
        self.stand_aside()
        super().finish()

    def connectionLost(self, reason: Failure) -> None:
        self.stand_aside()
        super().connectionLost(reason)

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        # Twisted has no name for the newer codes, such as 423 and 428.
        super().setResponseCode(code, message or HTTPStatus(code).phrase.encode("ascii"))

    def write(self, data: bytes) -> None:
        if not self.startedWriting and self.channel is not None:
            self.setHeader(b"server", SERVER)
            if not self.responseHeaders.hasHeader(b"date"):
                self.setHeader(b"date", datetimeToString())
            if self.channel.site.draining:
                self.channel.persistent = False
            if not self.channel.persistent:
                self.setHeader(b"connection", b"close")
        super().write(data)

    def answer(self, body: bytes) -> None:
        """Write the whole body, and be done."""
        self.write(body)
        self.finish()

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer 500 for an exception that nobody took, and log it; the client learns nothing about it."""
        self._log.failure("A request could not be answered", failure=reason)
        if self.channel is None or self.finished:
            return reason
        if self.startedWriting:
            # Half an answer has gone out. Only a broken connection can tell the client that it is not a whole one.
            self.channel.transport.abortConnection()
            self.code = 500  # for the log; the client was told something else
            self.finish()
        else:
            self.answer(json_error(self, 500, "internal_error", "Something went wrong in the server."))
        return reason


class ResourcedSite(Site):
    """
    The site.

    :ivar limits: what clients may ask for.
    :ivar draining: whether it only finishes what has begun.
    :ivar busy: how many requests are being answered, without those that stand aside.
    """

    # Twisted's type names the wrapper that it puts around a channel for HTTP/2, which is not spoken here.
    protocol = Channel  # type: ignore[assignment]
    _log = Logger()

    def __init__(self, resource: IResource, clock: IReactorTime, limits: Limits) -> None:
        self._front = Front(resource)
        super().__init__(
            self._front,
            requestFactory=EdgeRequest,
            timeout=None,  # the channel has its own deadlines
            reactor=clock,
            parsePOSTFormSubmission=False,
        )
        self.limits = limits
        self.draining = False
        self.busy = 0
        self._served: set[Channel] = set()
        self._refused: set[Channel] = set()
        self._crowded = False
        # As an attribute of the class it would be named after the class.
        self._access_log = Logger(namespace="resourced.access")
        self._drained: list[Deferred[None]] = []

    def startFactory(self) -> None:
        """Do without Twisted's log file, and without its timer that formats the clock's seconds as a date."""

    def getContentFile(self, length: int | None) -> BytesIO:  # noqa: ARG002
        """Keep every body in memory: it is never larger than the limit."""
        return BytesIO()

    def serve(self, resource: IResource) -> None:
        """Let another leaf answer from here on."""
        self._front.inner = resource

    # Connections.

    @property
    def connections(self) -> int:
        """How many connections are served."""
        return len(self._served)

    @property
    def overrun(self) -> bool:
        """Whether even refusing has become too much, as it takes a while per connection."""
        return len(self._refused) > max(100, self.limits.connections // 10)

    def joined(self, channel: Channel) -> bool:
        room = len(self._served) < self.limits.connections
        if not room and not self._crowded:
            self._crowded = True
            self._log.warn("There are {connections} connections; more are refused", connections=len(self._served))
        (self._served if room else self._refused).add(channel)
        return room

    def left(self, channel: Channel) -> None:
        self._served.discard(channel)
        self._refused.discard(channel)
        if len(self._served) <= self.limits.connections * 9 // 10:
            self._crowded = False
        if self.draining and not self._served and not self._refused:
            while self._drained:
                self._drained.pop().callback(None)

    def drain(self, timeout: float) -> Deferred[None]:
        """
        Close what is idle, let requests under way be answered, and take no new ones.

        The head of a request that has begun may still arrive, within a second.

        :param timeout: seconds.
        :return: fires when no connection is left.
        :raises twisted.internet.defer.TimeoutError: if some are left after ``timeout``; they are left open.
        """
        self.draining = True
        for channel in [*self._served, *self._refused]:
            if channel.idle or channel.closing:
                channel.loseConnection()
        if not self._served and not self._refused:
            return succeed(None)
        done: Deferred[None] = Deferred(self._drained.remove)
        self._drained.append(done)
        last_call = self.reactor.callLater(min(LAST_CALL, timeout), self._last_call)

        def over(result: Failure | None) -> Failure | None:
            if last_call.active():
                last_call.cancel()
            return result

        return done.addTimeout(timeout, self.reactor).addBoth(over)

    def _last_call(self) -> None:
        """Refuse those of whom it is not known yet what they ask for: it may never be."""
        for channel in [*self._served]:
            if not channel.headed and not channel.closing:
                channel.refuse_for_good()

    # The access log.

    def log(self, request: EdgeRequest) -> None:  # type: ignore[override]
        """Log an answer that is complete; Twisted calls this."""
        request.channel.tell(request.method, request.uri, request.code, request.sentLength, request.notes)

    def access(self, access: Access) -> None:
        fields: dict[str, Any] = {
            **{name: printable(value) if isinstance(value, str) else value for name, value in access.notes.items()},
            "method": access.method,
            "uri": printable(access.uri),
            "status": access.status,
            "ms": access.ms,
            "peer": access.peer,
            "bytes": access.length,
        }
        said = "".join(f" {name}={{{name}}}" for name in ("owner", "fence") if name in fields)
        self._access_log.info(f"{{method}} {{uri}} {{status}} {{ms:.1f}} ms{said}", **fields)


def printable(text: str, most: int = 1000) -> str:
    """
    Make a stranger's words safe to look at in a terminal: no control characters, no escapes, no end of line.

    :param most: how many characters to keep.
    """
    if len(text) > most:
        text = text[:most] + "..."
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def make_site(resource: IResource, clock: IReactorTime, limits: Limits | None = None) -> ResourcedSite:
    """
    Put the HTTP edge in front of a resource.

    :param resource: a leaf, such as ``Klein.resource()``.
    :param clock: what all timers run by; its ``seconds`` need not be the time of day.
    """
    return ResourcedSite(resource, clock, limits or Limits())
