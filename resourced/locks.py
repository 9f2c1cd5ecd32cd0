"""
The lock manager: what requests ask of the locks, and when they are answered.

The table decides in one step; whoever is told about it is told after the journal says that it is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as WaitOver
from twisted.internet.interfaces import IReactorTime

from resourced.errors import NotHolder, TicketEnded
from resourced.lockqueue import Entry
from resourced.locktable import Journal, Limits, LockTable, Times, doubtful
from resourced.model import Key, Write
from resourced.waiting import shielded


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


class LockManager:
    """
    All locks of the daemon, and the requests that wait for them.

    :param new_ticket: makes the name of a ticket; nobody may be able to guess it.
    :param succession: for how many seconds an earlier daemon may go on telling clients what it believes.
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
        self._table = LockTable(
            clock,
            journal,
            new_ticket=new_ticket,
            times=times or Times(),
            limits=limits or Limits(),
            succession=succession,
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
        self._table.check(key)
        try:
            entry = self._table.enter(key, lease, ticket, owner, retry)
        except TicketEnded:
            await self._all_kept()
            raise
        fresh = not entry.holds
        answered = False
        entry.named = entry.named or bool(ticket or retry)
        entry.requests += 1
        try:
            self._table.settle(entry.queue)
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
        return self._table.renew(entry)

    async def leave_unclaimed(self, key: Key, held: Held) -> float:
        """
        Give a lock only until the claim window ends, unless its ticket is used by then.

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
        return self._table.renew(entry, claimed=False)

    async def withdraw(self, key: Key, held: Held) -> None:
        """Take a lock back because its client gets no answer, unless it can come for it all the same."""
        entry = self._table.find(key, held.ticket)
        if entry is not None and not entry.named:
            await self.unlock(key, held.ticket)

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
        for entry in self._table:
            entry.notify()

    # -- How it is done

    async def _write(self, key: Key, resource_id: str, name: str, data: str, *, unlock: bool) -> None:
        self._table.check(key)
        try:
            entry = self._table.holder(key, name)
        except (NotHolder, TicketEnded):
            await self._all_kept()
            raise
        queue = entry.queue
        self._table.claim(entry)
        write = Write(key, resource_id, entry.seq, name, entry.fence, data)
        if unlock and self._journal.durable:
            self._table.release(entry)
            await self._kept(self._table.settle(queue, write))
            return
        queue.writes += 1
        kept = False
        try:
            await self._kept(self._table.settle(queue, write))
            kept = True
        finally:
            queue.write_over()
            if not kept:
                self._table.look_again(entry)
        while unlock and queue.writes:
            await queue.calmed()
        if entry.ended:
            return
        if unlock:
            self._table.release(entry)
            self._table.settle(queue)
        else:
            self._table.renew(entry)

    async def _unlock(self, key: Key, name: str) -> bool:
        self._table.check(key)
        entry = self._table.find(key, name)
        while entry is not None and entry.holds and entry.queue.writes:
            await entry.queue.calmed()
            self._table.check(key)
            entry = self._table.find(key, name)
        if entry is None:
            await self._all_kept()
            return False
        self._table.release(entry)
        self._table.settle(entry.queue)
        await self._kept(entry.group)
        return True

    def _request_over(self, entry: Entry, *, answered: bool) -> None:
        """Go on with the deadline of a place, now that a request with its ticket has ended."""
        if entry.ended or entry.holds or entry.requests or entry.queue.suspect:
            return
        if answered:
            self._table.renew(entry)
        else:
            self._table.look_again(entry)

    def _still_held(self, key: Key, held: Held) -> Entry:
        entry = self._table.find(key, held.ticket)
        if entry is not None and entry.queue.suspect:
            raise doubtful()
        if entry is None or not entry.holds or entry.fence != held.fence:
            raise TicketEnded("The lock was lost before it could be given. Ask again without the ticket.")
        return entry

    async def _kept(self, group: int) -> None:
        """Wait until a group of the journal is kept."""
        if group > self._journal.done:
            await self._journal.committed(group)

    async def _all_kept(self) -> None:
        """Wait until everything that was decided so far is kept, and it is certain that nobody else has decided since."""
        await self._kept(self._journal.newest)
        await self._journal.reigns()
