"""The units of one resource, and what is asked of them."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Final

from resourced.errors import Overloaded
from resourced.locks.pools.matching import Filter, Unit

#: How many different filters requests may wait for at once in a resource, and how many more are kept because they may be asked for again.
FILTERS: Final = 1000
SPARE: Final = 16


class Pool:
    """
    The units of a resource, and what is asked of them.

    :ivar units: by selector.
    :ivar filters: by tags, and ``named`` by selector: those that requests ask for, and the units that somebody waits for by name.
    :ivar tagged: how many of the units have exactly some tags.
    :ivar version: grows whenever another unit or filter may match.
    """

    def __init__(self, resource: str) -> None:
        self.resource = resource
        self.units: dict[str, Unit] = {}
        self.filters: dict[frozenset[str], Filter] = {}
        self.named: dict[str, Filter] = {}
        self.tagged: Counter[frozenset[str]] = Counter()
        self.version = 0
        self._spare: OrderedDict[frozenset[str], None] = OrderedDict()
        self._overlaps: dict[Filter, tuple[int, Mapping[Filter, float]]] = {}

    @property
    def in_use(self) -> int:
        """How many filters by tags requests ask for."""
        return len(self.filters) - len(self._spare)

    def tags_of(self, selector: str) -> frozenset[str] | None:
        """Return the tags of a unit; nothing if a selector is none."""
        unit = self.units.get(selector)
        return None if unit is None else unit.tags

    def tag(self, unit: Unit, tags: frozenset[str] | None) -> None:
        """Let a unit have some tags; with nothing it is none any more."""
        if unit.tags is not None:
            self.tagged[unit.tags] -= 1
            if not self.tagged[unit.tags]:
                del self.tagged[unit.tags]
        unit.tags = tags
        if tags is not None:
            self.tagged[tags] += 1

    def count(self, tags: frozenset[str]) -> int:
        """Count the units that have all of some tags."""
        return sum(units for exactly, units in self.tagged.items() if tags <= exactly)

    def by_tags(self, tags: frozenset[str]) -> Filter:
        """
        Return the filter for units that have all of some tags.

        :raises resourced.errors.Overloaded: there are too many.
        """
        filter_ = self.filters.get(tags)
        if filter_ is None:
            if self.in_use >= FILTERS:
                raise Overloaded("Requests wait for too many different tags already. Try again later.")
            filter_ = self.filters[tags] = Filter(self.resource, tags, "")
            self.version += 1
            self._spare[tags] = None
            for unit in self.units.values():
                if filter_.matches(unit):
                    filter_.include(unit)
        return filter_

    def by_name(self, selector: str) -> Filter:
        """Return the filter for the one unit of a name, which there must be."""
        filter_ = self.named.get(selector)
        if filter_ is None:
            filter_ = self.named[selector] = Filter(self.resource, frozenset(), selector)
            filter_.include(self.units[selector])
        return filter_

    def use(self, filter_: Filter) -> None:
        """Count a request that waits for what a filter matches."""
        filter_.users += 1
        self._spare.pop(filter_.tags, None)

    def disuse(self, filter_: Filter) -> None:
        """Count it no more."""
        filter_.users -= 1
        if not filter_.users and not filter_.selector:
            self._spare[filter_.tags] = None
            if len(self._spare) > SPARE:
                self._drop(self.filters.pop(self._spare.popitem(last=False)[0]))

    def drop_name(self, selector: str) -> None:
        """Forget the filter of a name, which nobody asks for."""
        self._drop(self.named.pop(selector))

    def _drop(self, filter_: Filter) -> None:
        self.version += 1
        self._overlaps.pop(filter_, None)
        for unit in list(filter_.members):
            filter_.exclude(unit)

    def overlapping(self, filter_: Filter) -> Mapping[Filter, float]:
        """Return the filters by tags that match a unit which a filter matches too, and which share of their units those are."""
        version, found = self._overlaps.get(filter_, (-1, {}))
        if version != self.version:
            units = Counter(other for unit in filter_.members for other in unit.filters if not other.selector)
            found = {other: count / len(other.members) for other, count in units.items()}
            self._overlaps[filter_] = self.version, found
        return found
