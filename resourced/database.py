"""A database that coroutines can ask: ``adbapi`` pools, and what becomes of lost connections, timeouts and errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from threading import Thread
from typing import Any, Final, TypeVar

from twisted.enterprise import adbapi
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from resourced.condition import Condition
from resourced.dialect import Dialect, MySQL, Statement
from resourced.errors import StoreUnavailable
from resourced.migration import prepare
from resourced.workers import Workers

T = TypeVar("T")

#: Seconds that a connection may lie idle before it is asked whether it is alive.
IDLE: Final = 5.0
#: Bytes of a script that every server takes in one packet, whatever is in it.
PACKET: Final = 20_000
#: Seconds without a try to connect after one that failed.
PAUSE: Final = 0.3

BUSY: Final = "The database has too much to do; try again in a moment."
AWAY: Final = "The database cannot be reached; try again in a moment."
FAILED: Final = "Nothing of what was asked may be taken as done; try again in a moment."


class DuplicateKey(Exception):
    """A row with this unique key is there already."""


class Transaction:
    """
    One transaction, for a function that runs in a thread of a pool.

    Statements have ``%s`` for each parameter and ``%%`` for a percent sign, on every database.
    """

    def __init__(self, connection: Any, dialect: Dialect) -> None:
        self._cursor = connection.cursor()
        self._dialect = dialect

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """
        Run a statement; return how many rows it found or made.

        :raises DuplicateKey: there is such a row already.
        """
        try:
            self._cursor.execute(self._dialect.spelled(statement), parameters)
        except self._dialect.error as error:
            if self._dialect.is_duplicate(error):
                raise DuplicateKey from None
            raise
        return int(self._cursor.rowcount)

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement that selects; return its rows."""
        self._cursor.execute(self._dialect.spelled(statement), parameters)
        return list(self._cursor.fetchall())


Work = Callable[[Transaction], T]
Script = Callable[[], list[Statement]]

#: Is told of a piece of work that has ended: the pool that did it, its seconds, and whether it was done.
Measure = Callable[[str, float, bool], object]


class Database:
    """
    One database, with some connections that read, one that writes, and one that only asks whether it is there.

    A piece of work is a function of a ``Transaction``.  It runs in a thread, and once more if the connection was lost
    or a deadlock ended it before its commit, so it must change nothing but the database.

    :param reactor: runs the threads' answers; its threads close the connections.
    :param dialect: which database it is, and where.
    :param max_body: the most bytes of data in one row, which the server must be ready to take.
    :param max_pending: how much work may be under way or in line.
    :param now: a clock in seconds that nobody sets.
    :param measure: is told of each piece of work.
    :ivar pending: how much work is under way or in line.
    """

    def __init__(
        self,
        reactor: Any,
        dialect: Dialect,
        *,
        max_body: int = 1 << 20,
        max_pending: int = 5000,
        now: Callable[[], float] = time.monotonic,
        measure: Measure = lambda _pool, _seconds, _done: None,
    ) -> None:
        self.dialect = dialect
        self._reactor = reactor
        self._max_body = max_body
        self._max_pending = max_pending
        self._condition = Condition(dialect.describe(), now)
        pool = partial(_Pool, reactor, dialect, self._condition, now=now, measure=measure)
        self._reads = pool("reads", size=dialect.readers)
        self._writes = pool("writes", writes=True)
        self._probes = pool("probes")
        self.pending = 0
        self._closed = False
        self._idle: Deferred[None] = Deferred()

    async def prepare(self) -> None:
        """
        Make the database if it is missing, and bring its schema up to date.

        :raises resourced.errors.ConfigurationError: it cannot be used as it is; the sentence says why.
        :raises resourced.errors.StoreUnavailable: it cannot be reached.
        """
        await self._run(self._prepare_in_thread)

    def _prepare_in_thread(self) -> Deferred[None]:
        """Prepare in a thread that does not keep the process alive: copying a large table may take an hour."""
        done: Deferred[None] = Deferred()

        def run() -> None:
            outcome: Failure | None = None
            try:
                prepare(self.dialect, self._max_body)
            except BaseException:  # noqa: BLE001 - it is raised again where it is waited for
                outcome = Failure()
            self._reactor.callFromThread(done.callback, outcome)

        Thread(target=run, name="migration", daemon=True).start()
        return done

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
        Do work in one transaction, as ``write`` does; but where statements have to travel, send all but the commit at once.

        The commit goes after them: a server that was frozen, and comes to it when nobody waits any more, must not do what was given up.

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
        return self._condition.fault(within)

    async def close(self) -> None:
        """Take no more work, give what is under way the time that the timeouts leave it, and let go of all connections."""
        if self._closed:
            return
        self._closed = True
        if self.pending:
            with suppress(DeferredTimeout):
                await self._idle.addTimeout(2 * self.dialect.timeout + 1, self._reactor)
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


class _Pool(adbapi.ConnectionPool):
    """
    Connections of one kind, each with its thread.

    Most of what ``adbapi`` does about lost connections is done here instead, because it makes noise and lets the first
    piece of work after the loss fail.
    """

    def __init__(
        self,
        reactor: Any,
        dialect: Dialect,
        condition: Condition,
        name: str,
        *,
        now: Callable[[], float],
        measure: Measure,
        size: int = 1,
        writes: bool = False,
    ) -> None:
        # None of the threads that it would have of its own.
        super().__init__(dialect.driver, cp_reactor=reactor, cp_min=0, cp_max=size)
        self.threadpool: Any = Workers(size, name)
        self.connectionFactory = _Session
        self.dialect = dialect
        self.writes = writes
        self._condition = condition
        self._name = name
        self._now = now
        self._measure = measure
        self._used: dict[int, float] = {}
        self._paused_until = now()

    def perform(self, work: Work[T], script: Script | None = None) -> Deferred[T]:
        """
        Do work in a thread, unless it has to wait for that so long that nobody can want it any more.

        :param script: comes to the same and is tried first; see ``Database.write_at_once``.
        """
        began = self._now()
        done: Deferred[T] = self.runWithConnection(self._perform, work, script, began + self.dialect.timeout)
        return done.addBoth(self._ended, began)

    def _ended(self, result: T | Failure, began: float) -> T | Failure:
        # That a row is there already, or is not, is an answer.
        away = isinstance(result, Failure) and result.check(StoreUnavailable) is not None
        self._measure(self._name, self._now() - began, not away)
        return result

    def detach(self) -> None:
        """Let the reactor's end no longer close this pool: its owner does."""
        if self.shutdownID:
            self._reactor.removeSystemEventTrigger(self.shutdownID)
            self.shutdownID = None
        if self.startID:
            self._reactor.removeSystemEventTrigger(self.startID)
            self.startID = None

    def connect(self) -> Any:
        """
        Return this thread's connection, alive as far as one can know.

        :raises resourced.errors.StoreUnavailable: it cannot be had.
        """
        thread, now = self.threadID(), self._now()
        connection = self.connections.get(thread)
        if connection is not None and now - self._used[thread] > IDLE:
            try:
                self.dialect.check(connection)
            except self.dialect.error as error:
                self.disconnect(connection)
                connection = None
                if self.dialect.is_late(error):
                    raise self.failed(error) from None
        if connection is None:
            connection = self._open()
        self._used[thread] = now
        return connection

    def _open(self) -> Any:
        if self._now() < self._paused_until:
            raise StoreUnavailable(AWAY)
        try:
            connection = self.dialect.connect(writes=self.writes)
        except self.dialect.error as error:
            self._paused_until = self._now() + PAUSE
            self._condition.ill(self._name, self.dialect.fault(error), self.dialect.code(error))
            raise StoreUnavailable(AWAY) from None
        self.connections[self.threadID()] = connection
        return connection

    def _perform(self, session: _Session, work: Work[T], script: Script | None, latest: float) -> T | None:
        if self._now() > latest:
            raise StoreUnavailable(BUSY)
        if script is not None and isinstance(self.dialect, MySQL) and self._at_once(session, self.dialect, script()):
            return None
        try:
            return self._once(session, work)
        except self.dialect.error as error:
            if not self.dialect.is_retryable(error):
                raise self.failed(error) from None
        session.rollback()
        fresh = session.renew()
        try:
            return self._once(session, work)
        except self.dialect.error as error:
            raise self.failed(error, fresh=fresh) from None

    def _at_once(self, session: _Session, dialect: MySQL, script: list[Statement]) -> bool:
        """Do a script but for the commit; tell whether it is done, or nothing of it is and it has to be done step by step."""
        if sum(len(statement.text) + _length(statement) for statement in script) > PACKET:
            return False
        try:
            dialect.at_once(session.connection, script)
        except dialect.error as error:
            if dialect.is_lost(error):
                session.end()
            else:
                session.rollback()
            if not (dialect.is_check(error) or dialect.is_retryable(error)):
                raise self.failed(error) from None
            session.renew()
            return False
        return True

    def _once(self, session: _Session, work: Work[T]) -> T:
        try:
            if self.writes:
                self.dialect.begin(session.connection)
            result = work(Transaction(session.connection, self.dialect))
        except self.dialect.error as error:
            if self.dialect.is_lost(error):
                session.end()
            raise
        if not self.writes:
            self.succeeded()
        return result

    def succeeded(self) -> None:
        """Take note that the database does its work."""
        self._condition.well(self._name)

    def failed(self, error: Exception, *, fresh: bool = False) -> StoreUnavailable:
        """Take note of an error of the driver; return what is said instead of it."""
        if self.dialect.is_late(error):
            # Whoever waits in line for the next connection does not have to wait as long as this one did.
            self._paused_until = self._now() + PAUSE
        fault = self.dialect.fault(error, fresh=fresh)
        self._condition.ill(self._name, fault, self.dialect.code(error))
        return StoreUnavailable(f"{fault.sentence} {FAILED}")


class _Session(adbapi.Connection):
    """The connection that a piece of work has; it is thrown away without noise when it is of no use any more."""

    _connection: Any
    _pool: _Pool

    @property
    def connection(self) -> Any:
        """The driver's own connection."""
        return self._connection

    def commit(self) -> None:
        if not self._pool.writes:
            return
        dialect = self._pool.dialect
        try:
            self._connection.commit()
        except dialect.error as error:
            # Nobody knows whether it was done. So it is not tried again, and the connection is not used again.
            self.end()
            raise self._pool.failed(error) from None
        self._pool.succeeded()

    def rollback(self) -> None:
        if self._connection is None or not self._pool.writes:
            return
        try:
            self._connection.rollback()
        except self._pool.dialect.error:
            self.end()

    def end(self) -> None:
        """Throw the connection away."""
        if self._connection is not None:
            self._pool.disconnect(self._connection)
            self._connection = None

    def renew(self) -> bool:
        """Have a connection again, if it was thrown away; tell whether it was."""
        if self._connection is not None:
            return False
        self._connection = self._pool.connect()
        return True


def _length(statement: Statement) -> int:
    """Tell how many bytes a statement's parameters may have, at least."""
    return sum(len(value) if isinstance(value, str) else 8 for value in statement.parameters)
