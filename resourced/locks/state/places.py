"""Every place of a ticket at a lock: how it gets the lock, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from twisted.internet.interfaces import IReactorTime

from resourced.locks.state.deadlocks import Deadlocks
from resourced.locks.state.entry_states import ASSIGN, OFFER, EntryEvent
from resourced.locks.state.joints import Joint
from resourced.locks.state.lifetimes import Lifetimes
from resourced.locks.state.limits import Times
from resourced.locks.state.losses import Losses
from resourced.locks.state.queue import Entry, LockQueue
from resourced.locks.state.queues import Queues
from resourced.locks.state.record import Record
from resourced.locks.state.tickets import Tickets
from resourced.locks.state.units import Units
from resourced.model import GRANT, RELEASE, Breaker, EventKind, Loss


class Places:
    """
    All places, with the tickets that have them, and the one way in which each of their steps is taken.

    :ivar queues: where the places are.
    :ivar tickets: whose they are.
    :ivar deadlocks: which of them wait for each other.
    :ivar losses: which ones ended against their clients' wish.
    :ivar lifetimes: when they end by themselves.
    :ivar record: what is to be kept of them.
    :ivar units: which of the locks are units of pools, and who waits for several at once.
    """

    def __init__(
        self,
        clock: IReactorTime,
        new_ticket: Callable[[], str],
        times: Times,
        lifetimes: Lifetimes,
        record: Record,
    ) -> None:
        self._clock = clock
        self._times = times
        self.queues = Queues()
        self.tickets = Tickets(new_ticket)
        self.deadlocks = Deadlocks(self._blockers)
        self.losses = Losses(clock.seconds)
        self.lifetimes = lifetimes
        self.record = record
        self.units = Units(self, clock, times)

    def __iter__(self) -> Iterator[Entry]:
        """Every holder, and everyone who waits."""
        for queue in list(self.queues.by_key.values()):
            yield from list(queue)

    def _blockers(self, waiter: Entry | Joint) -> Iterable[Entry]:
        return self.units.blockers(waiter)

    # -- Steps of one place

    def wait(self, entry: Entry, now: float) -> None:
        """Let a new place come last."""
        entry.at = self.lifetimes.passed(now)
        entry.queue.join(entry)
        self.queues.waiters.add(entry.seq, entry)
        self.units.waits(entry.queue.key)
        self.lifetimes.arm(entry, self._times.place, now)
        self.record.changed(entry)

    def grant(self, entry: Entry, event: EntryEvent, now: float) -> None:
        """Let a free lock be a place's own. What is granted with others has their deadline."""
        entry.queue.hold(entry, event)
        fence = entry.fence = self.record.next_fence()
        self.queues.holders.add(fence, entry)
        self.record.event(GRANT, entry, now)
        entry.at = self.lifetimes.passed(now)
        entry.since = now
        if entry.joint is None:
            self.lifetimes.arm(entry, self._times.claim, now)
        self.record.changed(entry)

    def release(self, entry: Entry) -> None:
        """End a place as its client wishes; the ticket can be sent again."""
        self.record.event(RELEASE, entry, self._clock.seconds())
        self._leave(entry)

    def end(self, entry: Entry, why: EventKind, breaker: Breaker | None = None) -> None:
        """End a place against its client's wish, who is told so when it asks with the ticket again."""
        event = self.record.event(why, entry, self._clock.seconds(), breaker)
        self._leave(entry)
        loss = Loss(event.id, entry.queue.key, entry.ticket.name, entry.ticket.key_name)
        self.record.forgotten(self.losses.add(loss))
        self.record.lost(loss)

    def _leave(self, entry: Entry) -> None:
        if entry.holds:
            self.queues.holders.remove(entry.fence)
        else:
            self.queues.waiters.remove(entry.seq)
            self.deadlocks.over(entry)
        entry.queue.leave(entry)
        ticket = entry.ticket
        del ticket.entries[entry.queue.key.selector]
        self.record.gone(entry)
        if entry.joint is None:
            self.lifetimes.drop(entry)
            if not ticket.alive:
                self.tickets.release(ticket)
        elif not ticket.entries:
            self.units.detach(entry)

    # -- Steps of a lock

    def pass_on(self, queue: LockQueue) -> None:
        """Give a free lock to the first in line; forget a queue that nobody is in."""
        if queue.holder is not None:
            return
        if self.units.covers(queue.key):
            self.units.fell_free(queue)
        elif queue.waiting:
            self.grant_next(queue)
        elif not queue.in_doubt and self.queues.by_key.get(queue.key) is queue:
            self.queues.close(queue)

    def grant_next(self, queue: LockQueue) -> None:
        """Give a free lock to the first in line."""
        next_waiter = queue.next_waiter()
        self.queues.waiters.remove(next_waiter.seq)
        self.deadlocks.over(next_waiter)
        self.grant(next_waiter, OFFER if next_waiter.requests else ASSIGN, self._clock.seconds())
