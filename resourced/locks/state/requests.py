"""What requests ask of the lock manager, and what they get: values that a handler makes and reads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final, NamedTuple

from resourced.errors import DataNotFound
from resourced.model import Document, LockKey
from resourced.wants import Want

#: Looks at the data that a write is to replace, and raises if it must stay.
Check = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class LockRequest:
    """
    A request for a lock: to take it, to keep it, or to keep a place in the queue.

    :ivar lease: how long a holder may be silent who asks for nothing else, in seconds; 0 means the server's default.
    :ivar ticket: the client's ticket; without one it gets a new one.
    :ivar wait: how long to wait for the lock, in seconds.
    :ivar owner: who the client says it is, for people.
    :ivar idempotency_key: identifies a repeated request without a ticket: it gets the ticket that it got before.
    :ivar key_name: the name of the API key; a ticket works only for the key that it was given to.
    :ivar holds: tickets that the client holds meanwhile; those of other keys are ignored.
    :ivar origin: the address of a client that has sent no ticket, owner or idempotency key. An unclaimed lock of such a client at the same
        address passes to it at once.
    :ivar asked_lease: the lease that the client asks for, in seconds; 0 leaves what the ticket has, which is the resource's at first.
    :ivar priority: -9 to 9, of a new place; the higher comes first. A place keeps the one that it began with.
    """

    key: LockKey
    lease: float
    ticket: str = ""
    wait: float = 0.0
    owner: str = ""
    idempotency_key: str = ""
    key_name: str = ""
    holds: Collection[str] = ()
    origin: str = ""
    asked_lease: int = 0
    priority: int = 0


@dataclass(slots=True)
class Grant:
    """
    A lock that a request has, and whose client has not been told.

    :ivar fresh: whether this request got the lock; else the ticket had it before.
    :ivar origin: the ``origin`` of the request.
    """

    ticket: str
    fence: int
    fresh: bool
    key_name: str = ""
    origin: str = ""


#: What a request without a reader finds.
NOT_READ: Final = DataNotFound("The data was not read.")


@dataclass(slots=True)
class Acquired:
    """
    The ticket holds the lock.

    :ivar lease: how long the client may be silent from now on, in seconds.
    :ivar found: what was read while the lock was held, or that there is no data.
    """

    ticket: str
    fence: int
    lease: float
    found: Document | DataNotFound


@dataclass(slots=True)
class Queued:
    """
    The ticket waits; position 1 is next.

    :ivar out: why the unit is out of service, if it is.
    """

    ticket: str
    position: int
    out: str | None = None


class WriteRequest(NamedTuple):
    """
    A write of the holder.

    :ivar data: the JSON text to keep; nothing deletes what is there.
    :ivar check: looks at the data that is there, which cannot change meanwhile, and raises if it must stay.
    """

    key: LockKey
    resource_id: str
    ticket: str
    data: str | None
    key_name: str
    check: Check | None


class Written(NamedTuple):
    """
    A write that is committed.

    :ivar version: of the data.
    :ivar fence: under which it was written.
    :ivar lease: how long its writer may be silent from now on, in seconds; nothing if it does not hold the lock any more.
    """

    version: int
    fence: int
    lease: float | None


@dataclass(frozen=True, slots=True)
class Holder:
    """
    The holder of a lock, as people see it.

    :ivar owner: who its client says it is.
    :ivar key: the name of the key that its ticket was given to.
    :ivar held: for how many seconds.
    :ivar left: in how many seconds it ends if the ticket is not used.
    :ivar claimed: whether its client has come for it.
    :ivar priority: with which it has waited.
    """

    owner: str
    key: str
    fence: int
    held: float
    left: float
    claimed: bool
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Waiter:
    """
    A ticket that waits for a lock, as people see it.

    :ivar position: 1 is next.
    :ivar key: the name of the key that its ticket was given to.
    :ivar waited: for how many seconds.
    :ivar left: in how many seconds the place ends if its ticket is not used.
    """

    position: int
    owner: str
    key: str
    waited: float
    left: float
    priority: int = 0


@dataclass(frozen=True, slots=True)
class HeldLock:
    """
    A lock that is held, in a list of many.

    :ivar waiting: how many tickets wait for it by name.
    :ivar number: its place in the list.
    """

    key: LockKey
    holder: Holder
    waiting: int
    number: int


@dataclass(frozen=True, slots=True)
class Waits:
    """
    A ticket that waits, wherever it stands, as people see it.

    :ivar key: the name of the key that it was given to.
    :ivar waited: for how many seconds.
    :ivar left: in how many seconds the place ends if the ticket is not used.
    """

    owner: str
    key: str
    waited: float
    left: float
    priority: int = 0


@dataclass(frozen=True, slots=True)
class WaitingTicket:
    """
    A ticket that waits, in a list of many.

    :ivar key: the lock that it waits for; nothing if it waits for several things at once, which are ``wants``.
    :ivar holder: who holds that lock, if anyone does.
    :ivar waiting: how many tickets wait for it by name.
    :ivar number: its place in the list.
    """

    key: LockKey | None
    wants: tuple[Want, ...]
    holder: Holder | None
    waiting: int
    waiter: Waits
    number: int


@dataclass(frozen=True, slots=True)
class LockState:
    """
    The state of a lock.

    :ivar waiting: how many tickets wait for it.
    :ivar queue: a page of them, in their order.
    """

    holder: Holder | None
    waiting: int
    queue: list[Waiter]


@dataclass(frozen=True, slots=True)
class LockCounts:
    """How many locks of a resource are held, and how many tickets wait there."""

    held: int
    waiting: int


class PoolCounts(NamedTuple):
    """How many units a resource has, and how many of them are out of service."""

    units: int
    out: int


class SelectorState(NamedTuple):
    """Who holds the lock of a selector, if anyone, and how many tickets wait for it."""

    holder: Holder | None
    waiting: int
