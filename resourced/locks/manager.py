"""
The lock manager: what requests ask of the locks, and when they are answered.

The table decides in one step; whoever is told about it is told after the journal says that it is kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from resourced.deferreds import shielded
from resourced.errors import DataNotFound, FenceMismatch, NotHolder, ResourceNotFound, StoreUnavailable, TicketEnded
from resourced.locks.commits import Commits
from resourced.locks.grants import Grants
from resourced.locks.joint_grants import JointGrants
from resourced.locks.journal.interface import Journal
from resourced.locks.listing import LockListing
from resourced.locks.shares import Shares
from resourced.locks.state.limits import Limits, Predecessor, Times
from resourced.locks.state.pauses import Pauses
from resourced.locks.state.queue import LockQueue
from resourced.locks.state.requests import NOT_READ, Acquired, Check, Grant, LockRequest, Queued, WriteRequest, Written
from resourced.locks.state.table import LockTable
from resourced.locks.unit_cards import UnitCards
from resourced.locks.views import LockViews
from resourced.locks.writes import Writes
from resourced.model import BREAK, Breaker, Document, LockKey, Resource
from resourced.quotas import Quotas

#: Reads the data under a lock.
Reader = Callable[[], Awaitable[Document]]


class LockManager:
    """
    All locks of the daemon, and the requests that wait for them.

    :param new_ticket: makes the name of a ticket; nobody may be able to guess it.
    :param predecessor: what is known of an earlier daemon.
    :param wall: tells Unix time in seconds, for people; without it the clock does.
    :param pauses: knows when the process stood still.
    :ivar quotas: what each key name takes.
    :ivar usual_lease: that of locks whose resource says nothing else, in seconds.
    :ivar places: every holder, and everyone who waits.
    :ivar grants: the steps of ``acquire``.
    :ivar views: what people are shown.
    :ivar listing: the same of all resources together.
    :ivar several: what requests for several things at once ask for.
    :ivar units: the cards of units.
    :ivar territory: which of all locks are decided about here.
    :ivar shares: how that becomes more or less.
    """

    def __init__(
        self,
        clock: IReactorTime,
        journal: Journal,
        *,
        new_ticket: Callable[[], str],
        times: Times | None = None,
        limits: Limits | None = None,
        predecessor: Predecessor | None = None,
        wall: Callable[[], float] | None = None,
        pauses: Pauses | None = None,
        quotas: Quotas | None = None,
    ) -> None:
        self.quotas = quotas or Quotas()
        times = times or Times()
        self.usual_lease = times.lease
        self._journal = journal
        pauses = pauses or Pauses(clock.seconds)
        self._table = LockTable(
            clock,
            journal,
            new_ticket=new_ticket,
            times=times,
            limits=limits or Limits(),
            predecessor=predecessor or Predecessor(),
            wall=wall or clock.seconds,
            pauses=pauses,
            quotas=self.quotas,
        )
        self.places = self._table.places
        self._commits = Commits(clock, journal, pauses)
        self._writes = Writes(journal, self._table, self._commits)
        self.grants = Grants(clock, journal, self._table, self._commits)
        self.views = LockViews(clock, journal, self._table, self._commits)
        self.listing = LockListing(clock, journal, self.places.queues, self._commits)
        self.several = JointGrants(
            clock, journal, self._table.joints, self.places, self._commits, self._table.territory
        )
        self.units = UnitCards(journal, self._table, self._commits)
        self.territory = self._table.territory
        self.shares = Shares(journal, self._table, self._commits)

    # -- What requests ask for

    async def acquire(self, request: LockRequest, read: Reader | None = None) -> Acquired | Queued:
        """
        Take the lock, keep it, or keep the place in the queue.

        ``read`` may find no data, and the client of a new ticket may not see an answer with an error. Then the lock is only kept for the
        claim window. If ``read`` fails, the lock is released, unless the client can come for it all the same.

        :param read: reads the data while the lock is held.
        :raises resourced.errors.TicketEnded: the ticket has no claim to this lock any more, or never was.
        :raises resourced.errors.Deadlock: it would have to wait for itself; it has no place then.
        :raises resourced.errors.Overloaded: too many wait, or too many locks are held.
        :raises resourced.errors.QuotaExceeded: its key has as much as it may have.
        :raises resourced.errors.StoreUnavailable: the answer could not be committed; it must not be believed.
        """
        grant = await self.grants.wait(request)
        if isinstance(grant, Queued):
            return grant
        key = request.key
        found: Document | DataNotFound = NOT_READ
        if read is not None:
            try:
                found = await read()
            except DataNotFound as nothing:
                found = nothing
                if grant.fresh:
                    lease = await self.grants.leave_unclaimed(key, grant)
                    return Acquired(grant.ticket, grant.fence, lease, found)
            except (ResourceNotFound, StoreUnavailable):
                await self.withdraw(key, grant)
                raise
        return Acquired(grant.ticket, grant.fence, self.grants.confirm(key, grant), found)

    async def withdraw(self, key: LockKey, grant: Grant) -> None:
        """Take a lock back because its client gets no answer, unless the client can come for it all the same."""
        entry = self._table.find(key, grant.ticket, grant.key_name)
        if entry is not None and not entry.named:
            await self.unlock(key, grant.ticket, key_name=grant.key_name)

    async def write(
        self,
        key: LockKey,
        resource_id: str,
        ticket: str,
        data: str | None,
        *,
        unlock: bool = False,
        key_name: str = "",
        check: Check | None = None,
    ) -> Written:
        """
        Write as the holder, and so renew the lease, or release the lock in the same step.

        A client that goes away changes nothing about it: once begun it goes on to its end.

        :param data: the JSON text to keep, or nothing, to have none there any more.
        :param check: looks at the data that is there, which cannot change meanwhile, and raises if it is not to be replaced.
        :raises resourced.errors.NotHolder: the ticket is alive, but the lock is not its own.
        :raises resourced.errors.TicketEnded: the ticket has no claim to this lock any more, or never was.
        :raises resourced.errors.StoreUnavailable: it is not known whether the data was written.
        """
        request = WriteRequest(key, resource_id, ticket, data, key_name, check)
        try:
            if unlock:
                return await shielded(self._writes.write_and_unlock(request))
            if check is not None:
                return await shielded(self._writes.write(request))
            # It looks after itself once it has begun: a shield takes as long as all else that is decided about a write.
            return await self._writes.write(request)
        except TicketEnded:
            self._table.told_ended(key, ticket, key_name)
            raise

    async def unlock(self, key: LockKey, ticket: str, *, key_name: str = "", broken: Breaker | None = None) -> bool:
        """
        Release a lock, or give up a place in the queue.

        It is done at once, or after the writes of the holder; a client that goes away only does not learn of it.

        :param broken: who gives a unit back as broken, and why; its holder if that is not said. In the same step it goes out of service.
        :returns: whether there was anything to let go of.
        :raises resourced.errors.NotHolder: the ticket still waits, so it cannot say that the unit is broken.
        :raises resourced.errors.CardNotFound: it cannot be broken, because it is no unit.
        :raises resourced.errors.StoreUnavailable: it is not known whether the lock was released.
        """
        if self._commits.paused():
            await self._commits.recovered()
        self._table.check(key)
        entry = self._table.find(key, ticket, key_name)
        if entry is None:
            await self._commits.all_kept()
            return False
        queue = entry.queue
        if queue.writes and entry.holds:
            return await shielded(self._unlock_later(queue, key, ticket, key_name, broken))
        if broken is not None:
            if not entry.holds:
                raise NotHolder("This ticket still waits for the lock.")
            self._table.joints.withdraw(key, broken._replace(by=broken.by or entry.owner))
        self.places.release(entry)
        await self._commits.kept(self._table.settle(queue))
        return True

    def break_lock(self, key: LockKey, fence: int, breaker: Breaker = Breaker()) -> Deferred[None]:  # noqa: B008 - it is frozen
        """
        Take a lock from its holder; once begun it goes on to its end. A write of the holder that is under way is waited for.

        :param breaker: who takes it, for the history.
        :raises resourced.errors.FenceMismatch: the lock is not held under this fence, or not any more.
        :raises resourced.errors.StoreUnavailable: it is not known whether the lock was taken from it.
        """
        return shielded(self._break(key, fence, breaker))

    def leap(self, by: int) -> tuple[int, int]:
        """Let fences and ids of events go on further up; return the highest of each that count as given out."""
        return self.places.record.leap(by)

    async def end_all(self, breaker: Breaker) -> int:
        """
        Take all locks from their holders, and all places from those who wait; return how many there were.

        :raises resourced.errors.StoreUnavailable: it is not known whether all were taken.
        """
        ended = self._table.end_all(breaker)
        await self._commits.kept(self._journal.newest)
        return ended

    def remove(self, resource: Resource) -> Deferred[None]:
        """
        Remove a resource of which nobody holds or waits for anything, with all its data; once begun it goes on to its end.

        :raises resourced.errors.ResourceInUse: somebody does.
        :raises resourced.errors.StoreUnavailable: it is not known whether it was removed.
        """
        return shielded(self._remove(resource))

    @contextmanager
    def unused(self, name: str) -> Iterator[None]:
        """
        Let nobody lock or wait for anything of a resource meanwhile.

        :raises resourced.errors.ResourceInUse: somebody does already.
        :raises resourced.errors.StoreUnavailable: it cannot be known at present.
        """
        self._journal.check()
        self._table.seal(name)
        try:
            yield
        finally:
            self._table.unseal(name)

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
        return len(self.places.queues.waiters)

    @property
    def changes(self) -> int:
        """How often a resource may have been removed, or was changed: one that was found before may be no more as it was."""
        return self._table.changes + self.territory.changes

    def check(self) -> None:
        """
        Return if anything can be decided at present.

        :raises resourced.errors.StoreUnavailable: the store is away.
        """
        self._journal.check()

    def stop_waiting(self) -> None:
        """Answer every request that waits, now, and let none wait from here on: its ticket keeps its place."""
        self._commits.closing = True
        for entry in (*self.places, *self._table.joints):
            entry.notify()

    # -- How it is done

    async def _unlock_later(
        self, queue: LockQueue, key: LockKey, name: str, key_name: str, broken: Breaker | None
    ) -> bool:
        await queue.until_idle()
        return await self.unlock(key, name, key_name=key_name, broken=broken)

    async def _break(self, key: LockKey, fence: int, breaker: Breaker) -> None:
        if self._commits.paused():
            await self._commits.recovered()
        while True:
            self._table.check(key)
            queue = self._table.queue(key)
            entry = None if queue is None else queue.holder
            if queue is None or entry is None or entry.fence != fence:
                await self._commits.all_kept()
                raise FenceMismatch("The lock is not held under this fence, or not any more.")
            if not queue.writes:
                break
            await queue.until_idle()
        self.places.end(entry, BREAK, breaker)
        await self._commits.kept(self._table.settle(queue))

    async def _remove(self, resource: Resource) -> None:
        if self._commits.paused():
            await self._commits.recovered()
        self._journal.check()
        await self._commits.kept(self._table.remove(resource))
        self._table.removed(resource.name)
        self._table.unseal(resource.name)
