"""The cards of units: how they are shown, and how they are changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred

from resourced.deferreds import shielded
from resourced.errors import CardNotFound
from resourced.locks.commits import Commits
from resourced.locks.journal.interface import Journal
from resourced.locks.state.requests import PoolCounts
from resourced.locks.state.table import LockTable
from resourced.model import Breaker, LockKey
from resourced.wants import Card


class CardChange(NamedTuple):
    """
    What is to become of a card; nothing leaves what is there.

    :ivar out: a reason, or an empty one to bring the unit back.
    """

    tags: frozenset[str] | None = None
    note: str | None = None
    out: str | None = None


class UnitCards:
    """Changes cards. Nothing is told before it is committed."""

    def __init__(self, journal: Journal, table: LockTable, commits: Commits) -> None:
        self._journal = journal
        self._table = table
        self._commits = commits

    def change(self, key: LockKey, change: CardChange, who: Breaker) -> Deferred[Card]:
        """
        Change the card of a selector, or give it one; once begun it goes on to its end.

        :param who: who does it.
        :raises resourced.errors.Overloaded: the resource has as many units as it may have.
        :raises resourced.errors.StoreUnavailable: it is not known whether it was changed.
        """
        return shielded(self._change(key, change, who))

    def remove(self, key: LockKey, who: Breaker) -> Deferred[None]:
        """
        Take the card of a selector away: it is no unit any more. A holder stays.

        :raises resourced.errors.CardNotFound: it has none.
        :raises resourced.errors.StoreUnavailable: it is not known whether it was taken away.
        """
        return shielded(self._remove(key, who))

    def check_slots(self, resource: str, slots: int) -> None:
        """
        Return if a resource may have the units ``1`` to ``slots`` beside those that it has.

        :raises resourced.errors.Overloaded: it would have too many.
        """
        self._table.joints.check_slots(resource, slots)

    def set_slots(self, resource: str, before: int, after: int, who: Breaker) -> Deferred[None]:
        """
        Let a resource have the units ``1`` to ``after``; once begun it goes on to its end.

        One that is held and has to go is out of service until it is free.

        :param before: how many there were to be before.
        :raises resourced.errors.StoreUnavailable: it is not known whether it was done.
        """
        return shielded(self._set_slots(resource, before, after, who))

    async def list(self, resource: str, prefix: str, after: str, limit: int) -> dict[str, Card]:
        """
        Return the selectors of a resource that have cards, in their order.

        :param prefix: what they begin with.
        :param after: after which one to begin.
        :raises resourced.errors.StoreUnavailable: they cannot be known at present.
        """
        await self._ready(resource)
        cards = self._table.places.units.cards
        found: dict[str, Card] = {}
        for selector in cards.since(resource, max(prefix, after)):
            if not selector.startswith(prefix) or len(found) == limit:
                break
            if selector != after:
                found[selector] = cards.get(LockKey(resource, selector)) or Card()
        await self._commits.all_kept()
        return found

    async def get(self, key: LockKey) -> Card | None:
        """
        Return the card of a selector, if it has one.

        :raises resourced.errors.StoreUnavailable: it cannot be known at present.
        """
        await self._ready(key.resource)
        card = self._table.places.units.cards.get(key)
        await self._commits.all_kept()
        return card

    async def counts(self, resources: Sequence[str]) -> Sequence[PoolCounts]:
        """
        Count the units of each of some resources.

        :raises resourced.errors.StoreUnavailable: they cannot be known at present.
        """
        await self._ready()
        cards = self._table.places.units.cards
        counts = [PoolCounts(cards.count(name), cards.count_out(name)) for name in resources]
        await self._commits.all_kept()
        return counts

    async def _change(self, key: LockKey, change: CardChange, who: Breaker) -> Card:
        await self._ready(key.resource)
        joints = self._table.joints
        card = self._table.places.units.cards.get(key) or Card()
        if change.tags is not None:
            card = card._replace(tags=change.tags)
        if change.note is not None:
            card = card._replace(note=change.note)
        if change.out is not None:
            card = joints.taken_out(card, change.out or None)
        await self._commits.kept(joints.put_card(key, card, who))
        return card

    async def _remove(self, key: LockKey, who: Breaker) -> None:
        await self._ready(key.resource)
        if self._table.places.units.cards.get(key) is None:
            await self._commits.all_kept()
            raise CardNotFound("This selector has no card.")
        await self._commits.kept(self._table.joints.put_card(key, None, who))

    async def _set_slots(self, resource: str, before: int, after: int, who: Breaker) -> None:
        await self._ready(resource)
        await self._commits.kept(self._table.joints.set_slots(resource, before, after, who))

    async def _ready(self, resource: str = "") -> None:
        if self._commits.paused():
            await self._commits.recovered()
        if resource:
            self._table.territory.check(resource)
        self._journal.check()
