"""Units of pools and what requests want of them: values that requests, locks and the store share. All of them are frozen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

#: The ``count`` of a want for every unit in service that matches.
ALL: Final = 0


class Card(NamedTuple):
    """
    What makes a selector a unit of its resource's pool.

    :ivar tags: words that wants ask for.
    :ivar note: for people.
    :ivar out: why the unit is out of service; nothing if it is in service.
    :ivar out_since: since when, in milliseconds of Unix time; 0 if it is in service.
    """

    tags: frozenset[str] = frozenset()
    note: str = ""
    out: str | None = None
    out_since: int = 0


@dataclass(frozen=True, slots=True)
class Want:
    """
    One thing that a request asks for: a selector by name, or some units of a resource that have all of some tags.

    :ivar selector: the name; empty to ask by tags.
    :ivar count: how many units, or ``ALL``.
    """

    resource: str
    selector: str = ""
    tags: frozenset[str] = frozenset()
    count: int = 1


class JointRequest(NamedTuple):
    """
    A request for several things at once, as the store keeps it while its ticket holds or waits for anything of it.

    Each unit that is granted to it is a ``Place`` of its own, which names this request by ``seq`` and the want by its index.

    :ivar seq: the order of arrival, from the same numbers as ``Place.seq``.
    :ivar yields: whether nothing is kept for it while it waits.
    :ivar priority: -9 to 9; the higher comes first.
    :ivar lease: how long its client may be silent once it is granted, in seconds; 0 means the shortest of its resources' leases.
    :ivar owner: who the client says it is.
    :ivar since: when it began to stand as it does, in milliseconds of the clock of marks.
    """

    seq: int
    ticket: str
    wants: tuple[Want, ...]
    yields: bool = False
    priority: int = 0
    lease: int = 0
    owner: str = ""
    key_name: str = ""
    idempotency_key: str = ""
    since: int = 0
    granted: bool = False


def wants_text(wants: Sequence[Want]) -> str:
    """Write wants as the store keeps them: JSON, the same text for the same wants."""
    return json.dumps([[want.resource, want.selector, sorted(want.tags), want.count] for want in wants])


def wants_from(text: str) -> tuple[Want, ...]:
    """Read what ``wants_text`` has written."""
    return tuple(
        Want(resource, selector, frozenset(tags), count) for resource, selector, tags, count in json.loads(text)
    )
