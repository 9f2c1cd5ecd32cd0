"""How many requests for several things come before another one, without looking at each of them."""

from __future__ import annotations

from collections.abc import Iterable

from sortedcontainers import SortedList

from resourced.locks.pools.matching import Filter, Rank


class Positions:
    """The ranks of waiting requests, by what they ask for: all that ask for the same are counted at once."""

    def __init__(self) -> None:
        self._ranks: dict[frozenset[Filter], SortedList[Rank]] = {}
        self._shapes: dict[Filter, dict[frozenset[Filter], None]] = {}

    def add(self, rank: Rank, filters: Iterable[Filter]) -> None:
        """Count a request that asks for what some filters match."""
        shape = frozenset(filters)
        ranks = self._ranks.get(shape)
        if ranks is None:
            ranks = self._ranks[shape] = SortedList()
            for filter_ in shape:
                self._shapes.setdefault(filter_, {})[shape] = None
        ranks.add(rank)

    def remove(self, rank: Rank, filters: Iterable[Filter]) -> None:
        """Count a request no more."""
        shape = frozenset(filters)
        ranks = self._ranks[shape]
        ranks.remove(rank)
        if ranks:
            return
        del self._ranks[shape]
        for filter_ in shape:
            shapes = self._shapes[filter_]
            del shapes[shape]
            if not shapes:
                del self._shapes[filter_]

    def older(self, filters: Iterable[Filter], rank: Rank) -> int:
        """Count the requests before a rank that ask for what any of some filters matches."""
        shapes = {shape for filter_ in filters for shape in self._shapes.get(filter_, ())}
        return sum(self._ranks[shape].bisect_left(rank) for shape in shapes)
