"""
The table of all locks: every decision about who has one, who waits for it, and when either ends.

A decision is taken in memory in one step and put into the journal. Nothing here waits for anything; who is told, and when,
is for the room above. Time is that of the clock that is handed in, and must never run backwards.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from resourced.errors import NotHolder, ResourceInUse, StoreUnavailable, TicketEnded
from resourced.locks.journal.interface import Journal
from resourced.locks.state.admission import Admission
from resourced.locks.state.entry_states import LEAVE, UNCLAIMED, USE
from resourced.locks.state.joint_table import Joints
from resourced.locks.state.lifetimes import Lasting, Lifetimes
from resourced.locks.state.limits import Limits, Predecessor, Times
from resourced.locks.state.pauses import Pauses
from resourced.locks.state.places import Places
from resourced.locks.state.queue import Entry, LockQueue, Scope
from resourced.locks.state.record import Record
from resourced.locks.state.requests import LockRequest
from resourced.locks.state.restoration import Restoration
from resourced.locks.state.territory import Territory
from resourced.model import BREAK, EXPIRY, WRITE, Breaker, LockKey, Resource, Write
from resourced.quotas import Quotas


class LockTable:
    """
    The queues of all locks, and the tickets in them.

    :param new_ticket: makes the name of a ticket; nobody may be able to guess it.
    :param predecessor: what is known of an earlier daemon.
    :param wall: tells Unix time in seconds; it is only shown to people, as the time of an event.
    :param pauses: knows when the process stood still.
    :param quotas: what each key name takes.
    :ivar places: every holder, and everyone who waits.
    :ivar joints: requests for several things, and the cards of units.
    :ivar changes: how often a resource may have been removed, or was changed.
    :ivar territory: which locks are decided about here.
    :ivar restoration: takes from the store what it knows of them.
    """

    def __init__(
        self,
        clock: IReactorTime,
        journal: Journal,
        *,
        new_ticket: Callable[[], str],
        times: Times,
        limits: Limits,
        predecessor: Predecessor,
        wall: Callable[[], float],
        pauses: Pauses,
        quotas: Quotas,
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._times = times
        self._lifetimes = Lifetimes(
            clock, journal, times=times, predecessor_lease=predecessor.lease, pauses=pauses, expired=self._expired
        )
        self._record = Record(journal, wall, predecessor.event)
        self.places = Places(clock, new_ticket, times, self._lifetimes, self._record)
        self._queues = self.places.queues
        self._tickets = self.places.tickets
        self._deadlocks = self.places.deadlocks
        self._losses = self.places.losses
        self._admission = Admission(clock, journal, self.places, limits=limits, quotas=quotas)
        # Resources that are being removed or changed.
        self._sealed = self._admission.sealed
        self.joints = Joints(clock, self.places, times=times, limits=limits, quotas=quotas, sealed=self._sealed)
        self.changes = 0
        self.territory = Territory()
        self.restoration = Restoration(
            clock, journal, self.places, times=times, quotas=quotas, territory=self.territory, anew=self._unseal_all
        )

    # -- Looking up

    @property
    def held(self) -> int:
        """How many locks are held. While the store is away, those of which it is not known count too."""
        # Nobody waits for a lock that nobody has.
        return len(self._queues.by_key)

    def check(self, key: LockKey) -> None:
        """
        Return if something can be decided about a lock.

        :raises resourced.errors.NotOwner: another node decides about it.
        :raises resourced.errors.StoreUnavailable: the store is away, or may know better.
        """
        if not self.territory.whole:
            self.territory.check(key.resource)
        queue = self._queues.by_key.get(key)
        if queue is not None and queue.in_doubt:
            raise store_in_doubt()
        self._journal.check()

    def find(self, key: LockKey, name: str, key_name: str) -> Entry | None:
        """Return where a ticket holds or waits, now that it was sent: so its client knows it."""
        ticket = self._tickets.find(key.resource, name, key_name)
        if ticket is None:
            return None
        ticket.origin = ""
        return ticket.entries.get(key.selector)

    def queue(self, key: LockKey) -> LockQueue | None:
        """Return who holds a lock and who waits for it, if anyone."""
        return self._queues.by_key.get(key)

    def scope(self, resource: str) -> Scope:
        """Return the locks of a resource that somebody holds or waits for."""
        return self._queues.scopes.get(resource) or Scope(self._times.lease)

    def holder(self, key: LockKey, name: str, key_name: str) -> Entry:
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

    def told_ended(self, key: LockKey, name: str, key_name: str) -> None:
        """Take note that a client is told that its ticket has ended at a lock."""
        self._losses.told(key, name, key_name)

    # -- Decisions

    def enter(self, request: LockRequest) -> Entry:
        """
        Find the place of a ticket at a lock and renew it, or make one. It holds the lock if that is free, and else comes last of its priority.

        :raises resourced.errors.TicketEnded: the ticket has no claim to this lock any more, or never was.
        :raises resourced.errors.Deadlock: it would have to wait for itself; it has no place then.
        :raises resourced.errors.Overloaded: too many wait, or too many locks are held.
        :raises resourced.errors.QuotaExceeded: its key has as much as it may have.
        """
        key, key_name = request.key, request.key_name
        lease = request.lease or self._times.lease
        ticket = self._admission.ticket(request)
        entry = ticket.entries.get(key.selector)
        held = self._tickets.holding(request.holds, key_name) if request.holds else ()
        if held:
            for other in held:
                other.ticket.origin = ""
            self._admission.refuse_deadlock(key, entry, held)
        if entry is None:
            entry = self._admission.join(request, lease, ticket)
            # Only now: a ticket that is refused a place has still lost the one before.
            if loss := self._losses.find(key, ticket.name):
                self._record.forgotten([self._losses.remove(loss)])
        else:
            entry.queue.scope.lease = lease
            if request.asked_lease and request.asked_lease != entry.asked_lease:
                entry.asked_lease = request.asked_lease
                self._record.changed(entry)
            if entry.holds:
                self.claim(entry)
            else:
                self._lifetimes.arm(entry, self._times.place, self._clock.seconds())
        if not entry.holds:
            self._deadlocks.waits(entry, held)
        self._record.commit()
        return entry

    def remove(self, resource: Resource) -> int:
        """
        Remove a resource. Nobody may lock anything of it before that is kept and ``unseal`` is called, or the store says that it is not.

        :returns: the number of the journal's group that carries it.
        :raises resourced.errors.ResourceInUse: somebody holds or waits for something of it.
        """
        self.seal(resource.name)
        return self._record.remove(resource)

    def seal(self, name: str) -> None:
        """
        Let nobody lock anything of a resource before ``unseal`` is called, or the store says what it knows.

        :raises resourced.errors.ResourceInUse: somebody holds or waits for something of it, or it is sealed already.
        """
        self.territory.check(name)
        if name in self._queues.scopes or name in self._sealed:
            raise ResourceInUse("Something of this resource is locked or waited for.")
        self.joints.check_unused(name)
        self._sealed.add(name)

    def removed(self, name: str) -> None:
        """Forget the units of a resource that is removed for good."""
        for selector in list(self.places.units.cards.since(name, "")):
            self.places.units.forget_card(LockKey(name, selector))

    def unseal(self, name: str) -> None:
        """Let a resource of this name be locked again: it is as it was, or changed, or an earlier one is removed for good."""
        self._sealed.discard(name)
        self.changes += 1

    def redefine(self, resource: Resource) -> None:
        """Let the leases of a resource's locks be as it says now, each from its next renewal on."""
        scope = self._queues.scopes.get(resource.name)
        lease = resource.timeout or self._times.lease
        if scope is not None:
            scope.lease = lease
        self.joints.redefine(resource.name, lease)
        self.territory.learn(resource)
        self.changes += 1

    def claim(self, entry: Entry) -> float:
        """Count the use of a ticket that holds. From its first use on it has its lease, which is returned, in seconds."""
        if entry.joint is not None:
            self.joints.claim(entry.joint.seq)
            return entry.joint.lease
        if entry.state is UNCLAIMED:
            self._record.changed(entry)
        entry.happens(USE)
        lease = entry.asked_lease or entry.queue.scope.lease
        self._lifetimes.arm(entry, lease, self._clock.seconds())
        return lease

    def confirm(self, entry: Entry) -> float:
        """Count a holder as told; return its lease, in seconds."""
        lease = self.claim(entry)
        if not self._record.empty:
            # Another request with the ticket has left the lock unclaimed.
            self._record.commit()
        return lease

    def write(self, entry: Entry, resource_id: str, data: str | None) -> Write:
        """Use a lock to write; return what the journal is to carry."""
        self.claim(entry)
        version = self._record.event(WRITE, entry, self._clock.seconds()).id
        return Write(entry.queue.key, resource_id, entry.seq, entry.ticket.name, entry.fence, data, version)

    def end_all(self, breaker: Breaker) -> int:
        """End all places; return how many there were. Of tickets that nobody knows it is not known from here on what they lost."""
        self._losses.complete = False
        entries = list(self.places)
        # First those who wait: else a lock would be theirs for a moment.
        for entry in [entry for entry in entries if not entry.holds]:
            self.places.end(entry, BREAK, breaker)
        waited = self.joints.end_waiting()
        for entry in [entry for entry in entries if entry.holds]:
            self.places.end(entry, BREAK, breaker)
        for queue in list(self._queues.by_key.values()):
            self.settle(queue)
        return waited + len(entries)

    def unclaim(self, entry: Entry) -> int:
        """Count a lock as not claimed yet; if that cannot be kept, and its client does not know of it, it is given up."""
        entry.happens(LEAVE)
        self._record.changed(entry)
        return self._record.commit(unannounced=() if entry.named else [entry.seq])

    def renew(self, entry: Entry, *, claimed: bool = True) -> float:
        """Start the time of a place anew; return it, in seconds."""
        if not entry.holds:
            seconds = self._times.place
        elif claimed:
            seconds = entry.lease
        else:
            # Not longer than a lease: to use the ticket must never shorten what its client was told.
            seconds = min(self._times.claim, entry.lease)
            seconds = min(seconds, max(0.0, entry.until - self._clock.seconds()))
        self._lifetimes.arm(entry, seconds, self._clock.seconds())
        return seconds

    def settle(self, queue: LockQueue, write: Write | None = None) -> int:
        """
        Pass the lock on if it is free, put what was decided into the journal, and wake whom it concerns.

        :returns: the number of the journal's group that carries it, or of the newest there is.
        """
        self.places.pass_on(queue)
        return self._record.commit(write)

    def _expired(self, entry: Lasting) -> None:
        if not isinstance(entry, Entry):
            self.joints.expire(entry.seq)
            return
        self.places.end(entry, EXPIRY)
        self.settle(entry.queue)

    def _unseal_all(self) -> None:
        for name in list(self._sealed):
            self.unseal(name)


def store_in_doubt() -> StoreUnavailable:
    """Say that the store may know better."""
    return StoreUnavailable("It is not known at present who has this lock. Try again.")
