"""For how long a ticket may be silent, and how much there may be of all."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Times:
    """
    How long a ticket may be silent, in seconds.

    :ivar lease: while it holds a lock of a resource that says nothing else.
    :ivar place: while it waits.
    :ivar claim: after the lock fell to it when its client was not there.
    """

    lease: float = 300.0
    place: float = 60.0
    claim: float = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """
    How much there may be of all.

    :ivar queue: how many tickets may wait at one selector.
    :ivar waiting: how many may wait in all.
    :ivar locks: how many locks may be held.
    :ivar units: how many units a resource may have.
    """

    queue: int = 10_000
    waiting: int = 100_000
    locks: int = 200_000
    units: int = 10_000


@dataclass(frozen=True, slots=True)
class Predecessor:
    """
    What is known of an earlier daemon when this one begins.

    :ivar lease: for how many seconds it may go on telling clients what it knew. Until then no time passes for what is taken over.
    :ivar event: an id that is lower than that of any event of this life.
    """

    lease: float = 0.0
    event: int = 0
