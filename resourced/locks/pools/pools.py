"""
The pools: which units there are, who waits for several at once, and who gets them when.

It decides only about who waits and what is free, and knows neither time, nor store, nor network. Requests by name stay in their queues; they
take part for the units of pools, and for what a waiting request names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import count

from resourced.errors import Overloaded
from resourced.locks.pools.exchanges import fill
from resourced.locks.pools.feasibility import could_have
from resourced.locks.pools.matching import (
    BY_NAME,
    Filter,
    Need,
    PoolRequest,
    Rank,
    Unit,
    lose,
)
from resourced.locks.pools.offers import Offers, PoolGrant
from resourced.locks.pools.pool import Pool
from resourced.locks.pools.positions import Positions
from resourced.model import LockKey
from resourced.wants import ALL, Card, Want


class Pools:
    """
    Every pool, and every request that waits for several things at once.

    An operation returns what is granted by it. The caller grants it before the next operation, and then calls ``forget`` for what is
    granted to the first who waits by name.

    :param first_by_name: tells the rank of the first who waits for a lock by name; nothing if nobody does.
    :param older_by_name: counts who waits for a lock by name before a rank.
    :param held: whether somebody holds a lock, or it cannot be granted at present.
    :ivar units: by their keys: all that have a card, and what waiting requests name.
    """

    def __init__(
        self,
        first_by_name: Callable[[LockKey], Rank | None],
        older_by_name: Callable[[LockKey, Rank], int],
        held: Callable[[LockKey], bool],
    ) -> None:
        self.units: dict[LockKey, Unit] = {}
        self._first_by_name = first_by_name
        self._older_by_name = older_by_name
        self._held = held
        self._pools: dict[str, Pool] = {}
        self._freed = count(1)
        self._offers = Offers(first_by_name)
        self._positions = Positions()

    # -- Units

    def put_card(self, key: LockKey, card: Card | None) -> list[PoolGrant]:
        """Let a selector have a card that is new or changed; or none, so that it is no unit any more."""
        unit = self.units.get(key)
        if unit is None:
            if card is None:
                return []
            unit = self._add(key)
        pool = self._pools[key.resource]
        was_free = unit.free
        need = lose(unit) if unit.free and unit.in_service else None
        before = list(unit.filters)
        for filter_ in before:
            filter_.exclude(unit)
        pool.tag(unit, None if card is None else card.tags)
        unit.in_service = card is None or card.out is None
        unit.free = False
        pool.version += 1
        for filter_ in (*pool.filters.values(), *pool.named.values()):
            if filter_.matches(unit):
                filter_.include(unit)
        if need is not None:
            fill(need, [])
        unit.set_free(was_free)
        granted = self._offers.offer(unit)
        for filter_ in before:
            granted += self._offers.shrunk(filter_)
        self._tidy(unit)
        return self._done(granted)

    def freed(self, key: LockKey) -> list[PoolGrant]:
        """
        Let a unit be free that was held.

        Of several that fall free in one step each is offered before the next one is free. Else a request for which nothing is kept would
        take what somebody older waits for.
        """
        unit = self.units[key]
        unit.set_free(True)
        unit.freed = next(self._freed)
        granted = self._offers.offer(unit)
        self._tidy(unit)
        return self._done(granted)

    def take(self, key: LockKey) -> None:
        """Let a unit be held, whoever it was kept for: somebody has it, or nothing may be decided about it."""
        unit = self.units[key]
        if unit.free:
            need = lose(unit) if unit.in_service else None
            unit.set_free(False)
            if need is not None:
                fill(need, [])
        self._tidy(unit)

    def ask(self, key: LockKey, rank: Rank) -> bool:
        """
        Let a request by name have a unit if it is its turn.

        :param rank: of a request that does not wait there yet, and comes last but for those of a lower priority.
        """
        unit = self.units[key]
        if not unit.free or not unit.in_service:
            return False
        if unit.need is not None:
            filter_ = self._pools[key.resource].by_name(key.selector)
            need = Need((rank, BY_NAME), filter_, 1, None)
            has = fill(need, [])
            if has:
                lose(unit)
            filter_.lacking.pop(need.order, None)
            if not has:
                return False
        else:
            lose(unit)
        unit.set_free(False)
        self._tidy(unit)
        return True

    def wait(self, key: LockKey) -> None:
        """Let the unit be considered for those who wait for it by name, from now on."""
        self._pools[key.resource].by_name(key.selector)

    def forget(self, key: LockKey) -> None:
        """Forget that somebody waited for a unit by name, if nobody does."""
        self._tidy(self.units[key])

    # -- Requests

    def could_have(self, wants: Sequence[Want], without: Collection[LockKey] = ()) -> tuple[int, int]:
        """
        Return how many units some wants ask for, and how many of those they could have at most, out of service or not.

        :param without: units that they cannot have, unless they want them by name.
        """
        asked = had = 0
        named = {LockKey(want.resource, want.selector) for want in wants}
        for resource in {want.resource for want in wants}:
            pool = self._pools.get(resource) or Pool(resource)
            missing = [pool.tags_of(key.selector) for key in without if key.resource == resource and key not in named]
            tagged = pool.tagged - Counter(tags for tags in missing if tags is not None)
            some = could_have([want for want in wants if want.resource == resource], tagged, pool.tags_of)
            asked, had = asked + some[0], had + some[1]
        return asked, had

    def matching(self, want: Want) -> int:
        """Count the units that match a want, out of service or not."""
        pool = self._pools.get(want.resource)
        return 0 if pool is None else pool.count(want.tags)

    def enter(self, request: PoolRequest) -> PoolGrant | None:
        """
        Let a request have everything that it wants if it is its turn; else it waits from now on.

        :raises resourced.errors.Overloaded: requests wait for too many different tags.
        """
        self.load(request)
        grant = self._offers.begin(request)
        if grant is not None:
            self._done([grant])
        return grant

    def load(self, request: PoolRequest) -> None:
        """
        Let a request wait, and keep nothing for it that is free already.

        :raises resourced.errors.Overloaded: requests wait for too many different tags.
        """
        filters: list[Filter] = []
        try:
            for want in request.wants:
                filters.append(self._filter(want))
                self._pools[want.resource].use(filters[-1])
        except Overloaded:
            for filter_ in filters:
                self._disuse(filter_)
            raise
        # First what is named, and last what wants everything: it has what the others leave.
        order = sorted(
            range(len(filters)), key=lambda index: (request.wants[index].count == ALL, not filters[index].selector)
        )
        request.needs = tuple(
            Need((request.rank, order.index(index)), filter_, want.count, request)
            for index, (want, filter_) in enumerate(zip(request.wants, filters, strict=True))
        )
        self._offers.add(request)
        self._positions.add(request.rank, filters, request.units)

    def leave(self, request: PoolRequest) -> list[PoolGrant]:
        """Let a request wait no more; what was kept for it goes to others."""
        units = self._offers.drop(request)
        self._remove(request)
        granted: list[PoolGrant] = []
        # As for ``freed``: each is offered before the next one is free.
        for unit in sorted(units, key=lambda unit: unit.freed):
            unit.set_free(True)
            granted += self._offers.offer(unit)
        return self._done(granted)

    def position(self, request: PoolRequest) -> int:
        """Count itself and whoever comes before it and could use something that it wants."""
        filters = {need.filter for need in request.needs}
        near = frozenset().union(*(self._pools[filter_.resource].overlapping(filter_) for filter_ in filters))
        names = [
            named
            for resource in {filter_.resource for filter_ in filters}
            for named in self._pools[resource].named.values()
            if named in filters or any(not filters.isdisjoint(unit.filters) for unit in named.members)
        ]
        older = self._positions.older(near.union(filters, names), request.rank)
        return (
            1 + older + sum(self._older_by_name(LockKey(name.resource, name.selector), request.rank) for name in names)
        )

    def units_before(self, request: PoolRequest) -> float:
        """Estimate how many units have to fall free before a request has everything: for those before it, and for itself."""
        shares: dict[Filter, float] = {}
        for filter_ in {need.filter for need in request.needs}:
            for other, share in (*self._pools[filter_.resource].overlapping(filter_).items(), (filter_, 1.0)):
                shares[other] = min(1.0, shares.get(other, 0.0) + share)
        own = sum((need.count or len(need.filter.units)) - len(need.kept) for need in request.needs)
        return self._positions.units_before(shares, request.rank) + own

    def older(self, key: LockKey, rank: Rank) -> int:
        """Count the requests for several things that come before a rank and could use a unit."""
        unit = self.units.get(key)
        return 0 if unit is None else self._positions.older(unit.filters, rank)

    # -- How it is done

    def _add(self, key: LockKey) -> Unit:
        pool = self._pools.get(key.resource)
        if pool is None:
            pool = self._pools[key.resource] = Pool(key.resource)
        unit = self.units[key] = pool.units[key.selector] = Unit(key)
        unit.free = not self._held(key)
        unit.freed = next(self._freed)
        if self._first_by_name(key) is not None:
            pool.by_name(key.selector)
        return unit

    def _tidy(self, unit: Unit) -> None:
        """Forget what is no unit and nobody asks for."""
        key = unit.key
        if self.units.get(key) is not unit:
            return
        pool = self._pools[key.resource]
        named = pool.named.get(key.selector)
        if named is not None and not named.users and self._first_by_name(key) is None:
            pool.drop_name(key.selector)
            named = None
        if named is None and unit.tags is None:
            del self.units[key], pool.units[key.selector]
            self._tidy_pool(pool)

    def _tidy_pool(self, pool: Pool) -> None:
        if not pool.units and not pool.in_use:
            self._pools.pop(pool.resource, None)

    def _filter(self, want: Want) -> Filter:
        if not want.selector:
            pool = self._pools.get(want.resource)
            if pool is None:
                pool = self._pools[want.resource] = Pool(want.resource)
            return pool.by_tags(want.tags)
        key = LockKey(want.resource, want.selector)
        if key not in self.units:
            self._add(key)
        return self._pools[key.resource].by_name(key.selector)

    def _disuse(self, filter_: Filter) -> None:
        pool = self._pools[filter_.resource]
        pool.disuse(filter_)
        if filter_.selector:
            self._tidy(pool.units[filter_.selector])
        else:
            self._tidy_pool(pool)

    def _done(self, granted: list[PoolGrant]) -> list[PoolGrant]:
        for request, _ in granted:
            if request is not None:
                self._remove(request)
        return granted

    def _remove(self, request: PoolRequest) -> None:
        self._positions.remove(request.rank, (need.filter for need in request.needs), request.units)
        for need in request.needs:
            self._disuse(need.filter)
