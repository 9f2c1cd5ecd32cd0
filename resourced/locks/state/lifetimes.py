"""When places end by themselves: leases, claim windows and places in the queue that nobody uses."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from twisted.internet.interfaces import IReactorTime

from resourced.errors import StoreUnavailable
from resourced.locks.indexes.deadlines import DeadlineTimers
from resourced.locks.journal.interface import Journal
from resourced.locks.state.limits import Times
from resourced.locks.state.pauses import LONGEST_PAUSE, Pauses
from resourced.locks.state.queue import Entry, Together
from resourced.model import Snapshot

#: What has a deadline: a place, or a request for several things.
Lasting = Entry | Together


class Lifetimes:
    """
    Looks after the deadlines of all places.

    Time is that of the clock that is handed in, and must never run backwards.

    :param predecessor_lease: for how many seconds an earlier daemon may go on telling clients what it knew. Until then no time passes for
        what is taken over from it.
    :param pauses: knows when the process stood still.
    :param expired: is called with a place whose time is over.
    """

    def __init__(
        self,
        clock: IReactorTime,
        journal: Journal,
        *,
        times: Times,
        predecessor_lease: float,
        pauses: Pauses,
        expired: Callable[[Lasting], object],
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._times = times
        self._predecessor_lease = predecessor_lease
        self._pauses = pauses
        self._expired = expired
        self.timers: DeadlineTimers[Lasting] = DeadlineTimers(clock, self._due)
        # The highest place that an earlier daemon may know of, and when it has nothing to tell about it any more.
        self._inherited = 0
        self._alone = 0.0
        # By how much the clock of marks is ahead of the other, once that is known.
        self._ahead = -inf

    def arm(self, entry: Lasting, seconds: float, now: float) -> None:
        """Let a place end in ``seconds`` unless it is used, and with it all units that have one lease with it."""
        entry = entry.joint or entry
        if entry.seq <= self._inherited:
            seconds += max(0.0, self._alone - now)
        entry.deadline = now + seconds
        entry.spared = 0
        self.timers.set(entry, now)

    def drop(self, entry: Lasting) -> None:
        """Let the deadline of a place pass."""
        self.timers.drop(entry)

    def look_again(self, entry: Lasting) -> None:
        """Act on a deadline that came while the place was in use."""
        entry = entry.joint or entry
        if not entry.ended and not entry.in_doubt and self._clock.seconds() >= entry.deadline:
            self._due(entry)

    def inherit(self, snapshot: Snapshot) -> None:
        """Let no time pass for what an earlier daemon may still tell its clients of."""
        self._inherited = max([0, *(place.seq for place in snapshot.places), *(joint.seq for joint in snapshot.joints)])
        now = self._clock.seconds()
        self._alone = now + self._predecessor_lease
        # In the middle of a term the store may know less of it than this daemon has seen pass.
        self._ahead = max(self._ahead, snapshot.passed / 1000 - now)

    def passed(self, now: float) -> int:
        """Tell what the clock of marks shows, in milliseconds; 0 only as long as nothing was read from the store."""
        return 0 if self._ahead == -inf else round((now + self._ahead) * 1000) + 1

    def _due(self, entry: Lasting) -> None:
        """Act on a deadline that may have come, be it that its timer says so or that someone has looked before that could."""
        now = self._clock.seconds()
        if now < entry.deadline:
            self.timers.set(entry, now)
            return
        if entry.in_use:
            # In use: what uses it sets the deadline anew, or looks at it again, when it ends.
            return
        grace = min(self._times.claim, entry.lease)
        try:
            self._journal.check()
        except StoreUnavailable:
            # That it ended could not be kept, and its client could not renew it. Both will do so when the store is back, and
            # the client needs a moment to find that out.
            self.arm(entry, grace, now)
            return
        paused = self._pauses.look()
        # One pause after another must not keep from their turn those who wait: the second time there is only time to read, and no third.
        allowed = (grace, min(grace, LONGEST_PAUSE), 0.0)[min(entry.spared, 2)]
        if paused < allowed:
            # What its client sent before it was due may not have been read yet.
            spared = entry.spared + 1
            self.arm(entry, allowed - paused, now)
            entry.spared = spared
            return
        self._expired(entry)
