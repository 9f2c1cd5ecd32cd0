"""The values that the rooms hand to each other. All of them are frozen; none of them does anything."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple


class Key(NamedTuple):
    """What a lock is on: a selector of a resource, both by their exact names."""

    resource: str
    selector: str


@dataclass(frozen=True, slots=True)
class Resource:
    """
    A resource as it was created.

    :ivar timeout: the lease of its locks in whole seconds; 0 means the server's default.
    """

    id: str
    name: str
    timeout: int


@dataclass(frozen=True, slots=True)
class Document:
    """
    What is kept at a selector.

    :ivar data: the JSON text, just as it was written.
    """

    id: str
    resource_id: str
    selector: str
    data: str


class Standing(IntEnum):
    """How a ticket stands at a selector. The numbers are stored: never change them."""

    WAITING = 0
    #: The lock fell to the ticket, and its client has not come for it yet.
    GRANTED = 1
    HOLDING = 2
    #: The ticket lost its lock or its place here, but still lives at another selector of the resource.
    LOST = 3


class Place(NamedTuple):
    """
    One ticket at one selector, as the store keeps it.

    :ivar seq: the order of arrival, unique in the whole store; it names the place, and the queue is sorted by it.
    :ivar fence: the fence of the lock, 0 while it waits.
    :ivar owner: who the client says it is, for people.
    :ivar retry: what a client's ``Idempotency-Key`` came to (64 hex digits), or empty.
    """

    seq: int
    key: Key
    ticket: str
    standing: Standing
    fence: int
    owner: str
    retry: str


class Write(NamedTuple):
    """
    New data for a selector, by the ticket that holds its lock.

    :ivar seq: the holder's ``Place.seq``.
    :ivar data: the JSON text to keep.
    """

    key: Key
    resource_id: str
    seq: int
    ticket: str
    fence: int
    data: str


@dataclass(frozen=True, slots=True)
class Batch:
    """
    What goes into the store in one transaction: all of it or nothing.

    It is applied in this order, whatever the order in which it came about: ``places``, the check that each of
    ``writes`` comes from the holder, the data, then ``gone``.  So a write may be followed by its own release in
    the same batch.

    :ivar places: places to insert or to replace, by ``seq``; a ``seq`` occurs once.
    :ivar gone: the ``seq`` of places to forget.
    :ivar fence: the highest fence that was ever given out, this batch included.
    """

    fence: int
    places: list[Place] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)


class Reign(NamedTuple):
    """
    What a daemon finds when it makes itself the one writer of a store.

    :ivar epoch: the number of this reign; it grows each time.
    :ivar fence: the highest fence that was ever given out.
    :ivar places: every ticket's place, by ``seq``.
    :ivar timeouts: the timeout of each resource that has places, by its name.
    """

    epoch: int
    fence: int
    places: list[Place]
    timeouts: dict[str, int]


_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def valid_name(name: str) -> str:
    """Return an empty string if a resource or selector may have this name, else why not, as the end of a sentence."""
    if not name:
        return "is empty"
    if len(name) > 255:
        return "is longer than 255 characters"
    if name in {".", ".."}:
        return "is '.' or '..'"
    # Neither is printable; to ask that is cheaper.
    if not name.isprintable() and _CONTROL.search(name):
        return "has a control character in it"
    if not name.isprintable() and _SURROGATE.search(name):
        return "is not valid Unicode"
    return ""
