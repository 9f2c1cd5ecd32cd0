"""Connections of one kind with their threads, and what becomes of lost connections, timeouts and errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from twisted.enterprise import adbapi
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from resourced.errors import UNDONE, StoreUnavailable
from resourced.storage.sql.attempts import TRANSITIONS, Attempt, Outcome
from resourced.storage.sql.dialect import Dialect
from resourced.storage.sql.direct.committer import DirectCommitter
from resourced.storage.sql.health import Health
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.session import Session
from resourced.storage.sql.statement import Statement, length
from resourced.storage.sql.threads import Threads
from resourced.transitions import next_state

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


@dataclass(frozen=True, slots=True)
class WriteSettings:
    """
    How a pool writes.

    :ivar longest: the most characters that a script may have to be sent at once.
    :ivar committer: commits scripts without a thread, if there is one.
    """

    longest: int = 0
    committer: DirectCommitter | None = None


@dataclass(slots=True)
class ThreadConnection:
    """
    What is known of a thread's connection.

    :ivar term: in which it was made.
    :ivar used: when it was last used.
    """

    term: int
    used: float


class SessionPool(adbapi.ConnectionPool):
    """
    Connections of one kind, each with its thread.

    It replaces most of what ``adbapi`` does about lost connections: that makes noise, and lets the first
    piece of work after the loss fail.

    :param writes: how it writes, if it does.
    """

    def __init__(
        self,
        reactor: Any,
        dialect: Dialect,
        health: Health,
        name: str,
        *,
        now: Callable[[], float],
        measure: Measure,
        size: int = 1,
        writes: WriteSettings | None = None,
    ) -> None:
        # None of the threads that it would have of its own.
        super().__init__(dialect.driver, cp_reactor=reactor, cp_min=0, cp_max=size)
        self.threadpool: Any = Threads(size, name)
        session = partial(Session, writes=writes is not None, succeeded=self.succeeded, failed=self.failed)
        self.connectionFactory = session  # type: ignore[assignment]
        self.dialect = dialect
        self._writes = writes
        self._health = health
        self._name = name
        self._now = now
        self._measure = measure
        self._links: dict[int, ThreadConnection] = {}
        self._paused_until = now()
        # How much work is with the threads.
        self._queued = 0

    def perform(self, work: Work[T], script: Script | None = None) -> Deferred[T]:
        """
        Do work in a thread, unless it has to wait for that so long that nobody can want it any more.

        :param script: comes to the same and is tried first, by the direct committer if there is one; see ``Database.write_at_once``.
        """
        began = self._now()
        latest = began + self.dialect.timeout
        term = self.dialect.one.term
        committer = self._writes.committer if self._writes is not None else None
        # Whatever came before it has to be done before it.
        if script is None or committer is None or not committer.ready or self._queued:
            done = self._in_thread(work, script, latest, term)
        else:
            done = self._committed(committer, script(), work, latest, term)
        return done.addBoth(self._ended, began)

    def _in_thread(self, work: Work[T], script: Script | None, latest: float, term: int) -> Deferred[T]:
        self._queued += 1
        done: Deferred[T] = self.runWithConnection(self._perform, work, script, latest, term)
        return done.addBoth(self._out_of_thread, script)

    def _out_of_thread(self, result: T | Failure, script: Script | None) -> T | Failure:
        self._queued -= 1
        writes = self._writes
        if (
            script is not None
            and writes is not None
            and writes.committer is not None
            and not isinstance(result, Failure)
        ):
            # The database is there, and commits are to come.
            writes.committer.open()
        return result

    def _committed(
        self, committer: DirectCommitter, script: list[Statement], work: Work[T], latest: float, term: int
    ) -> Deferred[Any]:
        """Give a script to the direct committer, if it is not too large. If nothing came of it, do the work step by step."""
        if self._too_long(script):
            return self._in_thread(work, None, latest, term)

        async def commit() -> T | None:
            try:
                done = await committer.commit(script)
            except self.dialect.error as error:
                raise self.failed(error) from None
            if not done:
                return await self._in_thread(work, None, latest, term)
            self.succeeded()
            return None

        return Deferred.fromCoroutine(commit())

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
        if connection is not None and not self.dialect.one.holds(self._links[thread].term):
            self.disconnect(connection)
            connection = None
        if connection is not None and now - self._links[thread].used > IDLE:
            try:
                self.dialect.check(connection)
            except self.dialect.error as error:
                self.disconnect(connection)
                connection = None
                if self.dialect.is_late(error):
                    raise self.failed(error) from None
        if connection is None:
            connection = self._open()
        self._links[thread].used = now
        return connection

    def _open(self) -> Any:
        if self._now() < self._paused_until:
            raise StoreUnavailable(AWAY)
        term = self.dialect.one.term
        try:
            connection = self.dialect.connect(writes=self._writes is not None)
        except self.dialect.error as error:
            self._paused_until = self._now() + PAUSE
            self._health.found(self._name, self.dialect.fault(error), self.dialect.code(error))
            raise StoreUnavailable(AWAY) from None
        self.connections[self.threadID()] = connection
        self._links[self.threadID()] = ThreadConnection(term, self._now())
        return connection

    def _hold_to(self, term: int) -> None:
        """
        Do nothing on another server that was decided by what was known of the one before.

        :param term: in which the work was asked for.
        """
        if self._links[self.threadID()].term != term or not self.dialect.one.holds(term):
            raise StoreUnavailable(AWAY)

    def _perform(self, session: Session, work: Work[T], script: Script | None, latest: float, term: int) -> T | None:
        """Try the work as ``TRANSITIONS`` says, until it is done or has failed."""
        if self._now() > latest:
            raise StoreUnavailable(BUSY)
        attempt = Attempt.STEPS if script is None or not isinstance(self.dialect, MySQL) else Attempt.SCRIPT
        result: T | None = None
        fresh = False
        while attempt is not Attempt.DONE:
            self._hold_to(term)
            try:
                if attempt is Attempt.SCRIPT:
                    outcome = self._try_script(session, script, term)
                else:
                    if attempt is Attempt.AGAIN and self._writes is not None and not fresh:
                        self.dialect.catch_up(session.connection)
                    result = self._try_steps(session, work, term)
                    outcome = Outcome.DONE
                attempt = next_state(TRANSITIONS, attempt, outcome)
            except self.dialect.error as error:
                if self.dialect.is_lost(error):
                    session.end()
                attempt = next_state(TRANSITIONS, attempt, self._outcome(attempt, error))
                if attempt is Attempt.FAILED:
                    raise self.failed(error, fresh=fresh) from None
                session.rollback()
                fresh = session.renew() and attempt is Attempt.AGAIN
        return result

    def _outcome(self, attempt: Attempt, error: Exception) -> Outcome:
        """Say what an error of the driver means for the work."""
        if attempt is Attempt.SCRIPT and isinstance(self.dialect, MySQL) and self.dialect.is_check(error):
            return Outcome.UNFIT
        return Outcome.RETRYABLE if self.dialect.is_retryable(error) else Outcome.FAILED

    def _too_long(self, script: list[Statement]) -> bool:
        return self._writes is None or length(script) > self._writes.longest

    def _try_script(self, session: Session, script: Script | None, term: int) -> Outcome:
        """Do a script and commit it, unless it is too long."""
        statements = script() if script is not None else []
        if not isinstance(self.dialect, MySQL) or self._too_long(statements):
            return Outcome.UNFIT
        self.dialect.at_once(session.connection, statements)
        self._hold_to(term)
        session.settle()
        return Outcome.DONE

    def _try_steps(self, session: Session, work: Work[T], term: int) -> T:
        """Do the work, and commit it if it writes."""
        if self._writes is None:
            result = work(Transaction(session.connection, self.dialect))
            self.succeeded()
            return result
        self.dialect.begin(session.connection)
        result = work(Transaction(session.connection, self.dialect))
        self._hold_to(term)
        session.settle()
        return result

    def succeeded(self) -> None:
        """Take note that the database does its work."""
        self._health.served(self._name)

    def failed(self, error: Exception, *, fresh: bool = False) -> StoreUnavailable:
        """Take note of an error of the driver; return what is said instead of it."""
        if self.dialect.is_late(error):
            # Whoever waits in line for the next connection does not have to wait as long as this one did.
            self._paused_until = self._now() + PAUSE
        fault = self.dialect.fault(error, fresh=fresh)
        self._health.found(self._name, fault, self.dialect.code(error))
        return StoreUnavailable(f"{fault.sentence} {UNDONE}")
