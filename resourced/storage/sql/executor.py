"""A database that coroutines can ask: what it may be asked, how much at once, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from threading import Thread
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from resourced.errors import StoreUnavailable
from resourced.storage.sql.dialect import Dialect
from resourced.storage.sql.direct.committer import DirectCommitter
from resourced.storage.sql.durability import Durability, durability
from resourced.storage.sql.health import Health
from resourced.storage.sql.migration import PACKET_MARGIN, look, may_be_led, prepare
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.pool import BUSY, Measure, Script, SessionPool, Work, WriteSettings
from resourced.storage.sql.server_identity import ServerIdentity

T = TypeVar("T")
log = Logger()

log = Logger()

#: The most characters of a script that is sent at once, if the server takes as many: the writes of a hundred clients.
LONGEST: Final = 100_000


class Database:
    """
    One database, with some connections that read, one that writes, and one that only asks whether it is there.

    A piece of work is a function of a ``Transaction``.  It runs in a thread. If the connection was lost, or a deadlock ended it before its
    commit, it runs once more. So it must change nothing but the database.

    :param reactor: runs the threads' answers; its threads close the connections.
    :param dialect: which database it is, and where.
    :param max_body: the most bytes of data in one row, which the server must be ready to take.
    :param max_pending: how much work may be under way or in line.
    :param direct: whether commits may go without a thread, where that can be.
    :param now: a clock in seconds that nobody sets.
    :param measure: is told of each piece of work.
    :param parted: called when a connection has reached another server than the others: from then on nothing is done, until
        ``begin_term`` is called.
    :ivar pending: how much work is under way or in line.
    """

    def __init__(
        self,
        reactor: Any,
        dialect: Dialect,
        *,
        max_body: int = 1 << 20,
        max_pending: int = 5000,
        direct: bool = True,
        now: Callable[[], float] = time.monotonic,
        measure: Measure = lambda _pool, _seconds, _done: None,
        parted: Callable[[], object] = lambda: None,
    ) -> None:
        self.dialect = dialect
        self._parted = parted
        dialect.one.on_parted = partial(reactor.callFromThread, self._drop)
        self._reactor = reactor
        self._max_body = max_body
        self._max_pending = max_pending
        self._health = Health(dialect.describe(), now)
        pool = partial(SessionPool, reactor, dialect, self._health, now=now, measure=measure)
        self._reads = pool("reads", size=dialect.readers)
        self.committer = DirectCommitter(reactor, dialect, now) if direct and isinstance(dialect, MySQL) else None
        # No character has more than four bytes in a packet, whether it is escaped or not.
        longest = min(LONGEST, (2 * max_body + PACKET_MARGIN) // 4)
        self._writes = pool("writes", writes=WriteSettings(longest, self.committer))
        self._probes = pool("probes")
        self.pending = 0
        self._said: Durability | None = None
        self._closed = False
        self._idle: Deferred[None] = Deferred()

    def _drop(self, one: ServerIdentity, other: ServerIdentity) -> None:
        log.error(
            "The connections to the database reach different servers, first {one} and now {other}. All are dropped.",
            one=one.describe(),
            other=other.describe(),
        )
        self._parted()
        if self.committer is not None:
            self.committer.drop()
        for pool in (self._reads, self._writes, self._probes):
            pool.drop()

    def begin_term(self) -> bool:
        """
        Go on with whichever server the next connection reaches, if the connections have reached different ones; tell whether they had.

        Nothing that was asked for before is done after it. The schema may have to be prepared anew.
        """
        parted = self.dialect.one.parted
        self.dialect.one.begin_term()
        return parted

    async def may_be_led(self) -> bool:
        """
        Tell whether ``prepare`` would change a schema by which a daemon may lead at another server of a cluster.

        :raises resourced.errors.ConfigurationError: the database cannot be used as it is; the sentence says why.
        :raises resourced.errors.StoreUnavailable: it cannot be reached.
        """
        threads = self._reactor.getThreadPool()
        return await self._run(lambda: deferToThreadPool(self._reactor, threads, may_be_led, self.dialect))

    async def is_prepared(self) -> bool:
        """
        Look whether there is anything to prepare, and change nothing; if not, say in the log what the database keeps of what is promised.

        :raises resourced.errors.StoreUnavailable: that cannot be found out.
        """
        threads = self._reactor.getThreadPool()
        schema = await self._run(lambda: deferToThreadPool(self._reactor, threads, look, self.dialect, self._max_body))
        prepared = schema.version == schema.known
        if prepared:
            self._say(await self._run(lambda: deferToThreadPool(self._reactor, threads, durability, self.dialect)))
        return prepared

    async def prepare(self) -> None:
        """
        Make the database if it is missing, bring its schema up to date, and say in the log what it keeps of what is promised.

        :raises resourced.errors.ConfigurationError: it cannot be used as it is; the sentence says why.
        :raises resourced.errors.StoreUnavailable: it cannot be reached.
        """
        self._say(await self._run(self._prepare_in_thread))

    def _prepare_in_thread(self) -> Deferred[Durability]:
        """Prepare in a thread that does not keep the process alive: copying a large table may take an hour."""
        done: Deferred[Durability] = Deferred()

        def run() -> None:
            outcome: Durability | Failure
            try:
                prepare(
                    self.dialect,
                    self._max_body,
                    lambda why: self._reactor.callFromThread(log.warn, "{why}", why=why),
                )
                outcome = durability(self.dialect)
            except BaseException:  # noqa: BLE001 - it is raised again where it is waited for
                outcome = Failure()
            self._reactor.callFromThread(done.callback, outcome)

        Thread(target=run, name="migration", daemon=True).start()
        return done

    def _say(self, found: Durability) -> None:
        """Say what was found, unless that was said last."""
        if found == self._said:
            return
        self._said = found
        log.info("The database is {sentence}.", sentence=found.sentence)
        for warning in found.warnings:
            log.warn("{warning}", warning=warning)

    async def read(self, work: Work[T]) -> T:
        """
        Do work that only reads; each of its statements sees what is committed by then.

        :raises resourced.errors.StoreUnavailable: the database did not answer as it should.
        """
        return await self._run(lambda: self._reads.perform(work))

    async def write(self, work: Work[T]) -> T:
        """
        Do work in one transaction, which is committed when the work returns and undone when it raises.

        :raises resourced.errors.StoreUnavailable: the database did not answer as it should; if that was on
            commit, the work may have been done all the same.
        """
        return await self._run(lambda: self._writes.perform(work))

    async def write_at_once(self, script: Script, work: Work[None]) -> None:
        """
        Do work in one transaction, as ``write`` does; but where statements have to travel, send them all at once.

        A server that was frozen, and comes to them when nobody waits any more, must not do what was given up. So the direct committer sends a check of the time
        with them; where it cannot go, the commit goes after them.

        :param script: makes statements that come to the same as the work, and one of which fails where the work would raise. Then the work is
            done, step by step, to learn why.
        """
        await self._run(lambda: self._writes.perform(work, script))

    async def probe(self, work: Work[T]) -> T:
        """
        Do work that only reads, beside all that is in line.

        :raises resourced.errors.StoreUnavailable: the database did not answer as it should.
        """
        return await self._run(lambda: self._probes.perform(work), urgent=True)

    def fault(self, within: float = inf) -> StoreUnavailable | None:
        """
        Return what is wrong with the database, as far as work that was done has met with it.

        :param within: only in the last so many seconds.
        """
        return self._health.fault(within)

    async def close(self) -> None:
        """Take no more work, give what is under way the time that the timeouts leave it, and let go of all connections."""
        if self._closed:
            return
        self._closed = True
        if self.pending:
            with suppress(DeferredTimeout):
                await self._idle.addTimeout(2 * self.dialect.timeout + 1, self._reactor)
        if self.committer is not None:
            await self.committer.close()
        threads = self._reactor.getThreadPool()
        for pool in (self._reads, self._writes, self._probes):
            pool.detach()
            closed = deferToThreadPool(self._reactor, threads, pool.finalClose)
            if not self.pending:
                await closed

    async def _run(self, start: Callable[[], Deferred[T]], *, urgent: bool = False) -> T:
        if self._closed:
            raise StoreUnavailable("The store is closed.")
        if self.pending >= self._max_pending and not urgent:
            raise StoreUnavailable(BUSY)
        self.pending += 1
        # To cancel it only turns away from the work, which goes on and counts until its end.
        answer: Deferred[T] = Deferred(lambda _: None)

        def ended(result: T | Failure) -> None:
            self.pending -= 1
            if self._closed and not self.pending and not self._idle.called:
                self._idle.callback(None)
            if not answer.called:
                answer.callback(result)

        start().addBoth(ended)
        return await answer
