"""Units of pools for tests: taken before a test or during it, and given back after it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from resourced.client import LockLost, Want
from resourced.client.blocking import BlockingHeldUnits, BlockingUnit, Client

#: As much of a test's name as an owner may be long.
OWNER = 255


class Units:
    """
    Takes units for a test or a session, and gives all of them back when its block ends.

    The end of the block raises ``LockLost`` if one was lost before.

    :param owner: who has them, for people.
    :param holding: the tickets of all units that are held in this process, for the session or for a test: none of them must wait
        for another.
    """

    def __init__(self, client: Client, owner: str, holding: list[str]) -> None:
        self._client = client
        self._owner = "".join(c if c.isprintable() else "?" for c in owner)[:OWNER]
        self._stack = ExitStack()
        self._holding = holding
        self._held: list[BlockingHeldUnits] = []
        # What is taken, and has not been handed out yet.
        self._ready: dict[Want, list[BlockingUnit]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stack.__exit__(kind, error, trace)
        finally:
            for held in self._held:
                self._holding.remove(held.ticket)

    def take(self, wants: Sequence[Want]) -> None:
        """
        Take all of these at once, for those who ask later.

        :raises Conflict: there are not as many units (``code`` is ``too_few``), or not without those that are held (``deadlock``).
        """
        if not wants:
            return
        held = self._stack.enter_context(self._client.locks(*wants, owner=self._owner, holds=self._holding))
        self._held.append(held)
        self._holding.append(held.ticket)
        for unit in held.units:
            self._ready.setdefault(wants[unit.want], []).append(unit)

    def __call__(self, resource: str, *tags: str) -> BlockingUnit:
        """
        Return a unit: one that was taken before the test for these tags, or one more. It is held to the end.

        To give it back as broken, call its ``unlock(out="what is wrong")``.
        """
        want = wanted(resource, *tags)
        if not self._ready.get(want):
            self.take([want])
        return self._ready[want].pop(0)


class SharedUnits:
    """Gives the same unit to all who ask for the same, and another one once that has been given back or lost."""

    def __init__(self, units: Units) -> None:
        self._units = units
        self._shared: dict[Want, BlockingUnit] = {}

    def __call__(self, resource: str, *tags: str) -> BlockingUnit:
        """Return the unit that the session has for these tags; else as ``Units``."""
        want = wanted(resource, *tags)
        unit = self._shared.get(want)
        if unit is not None:
            try:
                unit.check()
            except LockLost:
                unit = None
        if unit is None:
            unit = self._shared[want] = self._units(resource, *tags)
        return unit


def wanted(resource: str, *tags: str) -> Want:
    """Say what is wanted: any unit of a resource with these tags, in whatever order they are named."""
    return Want(resource, tags=tuple(sorted(set(tags))))
