"""
The table of all locks: every decision about who has one, who waits for it, and when either ends.

A decision is taken in memory in one step and put into the journal. Nothing here waits for anything; who is told, and when,
is for the room above. Time is that of the clock that is handed in, and must never run backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from resourced.errors import NotHolder, Overloaded, StoreUnavailable, TicketEnded
from resourced.lockqueue import Entry, LockQueue, Ticket
from resourced.model import Key, Place, Reign, Standing, Write
from resourced.tickets import Tickets


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

    def append(self, places: list[Place], gone: list[Place], write: Write | None, untold: int) -> int:
        """
        Keep all of this, in one transaction; return the number of the group that it goes into.

        :param untold: a place, by ``seq``, that is to be given up if this is not kept, because no client knows of it; or 0.
        """

    def committed(self, group: int) -> Deferred[None]:
        """Wait until a group is kept; fails with ``StoreUnavailable`` if it could not be."""

    async def reigns(self) -> None:
        """
        Return if no other daemon decides.

        :raises resourced.errors.StoreUnavailable: one does, or that cannot be known.
        """


class LockTable:
    """
    The queues of all locks, and the tickets in them.

    :param new_ticket: makes the name of a ticket; nobody may be able to guess it.
    :param succession: for how many seconds an earlier daemon may go on telling clients what it believes; until then no time passes
        for what is taken over from it.
    """

    def __init__(
        self,
        clock: IReactorTime,
        journal: Journal,
        *,
        new_ticket: Callable[[], str],
        times: Times,
        limits: Limits,
        succession: float,
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._times = times
        self._limits = limits
        self._succession = succession
        self._queues: dict[Key, LockQueue] = {}
        self._tickets = Tickets(new_ticket)
        self._seq = 0
        self._fence = 0
        self._waiting = 0
        # The highest place that an earlier daemon may know of, and when it has nothing to tell about it any more.
        self._inherited = 0
        self._alone = 0.0
        # What was decided since the journal was last told.
        self._changed: list[Entry] = []
        self._gone: list[Entry] = []
        journal.follow(self)

    def __iter__(self) -> Iterator[Entry]:
        """Every holder, and everyone who waits."""
        for queue in list(self._queues.values()):
            yield from list(queue)

    # -- Looking up

    def check(self, key: Key) -> None:
        """
        Return if something can be decided about a lock.

        :raises resourced.errors.StoreUnavailable: the store is away, or may know better.
        """
        queue = self._queues.get(key)
        if queue is not None and queue.suspect:
            raise doubtful()
        self._journal.check()

    def find(self, key: Key, name: str) -> Entry | None:
        """Return where a ticket holds or waits."""
        ticket = self._tickets.find(key.resource, name)
        return None if ticket is None else ticket.live_at(key.selector)

    def holder(self, key: Key, name: str) -> Entry:
        """
        Return the place of a ticket that must be the holder.

        :raises resourced.errors.NotHolder: it is alive, but the lock is not its own.
        :raises resourced.errors.TicketEnded: it has no claim to this lock any more, or never was.
        """
        ticket = self._tickets.get(key.resource, name)
        entry = ticket.live_at(key.selector)
        if entry is not None and entry.holds:
            return entry
        if entry is not None:
            raise NotHolder("This ticket still waits for the lock.")
        if ticket.lost_at(key.selector) or not ticket.alive:
            raise TicketEnded("This ticket has ended here. Lock again without it.")
        raise NotHolder("This ticket does not hold this lock. Lock with it first.")

    # -- Decisions

    def enter(self, key: Key, lease: float, name: str, owner: str, retry: str) -> Entry:
        """
        Find the place of a ticket at a lock and renew it, or make one at the end of the line.

        :param lease: how long a holder may be silent, in seconds; 0 means as the server likes it.
        :raises resourced.errors.TicketEnded: the ticket has no claim to this lock any more, or never was.
        :raises resourced.errors.Overloaded: too many wait.
        """
        lease = lease or self._times.lease
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
            self.claim(entry)
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
        if queue.holder is not None:
            # A free lock falls to it at once, and then it has another deadline.
            self._arm(entry, self._times.place)
        self._changed.append(entry)
        return entry

    def claim(self, entry: Entry) -> None:
        """Count the use of a ticket that holds: from its first use on it has its lease."""
        entry.used = True
        self._arm(entry, entry.queue.lease)
        if entry.standing is Standing.GRANTED:
            entry.standing = Standing.HOLDING
            self._changed.append(entry)

    def release(self, entry: Entry) -> None:
        """End a place as its client wishes; the ticket can be sent again."""
        self._end(entry)
        ticket = entry.ticket
        del ticket.entries[entry.queue.key.selector]
        self._gone.append(entry)
        if not ticket.alive:
            self._gone.extend(ticket.lost())
            self._tickets.release(ticket)

    def _due(self, entry: Entry) -> None:
        """Act on a deadline that has come, be it that its timer says so or that someone has looked before that could."""
        entry.disarm()
        left = entry.deadline - self._clock.seconds()
        if left > 0:
            entry.timer = self._clock.callLater(left, self._due, entry)
            return
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
        self.settle(entry.queue)

    def look_again(self, entry: Entry) -> None:
        """Act on a deadline that came while the place was in use."""
        if not entry.ended and not entry.queue.suspect and self._clock.seconds() >= entry.deadline:
            self._due(entry)

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

    def unclaim(self, entry: Entry) -> int:
        """Count a lock as not claimed yet; if that cannot be kept, and its client does not know of it, it is given up."""
        entry.standing = Standing.GRANTED
        self._changed.append(entry)
        return self._record(untold=entry)

    def renew(self, entry: Entry, *, claimed: bool = True) -> float:
        """Start the time of a place anew; return it, in seconds."""
        if not entry.holds:
            seconds = self._times.place
        elif claimed:
            seconds = entry.queue.lease
        else:
            # Not longer than a lease: to use the ticket must never shorten what its client was told.
            seconds = min(self._times.claim, entry.queue.lease)
        self._arm(entry, seconds)
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

    def _record(self, write: Write | None = None, untold: Entry | None = None) -> int:
        """
        Put what was decided into the journal, in one group, and wake whom it concerns.

        :param untold: a place that its client was not told of before, and will not be if this is not kept.
        """
        changed, self._changed = self._changed, []
        gone, self._gone = self._gone, []
        if not changed and not gone and write is None:
            return self._journal.newest
        group = self._journal.append(
            [entry.place() for entry in changed],
            [entry.place() for entry in gone],
            write,
            untold.seq if untold is not None and not untold.named else 0,
        )
        for entry in (*changed, *gone):
            entry.group = group
        for entry in (*changed, *gone):
            entry.notify()
        return group

    def _arm(self, entry: Entry, seconds: float) -> None:
        """Let a place end in ``seconds`` unless it is used."""
        now = self._clock.seconds()
        if entry.seq <= self._inherited:
            seconds += max(0.0, self._alone - now)
        entry.deadline = now + seconds
        if entry.timer is not None:
            # A timer that goes off too early looks again. To move it forward costs a reactor a walk through all it has.
            if entry.timer.getTime() <= entry.deadline:
                return
            entry.timer.cancel()
        entry.timer = self._clock.callLater(seconds, self._due, entry)

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
        if keys is None:
            self._inherited = max((place.seq for place in reign.places), default=0)
            self._alone = self._clock.seconds() + self._succession
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
                entry = self._load(queue, place)
                if entry.ended:
                    lost.append(entry.ticket)
        for ticket in lost:
            if not ticket.alive:
                self._gone.extend(ticket.lost())
                self._tickets.release(ticket)
        for queue in loaded.values():
            self._pass_on(queue)
        self._record()

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

    def _load(self, queue: LockQueue, place: Place) -> Entry:
        """Believe what the store knows about a place, and give it its full time anew."""
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
            self._arm(entry, self._times.place)
        else:
            queue.holder = entry
            seconds = queue.lease if place.standing is Standing.HOLDING else self._times.claim
            self._arm(entry, seconds)
        return entry


def doubtful() -> StoreUnavailable:
    """Say that the store may know better."""
    return StoreUnavailable("It is not known at present who has this lock. Try again.")
