"""What can be asked for, and what a server gave: wants, and grants of one lock or of several units."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from resourced.calls.answers import Answer
from resourced.calls.errors import Unreachable
from resourced.calls.paths import path


@dataclass(frozen=True, slots=True)
class Want:
    """
    One thing of those that ``Client.locks`` asks for: a selector by name, or some units of a resource by their tags.

    :ivar selector: the name; empty to ask for units.
    :ivar tags: words that each unit must have, all of them.
    :ivar count: how many units, 1 to 1000; or ``"all"`` for every unit in service that matches, at the moment of the grant.
    """

    resource: str
    selector: str = ""
    tags: Collection[str] = ()
    count: int | Literal["all"] = 1

    @property
    def fields(self) -> dict[str, Any]:
        """The want as it is sent."""
        if self.selector:
            return {"resource": self.resource, "selector": self.selector}
        return {"resource": self.resource, "tags": sorted(self.tags), "count": self.count}

    @property
    def path(self) -> str:
        """What it is about."""
        return path(self.resource, *([self.selector] if self.selector else []))


class Fenced(NamedTuple):
    """A selector that is held, and the fence under which it is."""

    resource: str
    selector: str
    fence: int

    @property
    def path(self) -> str:
        """Where it is."""
        return path(self.resource, self.selector)


class Granted(NamedTuple):
    """
    One selector of a grant.

    :ivar text: the JSON text that was there; None if there was none.
    :ivar want: for which of the wants it is, from 0.
    """

    unit: Fenced
    text: str | None = None
    want: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """
    What a server gave to a ticket.

    :ivar ticket: what the server knows the holder by.
    :ivar owner: who the holder said it is; empty if it left that to the server.
    :ivar joint: whether it was asked for as several things at once.
    """

    ticket: str
    owner: str
    units: tuple[Granted, ...]
    joint: bool = False

    @property
    def root(self) -> str:
        """What stands before ``/lock`` and ``/unlock`` where its holder renews and ends it."""
        return "" if self.joint else self.units[0].unit.path

    @property
    def about(self) -> frozenset[str]:
        """The paths of what it is about."""
        resources = {path(granted.unit.resource) for granted in self.units} if self.joint else set()
        return frozenset({granted.unit.path for granted in self.units} | resources)

    def renewed(self, answer: Answer) -> frozenset[Fenced]:
        """Return what is held according to the answer to a request for the lock with this ticket."""
        if answer.status != 200:
            return frozenset()
        if self.joint:
            return frozenset(granted.unit for granted in got(answer))
        only = self.units[0].unit
        return frozenset({only} if answer.number("x-fence") == only.fence else ())


def got(answer: Answer) -> tuple[Granted, ...]:
    """
    Return what a server gave for wants.

    :raises Unreachable: it is no usable answer (``code`` is ``bad_answer``).
    """
    try:
        return tuple(
            Granted(Fenced(one["resource"], one["selector"], one["fence"]), one["data"], one["want"])
            for one in answer.items("got")
        )
    except (KeyError, TypeError) as error:
        raise Unreachable("The server gave units, but did not say which.", "bad_answer") from error
