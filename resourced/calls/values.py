"""What a client gets back: frozen values, with the names of the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

from resourced.calls.errors import Rejected, Unreachable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Definition:
    """
    A resource as it was created.

    :ivar timeout: the lease of its locks in whole seconds; 0 means as the server likes it.
    :ivar group: what it is decided together with; empty means its own name.
    :ivar longest: the longest lease that a request may ask for, in whole seconds; 0 means the timeout.
    :ivar slots: how many units the server makes of it.
    """

    id: str
    name: str
    timeout: int
    group: str = ""
    longest: int = 0
    slots: int = 0


@dataclass(frozen=True, slots=True)
class Resource:
    """
    A resource and what goes on in it.

    :ivar timeout: the lease of its locks in whole seconds; 0 means as the server likes it.
    :ivar held: how many of its locks are held.
    :ivar waiting: how many tickets wait in it.
    """

    id: str
    name: str
    timeout: int
    held: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Node:
    """
    A node of a cluster, as the node sees it that was asked.

    :ivar url: where the others reach it; empty if there are no others.
    :ivar state: ``up``, ``gone`` if it has left in order, or ``dead``.
    :ivar term: how often it has begun.
    :ivar beat: grows with each of its commits.
    :ivar still: for how many seconds that has not grown.
    :ivar draining: whether it wants no partitions.
    :ivar partitions: how many it owns.
    :ivar here: whether it is the node that was asked.
    """

    id: int
    url: str
    state: str
    term: int
    beat: int
    still: float
    draining: bool
    partitions: int
    here: bool


@dataclass(frozen=True, slots=True)
class Cluster:
    """
    The nodes of a store.

    :ivar partitions: the number of the owner of each; 0 where there is none at this moment.
    :ivar moving: how many have no owner at this moment.
    """

    nodes: tuple[Node, ...]
    partitions: tuple[int, ...]
    moving: int


@dataclass(frozen=True, slots=True)
class Card:
    """
    What makes a selector a unit of its resource's pool.

    :ivar tags: words that wants ask for, in order.
    :ivar note: for people.
    :ivar out: why the unit is out of service; None if it is in service.
    :ivar out_since: since when, in UTC as RFC 3339 has it; None if it is in service.
    """

    tags: tuple[str, ...] = ()
    note: str = ""
    out: str | None = None
    out_since: str | None = None


@dataclass(frozen=True, slots=True)
class Selector:
    """
    A selector that has data, or is locked or queued for.

    :ivar data: whether anything is written there.
    :ivar held: whether it is locked.
    :ivar waiting: how many tickets wait for it.
    :ivar holder: who has it, if anybody.
    :ivar card: what makes it a unit; None if it is none.
    """

    selector: str
    data: bool
    held: bool
    waiting: int
    holder: Holder | None = None
    card: Card | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """
    What is kept at a selector.

    :ivar text: the JSON text, just as it was written.
    :ivar etag: changes with the text; with its quotes.
    """

    text: str
    etag: str

    @property
    def data(self) -> Any:
        """
        The value that the text stands for, decoded anew each time.

        :raises Rejected: it is JSON that Python does not take, such as a number of thousands of digits (``code`` is ``bad_data``).
        """
        return decoded(self.text)


@dataclass(frozen=True, slots=True)
class Holder:
    """
    Who has a lock.

    :ivar held: for how many whole seconds.
    :ivar left: how many whole seconds it may still be silent.
    :ivar claimed: whether it knows of its luck yet.
    :ivar key: the name of the key that its ticket was given to.
    """

    owner: str
    fence: int
    held: int
    left: int
    claimed: bool
    key: str = ""


@dataclass(frozen=True, slots=True)
class Waiter:
    """
    Who waits for a lock.

    :ivar position: 1 is first in the queue.
    :ivar waited: for how many whole seconds.
    :ivar left: how many whole seconds it may still be silent.
    :ivar key: the name of the key that its ticket was given to.
    """

    position: int
    owner: str
    waited: int
    left: int
    key: str = ""


@dataclass(frozen=True, slots=True)
class LockState:
    """
    A lock as it stands.

    :ivar holder: who has it, if anybody.
    :ivar waiting: how many wait for it.
    :ivar queue: a page of those who wait, in order.
    :ivar next: the last position of the page if there are more, to be asked for as ``after``; else None.
    """

    resource: str
    selector: str
    locked: bool
    holder: Holder | None
    waiting: int
    queue: tuple[Waiter, ...]
    next: int | None


@dataclass(frozen=True, slots=True)
class HeldLock:
    """
    A lock that is held, in a list of many.

    :ivar waiting: how many tickets wait for it by name.
    """

    resource: str
    selector: str
    holder: Holder
    waiting: int


@dataclass(frozen=True, slots=True)
class WaitingTicket:
    """
    A ticket that waits, in a list of many: for a lock, or for several things at once.

    :ivar owner: who waits.
    :ivar key: the name of the key that its ticket was given to.
    :ivar waited: for how many whole seconds.
    :ivar left: how many whole seconds it may still be silent.
    :ivar resource: that of the lock that it waits for; empty if it waits for several things. The same holds of ``selector``.
    :ivar holder: who has that lock, if anybody.
    :ivar waiting: how many tickets wait for that lock by name.
    :ivar want: the things that it waits for, as they were asked for; empty if it waits for a lock.
    """

    owner: str
    key: str
    waited: int
    left: int
    resource: str = ""
    selector: str = ""
    holder: Holder | None = None
    waiting: int = 0
    want: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """
    Something that happened to a lock or its data.

    :ivar id: grows from event to event, not by ones.
    :ivar at: when, in UTC as RFC 3339 has it.
    :ivar event: ``grant``, ``release``, ``expiry``, ``break``, ``write``, ``out`` or ``back``.
    :ivar fence: of the lock; 0 for a place in the queue that was given up or lapsed.
    :ivar seconds: how long it waited (``grant``, and where ``fence`` is 0), else how long the lock was held.
    :ivar key: the name of the key that acted: that of the ticket, or for a break that of the client that broke the lock.
    :ivar by: who broke the lock, or took the unit out or back; else empty.
    :ivar reason: why, if that was said.
    """

    id: int
    at: str
    event: str
    resource: str
    selector: str
    owner: str
    fence: int
    seconds: float
    key: str = ""
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """
    What was used of a selector, or by an owner.

    :ivar name: that of the selector or of the owner; None for all those that are not counted by name.
    :ivar grants: how often it was got.
    :ivar held: for how many whole seconds it was held.
    :ivar expiries: how often a lease ended it.
    :ivar breaks: how often somebody broke it.
    :ivar wait_mean: how many seconds a wait took on average; None if it is not known.
    :ivar wait_p95: the seconds that 95 of 100 waits were not longer than; None if it is not known.
    """

    name: str | None
    grants: int
    held: int
    expiries: int
    breaks: int
    wait_mean: float | None
    wait_p95: float | None


@dataclass(frozen=True, slots=True)
class Usage:
    """
    What was used of a resource in the last days.

    :ivar days: how many days, today included.
    :ivar units: by selector, what was held longest first.
    :ivar owners: by owner, who held longest first.
    """

    resource: str
    days: int
    units: tuple[Use, ...]
    owners: tuple[Use, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """Events are missing here, because the server does not keep them any more, or is another one."""

    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """
    How a client that waits for a lock stands; given to the callback ``on_queued`` whenever it changes.

    :ivar position: 1 is first in the queue; 0 as long as no server has said anything.
    :ivar ticket: its place; empty as long as no server has given one. Keep it secret: it is all that is needed to take the place.
    :ivar rejoined: how often the client has lost its place and joined again at the end of the queue. It loses the place, for instance, if no
        server is reachable for longer than a place lasts.
    :ivar trouble: why no server can be asked at present, as a sentence; empty if all is well.
    :ivar out: why the unit that is waited for is out of service; empty if it is in service.
    :ivar about: in how many seconds everything will be there, as the server estimates; None if it does not. Only for several things at once.
    """

    position: int
    ticket: str
    rejoined: int
    trouble: str
    out: str = ""
    about: int | None = None


def decoded(text: str) -> Any:
    """
    Return the value that a JSON text stands for.

    :raises Rejected: Python does not take it.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Rejected(f"The data cannot be decoded here, but only be had as text: {error}", "bad_data") from None


def take(kind: type[T], answer: Mapping[str, Any]) -> T:
    """
    Make a value of the fields of an answer that have its names. A later server may have more, and one that has a default may be missing.

    :raises Unreachable: a field is missing, so that it is no usable answer (``code`` is ``bad_answer``).
    """
    wanted = [f.name for f in fields(kind) if f.name in answer or f.default is MISSING]  # type: ignore[arg-type]
    try:
        return kind(**{name: answer[name] for name in wanted})
    except (KeyError, TypeError) as error:
        raise Unreachable(f"The server's answer is no {kind.__name__}: {error} is missing.", "bad_answer") from error
