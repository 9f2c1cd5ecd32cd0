"""How a node of a cluster comes to decide about locks, and how it leaves some of them to others."""

from __future__ import annotations

from collections.abc import Collection

from resourced.locks.commits import Commits
from resourced.locks.journal.interface import Journal
from resourced.locks.state.table import LockTable
from resourced.model import Snapshot


class Shares:
    """The partitions of this daemon."""

    def __init__(self, journal: Journal, table: LockTable, commits: Commits) -> None:
        self._journal = journal
        self._territory = table.territory
        self._restoration = table.restoration
        self._record = table.places.record
        self._commits = commits

    @property
    def owned(self) -> Collection[int]:
        """The partitions that are decided about here, unless it is all."""
        return self._territory.owned

    def adopt(self, snapshot: Snapshot) -> bool:
        """
        Decide about more partitions, of which the store knows this.

        :returns: whether it was read in the present term; if not, what the store says of that has them.
        :raises resourced.errors.StoreUnavailable: nothing can be decided at present.
        """
        # A term that has begun meanwhile may have brought them already.
        known = (snapshot.partitions or frozenset()).intersection(self._territory.owned)
        adopted = not known and self._journal.goes_on(snapshot)
        if adopted:
            self._restoration.adopt(snapshot)
        return adopted

    async def suspend(self, partitions: Collection[int]) -> None:
        """
        Decide nothing more about some partitions; return when all that was decided is committed.

        :raises resourced.errors.StoreUnavailable: it is not known whether it was.
        """
        self._journal.check()
        self._restoration.suspend(partitions)
        await self._commits.kept(self._journal.newest)

    def abandon(self, partitions: Collection[int]) -> None:
        """Forget some partitions, which were suspended and have been left to others."""
        self._restoration.abandon(partitions)

    def tidy(self) -> None:
        """Forget resources that were learned and of which nothing is known, if there are many."""
        self._territory.tidy(self._restoration.known)

    def keep_up(self, event: int, node: int) -> None:
        """Give no event an id that is not higher than one that another node has given out."""
        self._record.keep_up(event, node)

    @property
    def settled_event(self) -> int:
        """No event gets an id from now on that is not higher, and all others are committed; 0 while some are not."""
        return self._record.newest_event if self._journal.newest <= self._journal.done else 0
