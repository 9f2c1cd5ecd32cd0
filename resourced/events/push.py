"""Answers that go on: what is written to a client as it happens, as fast as the client takes it, until either side ends it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

from resourced.deferreds import waiter_in, wake
from resourced.errors import Overloaded
from resourced.quotas import Quotas, Tenant

#: After how many seconds something is said when there is nothing to say, so that proxies and dead connections are kept from believing
#: that there is nobody.
BEAT = 14.0


@implementer(IPushProducer)
class Stream:
    """
    An answer that is under way.

    :param beat: what to write from time to time; called again each time.
    """

    def __init__(self, request: Request, clock: IReactorTime, beat: Callable[[], bytes]) -> None:
        self._request = request
        self._clock = clock
        self._beat = beat
        self._full = False
        self._waiters: list[Deferred[None]] = []
        self._timer: IDelayedCall = clock.callLater(BEAT, self._say)
        request.registerProducer(self, True)

    async def room(self) -> None:
        """Wait until there is room to write."""
        while self._full:
            await waiter_in(self._waiters)

    def write(self, data: bytes) -> None:
        """Write; there should be room."""
        if data:
            self._request.write(data)

    def close(self) -> None:
        """Write nothing any more."""
        self._timer.cancel()
        if self._request.channel is not None:
            self._request.unregisterProducer()

    def _say(self) -> None:
        self._timer = self._clock.callLater(BEAT, self._say)
        said = self._beat()
        if not self._full:
            self.write(said)

    def pauseProducing(self) -> None:
        self._full = True

    def resumeProducing(self) -> None:
        self._full = False
        wake(self._waiters)

    def stopProducing(self) -> None:
        """The connection is gone; whoever writes is told so by other means."""


class Streams:
    """
    All streams of the daemon.

    :param most: how many there may be.
    :param quotas: how many each key name may have.
    """

    def __init__(self, most: int, quotas: Quotas | None = None) -> None:
        self._most = most
        self._quotas = quotas or Quotas()
        self._running: set[Deferred[None]] = set()
        self._closed = False

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._running)

    def check(self, tenant: Tenant) -> None:
        """
        Return if there may be one more.

        :raises resourced.errors.Overloaded: there may not.
        :raises resourced.errors.QuotaExceeded: a key has as many as it may have.
        """
        if self._closed or len(self._running) >= self._most:
            raise Overloaded("There are too many streams. Try again later.")
        self._quotas.check_stream(tenant)

    async def run(self, tenant: Tenant, work: Coroutine[Any, Any, None]) -> None:
        """Do the work of a stream, until it ends, its client goes away, or the daemon stops."""
        running = Deferred.fromCoroutine(work)
        self._running.add(running)
        tenant.streams += 1
        try:
            await running
        except CancelledError:
            if not self._closed:
                raise
        finally:
            self._running.discard(running)
            tenant.streams -= 1

    def close(self) -> None:
        """End all of them, and let nobody begin another."""
        self._closed = True
        for running in list(self._running):
            running.cancel()
