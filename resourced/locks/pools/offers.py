"""To whom free units are offered, in what order, and when a request has everything."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from sortedcontainers import SortedDict

from resourced.locks.pools.exchanges import Reached, fill, give, serve
from resourced.locks.pools.matching import (
    Filter,
    FirstByName,
    Need,
    NeedOrder,
    PoolRequest,
    Rank,
    Unit,
    become_idle,
    keep_idle,
    lose_all,
    sort,
)
from resourced.model import LockKey
from resourced.wants import ALL, Want


class PoolGrant(NamedTuple):
    """
    What is granted.

    :ivar request: who gets it; nothing if it is the first who waits by name.
    :ivar units: the units, and the index of the want that each is for.
    """

    request: PoolRequest | None
    units: list[tuple[LockKey, int]]


class Offers:
    """
    The requests for several things that wait, and what is kept for them.

    :param first_by_name: tells the rank of the first who waits for a lock by name; nothing if nobody does.
    """

    def __init__(self, first_by_name: FirstByName) -> None:
        self._first_by_name = first_by_name
        # Those for whom nothing is kept.
        self._yielding: dict[Filter, SortedDict[Rank, PoolRequest]] = {}

    def add(self, request: PoolRequest) -> None:
        """Let a request wait, and keep nothing for it that is free already."""
        if request.yields:
            for need in request.needs:
                self._yielding.setdefault(need.filter, SortedDict())[request.rank] = request
        else:
            self._lay_claim(request)

    def begin(self, request: PoolRequest) -> PoolGrant | None:
        """Keep what there is for a request that was added just now, or grant it everything."""
        if request.yields:
            return self._try(request)[0]
        self._fill(request, [])
        return self._grant(request) if request.complete else None

    def drop(self, request: PoolRequest) -> list[Unit]:
        """Let a request wait no more; return what was kept for it, which is not free until it is said so."""
        units = self._withdraw(request)
        for unit in units:
            unit.set_free(False)
        self._forget(request)
        return units

    def offer(self, *units: Unit) -> list[PoolGrant]:
        """Let the first in the order who can use them have free units, or keep them."""
        granted: list[PoolGrant] = []
        ahead = sorted(units, key=lambda unit: -unit.freed)
        tried: set[tuple[Want, ...]] = set()
        while ahead:
            unit = ahead.pop()
            if not unit.idle:
                continue
            reached = serve(unit, self._first_by_name)
            before = self._first_to_yield(reached, tried) if self._yielding else None
            if before is None and reached.first is not None:
                granted += self._give(reached, reached.first)
                continue
            become_idle(unit)
            if before is not None:
                grant, idle = self._try(before)
                if grant is None:
                    tried.add(before.wants)
                else:
                    granted.append(grant)
                ahead += [*idle, unit]
        return granted

    def complete(self, needs: Iterable[Need]) -> list[PoolGrant]:
        """Grant those requests that have everything by now."""
        requests = {need.rank: need.request for need in needs}
        return [
            self._grant(request) for _, request in sorted(requests.items()) if request is not None and request.complete
        ]

    def shrunk(self, filter_: Filter) -> list[PoolGrant]:
        """Grant those that want all that a filter matches, if that has become less and they have everything by now."""
        granted = self.complete(filter_.every)
        tried: set[tuple[Want, ...]] = set()
        for request in list(self._yielding.get(filter_, {}).values()):
            if not any(need.count == ALL and need.filter is filter_ for need in request.needs):
                continue
            if request.wants in tried or request.rank not in self._yielding.get(filter_, {}):
                continue
            grant, idle = self._try(request)
            if grant is None:
                tried.add(request.wants)
            else:
                granted.append(grant)
            granted += self.offer(*idle)
        return granted

    def _give(self, reached: Reached, first: tuple[Filter, NeedOrder]) -> list[PoolGrant]:
        served = give(reached, *first)
        if isinstance(served, Need):
            return [] if served.count and served.lacks else self.complete([served])
        served.set_free(False)
        return [PoolGrant(None, [(served.key, 0)])]

    def _first_to_yield(self, reached: Reached, tried: set[tuple[Want, ...]]) -> PoolRequest | None:
        """Return the first request for which nothing is kept that comes before those who are reached, and that was not tried yet."""
        most = inf if reached.first is None else reached.first[1][0]
        first: PoolRequest | None = None
        for filter_ in reached.sources:
            for rank, request in self._yielding.get(filter_, {}).items():
                if rank >= most:
                    break
                # What the first of those who want the same cannot have the others cannot have either.
                if request.wants not in tried:
                    first, most = request, rank
                    break
        return first

    def _try(self, request: PoolRequest) -> tuple[PoolGrant | None, list[Unit]]:
        """
        Let a request for which nothing is kept have everything at once, or nothing.

        :returns: the grant, and else units that may be idle now.
        """
        if any(_obtainable(need) < (need.count or len(need.filter.units)) for need in request.needs):
            return None, []
        lost: list[Need] = []
        self._lay_claim(request)
        self._fill(request, lost)
        if request.complete:
            return self._grant(request), []
        units = self._withdraw(request)
        for unit in units:
            become_idle(unit)
        for need in lost:
            if need.rank != request.rank:
                fill(need, [])
        return None, units

    def _fill(self, request: PoolRequest, lost: list[Need]) -> None:
        """Keep what there is for a request."""
        for need in sorted(request.needs, key=lambda need: need.order):
            # The first units that an exchange would find, without the search.
            keep_idle(need)
            while need.lacks and fill(need, lost):
                pass

    def _lay_claim(self, request: PoolRequest) -> None:
        """Let a request be considered for what falls free."""
        for need in request.needs:
            if need.count == ALL:
                need.filter.every[need] = None
            sort(need)

    def _withdraw(self, request: PoolRequest) -> list[Unit]:
        """Consider a request no more; return what was kept for it, which is neither idle nor kept."""
        units = []
        for need in request.needs:
            units += lose_all(need)
            need.filter.every.pop(need, None)
            need.filter.lacking.pop(need.order, None)
        return units

    def _grant(self, request: PoolRequest) -> PoolGrant:
        """Let a request that is complete have what is kept for it. For all others this changes nothing."""
        units = []
        for index, need in enumerate(request.needs):
            for unit in sorted(lose_all(need), key=lambda unit: unit.key):
                unit.set_free(False)
                units.append((unit.key, index))
            need.filter.every.pop(need, None)
            need.filter.lacking.pop(need.order, None)
        self._forget(request)
        return PoolGrant(request, units)

    def _forget(self, request: PoolRequest) -> None:
        if request.yields:
            for filter_ in {need.filter for need in request.needs}:
                yielding = self._yielding[filter_]
                del yielding[request.rank]
                if not yielding:
                    del self._yielding[filter_]


def _obtainable(need: Need) -> int:
    """
    Count the units that a need could have at most. What is kept for older needs of its filter stays theirs.

    A try in vain costs as much as a grant. So whoever needs very many units must not be tried for each of them that falls free.
    """
    filter_ = need.filter
    return filter_.free - sum(len(filter_.filled[order].kept) for order in filter_.filled.irange(maximum=need.order))
