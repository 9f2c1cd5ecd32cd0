"""A request for several things at once while it waits, and what is granted."""

from __future__ import annotations

from typing import NamedTuple

from resourced.locks.pools.matching import Need, Rank
from resourced.model import LockKey
from resourced.wants import ALL, Want


class PoolRequest:
    """
    A request for several things at once that waits.

    :ivar rank: its place in the order of all requests.
    :ivar yields: whether nothing is kept for it.
    :ivar needs: one for each want, in their order.
    """

    __slots__ = ("needs", "rank", "wants", "yields")

    def __init__(self, rank: Rank, wants: tuple[Want, ...], *, yields: bool = False) -> None:
        self.rank = rank
        self.wants = wants
        self.yields = yields
        self.needs: list[Need] = []

    @property
    def units(self) -> int:
        """How many units it asks for; everything that matches counts as one."""
        return sum(want.count or 1 for want in self.wants)

    @property
    def complete(self) -> bool:
        """Whether everything that it wants is kept for it."""
        return not any(need.lacks for need in self.needs if need.count != ALL) and all(
            self._has_every(need) for need in self.needs if need.count == ALL
        )

    def _has_every(self, need: Need) -> bool:
        units = need.filter.units
        if not units or sum(len(other.kept) for other in self.needs) < len(units):
            return False
        return all(unit.need is not None and unit.need.rank == self.rank for unit in units)


class PoolGrant(NamedTuple):
    """
    What is granted.

    :ivar request: who gets it; nothing if it is the first who waits by name.
    :ivar units: the units, and the index of the want that each is for.
    """

    request: PoolRequest | None
    units: list[tuple[LockKey, int]]
