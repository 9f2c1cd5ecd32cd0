"""
The table of all locks: every decision about who has one, who waits for it, and when either ends.

A decision is taken in memory in one step and put into the journal. Nothing here waits for anything; who is told, and when,
is for the room above. Time is that of the clock that is handed in, and must never run backwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from resourced.errors import Deadlock, NotHolder, Overloaded, ResourceInUse, StoreUnavailable, TicketEnded
from resourced.locks.deadlines import Alarms
from resourced.locks.deadlocks import Deadlocks
from resourced.locks.entry_states import ASSIGN, END, LEAVE, OFFER, RESTORED, UNCLAIMED, USE, EntryEvent
from resourced.locks.losses import Losses
from resourced.locks.pauses import PATIENCE, Pauses
from resourced.locks.queue import Entry, LockQueue, Scope, Ticket
from resourced.locks.requests import LockRequest
from resourced.locks.tickets import Tickets
from resourced.model import (
    BREAK,
    EXPIRY,
    GRANT,
    HOLDING,
    RELEASE,
    WAITING,
    WRITE,
    Breaker,
    Event,
    EventKind,
    Key,
    Loss,
    Place,
    Resource,
    Snapshot,
    Step,
    Write,
)
from resourced.quotas import Quotas, Tenant

#: What the name of a ticket looks like.
TICKET: Final = re.compile("[0-9a-f]{32}")


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
    How many tickets may wait.

    :ivar queue: at one selector.
    :ivar waiting: in all.
    :ivar locks: how many locks may be held.
    """

    queue: int = 10_000
    waiting: int = 100_000
    locks: int = 200_000


class Follower(Protocol):
    """Whose decisions a journal keeps, and who must learn when that failed."""

    def distrust(self, keys: Iterable[Key] | None) -> None:
        """Decide nothing more about ``keys``, or about anything, until told what the store knows."""

    def restore(self, snapshot: Snapshot, keys: Iterable[Key] | None, unannounced: Collection[int]) -> None:
        """
        Replace what is believed about ``keys``, or about everything, by what the store knows.

        :param unannounced: places of whose making no client was ever told; they are to be given up.
        """


class Journal(Protocol):
    """
    Where decisions about locks are kept.

    :ivar done: the number of the last group that is kept; so are all before it.
    :ivar newest: the number of the group that the last decision went into.
    :ivar durable: whether places are kept too; data always is.
    :ivar remembers: whether it is kept what tickets have lost.
    """

    done: int
    durable: bool
    remembers: bool

    @property
    def newest(self) -> int: ...

    @property
    def deposed(self) -> bool:
        """Whether somebody else decides, for good."""

    def follow(self, follower: Follower) -> None:
        """Say whose decisions these are."""

    def check(self) -> None:
        """
        Return if decisions can be kept at present.

        :raises resourced.errors.StoreUnavailable: the store is away.
        """

    def check_lease(self) -> None:
        """
        Return if nobody else can decide, whether or not decisions can be kept.

        :raises resourced.errors.StoreUnavailable: somebody else may.
        """

    def append(self, step: Step) -> int:
        """Keep all of a step, in one transaction; return the number of the group that it goes into."""

    def committed(self, group: int) -> Deferred[None]:
        """Wait until a group is kept; fails with ``StoreUnavailable`` if it could not be."""

    async def confirm_leader(self) -> None:
        """
        Return if no other daemon decides.

        :raises resourced.errors.StoreUnavailable: one does, or that cannot be known.
        """


class LockTable:
    """
    The queues of all locks, and the tickets in them.

    :param new_ticket: makes the name of a ticket; nobody may be able to guess it.
    :param predecessor_lease: for how many seconds an earlier daemon may go on telling clients what it believes; until then no time passes
        for what is taken over from it.
    :param wall: tells Unix time in seconds; it is only shown to people, as the time of an event.
    :param quotas: what each key name takes.
    :param pauses: knows when the process stood still.
    :param since: an id that is lower than that of any event of this life.
    :ivar waiting: how many tickets wait, for all locks together.
    """

    def __init__(
        self,
        clock: IReactorTime,
        journal: Journal,
        *,
        new_ticket: Callable[[], str],
        times: Times,
        limits: Limits,
        predecessor_lease: float,
        wall: Callable[[], float],
        pauses: Pauses,
        since: int = 0,
        quotas: Quotas,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._pauses = pauses
        self._quotas = quotas
        self._journal = journal
        self._times = times
        self._limits = limits
        self._predecessor_lease = predecessor_lease
        self._queues: dict[Key, LockQueue] = {}
        self._scopes: dict[str, Scope] = {}
        # Resources that are being removed, and how often one may have been, or was changed.
        self._sealed: set[str] = set()
        self.changes = 0
        self._tickets = Tickets(new_ticket)
        self._deadlocks = Deadlocks()
        self._losses = Losses(clock.seconds)
        # Whether all that tickets have lost is known, where it is kept.
        self._complete = True
        self._alarms: Alarms[Entry] = Alarms(clock, self._due)
        self._seq = 0
        self._fence = 0
        self._event = since
        self.waiting = 0
        # The highest place that an earlier daemon may know of, and when it has nothing to tell about it any more.
        self._inherited = 0
        self._alone = 0.0
        # By how much the clock of marks is ahead of the other.
        self._ahead = 0.0
        # What was decided since the journal was last told.
        self._changed: dict[Entry, None] = {}
        self._gone: list[Entry] = []
        self._events: list[Event] = []
        self._lost: list[Loss] = []
        self._forgotten: list[Loss] = []
        journal.follow(self)

    def __iter__(self) -> Iterator[Entry]:
        """Every holder, and everyone who waits."""
        for queue in list(self._queues.values()):
            yield from list(queue)

    # -- Looking up

    @property
    def held(self) -> int:
        """How many locks are held. While the store is away, those of which it is not known count too."""
        # Nobody waits for a lock that nobody has.
        return len(self._queues)

    def check(self, key: Key) -> None:
        """
        Return if something can be decided about a lock.

        :raises resourced.errors.StoreUnavailable: the store is away, or may know better.
        """
        queue = self._queues.get(key)
        if queue is not None and queue.in_doubt:
            raise store_in_doubt()
        self._journal.check()

    def find(self, key: Key, name: str, key_name: str) -> Entry | None:
        """Return where a ticket holds or waits, now that it was sent: so its client knows it."""
        ticket = self._tickets.find(key.resource, name, key_name)
        if ticket is None:
            return None
        ticket.origin = ""
        return ticket.entries.get(key.selector)

    def queue(self, key: Key) -> LockQueue | None:
        """Return who holds a lock and who waits for it, if anyone."""
        return self._queues.get(key)

    def scope(self, resource: str) -> Scope:
        """Return the locks of a resource that somebody holds or waits for."""
        return self._scopes.get(resource) or Scope(self._times.lease)

    def holder(self, key: Key, name: str, key_name: str) -> Entry:
        """
        Return the place of a ticket that must be the holder.

        :raises resourced.errors.NotHolder: it is alive, but the lock is not its own.
        :raises resourced.errors.TicketEnded: it has no claim to this lock any more, or never was.
        """
        entry = self.find(key, name, key_name)
        if entry is not None and entry.holds:
            return entry
        if entry is not None:
            raise NotHolder("This ticket still waits for the lock.")
        ticket = self._tickets.find(key.resource, name, key_name)
        if ticket is None or not ticket.alive or self._losses.find(key, name) is not None:
            raise TicketEnded("This ticket has ended here. Lock again without it.")
        raise NotHolder("This ticket does not hold this lock. Lock with it first.")

    def told_ended(self, key: Key, name: str, key_name: str) -> None:
        """Take note that a client is told that its ticket has ended at a lock."""
        self._losses.told(key, name, key_name)

    # -- Decisions

    def enter(self, request: LockRequest) -> Entry:
        """
        Find the place of a ticket at a lock and renew it, or make one: it holds the lock if that is free, and else comes last.

        :raises resourced.errors.TicketEnded: the ticket has no claim to this lock any more, or never was.
        :raises resourced.errors.Deadlock: it would have to wait for itself; it has no place then.
        :raises resourced.errors.Overloaded: too many wait, or too many locks are held.
        :raises resourced.errors.QuotaExceeded: its key has as much as it may have.
        """
        key, key_name = request.key, request.key_name
        lease = request.lease or self._times.lease
        if request.ticket:
            ticket = self._sent(key, request.ticket, key_name)
            ticket.origin = ""
        else:
            ticket = self._tickets.issue(
                key, request.idempotency_key, key_name, lambda name: self._losses.find(key, name)
            )
        entry = ticket.entries.get(key.selector)
        held = self._tickets.holding(request.holds, key_name)
        if held:
            for other in held:
                other.ticket.origin = ""
            self._refuse_deadlock(key, entry, held)
        if entry is None:
            entry = self._join(key, lease, ticket, request.owner, request.origin)
            # Only now: a ticket that is refused a place has still lost the one before.
            if loss := self._losses.find(key, ticket.name):
                self._forgotten.append(self._losses.remove(loss))
        else:
            entry.queue.scope.lease = lease
            if entry.holds:
                self.claim(entry)
            else:
                self._arm(entry, self._times.place, self._clock.seconds())
        if not entry.holds:
            self._deadlocks.waits(entry, held)
        self._record()
        return entry

    def _refuse_deadlock(self, key: Key, entry: Entry | None, held: Collection[Entry]) -> None:
        """Let nobody wait who would wait for itself, and give up the place that it may have already."""
        queue = self._queues.get(key)
        if queue is None or (entry is not None and entry.holds):
            return
        if entry is not None:
            # What it said before does not count any more.
            self._deadlocks.over(entry)
        if self._deadlocks.closes(queue, held):
            if entry is not None:
                self.release(entry)
                self.settle(queue)
            raise Deadlock(
                "To wait for this lock would be a deadlock: it will not be free before this client lets go of another one."
            )

    def _sent(self, key: Key, name: str, key_name: str) -> Ticket:
        """
        Find a ticket by the name that a client has sent; one that nobody knows may be used under that name.

        :raises resourced.errors.TicketEnded: it lost this lock, and its client has not had time to learn that; or it cannot be its.
        """
        ticket = self._tickets.find(key.resource, name, key_name)
        if ticket is not None and key.selector in ticket.entries:
            return ticket
        if ticket is None and (
            TICKET.fullmatch(name) is None
            or name in self._tickets
            or self._losses.strange(key.resource, name, key_name)
        ):
            raise TicketEnded("This is no ticket, or it was given out for something else. Ask again without it.")
        loss = self._losses.find(key, name)
        if loss is None and ticket is None and not (self._journal.remembers and self._complete):
            # It may have lost this lock in an earlier life.
            loss = Loss(0, key, name, key_name)
            self._forgotten += self._losses.add(loss)
        if loss is not None and not self._losses.is_over(loss):
            raise TicketEnded("This ticket has lost its lock or its place here. Ask again without it.")
        return ticket or Ticket(name, key.resource, key_name=key_name)

    def _check_room(self, queue: LockQueue | None, ticket: Ticket, tenant: Tenant) -> None:
        """Let a ticket have one more place, if all, its key and itself do not have too many."""
        self._quotas.check_places(len(ticket.entries))
        if queue is None:
            if self.held >= self._limits.locks:
                raise Overloaded("Too many locks are held already. Try again later.")
            self._quotas.check_lock(tenant)
        elif len(queue.waiting) >= self._limits.queue or self.waiting >= self._limits.waiting:
            raise Overloaded("Too many tickets wait already. Try again later.")
        elif queue.holder is not None:
            self._quotas.check_wait(tenant, queue.key)

    def _join(self, key: Key, lease: float, ticket: Ticket, owner: str, origin: str) -> Entry:
        if key.resource in self._sealed:
            raise StoreUnavailable("This resource is being removed. Try again.")
        queue = self._queues.get(key)
        left = None if queue is None else queue.left_behind(ticket.key_name, origin)
        tenant = self._quotas.tenant(ticket.key_name)
        if left is None:
            self._check_room(queue, ticket, tenant)
        if queue is None:
            queue = self._open(key, lease)
        queue.scope.lease = lease
        if not ticket.alive:
            self._tickets.revive(ticket)
        self._seq += 1
        now = self._clock.seconds()
        entry = Entry(queue, ticket, self._seq, owner, now, tenant)
        ticket.entries[key.selector] = entry
        if left is not None:
            self.end(left, EXPIRY)
            if queue.waiting:
                # However often it passes on like this, the others wait for one claim window.
                entry.until = left.deadline
        if queue.holder is None:
            # Nobody waits for a lock that nobody has, or only for one that is taken back here.
            self._grant(entry, OFFER, now)
        else:
            entry.at = self._passed(now)
            queue.join(entry)
            self.waiting += 1
            self._arm(entry, self._times.place, now)
            self._changed[entry] = None
        return entry

    def _open(self, key: Key, lease: float) -> LockQueue:
        """Make the queue of a lock that has none."""
        scope = self._scopes.get(key.resource)
        if scope is None:
            scope = self._scopes[key.resource] = Scope(lease)
        queue = self._queues[key] = LockQueue(key, scope)
        scope.open(queue)
        return queue

    def _close(self, queue: LockQueue) -> None:
        """Forget a queue."""
        del self._queues[queue.key]
        queue.scope.close(queue)
        if not queue.scope.queues:
            del self._scopes[queue.key.resource]

    def note(self, kind: EventKind, entry: Entry, now: float, breaker: Breaker | None = None) -> Event:
        """Remember what happens to a place, and who breaks its lock if somebody does."""
        at = int(self._wall() * 1000)
        self._event += 1
        key_name, by, reason = breaker or (entry.ticket.key_name, "", "")
        event = Event(
            self._event,
            kind,
            at,
            entry.queue.key,
            entry.owner,
            entry.fence,
            now - entry.since,
            key_name,
            by,
            reason,
        )
        self._events.append(event)
        return event

    def seal(self, resource: Resource) -> int:
        """
        Remove a resource, and let nobody lock anything of it before that is kept and ``unseal`` is called, or the store says that it is not.

        :returns: the number of the journal's group that carries it.
        :raises resourced.errors.ResourceInUse: somebody holds or waits for something of it.
        """
        if resource.name in self._scopes or resource.name in self._sealed:
            raise ResourceInUse("Something of this resource is locked or waited for.")
        self._sealed.add(resource.name)
        return self._journal.append(Step(self._fence, [], [], [], removed=resource))

    def unseal(self, name: str) -> None:
        """Let a resource of this name be locked again, now that an earlier one is removed for good."""
        self._sealed.discard(name)
        self.changes += 1

    def redefine(self, resource: Resource) -> None:
        """Let the leases of a resource's locks be as it says now, each from its next renewal on."""
        scope = self._scopes.get(resource.name)
        if scope is not None:
            scope.lease = resource.timeout or self._times.lease
        self.changes += 1

    def claim(self, entry: Entry) -> None:
        """Count the use of a ticket that holds: from its first use on it has its lease."""
        if entry.state is UNCLAIMED:
            self._changed[entry] = None
        entry.happens(USE)
        self._arm(entry, entry.queue.scope.lease, self._clock.seconds())

    def confirm(self, entry: Entry) -> float:
        """Count a holder as told; return its lease, in seconds."""
        self.claim(entry)
        if self._changed:
            # Another request with the ticket has left the lock unclaimed.
            self._record()
        return entry.queue.scope.lease

    def write(self, entry: Entry, resource_id: str, data: str | None) -> Write:
        """Use a lock to write; return what the journal is to carry."""
        self.claim(entry)
        version = self.note(WRITE, entry, self._clock.seconds()).id
        return Write(entry.queue.key, resource_id, entry.seq, entry.ticket.name, entry.fence, data, version)

    def release(self, entry: Entry) -> None:
        """End a place as its client wishes; the ticket can be sent again."""
        self.note(RELEASE, entry, self._clock.seconds())
        self._end(entry)

    def _due(self, entry: Entry) -> None:
        """Act on a deadline that may have come, be it that its alarm says so or that someone has looked before that could."""
        now = self._clock.seconds()
        if now < entry.deadline:
            self._alarms.set(entry, now)
            return
        if (entry.holds and entry.queue.writes) or (not entry.holds and entry.requests):
            # In use: what uses it sets the deadline anew, or looks at it again, when it ends.
            return
        grace = min(self._times.claim, entry.queue.scope.lease)
        try:
            self._journal.check()
        except StoreUnavailable:
            # That it ended could not be kept, and its client could not renew it. Both will do so when the store is back, and
            # the client needs a moment to find that out.
            self._arm(entry, grace, now)
            return
        paused = self._pauses.look()
        # One pause after another must not keep from their turn those who wait: the second time there is only time to read, and no third.
        patience = (grace, min(grace, PATIENCE), 0.0)[min(entry.spared, 2)]
        if paused < patience:
            # What its client sent before it was due may not have been read yet.
            spared = entry.spared + 1
            self._arm(entry, patience - paused, now)
            entry.spared = spared
            return
        self.end(entry, EXPIRY)
        self.settle(entry.queue)

    def leap(self, by: int) -> tuple[int, int]:
        """Let fences and ids of events go on further up; return the highest of each that count as given out."""
        self._fence += by
        self._event += by
        return self._fence, self._event

    def end_all(self, breaker: Breaker) -> int:
        """End all places; return how many there were. Of tickets that nobody knows it is not known from here on what they lost."""
        self._complete = False
        ended = 0
        for queue in list(self._queues.values()):
            # First those who wait: else the lock would be theirs for a moment.
            entries = sorted(queue, key=lambda entry: entry.holds)
            for entry in entries:
                self.end(entry, BREAK, breaker)
            self.settle(queue)
            ended += len(entries)
        return ended

    def look_again(self, entry: Entry) -> None:
        """Act on a deadline that came while the place was in use."""
        if not entry.ended and not entry.queue.in_doubt and self._clock.seconds() >= entry.deadline:
            self._due(entry)

    def end(self, entry: Entry, why: EventKind, breaker: Breaker | None = None) -> None:
        """End a place against its client's wish, who is told so when it asks with the ticket again."""
        event = self.note(why, entry, self._clock.seconds(), breaker)
        self._end(entry)
        loss = Loss(event.id, entry.queue.key, entry.ticket.name, entry.ticket.key_name)
        self._forgotten += self._losses.add(loss)
        self._lost.append(loss)

    def _end(self, entry: Entry) -> None:
        if not entry.holds:
            self.waiting -= 1
            self._deadlocks.over(entry)
        entry.queue.leave(entry)
        self._alarms.drop(entry)
        ticket = entry.ticket
        del ticket.entries[entry.queue.key.selector]
        self._gone.append(entry)
        if not ticket.alive:
            self._tickets.release(ticket)

    def unclaim(self, entry: Entry) -> int:
        """Count a lock as not claimed yet; if that cannot be kept, and its client does not know of it, it is given up."""
        entry.happens(LEAVE)
        self._changed[entry] = None
        return self._record(unannounced=entry)

    def renew(self, entry: Entry, *, claimed: bool = True) -> float:
        """Start the time of a place anew; return it, in seconds."""
        if not entry.holds:
            seconds = self._times.place
        elif claimed:
            seconds = entry.queue.scope.lease
        else:
            # Not longer than a lease: to use the ticket must never shorten what its client was told.
            seconds = min(self._times.claim, entry.queue.scope.lease)
            seconds = min(seconds, max(0.0, entry.until - self._clock.seconds()))
        self._arm(entry, seconds, self._clock.seconds())
        return seconds

    def settle(self, queue: LockQueue, write: Write | None = None) -> int:
        """
        Pass the lock on if it is free, put what was decided into the journal, and wake whom it concerns.

        :returns: the number of the journal's group that carries it, or of the newest there is.
        """
        self._pass_on(queue)
        return self._record(write)

    def _pass_on(self, queue: LockQueue) -> None:
        """Give a free lock to the first in line; forget a queue that nobody is in."""
        if queue.holder is not None:
            return
        if queue.waiting:
            next_waiter = queue.next_waiter()
            self.waiting -= 1
            self._deadlocks.over(next_waiter)
            self._grant(next_waiter, OFFER if next_waiter.requests else ASSIGN, self._clock.seconds())
        elif not queue.in_doubt and self._queues.get(queue.key) is queue:
            self._close(queue)

    def _grant(self, entry: Entry, event: EntryEvent, now: float) -> None:
        """Let a free lock be a place's own."""
        entry.queue.hold(entry, event)
        self._fence += 1
        entry.fence = self._fence
        self.note(GRANT, entry, now)
        entry.at = self._passed(now)
        entry.since = now
        self._arm(entry, self._times.claim, now)
        self._changed[entry] = None

    def _record(self, write: Write | None = None, unannounced: Entry | None = None) -> int:
        """
        Put what was decided into the journal, in one group, and wake whom it concerns.

        :param unannounced: a place that its client was not told of before, and will not be if this is not kept.
        """
        if not self._changed and not self._gone and write is None:
            return self._journal.newest
        concerned = [*self._changed, *self._gone]
        step = Step(
            self._fence,
            [entry.place() for entry in self._changed] if self._journal.durable else (),
            [(entry.seq, entry.queue.key) for entry in self._gone] if self._journal.durable else (),
            self._events,
            write,
            unannounced.seq if unannounced is not None and not unannounced.named else 0,
            losses=self._lost,
            forgotten=[loss.event for loss in self._forgotten if loss.event],
        )
        self._changed, self._gone, self._events, self._lost, self._forgotten = {}, [], [], [], []
        group = self._journal.append(step)
        for entry in concerned:
            entry.group = group
        for entry in concerned:
            if entry.watchers:
                entry.notify()
        return group

    def _arm(self, entry: Entry, seconds: float, now: float) -> None:
        """Let a place end in ``seconds`` unless it is used."""
        if entry.seq <= self._inherited:
            seconds += max(0.0, self._alone - now)
        entry.deadline = now + seconds
        entry.spared = 0
        self._alarms.set(entry, now)

    # -- What the journal says

    def distrust(self, keys: Iterable[Key] | None) -> None:
        """Decide nothing more about ``keys``, or about anything: what was decided last may not have been kept."""
        for key in list(self._queues) if keys is None else keys:
            queue = self._queues.get(key) or self._open(key, self._times.lease)
            for entry in queue:
                self._alarms.drop(entry)
            queue.distrust()

    def restore(self, snapshot: Snapshot, keys: Iterable[Key] | None, unannounced: Collection[int]) -> None:
        """Replace what is believed about ``keys``, or about everything, by what the store knows."""
        replaced = set(self._queues if keys is None else keys)
        for key in replaced:
            self._drop(key)
        self._fence = max(self._fence, snapshot.fence)
        self._event = max(self._event, snapshot.event)
        self._unseal_all()
        if keys is None:
            self._inherit(snapshot)
        if keys is None or self._journal.remembers:
            self._losses.restore(snapshot.losses, None if keys is None else replaced)
        loaded: dict[Key, LockQueue] = {}
        for place in snapshot.places:
            self._seq = max(self._seq, place.seq)
            if keys is None or place.key in replaced:
                timeout = snapshot.timeouts.get(place.key.resource, 0)
                queue = self._queues.get(place.key) or self._open(place.key, self._times.lease)
                queue.scope.lease = timeout or self._times.lease
                loaded[place.key] = queue
                if place.seq in unannounced:
                    self._give_up(queue, place)
                    continue
                self._load(queue, place)
        for queue in loaded.values():
            self._pass_on(queue)
        self._record()

    def _unseal_all(self) -> None:
        for name in list(self._sealed):
            self.unseal(name)

    def _inherit(self, snapshot: Snapshot) -> None:
        """Let no time pass for what an earlier daemon may still tell its clients of."""
        self._inherited = max((place.seq for place in snapshot.places), default=0)
        now = self._clock.seconds()
        self._alone = now + self._predecessor_lease
        self._ahead = snapshot.passed / 1000 - now

    def _drop(self, key: Key) -> None:
        """Forget what is believed about a lock."""
        queue = self._queues.get(key)
        if queue is None:
            return
        self._close(queue)
        self.waiting -= len(queue.waiting)
        queue.scope.waiting -= len(queue.waiting)
        queue.scope.held -= queue.holder is not None
        for entry in queue:
            if entry.holds:
                entry.tenant.held -= 1
            else:
                entry.tenant.leave(key)
            self._alarms.drop(entry)
            self._deadlocks.over(entry)
            entry.happens(END)
            ticket = entry.ticket
            del ticket.entries[key.selector]
            if not ticket.alive:
                self._tickets.release(ticket)

    def _give_up(self, queue: LockQueue, place: Place) -> None:
        """End a place that the store knows of, and no client."""
        ticket = Ticket(place.ticket, place.key.resource, key_name=place.key_name)
        now = self._clock.seconds()
        entry = self._recall(queue, ticket, place, now)
        self.note(RELEASE, entry, now)
        self._gone.append(entry)

    def _recall(self, queue: LockQueue, ticket: Ticket, place: Place, now: float) -> Entry:
        """Let a place stand as the store says."""
        entry = Entry(queue, ticket, place.seq, place.owner, now, self._quotas.tenant(place.key_name))
        entry.fence = place.fence
        entry.at = self._passed(now)
        if place.since:
            # So long at least: what passed after the last mark, and before this daemon took over, nobody knows.
            entry.since -= max(0, entry.at - place.since) / 1000
            entry.at = place.since
        return entry

    def _passed(self, now: float) -> int:
        """Tell what the clock of marks shows, in milliseconds; never 0."""
        return round((now + self._ahead) * 1000) + 1

    def _load(self, queue: LockQueue, place: Place) -> None:
        """Believe what the store knows about a place, and give it its full time anew."""
        ticket = self._tickets.load(place.key.resource, place.ticket, place.idempotency_key, place.key_name)
        self._tickets.revive(ticket)
        if loss := self._losses.find(place.key, place.ticket):
            self._losses.remove(loss)
        now = self._clock.seconds()
        entry = ticket.entries[place.key.selector] = self._recall(queue, ticket, place, now)
        if place.standing is WAITING:
            queue.join(entry)
            self.waiting += 1
            self._arm(entry, self._times.place, now)
        else:
            queue.hold(entry, RESTORED[place.standing])
            self._arm(entry, queue.scope.lease if place.standing is HOLDING else self._times.claim, now)


def ids_from(at: int) -> int:
    """
    Return an id above which those of a life are that begins at a time, where not every event is kept.

    So none has the id of one in an earlier life, unless the clock was wrong by then; if it is set later, that changes nothing.

    :param at: milliseconds of Unix time.
    """
    return at * 1000


def store_in_doubt() -> StoreUnavailable:
    """Say that the store may know better."""
    return StoreUnavailable("It is not known at present who has this lock. Try again.")
