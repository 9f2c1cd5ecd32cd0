"""The values that the rooms hand to each other. All of them are frozen; none of them does anything."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from resourced.wants import Card, JointRequest


class LockKey(NamedTuple):
    """What a lock is on: a selector of a resource, both by their exact names."""

    resource: str
    selector: str


@dataclass(frozen=True, slots=True)
class Resource:
    """
    A resource as it was created.

    :ivar timeout: the lease of its locks in whole seconds; 0 means the server's default.
    :ivar group: what it is decided together with; empty means its own name.
    :ivar longest: the longest lease that a request may ask for, in whole seconds; 0 means the timeout.
    :ivar slots: how many units the server makes of it; 0 means none.
    """

    id: str
    name: str
    timeout: int
    group: str = ""
    longest: int = 0
    slots: int = 0


@dataclass(frozen=True, slots=True)
class Document:
    """
    What is kept at a selector.

    :ivar data: the JSON text, just as it was written.
    :ivar version: which writing of it this is; no two are the same at a selector, whatever happens to it in between.
    """

    id: str
    resource_id: str
    selector: str
    data: str
    version: int = 0

    @property
    def etag(self) -> str:
        """What tells this document from any other that was or will be at its selector (RFC 9110), without the quotes."""
        return etag_of(self.version, self.data)


def etag_of(version: int, data: str) -> str:
    """
    Return the entity tag of data: 16 hex digits.

    The data itself is in it, because somebody may have changed it in the database by hand.
    """
    return hashlib.blake2b(data.encode(), digest_size=8, salt=b"%x" % version).hexdigest()


class Standing(IntEnum):
    """How a ticket stands at a selector. The numbers are stored: never change them."""

    WAITING = 0
    #: The lock fell to the ticket, and its client has not come for it yet.
    GRANTED = 1
    HOLDING = 2
    # 3 was for a lock or a place that was lost; see Loss.


# By themselves, for whoever looks often: to find one in its class takes longer than all that is done with it.
WAITING, GRANTED, HOLDING = Standing


class Place(NamedTuple):
    """
    One ticket at one selector, as the store keeps it.

    :ivar seq: the order of arrival, unique in the whole store; it names the place, and the queue is sorted by it.
    :ivar fence: the fence of the lock, 0 while it waits.
    :ivar owner: who the client says it is, for people.
    :ivar idempotency_key: what a client's ``Idempotency-Key`` came to (64 hex digits), or empty.
    :ivar key_name: the name of the key that the ticket was given to, and that it works for.
    :ivar since: when it began to stand as it does, in milliseconds of the clock of marks, see ``Mark``; 0 if that is not known.
    :ivar lease: how long its client may be silent while it holds, in seconds; 0 means as the resource says.
    :ivar priority: -9 to 9; the higher comes first.
    :ivar joint: the joint request that it belongs to, by ``seq``; 0 if it was asked for by name.
    :ivar want: which want of that request it meets, from 0 on.
    """

    seq: int
    key: LockKey
    ticket: str
    standing: Standing
    fence: int
    owner: str
    idempotency_key: str
    key_name: str = ""
    since: int = 0
    lease: int = 0
    priority: int = 0
    joint: int = 0
    want: int = 0


class Write(NamedTuple):
    """
    New data for a selector, by the ticket that holds its lock.

    :ivar seq: the holder's ``Place.seq``.
    :ivar data: the JSON text to keep, or nothing, to have none there any more.
    :ivar version: the id of the event that tells of it.
    """

    key: LockKey
    resource_id: str
    seq: int
    ticket: str
    fence: int
    data: str | None
    version: int = 0


class EventKind(IntEnum):
    """What has happened. The numbers are stored: never change them."""

    GRANT = 1
    RELEASE = 2
    EXPIRY = 3
    BREAK = 4
    WRITE = 5
    #: A unit was taken out of service.
    OUT = 6
    #: A unit is in service again.
    BACK = 7


GRANT, RELEASE, EXPIRY, BREAK, WRITE, OUT, BACK = EventKind


class Breaker(NamedTuple):
    """
    Who takes a lock from its holder, and why.

    :ivar key_name: the name of the key that does it.
    :ivar by: who the client says it is.
    """

    key_name: str = ""
    by: str = ""
    reason: str = ""


class Event(NamedTuple):
    """
    Something that has happened to a lock, or to the data under it.

    :ivar id: grows from each event to the next, with gaps.
    :ivar at: when, in milliseconds of Unix time.
    :ivar fence: the fence of the lock; 0 if it was about a ticket that waited.
    :ivar seconds: how long the ticket had waited when it got the lock, or when it stopped to wait; else how long it had held the lock.
    :ivar key_name: the name of the key that acted: that of the ticket, or for a break that of the client that broke the lock. Empty in events of versions that did not
        keep it.
    :ivar by: who broke the lock; empty if it was not broken.
    :ivar reason: why, if that was said.
    :ivar priority: with which the ticket has waited, -9 to 9.
    """

    id: int
    kind: EventKind
    at: int
    key: LockKey
    owner: str
    fence: int
    seconds: float
    key_name: str = ""
    by: str = ""
    reason: str = ""
    priority: int = 0


class Mark(NamedTuple):
    """
    That by some time everything up to an event had happened.

    :ivar passed: milliseconds that had passed on a clock that only goes on while a daemon serves the store; see ``retention``.
    :ivar event: the id of the event.
    """

    passed: int
    event: int


#: How many bytes an event takes in a database beside its text.
EVENT_SIZE: Final = 100


class Weight(NamedTuple):
    """
    What some events take that follow each other.

    :ivar last: the id of the last of them.
    :ivar events: how many they are.
    :ivar size: how many bytes they take in a database, more or less.
    """

    last: int
    events: int
    size: int


class Loss(NamedTuple):
    """
    A lock or a place that a ticket lost against its client's wish, of which its client is told when it asks with it again.

    :ivar event: the id of the event that tells of it; it names the loss, which may be kept for longer.
    :ivar key_name: the name of the key that the ticket was given to.
    """

    event: int
    key: LockKey
    ticket: str
    key_name: str


@dataclass(slots=True)
class Step:
    """
    What was decided at once, and must be kept together.

    Where places are not kept, those that have changed are not named.

    :ivar fence: the highest fence that was ever given out.
    :ivar places: places that are new or have changed.
    :ivar gone: places that are no more: the ``seq`` and the lock of each.
    :ivar events: what to remember of it.
    :ivar unannounced: places, by ``seq``, that are to be given up if this is not kept, because no client knows of them.
    :ivar removed: a resource that is to be no more.
    :ivar losses: what tickets have lost.
    :ivar forgotten: losses, by ``event``, that are not to be remembered any more.
    :ivar joints: joint requests that are new or have changed.
    :ivar joints_gone: joint requests that are no more, by ``seq``.
    :ivar cards: of units, new or changed; nothing takes a card away.
    """

    fence: int
    places: Sequence[Place]
    gone: Sequence[tuple[int, LockKey]]
    events: Sequence[Event]
    write: Write | None = None
    unannounced: Collection[int] = ()
    removed: Resource | None = None
    losses: Sequence[Loss] = ()
    forgotten: Sequence[int] = ()
    joints: Sequence[JointRequest] = ()
    joints_gone: Sequence[int] = ()
    cards: Sequence[tuple[LockKey, Card | None]] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """
    What goes into the store in one transaction: all of it or nothing.

    The store applies ``places`` first, then checks that each of ``writes`` comes from the holder. The data follows, then ``gone``, ``losses`` and
    ``forgotten``. So a write may be followed by its own release in the same batch.

    :ivar places: places to insert or to replace, by ``seq``; a ``seq`` occurs once.
    :ivar gone: the ``seq`` of places to forget.
    :ivar removed: resources that are no more, with all their data. Nobody holds or waits for anything of them.
    :ivar events: what to remember of it all, by ``id``.
    :ivar fence: the highest fence that was ever given out, this batch included.
    :ivar event: the highest id of an event that was ever given out, this batch included.
    :ivar losses: what tickets have lost.
    :ivar forgotten: losses, by ``event``, that are not to be remembered any more.
    :ivar joints: joint requests to insert or to replace, by ``seq``; a ``seq`` occurs once.
    :ivar joints_gone: the ``seq`` of joint requests to forget.
    :ivar cards: of units, to insert or to replace; nothing takes a card away.
    """

    fence: int
    places: list[Place] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    removed: list[Resource] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    event: int = 0
    losses: list[Loss] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    joints: list[JointRequest] = field(default_factory=list)
    joints_gone: list[int] = field(default_factory=list)
    cards: dict[LockKey, Card | None] = field(default_factory=dict)


class Term(NamedTuple):
    """
    What a store says of the daemon that is its leader, the one writer.

    :ivar epoch: the number of its term, or of the last part of it.
    :ivar beat: grows with every commit of any leader.
    :ivar mine: whether the leader is the daemon that asks.
    :ivar ended: whether it has stepped down, or there never was one.
    :ivar guard: names the server, or the file, where its guard is held; empty if that is nowhere.
    """

    epoch: int
    beat: int
    mine: bool
    ended: bool
    guard: str


class Snapshot(NamedTuple):
    """
    What a daemon finds when it makes itself the one writer of a store.

    :ivar epoch: the number of this term; it grows each time.
    :ivar fence: the highest fence that was ever given out.
    :ivar places: every ticket's place, by ``seq``.
    :ivar resources: each resource that has places or units, by its name.
    :ivar event: the highest id of an event that was ever given out.
    :ivar losses: what tickets have lost, the oldest first.
    :ivar passed: what the clock of marks showed when there was the last mark, in milliseconds.
    :ivar joints: every joint request, by ``seq``.
    :ivar cards: those of all units.
    :ivar partitions: of which it tells, if not of all.
    :ivar homes: the partitions of the resources that it tells of, by their names; only with ``partitions``.
    :ivar node: the number of the node that asks; 0 if it serves the store by itself.
    :ivar seq: no place of which it does not tell has a higher number.
    """

    epoch: int
    fence: int
    places: list[Place]
    resources: dict[str, Resource]
    event: int = 0
    losses: Sequence[Loss] = ()
    passed: int = 0
    joints: Sequence[JointRequest] = ()
    cards: Mapping[LockKey, Card] = MappingProxyType({})
    partitions: frozenset[int] | None = None
    homes: Mapping[str, int] = MappingProxyType({})
    node: int = 0
    seq: int = 0


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
