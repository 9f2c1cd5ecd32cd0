"""From a request for a lock to its grant, and from the grant to the answer."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from resourced.deferreds import waiting_for
from resourced.errors import Deadlock, TicketEnded
from resourced.locks.commits import Commits
from resourced.locks.journal.interface import Journal
from resourced.locks.state.entry_states import HELD
from resourced.locks.state.queue import Entry
from resourced.locks.state.requests import Grant, LockRequest, Queued
from resourced.locks.state.table import LockTable, store_in_doubt
from resourced.model import LockKey


class Grants:
    """
    Lets requests wait for locks. A grant counts as given when its client is about to be told.

    ``LockManager.acquire`` makes one call of these steps.
    """

    def __init__(self, clock: IReactorTime, journal: Journal, table: LockTable, commits: Commits) -> None:
        self._clock = clock
        self._journal = journal
        self._table = table
        self._commits = commits
        self._territory = table.territory

    async def wait(self, request: LockRequest) -> Grant | Queued:
        """
        Wait for a lock, for as long as the request says.

        :raises resourced.errors.TicketEnded: the ticket has no claim to this lock any more, or never was.
        :raises resourced.errors.Deadlock: it would have to wait for itself; it has no place then.
        :raises resourced.errors.Overloaded: too many wait, or too many locks are held.
        :raises resourced.errors.QuotaExceeded: its key has as much as it may have.
        :raises resourced.errors.StoreUnavailable: the answer could not be committed; it must not be believed.
        """
        if self._commits.paused():
            await self._commits.recovered()
        key = request.key
        until = self._clock.seconds() + request.wait
        self._table.check(key)
        try:
            entry = self._table.enter(request)
        except (Deadlock, TicketEnded):
            await self._commits.all_kept()
            self._table.told_ended(key, request.ticket, request.key_name)
            raise
        # Whoever held it before has used it by asking.
        fresh = entry.state is not HELD
        entry.named = entry.named or bool(request.ticket or request.idempotency_key)
        entry.requests += 1
        outcome = None
        try:
            while outcome is None:
                while entry.group > self._journal.done:
                    # Meanwhile it may change again, and go into a later group.
                    await self._journal.committed(entry.group)
                outcome = self._outcome(entry, request, until, fresh=fresh)
                if outcome is None:
                    await waiting_for(entry.watchers, until - self._clock.seconds(), self._clock)
        finally:
            entry.requests -= 1
            if not entry.holds and not entry.requests:
                self._request_over(entry, answered=outcome is not None)
        return outcome

    def _outcome(self, entry: Entry, request: LockRequest, until: float, *, fresh: bool) -> Grant | Queued | None:
        """Return what to answer, or nothing while there is time to wait."""
        if not self._territory.whole:
            self._territory.check_still(request.key.resource)
        if entry.ended:
            self._table.told_ended(request.key, entry.ticket.name, request.key_name)
            raise TicketEnded("This ticket has ended while it waited. Ask again without it.")
        if entry.holds:
            return Grant(entry.ticket.name, entry.fence, fresh, request.key_name, request.origin)
        if self._clock.seconds() >= until or self._commits.closing:
            # For a request that waited, the last commit may have been long ago.
            self._journal.check_lease()
            older, out = self._table.places.units.before(entry)
            return Queued(entry.ticket.name, entry.queue.position(entry) + older, out)
        if entry.queue.in_doubt:
            raise store_in_doubt()
        return None

    def confirm(self, key: LockKey, grant: Grant) -> float:
        """
        Start the lease of a lock anew, just before its client is told that it holds it.

        :returns: the lease, in seconds.
        :raises resourced.errors.TicketEnded: it is not the holder any more.
        :raises resourced.errors.StoreUnavailable: it cannot be known at present; it must not be believed.
        """
        self._journal.check()
        return self._table.confirm(self._still_held(key, grant))

    async def leave_unclaimed(self, key: LockKey, grant: Grant) -> float:
        """
        Keep a lock only until the claim window ends, unless its ticket is used by then, or its client asks again without it.

        :returns: what is left of the window, in seconds; or the lease, if another request has used the ticket.
        :raises resourced.errors.TicketEnded: it is not the holder any more.
        :raises resourced.errors.StoreUnavailable: the answer could not be committed; it must not be believed.
        """
        self._table.check(key)
        entry = self._still_held(key, grant)
        if entry.state is not HELD:
            entry.requests += 1
            try:
                await self._commits.kept(self._table.unclaim(entry))
            finally:
                entry.requests -= 1
            entry = self._still_held(key, grant)
        if entry.state is HELD:
            return self.confirm(key, grant)
        self._journal.check()
        entry.ticket.origin = grant.origin
        return self._table.renew(entry, claimed=False)

    def _still_held(self, key: LockKey, grant: Grant) -> Entry:
        if not self._territory.whole:
            self._territory.check_still(key.resource)
        entry = self._table.find(key, grant.ticket, grant.key_name)
        if entry is not None and entry.queue.in_doubt:
            raise store_in_doubt()
        if entry is None or not entry.holds or entry.fence != grant.fence:
            self._table.told_ended(key, grant.ticket, grant.key_name)
            raise TicketEnded("The lock was lost before it could be given. Ask again without the ticket.")
        return entry

    def _request_over(self, entry: Entry, *, answered: bool) -> None:
        """Go on with the deadline of a place in the queue after its last open request has ended."""
        if entry.ended or entry.queue.in_doubt:
            return
        if answered:
            self._table.renew(entry)
        else:
            self._table.places.lifetimes.look_again(entry)
