"""A request for several things at once with its ticket, while it lasts."""

from __future__ import annotations

from collections.abc import Collection
from math import inf
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from resourced.deferreds import wake
from resourced.locks.pools.matching import PoolRequest
from resourced.locks.state.entry_states import ENDED, HELD, NEW, OFFERED, QUEUED, TRANSITIONS, UNCLAIMED, EntryEvent
from resourced.locks.state.estimates import Expectation
from resourced.locks.state.queue import Entry, Ticket, priority_of, rank_of, seq_of
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
    :ivar group: that of all its resources.

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
    group: str = ""


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


class Demand:
    """
    What requests want, with the leases of the resources that they name. Those that want the same share it.

    :ivar leases: by resource, in seconds.
    """

    __slots__ = ("__weakref__", "leases", "wants")

    def __init__(self, wants: tuple[Want, ...], leases: dict[str, float]) -> None:
        self.wants = wants
        self.leases = leases


class Joint:
    """
    A request for several things at once. Its units have one ticket, one lease and one claim window.

    :ivar state: that of a place: see ``entry_states``.
    :ivar waiting: how the pools know it while it waits.
    :ivar demand: what it wants.
    :ivar tickets: the ticket as each of its resources knows it.
    :ivar expected: how long it was to wait when its client was told first.

    The others are those of ``Entry``.
    """

    __slots__ = (
        "asked_lease",
        "at",
        "deadline",
        "demand",
        "expected",
        "group",
        "idempotency_key",
        "lost",
        "named",
        "owner",
        "requests",
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

    def __init__(self, request: JointRequest, demand: Demand, since: float, tenant: Tenant) -> None:
        self.owner = request.owner
        self.idempotency_key = request.idempotency_key
        self.asked_lease = request.lease
        self.demand = demand
        self.at = request.since
        self.expected: Expectation | None = None
        self.waiting = PoolRequest(rank_of(request.seq, request.priority), demand.wants, yields=request.yields)
        self.since = since
        self.tenant = tenant
        self.state = NEW
        self.tickets = tuple(
            Ticket(request.ticket, resource, key_name=request.key_name)
            for resource in dict.fromkeys(want.resource for want in demand.wants)
        )
        for ticket in self.tickets:
            ticket.joint = self
        self.lost = False
        self.named = False
        self.group = 0
        self.requests = 0
        self.deadline = 0.0
        self.spared = 0
        self.until = inf
        self.timer: IDelayedCall | None = None
        self.watchers: list[Deferred[None]] = []

    @property
    def name(self) -> str:
        """The name of its ticket."""
        return self.tickets[0].name

    @property
    def key_name(self) -> str:
        """Who its ticket was given to, and works for."""
        return self.tickets[0].key_name

    @property
    def seq(self) -> int:
        """The order of its arrival. It is not kept beside the rank: what waits is to take little."""
        return seq_of(self.waiting.rank)

    @property
    def priority(self) -> int:
        """The higher comes first."""
        return priority_of(self.waiting.rank)

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
        return self.demand.wants

    @property
    def leases(self) -> dict[str, float]:
        """The lease of each resource that it wants something of, in seconds."""
        return self.demand.leases

    @property
    def entries(self) -> list[Entry]:
        """The units that it has."""
        return [entry for ticket in self.tickets for entry in ticket.entries.values()]

    @property
    def over(self) -> bool:
        """Whether it has nothing."""
        return not any(ticket.entries for ticket in self.tickets)

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
        return any(entry.queue.writes for entry in self.entries)

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

    def ticket(self, resource: str) -> Ticket | None:
        """Return its ticket as a resource knows it, if it wants something of that."""
        return next((ticket for ticket in self.tickets if ticket.resource == resource), None)

    def notify(self) -> None:
        """Wake whoever waits for something to happen to it."""
        wake(self.watchers)

    def got(self) -> list[GotUnit]:
        """Say what it has, in the order of its wants."""
        return sorted(GotUnit(entry.want, entry.queue.key, entry.fence) for entry in self.entries)

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
