"""
Which free units are kept for which waiting requests: a maximum matching in which an older request always comes first.

A unit that falls free goes to the oldest request that can have one more. Others may exchange what is kept for them, if that helps.
So how much is kept for each request follows from the free units and the requests alone, not from what happened before.

A *filter* is what a need asks for: tags, or a name. A unit that is kept for one filter and matches another is a *link* between the two.
The search for an exchange walks along links. Its cost grows with the filters that a unit can reach, not with the requests or the units.
"""

from __future__ import annotations

from collections.abc import Callable
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
    :ivar members: all units that match, and ``units`` those in service.
    :ivar idle: the units that are kept for nobody, in the order in which they are chosen.
    :ivar lacking: the needs for which more could be kept, and ``filled`` those for which something is.
    :ivar every: the needs for all units in service.
    :ivar nothing: what is kept for those of its needs for which nothing is. Nobody adds to it.
    :ivar leads: the units that are kept for needs of this filter and match another one, by that one; ``joins`` is the same from there.
    """

    __slots__ = (
        "every",
        "filled",
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
        return all(unit.need is not None and unit.need.rank == self.rank for unit in units)


class Reached:
    """
    The filters that an idle unit can serve, directly or by exchanges, and the oldest need that lacks something there.

    :ivar sources: for each filter the one from which a unit would be moved there, and the unit; nothing comes before the idle unit.
    :ivar first: the filter of the first one, and what sorts that one; nothing if nobody lacks what can be had.
    """

    __slots__ = ("first", "sources")

    def __init__(self, unit: Unit) -> None:
        self.sources: dict[Filter, tuple[Filter | None, Unit]] = dict.fromkeys(unit.filters, (None, unit))
        self.first: tuple[Filter, NeedOrder] | None = None


def serve(unit: Unit, first_by_name: FirstByName) -> Reached:
    """Find whom an idle unit would serve."""
    reached = Reached(unit)
    sources = reached.sources
    ahead = list(unit.filters)
    for filter_ in ahead:
        order = _first(filter_, first_by_name)
        if order is not None and (reached.first is None or order < reached.first[1]):
            reached.first = filter_, order
        for other, units in filter_.leads.items():
            if other not in sources:
                sources[other] = filter_, next(iter(units))
                ahead.append(other)
    return reached


def _first(filter_: Filter, first_by_name: FirstByName) -> NeedOrder | None:
    """Return what sorts the first who lacks something that a filter matches."""
    order: NeedOrder | None = filter_.lacking.peekitem(0)[0] if filter_.lacking else None
    if filter_.selector:
        rank = first_by_name(LockKey(filter_.resource, filter_.selector))
        if rank is not None and (order is None or rank < order[0]):
            return rank, BY_NAME
    return order


def give(reached: Reached, filter_: Filter, order: NeedOrder) -> Need | Unit:
    """
    Let the first one have a unit, by all exchanges that it takes.

    :returns: the need that has one more; or a unit that the first who waits for it by name is to have. It is neither idle nor kept.
    """
    served: Need | Unit
    if order[1] == BY_NAME:
        before, served = reached.sources[filter_]
        need = lose(served)
    else:
        need = served = filter_.lacking[order]
        before = filter_
    while need is not None and before is not None:
        before, unit = reached.sources[before]
        other = lose(unit)
        _keep(unit, need)
        need = other
    return served


#: From a filter that is reached to the one that a unit which is kept for it would serve, the unit, and the need that it is kept for.
_Steps = dict[Filter, "tuple[Filter, Unit, Need] | None"]


def fill(need: Need, lost: list[Need]) -> bool:
    """
    Keep one more unit for a need: an idle one, by exchanges if necessary. If there is none, take one that is kept for a later need.

    It is taken from the last of those.

    :param lost: gets the need that has one less for it, if there is one.
    :returns: whether there was one.
    """
    steps: _Steps = {need.filter: None}
    filter_, later = _reach(need, steps)
    if filter_ is not None:
        unit = filter_.idle.peekitem(0)[1]
    elif later is not None:
        lost.append(later)
        filter_ = later.filter
        step = steps[filter_]
        if step is not None and step[2] is later:
            filter_, unit, _ = step
        else:
            unit = next(reversed(later.kept))
    else:
        return False
    lose(unit)
    while (step := steps[filter_]) is not None:
        filter_, moved, owner = step
        lose(moved)
        _keep(unit, owner)
        unit = moved
    _keep(unit, need)
    return True


def _reach(need: Need, steps: _Steps) -> tuple[Filter | None, Need | None]:
    """Find the nearest filter with an idle unit; and if there is none, the last of the needs that come later and could give one."""
    later: Need | None = None
    ahead = [need.filter]
    for filter_ in ahead:
        if filter_.idle:
            return filter_, None
        if filter_.filled:
            last = filter_.filled.peekitem(-1)[1]
            # It may be of the same request: what wants everything comes last there.
            if last.order > need.order and (later is None or last.order > later.order):
                later = last
        for other, units in filter_.joins.items():
            if other not in steps:
                unit = next(iter(units))
                if unit.need is not None:
                    steps[other] = filter_, unit, unit.need
                    ahead.append(other)
    return None, later


def lose(unit: Unit) -> Need | None:
    """Let a unit be neither idle nor kept; return what it was kept for."""
    need = unit.need
    if need is None:
        for filter_ in unit.filters:
            filter_.idle.pop(_choice(unit), None)
        return None
    unit.need = None
    del need.kept[unit]
    for other in unit.filters:
        if other is not need.filter:
            _unlink(need.filter, other, unit)
    sort(need)
    return need


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


def _keep(unit: Unit, need: Need) -> None:
    unit.need = need
    if need.kept:
        need.kept[unit] = None
    else:
        need.kept = {unit: None}
    filter_ = need.filter
    for other in unit.filters:
        if other is not filter_:
            _link(filter_, other, unit)
    sort(need)


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
