"""The queues of all locks, by selector and by resource."""

from __future__ import annotations

from resourced.locks.indexes.by_age import ByAge
from resourced.locks.state.joints import Joint
from resourced.locks.state.queue import Entry, LockQueue, Scope
from resourced.model import LockKey


class Queues:
    """
    The queues that somebody is in.

    :ivar by_key: each queue by its lock.
    :ivar scopes: those of each resource, by its name.
    :ivar holders: who holds a lock, by fence: the oldest grant first.
    :ivar waiters: the tickets that wait, for all locks together, by the number of their arrival.
    """

    def __init__(self) -> None:
        self.by_key: dict[LockKey, LockQueue] = {}
        self.scopes: dict[str, Scope] = {}
        self.holders: ByAge[Entry] = ByAge()
        self.waiters: ByAge[Entry | Joint] = ByAge()

    def open(self, key: LockKey, lease: float) -> LockQueue:
        """Make the queue of a lock that has none."""
        scope = self.scopes.get(key.resource)
        if scope is None:
            scope = self.scopes[key.resource] = Scope(lease)
        queue = self.by_key[key] = LockQueue(key, scope)
        scope.open(queue)
        return queue

    def close(self, queue: LockQueue) -> None:
        """Forget a queue."""
        del self.by_key[queue.key]
        queue.scope.close(queue)
        if not queue.scope.queues:
            del self.scopes[queue.key.resource]

    def first_rank(self, key: LockKey) -> int | None:
        """Return the rank of the first who waits for a lock, if anybody does."""
        queue = self.by_key.get(key)
        return None if queue is None else queue.first_rank

    def older(self, key: LockKey, rank: int) -> int:
        """Count who waits for a lock before a rank."""
        queue = self.by_key.get(key)
        return 0 if queue is None else queue.older(rank)
