"""A request for several things at once with its ticket, while it lasts."""

from __future__ import annotations

from collections.abc import Collection
from math import inf
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from resourced.deferreds import wake
from resourced.locks.pools.requests import PoolRequest
from resourced.locks.state.entry_states import ENDED, HELD, NEW, OFFERED, QUEUED, TRANSITIONS, UNCLAIMED, EntryEvent
from resourced.locks.state.estimates import Expectation
from resourced.locks.state.queue import Entry, Ticket, rank_of
from resourced.model import LockKey
from resourced.quotas import Tenant
from resourced.transitions import next_state
from resourced.wants import JointRequest, Want


class JointAsk(NamedTuple):
    """
    A request for several things at once: to have them, to keep them, or to keep the place in the order.

    :ivar wants: what is asked for; may be empty with a ticket, whose request says it.
    :ivar wait: how long to wait for all of it, in seconds.
    :ivar lease: how long its client may be silent once it has them, in seconds; 0 means the shortest of its resources' leases.
    :ivar leases: the lease of each resource, in seconds.

    The others are those of ``LockRequest``.
    """

    wants: tuple[Want, ...]
    leases: dict[str, float]
    ticket: str = ""
    wait: float = 0.0
    owner: str = ""
    idempotency_key: str = ""
    key_name: str = ""
    holds: Collection[str] = ()
    yields: bool = False
    priority: int = 0
    lease: int = 0


class GotUnit(NamedTuple):
    """A unit that a request got, and for which of its wants."""

    want: int
    key: LockKey
    fence: int


class Got(NamedTuple):
    """
    Everything that a request wants is its own.

    :ivar lease: how long the client may be silent from now on, in seconds.
    """

    ticket: str
    lease: float
    units: list[GotUnit]


class JointQueued(NamedTuple):
    """
    The request waits; position 1 is next.

    :ivar about: in how many seconds it will have everything, if earlier waits allow an estimate.
    """

    ticket: str
    position: int
    about: float | None = None


class Joint:
    """
    A request for several things at once. Its units have one ticket, one lease and one claim window.

    :ivar name: the name of its ticket.
    :ivar state: that of a place: see ``entry_states``.
    :ivar waiting: how the pools know it while it waits.
    :ivar leases: the lease of each resource that it wants something of, in seconds.
    :ivar tickets: the ticket as each of its resources knows it.
    :ivar entries: the units that it has.
    :ivar expected: how long it was to wait when its client was told first.

    The others are those of ``Entry``.
    """

    __slots__ = (
        "asked_lease",
        "at",
        "deadline",
        "entries",
        "expected",
        "group",
        "idempotency_key",
        "key_name",
        "leases",
        "lost",
        "name",
        "owner",
        "priority",
        "requests",
        "seq",
        "since",
        "spared",
        "state",
        "tenant",
        "tickets",
        "timer",
        "until",
        "waiting",
        "watchers",
    )

    def __init__(self, request: JointRequest, leases: dict[str, float], since: float, tenant: Tenant) -> None:
        self.seq = request.seq
        self.name = request.ticket
        self.key_name = request.key_name
        self.owner = request.owner
        self.idempotency_key = request.idempotency_key
        self.priority = request.priority
        self.asked_lease = request.lease
        self.leases = leases
        self.at = request.since
        self.expected: Expectation | None = None
        self.waiting = PoolRequest(rank_of(request.seq, request.priority), request.wants, yields=request.yields)
        self.since = since
        self.tenant = tenant
        self.state = NEW
        self.tickets: dict[str, Ticket] = {}
        self.entries: dict[LockKey, Entry] = {}
        self.lost = False
        self.group = 0
        self.requests = 0
        self.deadline = 0.0
        self.spared = 0
        self.until = inf
        self.timer: IDelayedCall | None = None
        self.watchers: list[Deferred[None]] = []

    @property
    def joint(self) -> Joint:
        """Itself: it has its own deadline."""
        return self

    @property
    def in_doubt(self) -> bool:
        """Whether the store may know better."""
        return self.lost

    @property
    def wants(self) -> tuple[Want, ...]:
        """What it asked for."""
        return self.waiting.wants

    @property
    def holds(self) -> bool:
        """Whether it was granted, and still has something of it."""
        return self.state in {OFFERED, UNCLAIMED, HELD}

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.state is ENDED

    @property
    def in_use(self) -> bool:
        """Whether a request or a write keeps it alive."""
        if self.state is QUEUED:
            return self.requests > 0
        return any(entry.queue.writes for entry in self.entries.values())

    @property
    def lease(self) -> float:
        """How long its client may be silent while it holds, in seconds."""
        return self.asked_lease or min(self.leases.values())

    def happens(self, event: EntryEvent) -> None:
        """
        Change the state.

        :raises resourced.locks.transitions.IllegalTransition: this must not happen in this state.
        """
        self.state = next_state(TRANSITIONS, self.state, event)

    def notify(self) -> None:
        """Wake whoever waits for something to happen to it."""
        wake(self.watchers)

    def got(self) -> list[GotUnit]:
        """Say what it has, in the order of its wants."""
        return sorted(GotUnit(entry.want, key, entry.fence) for key, entry in self.entries.items())

    def request(self) -> JointRequest:
        """Say it as the store keeps it."""
        return JointRequest(
            self.seq,
            self.name,
            self.wants,
            self.waiting.yields,
            self.priority,
            self.asked_lease,
            self.owner,
            self.key_name,
            self.idempotency_key,
            self.at,
            self.holds,
        )
