"""Whether wants could be met at all, if every unit were free and in service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from resourced.wants import ALL, Want


def could_have(
    wants: Sequence[Want],
    tagged: Mapping[frozenset[str], int],
    tags_of: Callable[[str], frozenset[str] | None] = lambda _: None,
) -> tuple[int, int]:
    """
    Return how many units some wants of a resource ask for, and how many they could have at most.

    A selector can be asked for by name though it is no unit. The work grows with how many different sets of tags there are, not with the units.

    :param tagged: how many units of the resource have exactly some tags.
    :param tags_of: returns the tags of a unit; nothing if a selector is none.
    """
    counted = [want for want in wants if want.count != ALL]
    every = [want for want in wants if want.count == ALL]
    named = {want.selector: tags_of(want.selector) for want in wants if want.selector}
    # Those that are asked for by name are looked at one by one, and the others together.
    others = Counter(tagged)
    others.subtract(tags for tags in named.values() if tags is not None)
    supplies: Counter[int] = Counter()
    missing = set(range(len(every)))
    for selector, tags, units in (
        *((selector, tags, 1) for selector, tags in named.items()),
        *(("", tags, units) for tags, units in others.items() if units),
    ):
        supplies[_kind(counted, selector, tags)] += units
        missing -= {index for index in missing if tags is not None and _matches(every[index], selector, tags)}
    met = _Met(supplies)
    had = sum(met.meet(demand) for demand, want in enumerate(counted) for _ in range(want.count))
    return sum(want.count for want in counted) + len(every), had + len(every) - len(missing)


def _matches(want: Want, selector: str, tags: frozenset[str] | None) -> bool:
    return want.selector == selector if want.selector else tags is not None and want.tags <= tags


def _kind(wants: Sequence[Want], selector: str, tags: frozenset[str] | None) -> int:
    """Return which wants match a unit, each as a bit."""
    return sum(1 << bit for bit, want in enumerate(wants) if _matches(want, selector, tags))


class _Met:
    """
    Which kinds of units meet which demands; units that match the same demands are of one kind.

    :param left: how many units of each kind meet no demand yet.
    """

    def __init__(self, left: dict[int, int]) -> None:
        self._left = left
        self._given: dict[tuple[int, int], int] = {}

    def meet(self, demand: int) -> bool:
        """Meet one more of a demand, by exchanges if need be."""
        # From a demand to the one that would take over a unit that meets it, and the kind of the unit.
        steps: dict[int, tuple[int, int] | None] = {demand: None}
        ahead = [demand]
        for here in ahead:
            for kind, left in self._left.items():
                if not kind >> here & 1:
                    continue
                if left:
                    self._left[kind] -= 1
                    self._exchange(steps, here, kind)
                    return True
                for other in range(kind.bit_length()):
                    if other not in steps and self._given.get((kind, other)):
                        steps[other] = here, kind
                        ahead.append(other)
        return False

    def _exchange(self, steps: dict[int, tuple[int, int] | None], here: int, kind: int) -> None:
        self._count(kind, here, 1)
        while (step := steps[here]) is not None:
            taker, moved = step
            self._count(moved, here, -1)
            self._count(moved, taker, 1)
            here = taker

    def _count(self, kind: int, demand: int, by: int) -> None:
        self._given[kind, demand] = self._given.get((kind, demand), 0) + by
