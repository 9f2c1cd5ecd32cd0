"""Which request may have a place at a lock, and with which ticket."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from twisted.internet.interfaces import IReactorTime

from resourced.errors import Deadlock, ForeignTicket, Overloaded, StoreUnavailable, TicketEnded
from resourced.locks.journal.interface import Journal
from resourced.locks.state.entry_states import OFFER
from resourced.locks.state.limits import Limits
from resourced.locks.state.places import Places
from resourced.locks.state.queue import Entry, LockQueue, Ticket
from resourced.locks.state.requests import LockRequest
from resourced.model import EXPIRY, LockKey, Loss
from resourced.quotas import Quotas, Tenant

#: What the name of a ticket looks like.
TICKET: Final = re.compile("[0-9a-f]{32}")


class Admission:
    """
    Lets requests in.

    :param quotas: what each key name takes.
    :ivar sealed: resources that are being removed or changed: nobody gets in there.
    """

    def __init__(
        self, clock: IReactorTime, journal: Journal, places: Places, *, limits: Limits, quotas: Quotas
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._places = places
        self._queues = places.queues
        self._tickets = places.tickets
        self._deadlocks = places.deadlocks
        self._losses = places.losses
        self._record = places.record
        self._units = places.units
        self._limits = limits
        self._quotas = quotas
        self.sealed: set[str] = set()

    def ticket(self, request: LockRequest) -> Ticket:
        """
        Return the ticket of a request: the one that it has sent, the one that the same request got before, or a new one.

        :raises resourced.errors.TicketEnded: the ticket has no claim to this lock any more, or never was.
        :raises resourced.errors.ForeignTicket: it is that of a request for several things, and this lock is none of them.
        """
        key, key_name = request.key, request.key_name
        if request.ticket:
            ticket = self._sent(key, request.ticket, key_name)
            ticket.origin = ""
            return ticket
        return self._tickets.issue(key, request.idempotency_key, key_name, lambda name: self._losses.find(key, name))

    def refuse_deadlock(self, key: LockKey, entry: Entry | None, held: Collection[Entry]) -> None:
        """
        Let nobody wait who would wait for itself, and give up the place that it may have already.

        :raises resourced.errors.Deadlock: it would.
        """
        queue = self._queues.by_key.get(key)
        if entry is not None and entry.holds:
            return
        if entry is not None:
            # What it said before does not count any more.
            self._deadlocks.over(entry)
        if self._deadlocks.closes(self._units.blockers_of(key), held):
            if entry is not None and queue is not None:
                self._places.release(entry)
                self._places.pass_on(queue)
                self._record.commit()
            raise Deadlock(
                "To wait for this lock would be a deadlock: it will not be free before this client lets go of another one."
            )

    def _sent(self, key: LockKey, name: str, key_name: str) -> Ticket:
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
        if loss is None and ticket is None and not (self._journal.remembers and self._losses.complete):
            # It may have lost this lock in an earlier life.
            loss = Loss(0, key, name, key_name)
            self._record.forgotten(self._losses.add(loss))
        if loss is not None and not self._losses.is_over(loss):
            raise TicketEnded("This ticket has lost its lock or its place here. Ask again without it.")
        if ticket is not None and ticket.joint is not None:
            raise ForeignTicket(
                "This ticket is that of a request for several things. Ask without it, or with another one."
            )
        return ticket or Ticket(name, key.resource, key_name=key_name)

    def _check_room(
        self, queue: LockQueue | None, ticket: Ticket, tenant: Tenant, key: LockKey, *, waits: bool
    ) -> None:
        """Let a ticket have one more place, if all, its key and itself do not have too many."""
        self._quotas.check_places(len(ticket.entries))
        if queue is None:
            if len(self._queues.by_key) >= self._limits.locks:
                raise Overloaded("Too many locks are held already. Try again later.")
        elif len(queue.waiting) >= self._limits.queue or len(self._queues.waiters) >= self._limits.waiting:
            raise Overloaded("Too many tickets wait already. Try again later.")
        if waits:
            self._quotas.check_wait(tenant, key)
        else:
            self._quotas.check_lock(tenant)

    def join(self, request: LockRequest, lease: float, ticket: Ticket) -> Entry:
        """
        Make a place: it holds the lock if that is free, and else comes last of its priority.

        :param lease: the resource's, in seconds.

        :raises resourced.errors.Overloaded: too many wait, or too many locks are held.
        :raises resourced.errors.QuotaExceeded: its key has as much as it may have.
        """
        key = request.key
        if key.resource in self.sealed:
            raise StoreUnavailable("This resource is being removed or changed. Try again.")
        queue = self._queues.by_key.get(key)
        left = None if queue is None else queue.unclaimed_by(ticket.key_name, request.origin)
        tenant = self._quotas.tenant(ticket.key_name)
        unit = self._units.unit(key)
        if left is None:
            waits = not unit.idle if unit is not None else queue is not None and queue.holder is not None
            self._check_room(queue, ticket, tenant, key, waits=waits)
        if queue is None:
            queue = self._queues.open(key, lease)
        queue.scope.lease = lease
        if not ticket.alive:
            self._tickets.revive(ticket)
        now = self._clock.seconds()
        entry = Entry(
            queue, ticket, self._record.next_seq(), request.owner, now, tenant, request.asked_lease, request.priority
        )
        ticket.entries[key.selector] = entry
        if left is not None:
            self._places.end(left, EXPIRY)
            if queue.waiting:
                # However often it passes on like this, the others wait for one claim window.
                entry.until = left.deadline
        # But for units nobody waits for a lock that nobody has, or only for one that is taken back here.
        if queue.holder is None and (unit is None or left is not None or self._units.ask(entry)):
            self._places.grant(entry, OFFER, now)
        else:
            self._places.wait(entry, now)
        return entry
