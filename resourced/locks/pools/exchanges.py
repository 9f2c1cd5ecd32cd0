"""
What is exchanged so that a request gets one more unit: the search walks along the links between filters.

Its cost grows with the filters that a unit can reach, not with the requests or the units.
"""

from __future__ import annotations

from resourced.locks.pools.matching import BY_NAME, Filter, FirstByName, Need, NeedOrder, Unit, keep, lose
from resourced.model import LockKey


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
        keep(unit, need)
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
        keep(unit, owner)
        unit = moved
    keep(unit, need)
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
