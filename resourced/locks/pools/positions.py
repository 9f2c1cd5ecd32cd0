"""How many requests for several things come before another one, without looking at each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sortedcontainers import SortedList

from resourced.locks.pools.matching import Filter, Rank


class Positions:
    """The ranks of waiting requests, by what they ask for: all that ask for the same are counted at once."""

    def __init__(self) -> None:
        self._ranks: dict[frozenset[Filter], SortedList[Rank]] = {}
        self._units: dict[frozenset[Filter], int] = {}
        self._shapes: dict[Filter, dict[frozenset[Filter], None]] = {}

    def add(self, rank: Rank, filters: Iterable[Filter], units: int) -> None:
        """
        Count a request that asks for what some filters match.

        :param units: how many units it asks for.
        """
        shape = frozenset(filters)
        ranks = self._ranks.get(shape)
        if ranks is None:
            ranks = self._ranks[shape] = SortedList()
            for filter_ in shape:
                self._shapes.setdefault(filter_, {})[shape] = None
        ranks.add(rank)
        self._units[shape] = self._units.get(shape, 0) + units

    def remove(self, rank: Rank, filters: Iterable[Filter], units: int) -> None:
        """Count a request no more; else as ``add``."""
        shape = frozenset(filters)
        ranks = self._ranks[shape]
        ranks.remove(rank)
        self._units[shape] -= units
        if ranks:
            return
        del self._ranks[shape], self._units[shape]
        for filter_ in shape:
            shapes = self._shapes[filter_]
            del shapes[shape]
            if not shapes:
                del self._shapes[filter_]

    def older(self, filters: Iterable[Filter], rank: Rank) -> int:
        """Count the requests before a rank that ask for what any of some filters matches."""
        shapes = {shape for filter_ in filters for shape in self._shapes.get(filter_, ())}
        return sum(self._ranks[shape].bisect_left(rank) for shape in shapes)

    def units_before(self, shares: Mapping[Filter, float], rank: Rank) -> float:
        """
        Estimate how many units the requests before a rank ask for, as far as they would take them from what is shared with some filters.

        :param shares: which share of what a filter matches that is.
        """
        shapes = {shape for filter_ in shares for shape in self._shapes.get(filter_, ())}
        found = 0.0
        for shape in shapes:
            ranks = self._ranks[shape]
            # Those that ask for the same need not ask for as much.
            units = self._units[shape] / len(ranks) * ranks.bisect_left(rank)
            found += units * sum(shares.get(filter_, 0.0) for filter_ in shape) / len(shape)
        return found
