"""When a request may be answered: decisions are possible, and what it is told of has been committed."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from resourced.errors import StoreUnavailable
from resourced.locks.journal.interface import Journal
from resourced.locks.state.pauses import LONGEST_PAUSE, Pauses

#: How often to check after a pause whether decisions are possible again, in seconds.
MOMENT = 0.02


class Commits:
    """
    Lets requests wait for the journal.

    :param pauses: knows when the process stood still.
    :ivar closing: whether no request may wait any more.
    """

    def __init__(self, clock: IReactorTime, journal: Journal, pauses: Pauses) -> None:
        self.closing = False
        self._clock = clock
        self._journal = journal
        self._pauses = pauses

    def paused(self) -> bool:
        """Tell whether the process stood still a short while ago, so that ``recovered`` has to be awaited first."""
        return self._pauses.look() < LONGEST_PAUSE

    async def recovered(self) -> None:
        """Wait for a short while after a pause until the journal is certain again that no other daemon decides."""
        while self.paused() and not (self.closing or self._journal.deposed):
            try:
                self._journal.check()
            except StoreUnavailable:
                await deferLater(self._clock, MOMENT)
            else:
                return

    async def kept(self, group: int) -> None:
        """Wait until a group of the journal is committed."""
        if group > self._journal.done:
            await self._journal.committed(group)

    async def all_kept(self) -> None:
        """Wait until everything decided so far is committed, and it is certain that no other daemon has decided since."""
        await self.kept(self._journal.newest)
        await self._journal.confirm_leader()
