"""What ``run`` takes: locks by name, or any units of pools, several at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from resourced.cli.names import parse_count, parse_name, write_any, write_lock
from resourced.client import Held, HeldUnit, HeldUnits, LockLost, Want
from resourced.model import LockKey

#: Any units of a resource: ``phones``, ``phones[android,5g]``, ``phones[android]*2``, ``phones[]*all``.
_ANY = re.compile(r"(?P<resource>[^\[\]*]+)(\[(?P<tags>[^\[\]]*)\])?(\*(?P<count>[0-9]+|all))?")


def parse_any(argument: str) -> Want:
    """
    Return which units an argument asks for.

    :raises ValueError: it does not say; with a sentence.
    """
    found = _ANY.fullmatch(argument)
    if found is None:
        raise ValueError("It takes a resource, also with tags and a count, such as phones[android,5g]*2.")
    tags = tuple(unquote(tag) for tag in (found["tags"] or "").split(",") if tag)
    return Want(parse_name(found["resource"]), tags=tags, count=parse_count(found["count"] or "1"))


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    What a command runs with.

    :ivar locks: the locks by name.
    :ivar units: any units of pools.
    """

    locks: tuple[LockKey, ...] = ()
    units: tuple[Want, ...] = ()

    @property
    def only_lock(self) -> LockKey | None:
        """The lock by name, if that is all."""
        return self.locks[0] if len(self.locks) == 1 and not self.units else None

    @property
    def is_one(self) -> bool:
        """Whether it is one selector, whatever it is called."""
        return len(self.locks) + len(self.units) == 1 and all(unit.count == 1 for unit in self.units)

    @property
    def wants(self) -> list[Want]:
        """What to ask the server for."""
        return [*(Want(*lock) for lock in self.locks), *self.units]

    def __str__(self) -> str:
        units = (write_any(unit.resource, sorted(unit.tags), unit.count) for unit in self.units)
        return " ".join([*(write_lock(*lock) for lock in self.locks), *units])

    def without(self, locks: Sequence[LockKey]) -> Wanted:
        """Return the same without some locks."""
        return Wanted(tuple(lock for lock in self.locks if lock not in locks), self.units)


class Taken:
    """
    What a command runs with, as it is held.

    :ivar entered: locks that are held around it, and not its own to release.
    :ivar own: what was taken for it, one lock or several things; nothing, if everything was there.
    """

    def __init__(self, entered: Sequence[Held], own: Held | HeldUnits | None) -> None:
        self.entered = tuple(entered)
        self.own = own
        self.holdings: tuple[Held | HeldUnits, ...] = (*self.entered, *([own] if own else []))

    @property
    def units(self) -> list[tuple[str, HeldUnit]]:
        """Every selector of it, with its ticket."""
        return [
            (holding.ticket, unit)
            for holding in self.holdings
            for unit in (holding.units if isinstance(holding, HeldUnits) else [holding])
        ]

    @property
    def names(self) -> list[str]:
        """How the selectors of it are written."""
        return [write_lock(unit.resource, unit.selector) for _, unit in self.units]

    @property
    def reason(self) -> LockLost | None:
        """Why any of it is lost; None if all is held."""
        return next((holding.reason for holding in self.holdings if holding.reason is not None), None)

    def look(self) -> None:
        """Find out at once how all of it stands."""
        for holding in self.holdings:
            holding.look()

    async def leave(self, out: str = "") -> None:
        """
        Release what was taken, and leave the rest.

        :param out: why the one unit that was taken is to go out of service.
        :raises resourced.client.ClientError: it could not be released, or was lost.
        """
        for held in self.entered:
            held.stop()
        if isinstance(self.own, HeldUnits):
            await self.own.unlock(out={f"{unit.resource}/{unit.selector}": out for unit in self.own.units if out})
        elif self.own is not None:
            await self.own.unlock(out=out)
