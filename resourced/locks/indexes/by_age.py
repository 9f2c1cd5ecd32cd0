"""Things in the order in which they came, for whoever lists the oldest first, although most come and go all the time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from sortedcontainers import SortedDict

T = TypeVar("T")

#: How many new ones may wait to be put in order, if nobody lists them: that takes a millisecond at most.
UNSORTED: Final = 256


class ByAge(Generic[T]):
    """
    Some things by numbers that grow with each new one, such as fences.

    Most are gone soon, so what is new is only remembered. It is put in order when somebody lists, or before it becomes so much that it
    would hold everybody up.
    """

    __slots__ = ("_new", "_sorted")

    def __init__(self) -> None:
        self._new: dict[int, T] = {}
        self._sorted: SortedDict[int, T] = SortedDict()

    @property
    def unsorted(self) -> int:
        """How many have no place in the order yet."""
        return len(self._new)

    def __len__(self) -> int:
        return len(self._new) + len(self._sorted)

    def add(self, number: int, thing: T) -> None:
        """Add a thing."""
        self._new[number] = thing
        if len(self._new) >= UNSORTED:
            self._sort()

    def remove(self, number: int) -> None:
        """Forget a thing."""
        if self._new.pop(number, None) is None:
            del self._sorted[number]

    def after(self, number: int) -> Iterator[tuple[int, T]]:
        """Go through those with higher numbers, the oldest first; meanwhile none may come or go."""
        found = self._sort()
        return ((at, found[at]) for at in found.irange(number, inclusive=(False, True)))

    def oldest(self) -> T | None:
        """Return the one with the lowest number, if there is any."""
        found = self._sort()
        return found.peekitem(0)[1] if found else None

    def _sort(self) -> SortedDict[int, T]:
        if self._new:
            self._sorted.update(self._new)
            self._new.clear()
        return self._sorted
