"""
The lock manager: what requests ask of the locks, and when they are answered.

The table decides in one step; whoever is told about it is told after the journal says that it is kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from resourced.deferreds import shielded, waiting_for
from resourced.errors import Deadlock, FenceMismatch, NotHolder, StoreUnavailable, TicketEnded
from resourced.locks.pauses import PATIENCE, Pauses
from resourced.locks.queue import Entry, LockQueue
from resourced.locks.table import Journal, Limits, LockTable, Times, store_in_doubt
from resourced.model import BREAK, HOLDING, WRITE, Breaker, Key, Resource, Write
from resourced.quotas import Quotas

#: How often it is looked after a pause whether decisions are possible again, in seconds.
MOMENT = 0.02


class Held(NamedTuple):
    """
    The lock is the ticket's.

    :ivar fresh: whether it came to be so by this very request.
    :ivar origin: the address of a client that has sent nothing by which it is known again.
    """

    ticket: str
    fence: int
    fresh: bool
    key_name: str = ""
    origin: str = ""


class Queued(NamedTuple):
    """Someone else has the lock; position 1 is next in line."""

    ticket: str
    position: int


class Written(NamedTuple):
    """
    A write that is kept.

    :ivar version: of the data.
    :ivar fence: under which it was written.
    :ivar lease: how long its writer may be silent from now on, in seconds; nothing if it has the lock no more.
    """

    version: int
    fence: int
    lease: float | None


@dataclass(frozen=True, slots=True)
class Holder:
    """
    Who has a lock, as people are told.

    :ivar owner: who its client says it is.
    :ivar key: the name of the key that its ticket was given to.
    :ivar held: for how many seconds.
    :ivar left: in how many seconds it ends if the ticket is not used.
    :ivar claimed: whether its client has come for it.
    """

    owner: str
    key: str
    fence: int
    held: float
    left: float
    claimed: bool


@dataclass(frozen=True, slots=True)
class Waiter:
    """
    Who waits for a lock, as people are told.

    :ivar position: 1 is next in line.
    :ivar key: the name of the key that its ticket was given to.
    :ivar waited: for how many seconds.
    :ivar left: in how many seconds the place ends if nobody asks for it.
    """

    position: int
    owner: str
    key: str
    waited: float
    left: float


@dataclass(frozen=True, slots=True)
class LockState:
    """
    A lock as it stands.

    :ivar waiting: how many wait for it.
    :ivar line: those of them who were asked for, in their order.
    """

    holder: Holder | None
    waiting: int
    line: list[Waiter]


@dataclass(frozen=True, slots=True)
class Standings:
    """How many locks are held, and how many tickets wait, at a selector or in a whole resource."""

    held: int
    waiting: int


class LockManager:
    """
    All locks of the daemon, and the requests that wait for them.

    :param new_ticket: makes the name of a ticket; nobody may be able to guess it.
    :param predecessor_lease: for how many seconds an earlier daemon may go on telling clients what it believes.
    :param wall: tells Unix time in seconds, for people; without it the clock does.
    :param pauses: knows when the process stood still.
    :param since: an id that is lower than that of any event of this life.
    :ivar quotas: what each key name takes.
    """

    def __init__(
        self,
        clock: IReactorTime,
        journal: Journal,
        *,
        new_ticket: Callable[[], str],
        times: Times | None = None,
        limits: Limits | None = None,
        predecessor_lease: float = 0.0,
        wall: Callable[[], float] | None = None,
        pauses: Pauses | None = None,
        since: int = 0,
        quotas: Quotas | None = None,
    ) -> None:
        self.quotas = quotas or Quotas()
        self._clock = clock
        self._journal = journal
        self._pauses = pauses or Pauses(clock.seconds)
        self._table = LockTable(
            clock,
            journal,
            new_ticket=new_ticket,
            times=times or Times(),
            limits=limits or Limits(),
            predecessor_lease=predecessor_lease,
            wall=wall or clock.seconds,
            pauses=self._pauses,
            since=since,
            quotas=self.quotas,
        )
        self._closing = False

    # -- What requests ask for

    async def acquire(
        self,
        key: Key,
        *,
        lease: float,
        ticket: str = "",
        wait: float = 0.0,
        owner: str = "",
        idempotency_key: str = "",
        key_name: str = "",
        holds: Collection[str] = (),
        origin: str = "",
    ) -> Held | Queued:
        """
        Take the lock, keep it, or keep the place in the queue.

        :param lease: how long a holder may be silent, in seconds; 0 means as the server likes it.
        :param ticket: the client's ticket; without one it gets a new one.
        :param wait: how long to wait for the lock, in seconds.
        :param idempotency_key: what makes a request without a ticket known again: it gets the ticket that it got before.
        :param key_name: who asks; a ticket works only for whom it was given to.
        :param holds: tickets that the client holds meanwhile; those of others are passed over.
        :param origin: the address of a client that has sent nothing by which it is known again: neither ticket, owner nor ``retry``. A
            lock that ``leave_unclaimed`` gave to such a client at the same address, and that nobody has used, is its at once.
        :raises resourced.errors.TicketEnded: the ticket has no claim to this lock any more, or never was.
        :raises resourced.errors.Deadlock: it would have to wait for itself; it has no place then.
        :raises resourced.errors.Overloaded: too many wait, or too many locks are held.
        :raises resourced.errors.QuotaExceeded: its key has as much as it may have.
        :raises resourced.errors.StoreUnavailable: the answer could not be kept; it must not be believed.
        """
        if self._pauses.look() < PATIENCE:
            await self._recovered()
        until = self._clock.seconds() + wait
        self._table.check(key)
        try:
            entry = self._table.enter(key, lease, ticket, owner, idempotency_key, key_name, holds, origin)
        except (Deadlock, TicketEnded):
            await self._all_kept()
            self._table.told_ended(key, ticket, key_name)
            raise
        # Whoever held it before has used it by asking.
        fresh = not entry.used
        answered = False
        entry.named = entry.named or bool(ticket or idempotency_key)
        entry.requests += 1
        try:
            while True:
                while entry.group > self._journal.done:
                    # Meanwhile it may change again, and go into a later group.
                    await self._journal.committed(entry.group)
                if entry.ended:
                    self._table.told_ended(key, entry.ticket.name, key_name)
                    raise TicketEnded("This ticket has ended while it waited. Ask again without it.")
                if entry.holds:
                    return Held(entry.ticket.name, entry.fence, fresh, key_name, origin)
                left = until - self._clock.seconds()
                if left <= 0 or self._closing:
                    # For who waits, whatever was committed may have been long ago.
                    self._journal.check_lease()
                    answered = True
                    return Queued(entry.ticket.name, entry.queue.position(entry))
                if entry.queue.in_doubt:
                    raise store_in_doubt()
                await waiting_for(entry.watchers, left, self._clock)
        finally:
            entry.requests -= 1
            if not entry.holds:
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
        return self._table.renew(entry)

    async def leave_unclaimed(self, key: Key, held: Held) -> float:
        """
        Give a lock only until the claim window ends, unless its ticket is used by then, or its client asks anew without it.

        :returns: what is left of the window, in seconds; or of the lease, if another request has used the ticket already.
        :raises resourced.errors.TicketEnded: it is not the holder any more.
        :raises resourced.errors.StoreUnavailable: the answer could not be kept; it must not be believed.
        """
        self._table.check(key)
        entry = self._still_held(key, held)
        if not entry.used:
            await self._kept(self._table.unclaim(entry))
            entry = self._still_held(key, held)
        if entry.used:
            return self.confirm(key, held)
        self._journal.check()
        entry.ticket.origin = held.origin
        return self._table.renew(entry, claimed=False)

    async def withdraw(self, key: Key, held: Held) -> None:
        """Take a lock back because its client gets no answer, unless it can come for it all the same."""
        entry = self._table.find(key, held.ticket, held.key_name)
        if entry is not None and not entry.named:
            await self.unlock(key, held.ticket, key_name=held.key_name)

    def write(
        self,
        key: Key,
        resource_id: str,
        ticket: str,
        data: str | None,
        *,
        unlock: bool = False,
        key_name: str = "",
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> Deferred[Written]:
        """
        Write as the holder, and so renew the lease, or release the lock in the same step.

        A client that goes away changes nothing about it: once begun it goes on to its end.

        :param data: the JSON text to keep, or nothing, to have none there any more.
        :param check: looks at the data that is there, which cannot change meanwhile, and raises if it is not to be replaced.
        :raises resourced.errors.NotHolder: the ticket is alive, but the lock is not its own.
        :raises resourced.errors.TicketEnded: the ticket has no claim to this lock any more, or never was.
        :raises resourced.errors.StoreUnavailable: it is not known whether the data was written.
        """
        # Outside of the shield: a client that has gone is not told. And by no name here: its failure would know this frame, and the
        # frame would know the failure.
        return shielded(
            self._write(key, resource_id, ticket, data, unlock=unlock, key_name=key_name, check=check)
        ).addErrback(self._told_ended, key, ticket, key_name)

    async def unlock(self, key: Key, ticket: str, *, key_name: str = "") -> bool:
        """
        Release a lock, or give up a place in the queue.

        It is done at once, or after the writes of the holder; a client that goes away only does not learn of it.

        :returns: whether there was anything to let go of.
        :raises resourced.errors.StoreUnavailable: it is not known whether the lock was released.
        """
        if self._pauses.look() < PATIENCE:
            await self._recovered()
        self._table.check(key)
        entry = self._table.find(key, ticket, key_name)
        if entry is None:
            await self._all_kept()
            return False
        queue = entry.queue
        if queue.writes and entry.holds:
            return await shielded(self._unlock_later(queue, key, ticket, key_name))
        self._table.release(entry)
        await self._kept(self._table.settle(queue))
        return True

    def break_lock(self, key: Key, fence: int, breaker: Breaker = Breaker()) -> Deferred[None]:  # noqa: B008 - it is frozen
        """
        Take a lock from its holder; once begun it goes on to its end. A write of the holder that is under way is waited for.

        :param breaker: who takes it, for the history.
        :raises resourced.errors.FenceMismatch: the lock is not held under this fence, or not any more.
        :raises resourced.errors.StoreUnavailable: it is not known whether the lock was taken from it.
        """
        return shielded(self._break(key, fence, breaker))

    def leap(self, by: int) -> tuple[int, int]:
        """Let fences and ids of events go on further up; return the highest of each that count as given out."""
        return self._table.leap(by)

    async def end_all(self, breaker: Breaker) -> int:
        """
        Take all locks from their holders, and all places from those who wait; return how many there were.

        :raises resourced.errors.StoreUnavailable: it is not known whether all were taken.
        """
        ended = self._table.end_all(breaker)
        await self._kept(self._journal.newest)
        return ended

    def remove(self, resource: Resource) -> Deferred[None]:
        """
        Remove a resource of which nobody holds or waits for anything, with all its data; once begun it goes on to its end.

        :raises resourced.errors.ResourceInUse: somebody does.
        :raises resourced.errors.StoreUnavailable: it is not known whether it was removed.
        """
        return shielded(self._remove(resource))

    def redefine(self, resource: Resource) -> None:
        """Let the leases of a resource's locks be as it says now, each from its next renewal on."""
        self._table.redefine(resource)

    @property
    def held(self) -> int:
        """How many locks are held. While the store is away, those of which it is not known count too."""
        return self._table.held

    @property
    def waiting(self) -> int:
        """How many tickets wait, for all locks together."""
        return self._table.waiting

    @property
    def changes(self) -> int:
        """How often a resource may have been removed, or was changed: one that was found before may be no more as it was."""
        return self._table.changes

    # -- What people ask for; nothing here is told before it is kept

    async def state(self, key: Key, after: int, limit: int) -> LockState:
        """
        Say who has a lock and who waits for it.

        :param after: the position after which to begin to list those who wait.
        :raises resourced.errors.StoreUnavailable: it cannot be known at present.
        """
        if self._pauses.look() < PATIENCE:
            await self._recovered()
        self._table.check(key)
        queue = self._table.queue(key)
        now = self._clock.seconds()
        if queue is None:
            state = LockState(None, 0, [])
        else:
            line = [
                Waiter(position, entry.owner, entry.ticket.key_name, now - entry.since, max(0.0, entry.deadline - now))
                for position, entry in enumerate(queue.line(after, after + limit), start=after + 1)
            ]
            holder = None if queue.holder is None else _described(queue.holder, now)
            state = LockState(holder, len(queue.waiting), line)
        await self._all_kept()
        return state

    async def standings(self, resources: list[str]) -> list[Standings]:
        """
        Say how many locks are held in each of some resources, and how many tickets wait there.

        :raises resourced.errors.StoreUnavailable: it cannot be known at present.
        """
        if self._pauses.look() < PATIENCE:
            await self._recovered()
        self._journal.check()
        scopes = [self._table.scope(name) for name in resources]
        standings = [Standings(scope.held, scope.waiting) for scope in scopes]
        await self._all_kept()
        return standings

    async def selectors(self, resource: str, prefix: str, after: str, limit: int) -> dict[str, Standings]:
        """
        Name the selectors of a resource that somebody holds or waits for, in their order, and say how many do.

        :param prefix: what they begin with.
        :param after: after which one to begin.
        :raises resourced.errors.StoreUnavailable: it cannot be known at present.
        """
        if self._pauses.look() < PATIENCE:
            await self._recovered()
        self._journal.check()
        scope = self._table.scope(resource)
        found: dict[str, Standings] = {}
        for selector in scope.selectors.since(max(prefix, after)):
            if not selector.startswith(prefix) or len(found) == limit:
                break
            if selector != after:
                queue = scope.queues[selector]
                found[selector] = Standings(int(queue.holder is not None), len(queue.waiting))
        await self._all_kept()
        return found

    def check(self) -> None:
        """
        Return if anything can be decided at present.

        :raises resourced.errors.StoreUnavailable: the store is away.
        """
        self._journal.check()

    def stop_waiting(self) -> None:
        """Answer every request that waits, now, and let none wait from here on: its ticket keeps its place."""
        self._closing = True
        for entry in self._table:
            entry.notify()

    # -- How it is done

    async def _write(
        self,
        key: Key,
        resource_id: str,
        name: str,
        data: str | None,
        *,
        unlock: bool,
        key_name: str,
        check: Callable[[], Awaitable[None]] | None,
    ) -> Written:
        entry = await self._writer(key, name, key_name, alone=check is not None)
        queue = entry.queue
        queue.writes += 1
        released = unlock and self._journal.durable
        done = False
        try:
            if check is not None:
                await self._checked(entry, check)
            self._table.claim(entry)
            version = self._table.note(WRITE, entry, self._clock.seconds()).id
            write = Write(key, resource_id, entry.seq, name, entry.fence, data, version)
            if released:
                self._table.release(entry)
            group = self._table.settle(queue, write)
            if not released:
                await self._kept(group)
            done = True
        finally:
            queue.write_over()
            if not done:
                self._table.look_again(entry)
        if released:
            await self._kept(group)
            return Written(version, entry.fence, None)
        while unlock and queue.writes:
            await queue.until_idle()
        if entry.ended:
            return Written(version, entry.fence, None)
        if unlock:
            self._table.release(entry)
            self._table.settle(queue)
            return Written(version, entry.fence, None)
        # First, because its deadline may have come while it was in use, so that nothing else would end it.
        lease = self._table.renew(entry)
        self._journal.check()
        return Written(version, entry.fence, lease)

    async def _writer(self, key: Key, name: str, key_name: str, *, alone: bool) -> Entry:
        """Find the holder that may write now: while one of its writes looks at the data no other may begin."""
        if self._pauses.look() < PATIENCE:
            await self._recovered()
        while True:
            self._table.check(key)
            try:
                entry = self._table.holder(key, name, key_name)
            except (NotHolder, TicketEnded):
                await self._all_kept()
                raise
            if not entry.queue.checking and not (alone and entry.queue.writes):
                return entry
            await entry.queue.until_idle()

    async def _checked(self, entry: Entry, check: Callable[[], Awaitable[None]]) -> None:
        """Look at the data that a holder is about to replace; nobody can change it, or take the lock, meanwhile."""
        queue = entry.queue
        self._table.renew(entry)
        queue.checking = True
        try:
            await check()
        finally:
            queue.checking = False
        if entry.ended or queue.in_doubt:
            raise store_in_doubt()
        self._journal.check()

    async def _unlock_later(self, queue: LockQueue, key: Key, name: str, key_name: str) -> bool:
        await queue.until_idle()
        return await self.unlock(key, name, key_name=key_name)

    async def _break(self, key: Key, fence: int, breaker: Breaker) -> None:
        if self._pauses.look() < PATIENCE:
            await self._recovered()
        while True:
            self._table.check(key)
            queue = self._table.queue(key)
            entry = None if queue is None else queue.holder
            if queue is None or entry is None or entry.fence != fence:
                await self._all_kept()
                raise FenceMismatch("The lock is not held under this fence, or not any more.")
            if not queue.writes:
                break
            await queue.until_idle()
        self._table.end(entry, BREAK, breaker)
        await self._kept(self._table.settle(queue))

    async def _remove(self, resource: Resource) -> None:
        if self._pauses.look() < PATIENCE:
            await self._recovered()
        self._journal.check()
        await self._kept(self._table.seal(resource))
        self._table.unseal(resource.name)

    def _request_over(self, entry: Entry, *, answered: bool) -> None:
        """Go on with the deadline of a place in the line, now that a request with its ticket has ended."""
        if entry.ended or entry.requests or entry.queue.in_doubt:
            return
        if answered:
            self._table.renew(entry)
        else:
            self._table.look_again(entry)

    def _told_ended(self, failure: Failure, key: Key, ticket: str, key_name: str) -> Failure:
        if failure.check(TicketEnded):
            self._table.told_ended(key, ticket, key_name)
        return failure

    def _still_held(self, key: Key, held: Held) -> Entry:
        entry = self._table.find(key, held.ticket, held.key_name)
        if entry is not None and entry.queue.in_doubt:
            raise store_in_doubt()
        if entry is None or not entry.holds or entry.fence != held.fence:
            self._table.told_ended(key, held.ticket, held.key_name)
            raise TicketEnded("The lock was lost before it could be given. Ask again without the ticket.")
        return entry

    async def _recovered(self) -> None:
        """Let a request that was there before a pause ended wait until it is certain again that nobody else decides, if that is so soon."""
        while self._pauses.look() < PATIENCE and not (self._closing or self._journal.deposed):
            try:
                self._journal.check()
            except StoreUnavailable:
                await deferLater(self._clock, MOMENT)
            else:
                return

    async def _kept(self, group: int) -> None:
        """Wait until a group of the journal is kept."""
        if group > self._journal.done:
            await self._journal.committed(group)

    async def _all_kept(self) -> None:
        """Wait until everything that was decided so far is kept, and it is certain that nobody else has decided since."""
        await self._kept(self._journal.newest)
        await self._journal.confirm_leader()


def _described(entry: Entry, now: float) -> Holder:
    """Say of a holder what people may know."""
    left = max(0.0, entry.deadline - now)
    return Holder(entry.owner, entry.ticket.key_name, entry.fence, now - entry.since, left, entry.standing is HOLDING)
