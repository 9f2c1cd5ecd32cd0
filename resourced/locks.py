"""
The lock manager: who has a lock, who waits for it, and how long either may be silent.

Every decision is taken in memory in one step, then put into the journal; whoever is told about it is told after the
journal says that it is kept.  Time is that of the clock that is handed in, and must never run backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as WaitOver
from twisted.internet.interfaces import IReactorTime

from resourced.errors import NotHolder, Overloaded, StoreUnavailable, TicketEnded
from resourced.lockqueue import Entry, LockQueue, Ticket
from resourced.model import Key, Place, Reign, Standing, Write
from resourced.tickets import Tickets
from resourced.waiting import shielded


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
    """

    queue: int = 10_000
    waiting: int = 100_000


@dataclass(frozen=True, slots=True)
class Held:
    """
    The lock is the ticket's.

    :ivar fresh: whether it came to be so by this very request.
    """

    ticket: str
    fence: int
    fresh: bool


@dataclass(frozen=True, slots=True)
class Queued:
    """Someone else has the lock; position 1 is next in line."""

    ticket: str
    position: int


class Follower(Protocol):
    """Whose decisions a journal keeps, and who must learn when that failed."""

    def distrust(self, keys: Iterable[Key]) -> None:
        """Decide nothing more about ``keys`` until told what the store knows."""

    def restore(self, reign: Reign, keys: Iterable[Key] | None, untold: Collection[int]) -> None:
        """
        Replace what is believed about ``keys``, or about everything, by what the store knows.

        :param untold: places of whose making no client was ever told; they are to be given up.
        """


class Journal(Protocol):
    """
    Where decisions about locks are kept.

    :ivar done: the number of the last group that is kept; so are all before it.
    :ivar newest: the number of the group that the last decision went into.
    :ivar durable: whether places are kept too; data always is.
    """

    done: int
    durable: bool

    @property
    def newest(self) -> int: ...

    def follow(self, follower: Follower) -> None:
        """Say whose decisions these are."""

    def check(self) -> None:
        """
        Return if decisions can be kept at present.

        :raises resourced.errors.StoreUnavailable: the store is away.
        """

    def append(self, places: list[Place], gone: list[Place], write: Write | None) -> int:
        """Keep all of this, in one transaction; return the number of the group that it goes into."""

    def committed(self, group: int) -> Deferred[None]:
        """Wait until a group is kept; fails with ``StoreUnavailable`` if it could not be."""

    async def reigns(self) -> None:
        """
        Return if no other daemon decides.

        :raises resourced.errors.StoreUnavailable: one does, or that cannot be known.
        """


class LockManager:
    """
    All locks of the daemon, and the requests that wait for them.

    :param new_ticket: makes the name of a ticket; nobody may be able to guess it.
    :param succession: for how many seconds an earlier daemon may go on telling clients what it believes; what is taken over from
        it lasts for so much longer.
    """

    def __init__(
        self,
        clock: IReactorTime,
        journal: Journal,
        *,
        new_ticket: Callable[[], str],
        times: Times | None = None,
        limits: Limits | None = None,
        succession: float = 0.0,
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._times = times or Times()
        self._limits = limits or Limits()
        self._succession = succession
        self._queues: dict[Key, LockQueue] = {}
        self._tickets = Tickets(new_ticket)
        self._seq = 0
        self._fence = 0
        self._waiting = 0
        self._closing = False
        # What was decided since the journal was last told.
        self._changed: list[Entry] = []
        self._gone: list[Entry] = []
        journal.follow(self)

    # -- What requests ask for

    async def acquire(
        self,
        key: Key,
        *,
        lease: float,
        ticket: str = "",
        wait: float = 0.0,
        owner: str = "",
        retry: str = "",
    ) -> Held | Queued:
        """
        Take the lock, keep it, or keep the place in the queue.

        :param lease: how long a holder may be silent, in seconds; 0 means as the server likes it.
        :param ticket: the client's ticket; without one it gets a new one.
        :param wait: how long to wait for the lock, in seconds.
        :param retry: what makes a request without a ticket known again: it gets the ticket that it got before.
        :raises resourced.errors.TicketEnded: the ticket has no claim to this lock any more, or never was.
        :raises resourced.errors.Overloaded: too many wait.
        :raises resourced.errors.StoreUnavailable: the answer could not be kept; it must not be believed.
        """
        until = self._clock.seconds() + wait
        self._check(key)
        try:
            entry = self._enter(key, lease or self._times.lease, ticket, owner, retry)
        except TicketEnded:
            await self._all_kept()
            raise
        fresh = not entry.holds
        answered = False
        entry.requests += 1
        try:
            self._settle(entry.queue)
            while True:
                while entry.group > self._journal.done:
                    # Meanwhile it may change again, and go into a later group.
                    await self._journal.committed(entry.group)
                if entry.ended:
                    raise TicketEnded("This ticket has ended while it waited. Ask again without it.")
                left = until - self._clock.seconds()
                answered = entry.holds or left <= 0 or self._closing
                if entry.holds:
                    return Held(entry.ticket.name, entry.fence, fresh)
                if answered:
                    return Queued(entry.ticket.name, entry.queue.position(entry))
                if entry.queue.suspect:
                    raise doubtful()
                with suppress(WaitOver):
                    await entry.watch().addTimeout(left, self._clock)
        finally:
            entry.requests -= 1
            self._request_over(entry, answered=answered)

    def confirm(self, key: Key, held: Held) -> float:
        """
        Start the lease of a lock anew, just before its holder is told that it has it.

        :returns: the lease, in seconds.
        :raises resourced.errors.TicketEnded: it is not the holder any more.
        :raises resourced.errors.StoreUnavailable: it cannot be known at present; it must not be believed.
        """
        self._journal.check()
        entry = self._still_held(key, held)
        entry.used = True
        self._arm(entry, entry.queue.lease)
        return entry.queue.lease

    async def leave_unclaimed(self, key: Key, held: Held) -> float:
        """
        Give a lock only until the claim window ends, unless its ticket is used by then.

        :returns: what is left of the window, in seconds; or of the lease, if another request has used the ticket already.
        :raises resourced.errors.TicketEnded: it is not the holder any more.
        :raises resourced.errors.StoreUnavailable: the answer could not be kept; it must not be believed.
        """
        self._check(key)
        entry = self._still_held(key, held)
        if not entry.used:
            entry.standing = Standing.GRANTED
            self._changed.append(entry)
            await self._kept(self._settle(entry.queue))
            entry = self._still_held(key, held)
        if entry.used:
            return self.confirm(key, held)
        self._arm(entry, self._times.claim)
        return self._times.claim

    def write(self, key: Key, resource_id: str, ticket: str, data: str, *, unlock: bool = False) -> Deferred[None]:
        """
        Write as the holder, and so renew the lease, or release the lock in the same step.

        A client that goes away changes nothing about it: once begun it goes on to its end.

        :raises resourced.errors.NotHolder: the ticket is alive, but the lock is not its own.
        :raises resourced.errors.TicketEnded: the ticket has no claim to this lock any more, or never was.
        :raises resourced.errors.StoreUnavailable: it is not known whether the data was written.
        """
        return shielded(self._write(key, resource_id, ticket, data, unlock=unlock))

    def unlock(self, key: Key, ticket: str) -> Deferred[bool]:
        """
        Release a lock, or give up a place in the queue; once begun it goes on to its end.

        :returns: whether there was anything to let go of.
        :raises resourced.errors.StoreUnavailable: it is not known whether the lock was released.
        """
        return shielded(self._unlock(key, ticket))

    def check(self) -> None:
        """
        Return if anything can be decided at present.

        :raises resourced.errors.StoreUnavailable: the store is away.
        """
        self._journal.check()

    def stop_waiting(self) -> None:
        """Answer every request that waits, now, and let none wait from here on: its ticket keeps its place."""
        self._closing = True
        for queue in list(self._queues.values()):
            for entry in list(queue):
                entry.notify()

    # -- What the journal says

    def distrust(self, keys: Iterable[Key]) -> None:
        """Decide nothing more about ``keys``: what was decided last may not have been kept."""
        for key in keys:
            self._queues.setdefault(key, LockQueue(key, self._times.lease)).distrust()

    def restore(self, reign: Reign, keys: Iterable[Key] | None, untold: Collection[int]) -> None:
        """Replace what is believed about ``keys``, or about everything, by what the store knows."""
        replaced = set(self._queues if keys is None else keys)
        for key in replaced:
            self._drop(key)
        self._fence = max(self._fence, reign.fence)
        loaded: dict[Key, LockQueue] = {}
        lost: list[Ticket] = []
        for place in reign.places:
            self._seq = max(self._seq, place.seq)
            if keys is None or place.key in replaced:
                timeout = reign.timeouts.get(place.key.resource, 0)
                queue = self._queues.setdefault(place.key, LockQueue(place.key, timeout or self._times.lease))
                loaded[place.key] = queue
                if place.seq in untold:
                    self._gone.append(Entry(queue, Ticket(place.ticket, place.key.resource), place.seq, place.owner))
                    continue
                entry = self._load(queue, place, self._succession if keys is None else 0.0)
                if entry.ended:
                    lost.append(entry.ticket)
        for ticket in lost:
            if not ticket.alive:
                self._gone.extend(ticket.lost())
                self._tickets.release(ticket)
        for queue in loaded.values():
            self._pass_on(queue)
        self._record()

    # -- Decisions

    def _enter(self, key: Key, lease: float, name: str, owner: str, retry: str) -> Entry:
        """Find the place of a ticket at a lock and renew it, or make one at the end of the line."""
        if name:
            ticket = self._tickets.get(key.resource, name)
        else:
            ticket = self._tickets.issue(key.resource, key.selector, retry)
        if ticket.lost_at(key.selector):
            raise TicketEnded("This ticket has lost its lock or its place here. Ask again without it.")
        entry = ticket.live_at(key.selector)
        if entry is None:
            return self._join(key, lease, ticket, owner)
        entry.queue.lease = lease
        if entry.holds:
            self._claim(entry)
        else:
            self._arm(entry, self._times.place)
        return entry

    def _join(self, key: Key, lease: float, ticket: Ticket, owner: str) -> Entry:
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = LockQueue(key, lease)
        elif len(queue.waiting) >= self._limits.queue or self._waiting >= self._limits.waiting:
            raise Overloaded("Too many tickets wait already. Try again later.")
        queue.lease = lease
        if not ticket.alive:
            # What it lost before it came back stays lost, after a restart too.
            self._changed.extend(ticket.lost())
            self._tickets.revive(ticket)
        self._seq += 1
        entry = Entry(queue, ticket, self._seq, owner)
        ticket.entries[key.selector] = entry
        queue.join(entry)
        self._waiting += 1
        self._arm(entry, self._times.place)
        self._changed.append(entry)
        return entry

    def _claim(self, entry: Entry) -> None:
        """Count the use of a ticket that holds: from its first use on it has its lease."""
        entry.used = True
        self._arm(entry, entry.queue.lease)
        if entry.standing is Standing.GRANTED:
            entry.standing = Standing.HOLDING
            self._changed.append(entry)

    async def _write(self, key: Key, resource_id: str, name: str, data: str, *, unlock: bool) -> None:
        self._check(key)
        try:
            entry = self._holder(key, name)
        except (NotHolder, TicketEnded):
            await self._all_kept()
            raise
        queue = entry.queue
        self._claim(entry)
        write = Write(key, resource_id, entry.seq, name, entry.fence, data)
        if unlock and self._journal.durable:
            self._release(entry)
            await self._kept(self._settle(queue, write))
            return
        queue.writes += 1
        try:
            await self._kept(self._settle(queue, write))
        except StoreUnavailable:
            # The lease may have run out meanwhile, and nobody looked.
            if not entry.ended and self._clock.seconds() >= entry.deadline:
                self._arm(entry, 0)
            raise
        finally:
            queue.write_over()
        if entry.ended:
            return
        if unlock:
            self._release(entry)
            self._settle(queue)
        else:
            self._arm(entry, queue.lease)

    async def _unlock(self, key: Key, name: str) -> bool:
        self._check(key)
        entry = self._live(key, name)
        while entry is not None and entry.holds and entry.queue.writes:
            await entry.queue.calmed()
            self._check(key)
            entry = self._live(key, name)
        if entry is None:
            await self._all_kept()
            return False
        self._release(entry)
        self._settle(entry.queue)
        await self._kept(entry.group)
        return True

    def _due(self, entry: Entry) -> None:
        """Act on a deadline that has come."""
        entry.timer = None
        if (entry.holds and entry.queue.writes) or (not entry.holds and entry.requests):
            # In use: what uses it sets the deadline anew, or looks at it again, when it ends.
            return
        try:
            self._journal.check()
        except StoreUnavailable:
            # That it ended could not be kept.  It may end late, but not in memory alone.
            entry.timer = self._clock.callLater(1, self._due, entry)
            return
        self._lapse(entry)
        self._settle(entry.queue)

    def _request_over(self, entry: Entry, *, answered: bool) -> None:
        """Go on with the deadline of a place, now that a request with its ticket has ended."""
        if entry.ended or entry.holds or entry.requests or entry.queue.suspect:
            return
        if answered:
            self._arm(entry, self._times.place)
        elif self._clock.seconds() >= entry.deadline:
            self._due(entry)

    def _release(self, entry: Entry) -> None:
        """End a place as its client wishes; the ticket can be sent again."""
        self._end(entry)
        ticket = entry.ticket
        del ticket.entries[entry.queue.key.selector]
        self._gone.append(entry)
        if not ticket.alive:
            self._gone.extend(ticket.lost())
            self._tickets.release(ticket)

    def _lapse(self, entry: Entry) -> None:
        """End a place against its client's wish; the ticket is of no use here any more."""
        self._end(entry)
        ticket = entry.ticket
        entry.standing = Standing.LOST
        if ticket.alive:
            self._changed.append(entry)
        else:
            self._gone.extend(ticket.lost())
            self._tickets.forget(ticket)

    def _end(self, entry: Entry) -> None:
        if not entry.holds:
            self._waiting -= 1
        entry.queue.leave(entry)
        entry.ended = True
        entry.disarm()

    def _settle(self, queue: LockQueue, write: Write | None = None) -> int:
        """
        Pass the lock on if it is free, put what was decided into the journal, and wake whom it concerns.

        :returns: the number of the journal's group that carries it, or of the newest there is.
        """
        self._pass_on(queue)
        return self._record(write)

    def _pass_on(self, queue: LockQueue) -> None:
        """Give a free lock to the first in line; forget a queue that nobody is in."""
        heir = queue.pass_on()
        if heir is not None:
            self._waiting -= 1
            self._fence += 1
            heir.fence = self._fence
            heir.standing = Standing.HOLDING if heir.requests else Standing.GRANTED
            self._arm(heir, self._times.claim)
            self._changed.append(heir)
        if queue.empty and not queue.suspect and self._queues.get(queue.key) is queue:
            del self._queues[queue.key]

    def _record(self, write: Write | None = None) -> int:
        """Put what was decided into the journal, in one group, and wake whom it concerns."""
        changed, self._changed = self._changed, []
        gone, self._gone = self._gone, []
        if not changed and not gone and write is None:
            return self._journal.newest
        group = self._journal.append([entry.place() for entry in changed], [entry.place() for entry in gone], write)
        for entry in (*changed, *gone):
            entry.group = group
        for entry in (*changed, *gone):
            entry.notify()
        return group

    # -- Looking up

    def _check(self, key: Key) -> None:
        """Return if something can be decided about a lock."""
        queue = self._queues.get(key)
        if queue is not None and queue.suspect:
            raise doubtful()
        self._journal.check()

    def _live(self, key: Key, name: str) -> Entry | None:
        ticket = self._tickets.find(key.resource, name)
        return None if ticket is None else ticket.live_at(key.selector)

    def _holder(self, key: Key, name: str) -> Entry:
        """Return the place of a ticket that must be the holder."""
        ticket = self._tickets.get(key.resource, name)
        entry = ticket.live_at(key.selector)
        if entry is not None and entry.holds:
            return entry
        if entry is not None:
            raise NotHolder("This ticket still waits for the lock.")
        if ticket.lost_at(key.selector) or not ticket.alive:
            raise TicketEnded("This ticket has ended here. Lock again without it.")
        raise NotHolder("This ticket does not hold this lock. Lock with it first.")

    def _still_held(self, key: Key, held: Held) -> Entry:
        entry = self._live(key, held.ticket)
        if entry is not None and entry.queue.suspect:
            raise doubtful()
        if entry is None or not entry.holds or entry.fence != held.fence:
            raise TicketEnded("The lock was lost before it could be given. Ask again without the ticket.")
        return entry

    # -- What the store knows

    def _drop(self, key: Key) -> None:
        """Forget what is believed about a lock."""
        queue = self._queues.pop(key, None)
        if queue is None:
            return
        self._waiting -= len(queue.waiting)
        for entry in queue:
            entry.ended = True
            entry.disarm()
            ticket = entry.ticket
            del ticket.entries[key.selector]
            if not ticket.alive:
                self._tickets.release(ticket)

    def _load(self, queue: LockQueue, place: Place, more: float) -> Entry:
        """Believe what the store knows about a place, and give it its full time anew, and some seconds more."""
        ticket = self._tickets.load(place.key.resource, place.ticket, place.retry)
        self._tickets.revive(ticket)
        entry = Entry(queue, ticket, place.seq, place.owner)
        entry.standing = place.standing
        entry.fence = place.fence
        ticket.entries[place.key.selector] = entry
        if place.standing is Standing.LOST:
            entry.ended = True
        elif place.standing is Standing.WAITING:
            queue.join(entry)
            self._waiting += 1
            self._arm(entry, self._times.place + more)
        else:
            queue.holder = entry
            seconds = queue.lease if place.standing is Standing.HOLDING else self._times.claim
            self._arm(entry, seconds + more)
        return entry

    # -- Time

    def _arm(self, entry: Entry, seconds: float) -> None:
        """Let a place end in ``seconds`` unless it is used."""
        entry.deadline = self._clock.seconds() + seconds
        if entry.timer is None:
            entry.timer = self._clock.callLater(seconds, self._due, entry)
        else:
            entry.timer.reset(seconds)

    async def _kept(self, group: int) -> None:
        """Wait until a group of the journal is kept."""
        if group > self._journal.done:
            await self._journal.committed(group)

    async def _all_kept(self) -> None:
        """Wait until everything that was decided so far is kept, and it is certain that nobody else has decided since."""
        await self._kept(self._journal.newest)
        await self._journal.reigns()


def doubtful() -> StoreUnavailable:
    """Say that the store may know better."""
    return StoreUnavailable("It is not known at present who has this lock. Try again.")
