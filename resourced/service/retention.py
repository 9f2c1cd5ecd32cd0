"""
How long events are kept: by how much time a daemon saw pass, never by what a clock on the wall says.

A mark says now and then which event was the newest at a time. The time is that of a clock of the store's own, which nobody can set. It
follows the monotonic clock of the daemon that serves the store, and the next daemon goes on from the last mark.
While none runs it stands still. So an event is forgotten later than one might think, and never earlier.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from math import ceil, floor

from twisted.internet.interfaces import IReactorTime

from resourced.model import Mark, Weight
from resourced.storage.interface import Store

#: How many marks there are within the time that events are kept: by a part of it as large they may be kept longer.
MARKS = 100
#: How many events are weighed at once, and forgotten together if they are too many: at most this part of those that are kept.
WEIGHED, PART = 1000, 20
#: More than the id of any event.
HIGHEST = 2**63


class Retention:
    """
    Three chores: to mark how far things have come, to forget what is old, and to forget what is too much.

    :param clock: seconds that nobody sets.
    :param keep: for how many seconds events are kept.
    :param most: how many events are kept.
    :param most_bytes: how many bytes they may take; many more than ``WEIGHED`` events do.
    :param counted: tells up to which event their use is counted; those after it are kept until it is.
    """

    def __init__(
        self,
        clock: IReactorTime,
        store: Store,
        keep: float,
        most: int,
        most_bytes: int,
        counted: Callable[[], int] = lambda: HIGHEST,
    ) -> None:
        self._clock = clock
        self._store = store
        self._keep = keep * 1000
        self._most = most
        self._most_bytes = most_bytes
        self._counted = counted
        self._together = min(WEIGHED, max(1, most // PART))
        self.begin_anew()

    def begin_anew(self) -> None:
        """Learn everything from the store once more: another daemon has done this meanwhile."""
        # What all events take, as far as they have been weighed, the oldest first; and the sums of it.
        self._weights: deque[Weight] = deque()
        self._events = self._size = 0
        # Up to which event there are too many, and up to which they have been forgotten.
        self._beyond = 0
        # In the order of their times. The last one moves on until it is far enough from the one before.
        self._marks: list[Mark] = []
        # What the clock of marks showed when this daemon began to count, in milliseconds, and when that was in seconds.
        self._begun: tuple[int, float] | None = None
        self._forgotten = 0

    @property
    def kept(self) -> Weight:
        """What the events take that are kept, as far as they have been weighed."""
        return Weight(self._weights[-1].last if self._weights else 0, self._events, self._size)

    async def mark(self) -> bool:
        """Mark up to which event everything has happened by now."""
        if self._begun is None:
            self._marks = await self._store.marks()
            # Only now: the last mark may be of this moment, but of no later one.
            self._begun = (self._marks[-1].passed if self._marks else 0, self._clock.seconds())
        newest = await self._store.newest_event()
        # Only now, for the same reason.
        passed = ceil(self._passed())
        marks = self._marks
        if len(marks) > 1 and marks[-1].passed - marks[-2].passed < self._keep / MARKS:
            marks.pop()
        last = marks[-1].passed if marks else -1
        if passed > last:
            first = marks[0].passed if marks else passed
            marks.append(Mark(passed, newest))
            await self._store.mark(marks[-1], first, last)
        return False

    async def forget(self) -> bool:
        """Forget some of the events that are old enough, and of what was lost by then; tell whether there may be more of them."""
        if self._begun is None:
            return False
        old = bisect_right(self._marks, floor(self._passed() - self._keep), key=lambda mark: mark.passed)
        last = min(self._marks[old - 1].event, self._counted()) if old else 0
        if last <= self._forgotten:
            return False
        if await self._store.forget_events(last) or await self._store.forget_losses(last):
            return True
        self._forgotten = last
        del self._marks[: old - 1]
        return False

    async def forget_beyond(self) -> bool:
        """
        Forget some of the oldest events if there are too many; tell whether there may be more of them.

        Not what was lost then: there is never too much of that, and its clients are still to be told.
        """
        while self._weights and self._weights[0].last <= self._forgotten:
            self._drop_oldest()
        more = await self.weigh()
        while self._events > self._most or self._size > self._most_bytes:
            self._beyond = self._drop_oldest()
        last = min(self._beyond, self._counted())
        if last and await self._store.forget_events(last):
            return True
        if last == self._beyond:
            self._beyond = 0
        return more

    async def weigh(self) -> bool:
        """Weigh some of the events that have come since; tell whether there may be more of them."""
        newest = await self._store.weigh_events(self.kept.last, self._together)
        self._events += newest.events
        self._size += newest.size
        if not newest.events:
            return False
        if self._weights and self._weights[-1].events + newest.events <= self._together:
            before = self._weights.pop()
            newest = Weight(newest.last, before.events + newest.events, before.size + newest.size)
        self._weights.append(newest)
        return newest.events == self._together

    def _drop_oldest(self) -> int:
        """Count the oldest events no more; return the id of the last of them."""
        oldest = self._weights.popleft()
        self._events -= oldest.events
        self._size -= oldest.size
        return oldest.last

    def _passed(self) -> float:
        """Tell what the clock of marks shows, in milliseconds."""
        begun, when = self._begun or (0, self._clock.seconds())
        return begun + (self._clock.seconds() - when) * 1000
