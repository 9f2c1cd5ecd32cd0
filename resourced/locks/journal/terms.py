"""How a term begins: the store says what it knows, and the numbers that are given out go on from there."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final

from resourced.model import Batch, Loss, Snapshot, Term
from resourced.storage.interface import Store
from resourced.storage.leader_lease import LeaderLease

#: How many fences are reserved at once where grants are not kept one by one.
FENCES: Final = 2**20


class Numbers:
    """
    The highest numbers that were ever given out.

    :ivar seq: of a place or of a joint request.
    :ivar fence: of a grant.
    :ivar event: of an event.
    :ivar reserved: where places are not kept, the highest fence that may be given out before more are reserved.
    """

    __slots__ = ("event", "fence", "reserved", "seq")

    def __init__(self) -> None:
        self.seq = self.fence = self.event = self.reserved = 0

    def go_on_from(self, snapshot: Snapshot) -> None:
        """Give out nothing that the store knows already."""
        self.fence = max(self.fence, snapshot.fence)
        self.seq = max(
            [
                self.seq,
                snapshot.seq,
                *(place.seq for place in snapshot.places),
                *(joint.seq for joint in snapshot.joints),
            ]
        )
        self.event = max(self.event, snapshot.event)

    def reserve(self) -> None:
        """Let the next commit reserve fences."""
        self.reserved = self.fence + FENCES


class Terms:
    """
    Begins terms.

    :param durable: whether places are kept.
    """

    def __init__(self, store: Store, lease: LeaderLease, numbers: Numbers, *, durable: bool) -> None:
        self._store = store
        self._lease = lease
        self._numbers = numbers
        self._durable = durable
        self._epoch = 0

    async def begin(self, over: Term | None, guard: str, check: Callable[[], None]) -> Snapshot:
        """
        Ask the store for a term.

        :param over: the term that is taken over, if it is not this daemon's own that goes on.
        :param check: raises if what the store has said does not count any more.
        :returns: what the store knows; without places, where they are not kept.
        :raises resourced.errors.StoreUnavailable: the store cannot be reached.
        :raises resourced.errors.EpochLost: another daemon is the leader.
        """
        sent = self._lease.now()
        snapshot = await self._store.begin_term(over, guard)
        check()
        self._lease.renew(sent)
        self._numbers.go_on_from(snapshot)
        self._epoch = snapshot.epoch
        if self._durable:
            return snapshot
        self._numbers.reserve()
        # Places of a time in which they were kept must not come back to life some day.
        await self._store.commit(self._without_places(snapshot))
        check()
        return snapshot._replace(places=[], joints=[])

    def goes_on(self, snapshot: Snapshot) -> bool:
        """Give out nothing that the store knows already; return whether it has said so in the present term."""
        if snapshot.epoch == self._epoch:
            self._numbers.go_on_from(snapshot)
        return snapshot.epoch == self._epoch

    def _without_places(self, snapshot: Snapshot) -> Batch:
        # No event tells of these losses, and none has an id below 1; other losses may have.
        lowest = min((loss.event for loss in snapshot.losses), default=1)
        ids = count(min(lowest, 1) - 1, -1)
        return Batch(
            self._numbers.reserved,
            gone=[place.seq for place in snapshot.places],
            joints_gone=[joint.seq for joint in snapshot.joints],
            event=self._numbers.event,
            losses=[Loss(next(ids), place.key, place.ticket, place.key_name) for place in snapshot.places],
        )
