"""What all nodes of a cluster do, gathered from the store for the followers of this one, in the order of its ids."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from resourced.deferreds import Shared
from resourced.errors import StoreUnavailable
from resourced.events.feed import Feed
from resourced.model import Event

log = Logger()

#: Seconds between two looks.
PERIOD: Final = 0.5
#: How many events are read at first, and at most. If there are more, followers read them from the store.
FEW, MANY = 64, 4096
#: For how many seconds a follower who has seen more than this node waits for it, at most.
REACH: Final = 5.0


class Trail(Protocol):
    """Where the events of all nodes are."""

    async def newest_event(self) -> int:
        """Return the id of the last event before which none comes any more."""

    async def events_before(self, before: int, limit: int) -> Sequence[Event]:
        """Tell what has happened before an event, the newest first."""


class Gathering:
    """
    Tells a feed what has happened, whichever node did it.

    Each node says in its row up to which id it gives out none any more, each second or so. What is up to the lowest of these is all there, and
    in its order. So an event is told one or two seconds after it has happened. None is told twice or left out, whatever becomes of the nodes.
    """

    def __init__(self, clock: IReactorTime, trail: Trail, feed: Feed) -> None:
        self._clock = clock
        self._trail = trail
        self._feed = feed
        self._begun = False
        self._look = Shared(self._gather)
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._look_again()))
        self._loop.clock = clock

    def start(self) -> None:
        """Begin to look."""
        self._loop.start(PERIOD).addErrback(lambda failure: log.failure("The gathering has a bug.", failure))

    def stop(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()

    async def look(self) -> None:
        """
        Tell all that can be told by now.

        :raises resourced.errors.StoreUnavailable: the store is away.
        """
        await self._look.done()

    async def reach(self, event: int) -> None:
        """
        Wait for an event that another node may have told already.

        :raises resourced.errors.StoreUnavailable: the store is away.
        """
        until = self._clock.seconds() + REACH
        await self.look()
        while self._feed.newest < event and self._clock.seconds() < until:
            await deferLater(self._clock, PERIOD)
            await self.look()

    async def _look_again(self) -> None:
        # If the store is away, others say so. Nothing is missed: the next look goes on from here.
        with suppress(StoreUnavailable):
            await self.look()

    async def _gather(self) -> None:
        newest = await self._trail.newest_event()
        reached = self._feed.newest
        if not self._begun:
            self._begun = True
            self._feed.resumed(newest)
        elif newest > reached:
            limit = FEW
            while limit <= MANY:
                events = await self._trail.events_before(newest + 1, limit)
                new = [event for event in reversed(events) if event.id > reached]
                if len(new) < limit:
                    self._feed.happened(new)
                    return
                limit *= 4
            self._feed.resumed(newest)
