"""
The HTTP edge below Klein: what all connections share, the drain, and the access log.

Nothing here takes the time of day from the clock that it is given, because the daemon's clock only counts seconds:
``Date`` headers and the time stamps of the log come from the machine.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
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

from resourced.forwarded import TrustedProxies
from resourced.http.channel import NOSNIFF, SERVER, Access, Channel, Gate, Limits, error_body, json_error, logged
from resourced.http.flow import Budget
from resourced.http.routing import METHODS, Front

#: How long the head of a request may still take when a drain begins, in seconds.
LAST_CALL = 1.0

__all__ = ["EdgeRequest", "Limits", "ResourcedSite", "error_body", "json_error", "make_site"]

#: Twisted has no name for the newer codes, such as 423 and 428.
PHRASES: Mapping[int, bytes] = {int(status): status.phrase.encode("ascii") for status in HTTPStatus}

#: The statuses of requests that a firewall may want to know the sender of: no key that may do this, or too many requests.
REFUSED = frozenset({401, 403, 429})

_NOSNIFF = tuple(NOSNIFF.split(b": "))

#: How many lines of the access log are written one by one within a second, and for how long those beyond are gathered.
SINGLE, GATHER = 200, 0.1


class EdgeRequest(Request):
    """
    A request.

    :ivar notes: what the application wants to have in the access log beside the usual, by field. Keys and tickets
        have no place in it.
    :ivar abandoned: called if the client hangs up before it is answered.
    """

    defaultContentType = b"application/json"
    channel: Channel
    content: BytesIO
    site: ResourcedSite
    abandoned: Callable[[], object] | None = None
    _busy = _waiting = False

    def __init__(self, channel: Channel, *args: Any, **kwargs: Any) -> None:
        super().__init__(channel, *args, **kwargs)
        self.notes: dict[str, object] = {}

    def handleContentChunk(self, data: bytes) -> None:
        if self.channel.closing:
            return
        if self.channel.admit_chunk(len(data)):
            super().handleContentChunk(data)

    def process(self) -> None:
        if self.path == b"*":
            # Twisted would answer it here without asking the resource.
            self.setHeader(b"allow", METHODS)
            self.answer(json_error(self, 405, "method_not_allowed", "The server as a whole has no methods."))
        elif self.admit():
            super().process()

    def admit(self) -> bool:
        """Count as busy, or answer that the server is too busy already."""
        site = self.channel.site
        if self.path in {b"/health", b"/metrics"}:
            # Whoever asks how the server does has to learn it above all when it does badly.
            return True
        if site.busy >= site.limits.requests or not site.budget.has_room(0):
            # Before it costs anything: the more come, the less there is time for.
            self.setHeader(b"retry-after", b"1")
            self.answer(json_error(self, 503, "overloaded", "The server has too much to do. Try again later."))
            return False
        self._busy = True
        site.busy += 1
        return True

    def stand_aside(self) -> None:
        """Count as busy no longer: from here on this request waits for others, and costs nothing but memory."""
        if self._busy:
            self._busy = False
            self.site.busy -= 1
            self._waiting = True
            self.site.waiting += 1

    def leave(self) -> None:
        """Count neither as busy nor as waiting: it is over."""
        if self._busy:
            self._busy = False
            self.site.busy -= 1
        elif self._waiting:
            self._waiting = False
            self.site.waiting -= 1

    def finish(self) -> None:
        self.leave()
        super().finish()

    def connectionLost(self, reason: Failure) -> None:
        self.leave()
        super().connectionLost(reason)
        abandoned, self.abandoned = self.abandoned, None
        if abandoned is not None:
            abandoned()

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        super().setResponseCode(code, message or PHRASES[code])

    def write(self, data: bytes) -> None:
        if not self.startedWriting and self.channel is not None:
            self.setHeader(b"server", SERVER)
            self.setHeader(*_NOSNIFF)
            if not self.responseHeaders.hasHeader(b"date"):
                self.setHeader(b"date", self.channel.site.date())
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

    :ivar shown: tells whether a request is to be in the access log.
    :ivar limits: what clients may ask for.
    :ivar draining: whether it only finishes what has begun.
    :ivar busy: how many requests are being answered, without those that stand aside.
    :ivar waiting: how many requests stand aside.
    :ivar budget: of the memory that bodies and answers take.
    """

    # Twisted would log the address of this object in memory.
    noisy = False
    # Twisted's type names the wrapper that it puts around a channel for HTTP/2, which is not spoken here.
    protocol = Channel  # type: ignore[assignment]
    _log = Logger()

    def __init__(
        self,
        resource: IResource,
        clock: IReactorTime,
        limits: Limits,
        measure: Callable[[Access], object],
        gate: Gate,
        proxies: TrustedProxies,
        crowded: Callable[[], object],
    ) -> None:
        self.front = Front(resource)
        super().__init__(
            self.front,
            requestFactory=EdgeRequest,
            timeout=None,  # the channel has its own deadlines
            reactor=clock,
            parsePOSTFormSubmission=False,
        )
        self.limits = limits
        self.draining = False
        self.busy = 0
        self.waiting = 0
        self.budget = Budget(limits.buffered)
        self.gate = gate
        self.proxies = proxies
        self._measure = measure
        self.shown = SHOWN["all"]
        self._date = (0, b"")
        self._served: set[Channel] = set()
        # How many of them each address has.
        self._peers: Counter[str] = Counter()
        self._too_many = crowded
        self._refused: set[Channel] = set()
        self._crowded = False
        # As an attribute of the class it would be named after the class.
        self._access_log = Logger(namespace="resourced.access")
        # Since when lines of the log are counted, how many there were, and those that wait.
        self._window = 0.0
        self._lines = 0
        self._told: list[Access] = []
        self._drained: list[Deferred[None]] = []

    def logPrefix(self) -> str:
        """Return what Twisted calls this in its line about the port."""
        return "HTTP"

    def startFactory(self) -> None:
        """Do without Twisted's log file, and without its timer that formats the clock's seconds as a date."""

    def getContentFile(self, length: int | None) -> BytesIO:  # noqa: ARG002
        """Keep every body in memory: it is never larger than the limit."""
        return BytesIO()

    def serve(self, resource: IResource) -> None:
        """Let another leaf answer from here on."""
        self.front.inner = resource

    def date(self) -> bytes:
        """Return the time of day for ``Date``, which is told by the second."""
        now = int(time.time())
        if self._date[0] != now:
            self._date = (now, datetimeToString(now))
        return self._date[1]

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
        if room:
            self._peers[channel.peer] += 1
        return room

    def is_crowd(self, channel: Channel) -> bool:
        if channel.proxied or self._peers[channel.peer] <= self.limits.peer_connections:
            return False
        # It is one of those that are being refused.
        self._refuse(channel)
        self._too_many()
        return True

    def _refuse(self, channel: Channel) -> None:
        self._served.discard(channel)
        self._refused.add(channel)
        self._leave_peer(channel)

    def _leave_peer(self, channel: Channel) -> None:
        self._peers[channel.peer] -= 1
        if not self._peers[channel.peer]:
            del self._peers[channel.peer]

    def left(self, channel: Channel) -> None:
        if channel in self._served:
            self._leave_peer(channel)
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
        self._tell_all()
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
        request.channel.tell(*logged(request.method, request.uri), request.code, request.sentLength, request.notes)

    def access(self, access: Access) -> None:
        """
        Count one request, and put it into the access log; or, when there are many, many at once: to write a line costs more
        than to answer.

        A line waits for at most ``GATHER`` seconds.
        """
        self._measure(access)
        if not self.shown(access):
            return
        now = self.reactor.seconds()
        if now - self._window >= 1:
            self._window, self._lines = now, 0
        self._lines += 1
        if self._told:
            self._told.append(access)
        elif self._lines <= SINGLE or self.draining:
            self._tell_one(access)
        else:
            self._told.append(access)
            self.reactor.callLater(GATHER, self._tell_all)

    def _tell_one(self, access: Access) -> None:
        self._access_log.info("{said}", said=_said(access), **_fields(access))

    def _tell_all(self) -> None:
        told, self._told = self._told, []
        if told:
            # Whoever wants more than the lines can have it: to make all of it would be most of the work.
            lines = "\n".join([_said(access) for access in told])
            self._access_log.info("{lines}", lines=lines, requests=lambda: map(_fields, told))


def _said(access: Access) -> str:
    """Write the line about a request."""
    notes = access.notes
    line = f"{access.method} {printable(access.uri)} {access.status} {access.ms:.1f} ms"
    if "owner" in notes:
        line += f" owner={printable(str(notes['owner']))}"
    if "fence" in notes:
        line += f" fence={notes['fence']}"
    if access.status in REFUSED:
        line += f" peer={printable(access.peer)}"
    return line


def _fields(access: Access) -> dict[str, Any]:
    """Return all that is known of a request, by field."""
    return {
        **{name: printable(value) if isinstance(value, str) else value for name, value in access.notes.items()},
        "method": access.method,
        "uri": printable(access.uri),
        "status": access.status,
        "ms": access.ms,
        "peer": access.peer,
        "bytes": access.length,
    }


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


def _is_news(access: Access) -> bool:
    """Tell whether a request is more than that of a monitor which finds everything well."""
    return access.status >= 400 or access.uri.partition("?")[0] not in {"/health", "/metrics"}


#: Which requests are in the access log, by the setting of it.
SHOWN: Mapping[str, Callable[[Access], bool]] = {
    "all": lambda _: True,
    "quiet": _is_news,
    "none": lambda _: False,
}


def make_site(
    resource: IResource,
    clock: IReactorTime,
    limits: Limits | None = None,
    measure: Callable[[Access], object] = lambda _: None,
    gate: Gate = lambda _key, _authorization: None,
    proxies: TrustedProxies | None = None,
    crowded: Callable[[], object] = lambda: None,
) -> ResourcedSite:
    """
    Put the HTTP edge in front of a resource.

    :param resource: a leaf, such as ``Klein.resource()``.
    :param clock: what all timers run by; its ``seconds`` need not be the time of day.
    :param measure: is told of each request that has ended.
    :param gate: says why the body of a request is not to be read.
    :param crowded: is told of each connection that is refused because its address has too many.
    :param proxies: which are believed when they say who their clients are.
    """
    return ResourcedSite(resource, clock, limits or Limits(), measure, gate, proxies or TrustedProxies(), crowded)
