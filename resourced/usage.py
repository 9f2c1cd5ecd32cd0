"""What was used and by whom, counted by days: values that outlive the events that they are made of. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from enum import IntEnum
from typing import Final, NamedTuple

from resourced.model import BREAK, EXPIRY, GRANT, RELEASE, Event, EventKind

#: The upper ends, in seconds, of the classes by which waits are counted; the last class has none.
BOUNDS: Final = (1, 2, 5, 10, 30, 60, 120, 300, 900, 3600, 14_400)

#: How many selectors, and how many owners, are counted one by one of a resource and a day. Clients may name themselves as they like.
NAMES: Final = 1000
#: For how many days it is kept, not counting those on which nothing was used.
KEPT: Final = 400

#: What ends a lock that was held.
ENDS: Final = (RELEASE, EXPIRY, BREAK)
#: A day in milliseconds.
DAY: Final = 86_400_000


class By(IntEnum):
    """What use is counted by. The numbers are stored: never change them."""

    UNIT = 0
    OWNER = 1


class Of(NamedTuple):
    """
    Whose use it is.

    :ivar day: whole days of Unix time.
    :ivar name: of the selector or of the owner; empty for all those that were too many to be counted one by one.
    """

    resource: str
    day: int
    by: By
    name: str


class Use(NamedTuple):
    """
    What was used.

    :ivar held: for how many seconds locks were held that ended, by the day of their end.
    :ivar waited: for how many seconds those had waited in all who got a lock.
    :ivar waits: how many waits there were of each class of ``BOUNDS``.
    """

    grants: int = 0
    held: float = 0.0
    expiries: int = 0
    breaks: int = 0
    waited: float = 0.0
    waits: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)

    def plus(self, other: Use) -> Use:
        """Return the sum."""
        return Use(
            self.grants + other.grants,
            self.held + other.held,
            self.expiries + other.expiries,
            self.breaks + other.breaks,
            self.waited + other.waited,
            tuple(map(sum, zip(self.waits, other.waits, strict=True))),
        )

    @property
    def mean(self) -> float | None:
        """The mean of the waits, in seconds; nothing if there was none."""
        return self.waited / self.grants if self.grants else None

    @property
    def p95(self) -> int | None:
        """In how many seconds 95 of 100 waits were over, at most; nothing if there was none, or if that has no bound."""
        reached = 0
        for bound, count in zip(BOUNDS, self.waits, strict=False):
            reached += count
            if self.grants and reached >= 0.95 * self.grants:
                return bound
        return None


def day_of(at: int) -> int:
    """Return the day of a time in milliseconds of Unix time."""
    return at // DAY


def used(events: Iterable[Event]) -> dict[Of, Use]:
    """Count the use that events tell of."""
    counted: dict[Of, Use] = {}
    for event in events:
        # An end without a fence is about a ticket that only waited.
        if event.kind is GRANT or (event.fence and event.kind in ENDS):
            use = use_of(event.kind, 1, event.seconds, bisect_left(BOUNDS, event.seconds))
            for by, name in ((By.UNIT, event.key.selector), (By.OWNER, event.owner)):
                of = Of(event.key.resource, day_of(event.at), by, name)
                counted[of] = counted.get(of, Use()).plus(use)
    return counted


def use_of(kind: EventKind, count: int, seconds: float, wait: int) -> Use:
    """
    Return the use that some grants or some ends tell of.

    :param seconds: how long they all have waited, or were held.
    :param wait: in which class of ``BOUNDS`` each grant's wait is.
    """
    if kind is GRANT:
        waits = [0] * (len(BOUNDS) + 1)
        waits[wait] = count
        return Use(grants=count, waited=seconds, waits=tuple(waits))
    return Use(held=seconds, expiries=count * (kind is EXPIRY), breaks=count * (kind is BREAK))
