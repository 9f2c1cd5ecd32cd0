"""
The HTTP edge below Klein: what all connections share, the drain, and the access log.

Nothing here takes the time of day from the clock that it is given, because the daemon's clock only counts seconds:
``Date`` headers and the time stamps of the log come from the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from io import BytesIO
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import datetimeToString
from twisted.web.resource import IResource
from twisted.web.server import Site

from resourced.forwarded import TrustedProxies
from resourced.http.access_log import SHOWN, AccessLog, AccessRecord, logged
from resourced.http.channel import Channel
from resourced.http.edge import Gate
from resourced.http.flow import Budget
from resourced.http.limits import EdgeLimits
from resourced.http.peers import Peers
from resourced.http.request import EdgeRequest
from resourced.http.routing import RootResource

#: How long the head of a request may still take when a drain begins, in seconds.
LAST_CALL = 1.0

DEFAULT: Final = EdgeLimits()
NO_PROXIES: Final = TrustedProxies()


class ResourcedSite(Site):
    """
    The HTTP edge in front of a resource.

    :param resource: a leaf, such as ``Klein.resource()``.
    :param clock: what all timers run by; its ``seconds`` need not be the time of day.
    :param measure: is told of each request that has ended.
    :param gate: says why the body of a request is not to be read.
    :param proxies: which are believed when they say who their clients are.
    :param crowded: is told of each connection that is refused because its address has too many.
    :param shown: tells whether a request is to be in the access log.
    :ivar seconds: the time of the clock.
    :ivar limits: what clients may ask for.
    :ivar draining: whether it only finishes what has begun.
    :ivar busy: how many requests are being answered, without those that stand aside.
    :ivar waiting: how many requests stand aside.
    :ivar access_log: where each request has a line.
    :ivar peers: how many connections each address has, but for those of trusted proxies.
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
        limits: EdgeLimits = DEFAULT,
        measure: Callable[[AccessRecord], object] = lambda _: None,
        *,
        gate: Gate = lambda _key, _authorization: None,
        proxies: TrustedProxies = NO_PROXIES,
        crowded: Callable[[], object] = lambda: None,
        shown: Callable[[AccessRecord], bool] = SHOWN["all"],
    ) -> None:
        self.front = RootResource(resource)
        self.seconds = clock.seconds
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
        self.access_log = AccessLog(clock, shown)
        self._date = (0, b"")
        self.served: set[Channel] = set()
        self.peers = Peers(limits.peer_connections)
        self._too_many = crowded
        self._refused: set[Channel] = set()
        self._crowded = False
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
        return len(self.served)

    @property
    def overrun(self) -> bool:
        """Whether even refusing has become too much, as it takes a while per connection."""
        return len(self._refused) > max(100, self.limits.connections // 10)

    def joined(self, channel: Channel) -> bool:
        room = len(self.served) < self.limits.connections
        if not room and not self._crowded:
            self._crowded = True
            self._log.warn("There are {connections} connections; more are refused", connections=len(self.served))
        (self.served if room else self._refused).add(channel)
        return room

    def is_crowd(self, channel: Channel) -> bool:
        if channel.proxied or self.peers.join(channel.peer):
            return False
        # It is one of those that are being refused.
        self.served.discard(channel)
        self._refused.add(channel)
        self._too_many()
        return True

    def left(self, channel: Channel) -> None:
        if channel in self.served and not channel.proxied:
            self.peers.leave(channel.peer)
        self.served.discard(channel)
        self._refused.discard(channel)
        if len(self.served) <= self.limits.connections * 9 // 10:
            self._crowded = False
        if self.draining and not self.served and not self._refused:
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
        self.access_log.flush()
        for channel in [*self.served, *self._refused]:
            if channel.idle or channel.closing:
                channel.loseConnection()
        if not self.served and not self._refused:
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
        for channel in [*self.served]:
            if channel.undecided:
                channel.refuse_for_good()

    # The access log.

    def log(self, request: EdgeRequest) -> None:  # type: ignore[override]
        """Log an answer that is complete; Twisted calls this."""
        request.channel.tell(*logged(request.method, request.uri), request.code, request.sentLength, request.notes)

    def access(self, access: AccessRecord) -> None:
        """Count one request, and put it into the access log."""
        self._measure(access)
        self.access_log.add(access, at_once=self.draining)
