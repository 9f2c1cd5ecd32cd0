"""What the two databases spell each in its own way, and how their values are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from resourced.model import Resource

#: The columns of a resource, in the order of its fields.
RESOURCE_COLUMNS: Final = "id, name, timeout, resource_group, longest, slots"


@dataclass(frozen=True, slots=True)
class Spelling:
    """The few statements that the two databases spell each in its own way."""

    keep: str
    locked: str
    along: str


SPELLINGS: Final[Mapping[str, Spelling]] = {
    "mysql": Spelling(
        keep="ON DUPLICATE KEY UPDATE data = VALUES(data), version = VALUES(version)",
        locked=" FOR UPDATE",
        # Left to itself, MariaDB walks to where a page of a lock's events begins from the first of them all.
        along=" FORCE INDEX (event_of_lock)",
    ),
    "sqlite": Spelling(
        keep="ON CONFLICT (id_resource, selector) DO UPDATE SET data = excluded.data, version = excluded.version",
        # Its one writer at a time needs no more.
        locked="",
        along="",
    ),
}


def text(value: str | bytes) -> str:
    """Return a name as text: MySQL keeps exact names as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def resource_of(row: Sequence[Any]) -> Resource:
    """Return a resource by its row of ``RESOURCE_COLUMNS``."""
    id_, name, timeout, group, longest, slots = row
    return Resource(text(id_), text(name), timeout_of(timeout), text(group), longest, slots)


def timeout_of(value: int | None) -> int:
    """Return a timeout that can be used: the original server did not mind NULL or less than nothing."""
    return max(0, value or 0)
