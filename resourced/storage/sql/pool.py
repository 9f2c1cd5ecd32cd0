"""Connections of one kind with their threads, and what becomes of lost connections, timeouts and errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from twisted.enterprise import adbapi
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from resourced.errors import UNDONE, StoreUnavailable
from resourced.storage.sql.dialect import Dialect, MySQL
from resourced.storage.sql.direct.committer import DirectCommitter
from resourced.storage.sql.health import Condition
from resourced.storage.sql.statement import Statement, length
from resourced.storage.sql.threads import Workers

T = TypeVar("T")

#: Seconds that a connection may lie idle before it is asked whether it is alive.
IDLE: Final = 5.0
#: Seconds without a try to connect after one that failed.
PAUSE: Final = 0.3

BUSY: Final = "The database has too much to do; try again in a moment."
AWAY: Final = "The database cannot be reached; try again in a moment."


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


class Pool(adbapi.ConnectionPool):
    """
    Connections of one kind, each with its thread.

    Most of what ``adbapi`` does about lost connections is done here instead, because it makes noise and lets the first
    piece of work after the loss fail.

    :param longest: the most characters that a script may have to be sent at once.
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
        longest: int = 0,
        committer: DirectCommitter | None = None,
    ) -> None:
        # None of the threads that it would have of its own.
        super().__init__(dialect.driver, cp_reactor=reactor, cp_min=0, cp_max=size)
        self.threadpool: Any = Workers(size, name)
        self.connectionFactory = Session
        self.dialect = dialect
        self.writes = writes
        self._condition = condition
        self._name = name
        self._now = now
        self._measure = measure
        self._used: dict[int, float] = {}
        # In which term each thread's connection was made.
        self._terms: dict[int, int] = {}
        self._paused_until = now()
        self._longest = longest
        self._committer = committer
        self._in_line = 0

    def perform(self, work: Work[T], script: Script | None = None) -> Deferred[T]:
        """
        Do work in a thread, unless it has to wait for that so long that nobody can want it any more.

        :param script: comes to the same and is tried first, by the direct committer if there is one; see ``Database.write_at_once``.
        """
        began = self._now()
        latest = began + self.dialect.timeout
        term = self.dialect.one.term
        committer = self._committer
        # Whatever came before it has to be done before it.
        if script is None or committer is None or not committer.ready or self._in_line:
            done = self._in_thread(work, script, latest, term)
        else:
            done = self._carried(committer, script(), work, latest, term)
        return done.addBoth(self._ended, began)

    def _in_thread(self, work: Work[T], script: Script | None, latest: float, term: int) -> Deferred[T]:
        self._in_line += 1
        done: Deferred[T] = self.runWithConnection(self._perform, work, script, latest, term)
        return done.addBoth(self._out_of_line, script)

    def _out_of_line(self, result: T | Failure, script: Script | None) -> T | Failure:
        self._in_line -= 1
        if script is not None and self._committer is not None and not isinstance(result, Failure):
            # The database is there, and commits are to come.
            self._committer.open()
        return result

    def _carried(
        self, committer: DirectCommitter, script: list[Statement], work: Work[T], latest: float, term: int
    ) -> Deferred[Any]:
        """Give a script to the direct committer, if it is not too large for that; do the work step by step if nothing came of it."""
        if length(script) > self._longest:
            return self._in_thread(work, None, latest, term)

        async def carry() -> T | None:
            try:
                done = await committer.commit(script)
            except self.dialect.error as error:
                raise self.failed(error) from None
            if not done:
                return await self._in_thread(work, None, latest, term)
            self.succeeded()
            return None

        return Deferred.fromCoroutine(carry())

    def _ended(self, result: T | Failure, began: float) -> T | Failure:
        # That a row is there already, or is not, is an answer.
        away = isinstance(result, Failure) and result.check(StoreUnavailable) is not None
        self._measure(self._name, self._now() - began, not away)
        return result

    def drop(self) -> None:
        """End all connections, whatever their threads are about: nobody knows what becomes of it."""
        for connection in list(self.connections.values()):
            self.dialect.hang_up(connection)

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
        if connection is not None and not self._holds(self._terms[thread]):
            self.disconnect(connection)
            connection = None
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
        term = self.dialect.one.term
        try:
            connection = self.dialect.connect(writes=self.writes)
        except self.dialect.error as error:
            self._paused_until = self._now() + PAUSE
            self._condition.ill(self._name, self.dialect.fault(error), self.dialect.code(error))
            raise StoreUnavailable(AWAY) from None
        self.connections[self.threadID()] = connection
        self._terms[self.threadID()] = term
        return connection

    def _holds(self, term: int) -> bool:
        return self.dialect.one.holds(term)

    def _hold_to(self, term: int) -> None:
        """
        Do nothing on another server that was decided by what was known of the one before.

        :param term: in which the work was asked for.
        """
        if self._terms[self.threadID()] != term or not self._holds(term):
            raise StoreUnavailable(AWAY)

    def _perform(self, session: Session, work: Work[T], script: Script | None, latest: float, term: int) -> T | None:
        if self._now() > latest:
            raise StoreUnavailable(BUSY)
        self._hold_to(term)
        if (
            script is not None
            and isinstance(self.dialect, MySQL)
            and self._at_once(session, self.dialect, script(), term)
        ):
            return None
        self._hold_to(term)
        try:
            return self._once(session, work, term)
        except self.dialect.error as error:
            if not self.dialect.is_retryable(error):
                raise self.failed(error) from None
        session.rollback()
        fresh = session.renew()
        self._hold_to(term)
        try:
            if self.writes and not fresh:
                self.dialect.catch_up(session.connection)
            return self._once(session, work, term)
        except self.dialect.error as error:
            raise self.failed(error, fresh=fresh) from None

    def _at_once(self, session: Session, dialect: MySQL, script: list[Statement], term: int) -> bool:
        """Do a script and commit it; tell whether it is done, or nothing of it is and it has to be done step by step."""
        if length(script) > self._longest:
            return False
        try:
            dialect.at_once(session.connection, script)
            self._hold_to(term)
            session.settle()
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

    def _once(self, session: Session, work: Work[T], term: int) -> T:
        try:
            if self.writes:
                self.dialect.begin(session.connection)
            result = work(Transaction(session.connection, self.dialect))
            if self.writes:
                self._hold_to(term)
                session.settle()
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
        return StoreUnavailable(f"{fault.sentence} {UNDONE}")


class Session(adbapi.Connection):
    """The connection that a piece of work has; it is thrown away without noise when it is of no use any more."""

    _connection: Any
    _pool: Pool

    @property
    def connection(self) -> Any:
        """The driver's own connection."""
        return self._connection

    def commit(self) -> None:
        """Nothing: what there is to commit is committed where its errors are understood."""

    def settle(self) -> None:
        """
        Commit.

        :raises pymysql.MySQLError: nothing is left of the transaction.
        :raises resourced.errors.StoreUnavailable: nobody knows whether it was done.
        """
        dialect = self._pool.dialect
        try:
            self._connection.commit()
        except dialect.error as error:
            if dialect.is_undone(error):
                raise
            # So it is not tried again, and the connection is not used again.
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
