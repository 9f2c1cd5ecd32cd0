"""One selector's tickets in their order: who holds the lock, who waits. It knows neither time, nor store, nor network."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from math import inf
from typing import Final, Protocol

from sortedcontainers import SortedDict
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from resourced.deferreds import waiter_in, wake
from resourced.errors import StoreUnavailable
from resourced.locks.indexes.sorted_index import Index
from resourced.locks.state.entry_states import END, ENDED, HELD, NEW, QUEUE, STORED, TRANSITIONS, EntryEvent
from resourced.model import WAITING, LockKey, Place
from resourced.quotas import Tenant
from resourced.transitions import next_state


class Together(Protocol):
    """
    A request for several things as its units know it: they share its ticket, lease and deadline. It is a ``Joint``.

    :ivar tickets: the ticket as each of its resources knows it.

    The others are those of ``Entry``.
    """

    deadline: float
    spared: int
    timer: IDelayedCall | None
    tickets: tuple[Ticket, ...]

    def ticket(self, resource: str) -> Ticket | None: ...

    @property
    def seq(self) -> int: ...

    @property
    def joint(self) -> Together: ...

    @property
    def lease(self) -> float: ...

    @property
    def ended(self) -> bool: ...

    @property
    def in_doubt(self) -> bool: ...

    @property
    def in_use(self) -> bool: ...

    def __hash__(self) -> int: ...


#: In a rank, one step of priority outweighs as many arrivals as there will ever be: 2 to this power.
_PRIORITY: Final = 48


def rank_of(seq: int, priority: int) -> int:
    """Return what sorts requests: first by priority, the highest first, then by arrival."""
    # Most have none, and then it is the same object.
    return seq - (priority << _PRIORITY) if priority else seq


def seq_of(rank: int) -> int:
    """Return the arrival of a request by what sorts it."""
    return rank & ((1 << _PRIORITY) - 1) if rank >> _PRIORITY else rank


def priority_of(rank: int) -> int:
    """Return the priority of a request by what sorts it."""
    return -(rank >> _PRIORITY)


class Ticket:
    """
    A ticket of a resource, with every place that it has there.

    :ivar joint: the request for several things that it was given to, if it was.
    :ivar entries: by selector.
    :ivar idempotency_key: what the request that made the ticket could be known by again, or empty.
    :ivar key_name: who it was given to, and works for.
    :ivar origin: the address of a client that may not have seen the ticket, as its lock came with a ``404``. It is empty once the client has sent the
        ticket, and for all others.
    """

    __slots__ = ("entries", "idempotency_key", "joint", "key_name", "name", "origin", "resource")

    def __init__(self, name: str, resource: str, idempotency_key: str = "", key_name: str = "") -> None:
        self.name = name
        self.resource = resource
        self.idempotency_key = idempotency_key
        self.key_name = key_name
        self.origin = ""
        self.joint: Together | None = None
        self.entries: dict[str, Entry] = {}

    @property
    def alive(self) -> bool:
        """Whether it holds or waits anywhere."""
        return bool(self.entries) or self.joint is not None


class Entry:
    """
    A ticket's place at one selector, while it lasts.

    :ivar state: see ``entry_states``.
    :ivar standing: how the store keeps the state; of one that has ended, the last one before.
    :ivar holds: whether the lock is its own.
    :ivar named: whether a client could name it when it asked, so that it finds it again if the answer is lost. Of what was read from the
        store that is not known, so it counts as if one could.
    :ivar group: the number of the journal's group that carries its last change.
    :ivar requests: how many requests with this ticket are open here.
    :ivar deadline: when its lease, its place or its claim window runs out, by the clock of the lock manager.
    :ivar spared: how often it would have ended since it was last used, but for a pause of the process.
    :ivar until: when its claim window ends at the latest, by that clock.
    :ivar timer: what wakes it then.
    :ivar since: when it began to stand as it does, by the clock of the lock manager.
    :ivar at: the same in milliseconds of the clock of marks, by which the next daemon knows it.
    :ivar tenant: what the name of its key takes, which it counts for.
    :ivar watchers: who wants to know when the lock falls to it or it ends.
    :ivar joint: the request for several things that it belongs to, if it does; ``want`` is which of them it is.
    :ivar asked_lease: the lease that its client has asked for, in seconds; 0 means that of the resource.
    :ivar priority: -9 to 9; the higher comes first.
    :ivar rank: what sorts all that wait: by priority, and then by arrival. The lower comes first.
    """

    __slots__ = (
        "asked_lease",
        "at",
        "deadline",
        "fence",
        "group",
        "holds",
        "joint",
        "named",
        "owner",
        "priority",
        "queue",
        "rank",
        "requests",
        "seq",
        "since",
        "spared",
        "standing",
        "state",
        "tenant",
        "ticket",
        "timer",
        "until",
        "want",
        "watchers",
    )

    def __init__(
        self,
        queue: LockQueue,
        ticket: Ticket,
        seq: int,
        owner: str,
        since: float,
        tenant: Tenant,
        asked_lease: int = 0,
        priority: int = 0,
    ) -> None:
        self.queue = queue
        self.ticket = ticket
        self.tenant = tenant
        self.seq = seq
        self.owner = owner
        self.state = NEW
        self.standing = WAITING
        self.holds = False
        self.fence = 0
        self.named = False
        self.group = 0
        self.requests = 0
        self.deadline = 0.0
        self.spared = 0
        self.until = inf
        self.since = since
        self.at = 0
        self.timer: IDelayedCall | None = None
        self.watchers: list[Deferred[None]] = []
        self.joint: Together | None = None
        self.want = 0
        self.asked_lease = asked_lease
        self.priority = priority
        self.rank = rank_of(seq, priority)

    @property
    def lease(self) -> float:
        """How long its client may be silent while it holds, in seconds."""
        if self.joint is not None:
            return self.joint.lease
        return self.asked_lease or self.queue.scope.lease

    @property
    def in_doubt(self) -> bool:
        """Whether the store may know better."""
        return self.queue.in_doubt

    @property
    def in_use(self) -> bool:
        """Whether a request or a write keeps it alive."""
        return self.queue.writes > 0 if self.holds else self.requests > 0

    @property
    def ended(self) -> bool:
        """Whether it is over: released, lapsed, broken, or replaced by what the store knows."""
        return self.state is ENDED

    def happens(self, event: EntryEvent) -> None:
        """
        Change the state.

        :raises resourced.transitions.IllegalTransition: this must not happen in this state.
        """
        state = self.state = next_state(TRANSITIONS, self.state, event)
        if state is not ENDED:
            self.standing = STORED[state]

    def notify(self) -> None:
        """Wake whoever waits for something to happen to it."""
        wake(self.watchers)

    def place(self) -> Place:
        """Say it as the store keeps it."""
        ticket = self.ticket
        return Place(
            self.seq,
            self.queue.key,
            ticket.name,
            self.standing,
            self.fence,
            self.owner,
            ticket.idempotency_key,
            ticket.key_name,
            self.at,
            self.asked_lease,
            self.priority,
            0 if self.joint is None else self.joint.seq,
            self.want,
        )


class Scope:
    """
    The locks of one resource that somebody holds or waits for.

    :ivar lease: how long a holder may be silent, in seconds.
    :ivar queues: by selector.
    :ivar selectors: the same in their order, so that a page of them costs no more than it is long.
    :ivar held: how many of them are held.
    :ivar waiting: how many tickets wait for them.
    """

    __slots__ = ("held", "lease", "queues", "selectors", "waiting")

    def __init__(self, lease: float) -> None:
        self.lease = lease
        self.queues: dict[str, LockQueue] = {}
        self.selectors = Index(self.queues)
        self.held = 0
        self.waiting = 0

    def open(self, queue: LockQueue) -> None:
        """Add a queue."""
        selector = queue.key.selector
        self.queues[selector] = queue
        self.selectors.touch(selector)

    def close(self, queue: LockQueue) -> None:
        """Forget a queue."""
        selector = queue.key.selector
        del self.queues[selector]
        self.selectors.touch(selector)


class LockQueue:
    """
    The holder of one lock and those who wait for it: by priority, and among equals first come first served.

    :ivar writes: how many writes of the holder are under way; the lock does not change hands before they end.
    :ivar idle_waiters: who waits for those writes to end.
    :ivar checking: whether one of those writes looks at the data first; no other may begin before that is over.
    :ivar in_doubt: whether the store may know better than this queue; nothing may be decided by it then.
    """

    __slots__ = ("checking", "holder", "idle_waiters", "in_doubt", "key", "scope", "waiting", "writes")

    def __init__(self, key: LockKey, scope: Scope) -> None:
        self.key = key
        self.scope = scope
        self.holder: Entry | None = None
        # By rank.  A plain dict does for one, which is all that most locks ever see; for more there is one that is sorted and
        # knows the position of a ticket without counting those before it.
        self.waiting: MutableMapping[int, Entry] = {}
        self.writes = 0
        self.idle_waiters: list[Deferred[None]] = []
        self.checking = False
        self.in_doubt = False

    def __iter__(self) -> Iterator[Entry]:
        """The holder, then those who wait, in their order."""
        if self.holder is not None:
            yield self.holder
        yield from self.waiting.values()

    @property
    def first_rank(self) -> int | None:
        """What sorts the first of those who wait among all requests; nothing if nobody waits."""
        return next(iter(self.waiting), None)

    def older(self, rank: int) -> int:
        """Count those who wait and come before a rank."""
        if isinstance(self.waiting, SortedDict):
            return self.waiting.bisect_left(rank)
        return sum(other < rank for other in self.waiting)

    def until_idle(self) -> Deferred[None]:
        """Wait until no write of the holder is under way."""
        return waiter_in(self.idle_waiters)

    def write_over(self) -> None:
        """Count a write as ended."""
        self.writes -= 1
        if not self.writes:
            wake(self.idle_waiters)

    def invalidate(self, why: StoreUnavailable | None = None) -> None:
        """Stop deciding anything here, and tell so whoever waits for a decision."""
        self.in_doubt = True
        lost = why or StoreUnavailable("The store was lost while the request waited. Try again.")
        for entry in self:
            wake(entry.watchers, lost)
        wake(self.idle_waiters, lost)

    def join(self, entry: Entry) -> None:
        """Put a place where its rank belongs: a new one comes last of its priority."""
        entry.happens(QUEUE)
        if self.waiting and not isinstance(self.waiting, SortedDict):
            self.waiting = SortedDict(self.waiting)
        self.waiting[entry.rank] = entry
        self.scope.waiting += 1
        entry.tenant.join(self.key)

    def hold(self, entry: Entry, event: EntryEvent) -> None:
        """Make a place the holder's, by an offer or a grant."""
        entry.happens(event)
        self.holder = entry
        entry.holds = True
        self.scope.held += 1
        entry.tenant.held += 1

    def page(self, start: int, end: int) -> list[Entry]:
        """Return those who wait from one position up to another, counted from 0."""
        if isinstance(self.waiting, SortedDict):
            return list(self.waiting.values()[start:end])
        return list(self.waiting.values())[start:end]

    def position(self, entry: Entry) -> int:
        """Return the position of one that waits; 1 is next."""
        return self.waiting.index(entry.rank) + 1 if isinstance(self.waiting, SortedDict) else 1

    def unclaimed_by(self, key_name: str, origin: str) -> Entry | None:
        """
        Return the holder if its client may not know of its ticket, and who asks now is likely to be that client.

        :param origin: from which address it asks; empty if it could not be the same client.
        """
        holder = self.holder
        if not origin or holder is None or holder.state is HELD or self.writes:
            return None
        return holder if (holder.ticket.key_name, holder.ticket.origin) == (key_name, origin) else None

    def leave(self, entry: Entry) -> None:
        """Take out the holder, or one that waits: it ends."""
        entry.happens(END)
        if self.holder is entry:
            self.holder = None
            entry.holds = False
            self.scope.held -= 1
            entry.tenant.held -= 1
        else:
            del self.waiting[entry.rank]
            self.scope.waiting -= 1
            entry.tenant.leave(self.key)

    def next_waiter(self) -> Entry:
        """Take out the first waiter, which is to have the lock."""
        _, entry = self.waiting.popitem(0) if isinstance(self.waiting, SortedDict) else self.waiting.popitem()
        self.scope.waiting -= 1
        entry.tenant.leave(self.key)
        return entry
