"""Writes of the holder: they renew the lease, or release the lock in the same step."""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from resourced.deferreds import shielded
from resourced.errors import NotHolder, TicketEnded
from resourced.locks.commits import Commits
from resourced.locks.journal.interface import Journal
from resourced.locks.state.queue import Entry
from resourced.locks.state.requests import Check, WriteRequest, Written
from resourced.locks.state.table import LockTable, store_in_doubt
from resourced.model import Write


class Writes:
    """Lets holders write. The lock does not pass on before a write has ended."""

    def __init__(self, journal: Journal, table: LockTable, commits: Commits) -> None:
        self._journal = journal
        self._table = table
        self._commits = commits

    async def write(self, request: WriteRequest) -> Written:
        """Write and renew the lease. Who turns away once the write is in the journal changes nothing about it."""
        entry = await self._writer(request)
        entry.queue.writes += 1
        try:
            if request.check is not None:
                await self._checked(entry, request.check)
            write = self._table.write(entry, request.resource_id, request.data)
            group = self._table.settle(entry.queue, write)
        except BaseException:
            self._failed(entry)
            raise
        try:
            return await self._kept(entry, write, group)
        except CancelledError:
            unheard = shielded(self._kept(entry, write, group))
            unheard.addErrback(lambda failure: failure.trap(CancelledError))
            unheard.cancel()
            raise

    async def _kept(self, entry: Entry, write: Write, group: int) -> Written:
        """Wait until a write is kept, and renew the lease then."""
        try:
            await self._commits.kept(group)
        except CancelledError:
            raise
        except BaseException:
            self._failed(entry)
            raise
        entry.queue.write_over()
        if entry.ended:
            return Written(write.version, entry.fence, None)
        # First, because its deadline may have come while it was in use, so that nothing else would end it.
        lease = self._table.renew(entry)
        self._journal.check()
        return Written(write.version, entry.fence, lease)

    async def write_and_unlock(self, request: WriteRequest) -> Written:
        """Write and release the lock: in the same commit if places are kept, else after the commit."""
        entry = await self._writer(request)
        queue = entry.queue
        queue.writes += 1
        try:
            if request.check is not None:
                await self._checked(entry, request.check)
            write = self._table.write(entry, request.resource_id, request.data)
            if self._journal.durable:
                self._table.places.release(entry)
            group = self._table.settle(queue, write)
            if not self._journal.durable:
                await self._commits.kept(group)
        except BaseException:
            self._failed(entry)
            raise
        queue.write_over()
        if self._journal.durable:
            await self._commits.kept(group)
        else:
            await self._release(entry)
        return Written(write.version, entry.fence, None)

    async def _release(self, entry: Entry) -> None:
        """Release a lock whose holder has written, after its other writes."""
        while entry.queue.writes:
            await entry.queue.until_idle()
        if not entry.ended:
            self._table.places.release(entry)
            self._table.settle(entry.queue)

    async def _writer(self, request: WriteRequest) -> Entry:
        """Return the holder that may write now: while one of its writes looks at the data no other may begin."""
        alone = request.check is not None
        if self._commits.paused():
            await self._commits.recovered()
        while True:
            self._table.check(request.key)
            try:
                entry = self._table.holder(request.key, request.ticket, request.key_name)
            except (NotHolder, TicketEnded):
                await self._commits.all_kept()
                raise
            if not entry.queue.checking and not (alone and entry.queue.writes):
                return entry
            await entry.queue.until_idle()

    async def _checked(self, entry: Entry, check: Check) -> None:
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

    def _failed(self, entry: Entry) -> None:
        entry.queue.write_over()
        self._table.places.lifetimes.look_again(entry)
