"""
Which free units are kept for which waiting requests: a maximum matching in which an older request always comes first.

A unit that falls free goes to the oldest request that can have one more. Others may exchange what is kept for them, if that helps.
So how much is kept for each request follows from the free units and the requests alone, not from what happened before.

A *filter* is what a need asks for: tags, or a name. A unit that is kept for one filter and matches another is a *link* between the two.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

from sortedcontainers import SortedDict

from resourced.model import LockKey
from resourced.wants import ALL, Want

#: The order of arrival, priority considered: the lower is first.
Rank = int
#: Sorts needs: by the rank of their request, and then by their place in it. By name a queue's first waiter comes before any other.
NeedOrder = tuple[Rank, int]

#: Tells the rank of the first who waits for a lock by name; nothing if nobody does.
FirstByName = Callable[[LockKey], "Rank | None"]

BY_NAME: Final = -1


class Unit:
    """
    Something that can be locked and that a want may match.

    :ivar tags: what its card says; nothing if it has no card, so that only its name matches.
    :ivar in_service: whether it may be granted.
    :ivar free: whether nobody holds it.
    :ivar freed: the order in which units fell free.
    :ivar need: what it is kept for.
    """

    __slots__ = ("filters", "free", "freed", "in_service", "key", "need", "tags")

    def __init__(self, key: LockKey) -> None:
        self.key = key
        self.tags: frozenset[str] | None = None
        self.in_service = True
        self.free = False
        self.freed = 0
        self.filters: list[Filter] = []
        self.need: Need | None = None

    @property
    def idle(self) -> bool:
        """Whether it could be granted, and is kept for nobody."""
        return self.free and self.in_service and self.need is None

    def set_free(self, free: bool) -> None:
        """Let nobody hold it, or somebody."""
        if self.free is not free:
            self.free = free
            if self.in_service:
                for filter_ in self.filters:
                    filter_.free += 1 if free else -1


class Need:
    """
    What one want of a waiting request asks for.

    :ivar order: sorts the needs of a filter.
    :ivar count: how many units; 0 for all in service that match.
    :ivar kept: the units that are kept for it.
    :ivar request: whose want it is; nothing if somebody asks by name.
    """

    __slots__ = ("count", "filter", "kept", "order", "request")

    def __init__(self, order: NeedOrder, filter_: Filter, count: int, request: PoolRequest | None) -> None:
        self.order = order
        self.filter = filter_
        self.count = count
        self.request = request
        self.kept = filter_.nothing

    @property
    def rank(self) -> Rank:
        """The rank of its request."""
        return self.order[0]

    @property
    def lacks(self) -> bool:
        """Whether more units could be kept for it."""
        return len(self.kept) < (self.count or len(self.filter.units))


class Filter:
    """
    What matches: units that have all of some tags, or the one of a name.

    :ivar selector: the name; empty for tags.
    :ivar members: all units that match, and ``units`` those in service; ``free`` is how many of these nobody holds.
    :ivar idle: the units that are kept for nobody, in the order in which they are chosen.
    :ivar lacking: the needs for which more could be kept, and ``filled`` those for which something is.
    :ivar every: the needs for all units in service.
    :ivar nothing: what is kept for those of its needs for which nothing is. Nobody adds to it.
    :ivar leads: the units that are kept for needs of this filter and match another one, by that one; ``joins`` is the same from there.
    """

    __slots__ = (
        "every",
        "filled",
        "free",
        "idle",
        "joins",
        "lacking",
        "leads",
        "members",
        "nothing",
        "resource",
        "selector",
        "tags",
        "units",
        "users",
    )

    def __init__(self, resource: str, tags: frozenset[str], selector: str) -> None:
        self.resource = resource
        self.tags = tags
        self.selector = selector
        self.members: dict[Unit, None] = {}
        self.nothing: dict[Unit, None] = {}
        self.units: dict[Unit, None] = {}
        self.free = 0
        self.idle: SortedDict[tuple[int, int], Unit] = SortedDict()
        self.lacking: SortedDict[NeedOrder, Need] = SortedDict()
        self.filled: SortedDict[NeedOrder, Need] = SortedDict()
        self.every: dict[Need, None] = {}
        self.leads: dict[Filter, dict[Unit, None]] = {}
        self.joins: dict[Filter, dict[Unit, None]] = {}
        #: How many requests ask for it.
        self.users = 0

    def matches(self, unit: Unit) -> bool:
        """Whether a unit of the resource is what is asked for."""
        if self.selector:
            return unit.key.selector == self.selector
        return unit.tags is not None and self.tags <= unit.tags

    def include(self, unit: Unit) -> None:
        """Let a unit match."""
        self.members[unit] = None
        unit.filters.append(self)
        if unit.in_service:
            self.units[unit] = None
            self.free += unit.free
            self._recount()
        if unit.idle:
            self.idle[_choice(unit)] = unit
        elif unit.need is not None:
            _link(unit.need.filter, self, unit)

    def exclude(self, unit: Unit) -> None:
        """Let a unit match no more, which is not kept for a need of this filter."""
        del self.members[unit]
        unit.filters.remove(self)
        if unit in self.units:
            del self.units[unit]
            self.free -= unit.free
            self._recount()
        self.idle.pop(_choice(unit), None)
        if unit.need is not None:
            _unlink(unit.need.filter, self, unit)

    def _recount(self) -> None:
        for need in self.every:
            sort(need)


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
        self.needs: tuple[Need, ...] = ()

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
        return {unit.need for unit in units} <= set(self.needs)


def lose(unit: Unit) -> Need | None:
    """Let a unit be neither idle nor kept; return what it was kept for."""
    need = unit.need
    if need is None:
        for filter_ in unit.filters:
            if filter_.idle:
                filter_.idle.pop(_choice(unit), None)
        return None
    _detach(unit, need)
    sort(need)
    return need


def lose_all(need: Need) -> list[Unit]:
    """Let the units that are kept for a need be neither idle nor kept; return them."""
    units = list(need.kept)
    for unit in units:
        _detach(unit, need)
    sort(need)
    return units


def become_idle(unit: Unit) -> None:
    """Let a free unit in service that is kept for nobody be chosen."""
    for filter_ in unit.filters:
        filter_.idle[_choice(unit)] = unit


def sort(need: Need) -> None:
    """Put a need where those belong who lack something, or not."""
    filter_ = need.filter
    if need.lacks:
        filter_.lacking[need.order] = need
    else:
        filter_.lacking.pop(need.order, None)
    if need.kept:
        filter_.filled[need.order] = need
    else:
        filter_.filled.pop(need.order, None)


def keep(unit: Unit, need: Need) -> None:
    """Keep a unit for a need that is neither idle nor kept."""
    _attach(unit, need)
    sort(need)


def keep_idle(need: Need) -> None:
    """Keep idle units for a need, as many as it lacks or its filter has."""
    filter_ = need.filter
    lacking = (need.count or len(filter_.units)) - len(need.kept)
    for unit in list(islice(filter_.idle.values(), lacking)):
        lose(unit)
        _attach(unit, need)
    sort(need)


def _attach(unit: Unit, need: Need) -> None:
    unit.need = need
    if need.kept:
        need.kept[unit] = None
    else:
        need.kept = {unit: None}
    filter_ = need.filter
    for other in unit.filters:
        if other is not filter_:
            _link(filter_, other, unit)


def _detach(unit: Unit, need: Need) -> None:
    unit.need = None
    del need.kept[unit]
    for other in unit.filters:
        if other is not need.filter:
            _unlink(need.filter, other, unit)


def _link(filter_: Filter, other: Filter, unit: Unit) -> None:
    units = filter_.leads.get(other)
    if units is None:
        units = filter_.leads[other] = other.joins[filter_] = {}
    units[unit] = None


def _unlink(filter_: Filter, other: Filter, unit: Unit) -> None:
    units = filter_.leads[other]
    del units[unit]
    if not units:
        del filter_.leads[other], other.joins[filter_]


def _choice(unit: Unit) -> tuple[int, int]:
    """Sort units: first the one with the fewest tags beyond those asked for, then the one that is free for the longest time."""
    return len(unit.tags or ()), unit.freed
