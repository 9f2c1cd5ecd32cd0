"""For how long a daemon may act as the leader, the one writer of a store. Only values; time comes in as a function."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

#: For how many seconds a daemon is the leader after it has sent the last commit that succeeded.
LEADER_LEASE: Final = 5.0

#: By how many seconds longer the leader's row has to stand still before somebody else takes over: no two clocks go alike.
MARGIN: Final = 2.0


class LeaderLease:
    """
    How long a daemon may act as the leader without asking.

    Only a commit that changes the leader's own row renews it. It counts from when the commit was *sent*, as no other daemon can have seen the
    change before. Another daemon waits longer than this lease before it takes over. That something can be read, or that a connection still
    has a lock, says nothing: another server of a cluster may know better.

    :param now: a clock in seconds that nobody sets, and that goes on while the machine sleeps.
    :param seconds: how long it lasts.
    """

    def __init__(self, now: Callable[[], float], seconds: float = inf) -> None:
        self.now = now
        self._seconds = seconds
        self._renewed = -inf
        # One that has no end needs no commit.
        self._until = seconds if seconds == inf else -inf

    @property
    def age(self) -> float:
        """How many seconds ago the last commit was sent that renewed it."""
        return self.now() - self._renewed

    def held(self) -> bool:
        """Tell whether this daemon may act as the leader now."""
        now = self.now
        return now() <= self._until

    def renew(self, sent: float) -> None:
        """Take note of a commit that has succeeded, by when it was sent."""
        self._renewed = max(self._renewed, sent)
        self._until = self._renewed + self._seconds
