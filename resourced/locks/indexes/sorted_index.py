"""Names in their order, for whoever lists them, although they come and go all the time."""

from __future__ import annotations

from collections.abc import Container, Iterator

from sortedcontainers import SortedList

#: How many names may have come or gone before they are put in order, if nobody lists them: that takes a millisecond at most.
UNSORTED = 256


class Index:
    """
    Some names in their order.

    Most come and go without ever being listed. So a change is only remembered. What still matters is put in order when somebody lists, or
    before it becomes so much that it would hold everybody up.

    :param there: tells which names are there.
    """

    __slots__ = ("_order", "_there", "_touched")

    def __init__(self, there: Container[str]) -> None:
        self._there = there
        self._touched: set[str] = set()
        # Most are never needed.
        self._order: SortedList[str] | None = None

    @property
    def unsorted(self) -> int:
        """How many have no place in the order yet."""
        return len(self._touched)

    def touch(self, name: str) -> None:
        """Take note that a name has come or gone."""
        self._touched.add(name)
        if len(self._touched) >= UNSORTED:
            self._catch_up()

    def since(self, name: str) -> Iterator[str]:
        """Go through the names from one on, which need not be there; meanwhile none may come or go."""
        return self._catch_up().irange(name)

    def _catch_up(self) -> SortedList[str]:
        order = self._order
        if order is None:
            order = self._order = SortedList()
        for name in self._touched:
            if name not in self._there:
                order.discard(name)
            elif name not in order:
                order.add(name)
        self._touched.clear()
        return order
