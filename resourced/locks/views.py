"""What people are shown of the locks. Nothing is shown before it is committed."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTime

from resourced.locks.commits import Commits
from resourced.locks.journal.interface import Journal
from resourced.locks.state.entry_states import UNCLAIMED
from resourced.locks.state.queue import Entry, LockQueue
from resourced.locks.state.requests import Holder, LockCounts, LockState, SelectorState, Waiter
from resourced.locks.state.table import LockTable
from resourced.model import LockKey


class LockViews:
    """Looks at locks without changing anything."""

    def __init__(self, clock: IReactorTime, journal: Journal, table: LockTable, commits: Commits) -> None:
        self._clock = clock
        self._journal = journal
        self._table = table
        self._commits = commits

    async def state(self, key: LockKey, after: int, limit: int) -> LockState:
        """
        Return the holder of a lock, and a page of the tickets that wait for it.

        :param after: the position after which the page begins.
        :raises resourced.errors.StoreUnavailable: it cannot be known at present.
        """
        if self._commits.paused():
            await self._commits.recovered()
        self._table.check(key)
        queue = self._table.queue(key)
        state = LockState(None, 0, []) if queue is None else _state(queue, after, limit, self._clock.seconds())
        await self._commits.all_kept()
        return state

    async def counts(self, resources: Sequence[str]) -> list[LockCounts]:
        """
        Return the counts of each of some resources.

        :raises resourced.errors.StoreUnavailable: they cannot be known at present.
        """
        if self._commits.paused():
            await self._commits.recovered()
        self._journal.check()
        scopes = [self._table.scope(name) for name in resources]
        counts = [LockCounts(scope.held, scope.waiting) for scope in scopes]
        await self._commits.all_kept()
        return counts

    async def selectors(self, resource: str, prefix: str, after: str, limit: int) -> dict[str, SelectorState]:
        """
        Return the selectors of a resource that somebody holds or waits for, in their order, and the state of each.

        :param prefix: what they begin with.
        :param after: after which one to begin.
        :raises resourced.errors.StoreUnavailable: it cannot be known at present.
        """
        if self._commits.paused():
            await self._commits.recovered()
        self._table.territory.check(resource)
        self._journal.check()
        scope = self._table.scope(resource)
        now = self._clock.seconds()
        found: dict[str, SelectorState] = {}
        for selector in scope.selectors.since(max(prefix, after)):
            if not selector.startswith(prefix) or len(found) == limit:
                break
            if selector != after:
                queue = scope.queues[selector]
                holder = None if queue.holder is None else holder_of(queue.holder, now)
                found[selector] = SelectorState(holder, len(queue.waiting))
        await self._commits.all_kept()
        return found


def _state(queue: LockQueue, after: int, limit: int, now: float) -> LockState:
    waiters = [
        Waiter(
            position,
            entry.owner,
            entry.ticket.key_name,
            now - entry.since,
            max(0.0, entry.deadline - now),
            entry.priority,
        )
        for position, entry in enumerate(queue.page(after, after + limit), start=after + 1)
    ]
    return LockState(None if queue.holder is None else holder_of(queue.holder, now), len(queue.waiting), waiters)


def holder_of(entry: Entry, now: float) -> Holder:
    """Return a holder as people see it at a time of the clock of the lock manager."""
    left = max(0.0, (entry.joint or entry).deadline - now)
    return Holder(
        entry.owner,
        entry.ticket.key_name,
        entry.fence,
        now - entry.since,
        left,
        entry.state is not UNCLAIMED,
        entry.priority,
    )
