"""One daemon per store: the guard that only one can hold where it is, and the watch that keeps the leader's lease."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from math import inf
from pathlib import Path
from typing import Any, ClassVar, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from resourced.errors import ConfigurationError, EpochLost, StoreUnavailable
from resourced.locks.journal.group_commit import GroupCommitJournal
from resourced.storage.interface import Store
from resourced.storage.leader_lease import LEADER_LEASE, MARGIN, LeaderLease
from resourced.storage.sql.dialect import Dialect, refusal
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.sqlite import SQLite

log = Logger()

#: How often the guard is looked at, and after how many seconds without a commit there is a heartbeat.
PERIOD = 1.0

#: After how many seconds of silence a server lets go of the guard for a daemon that is frozen or cut off.
SILENCE = 30


class Guard(Protocol):
    """
    Something that only one daemon can hold at a time where it is, and that a dead one does not hold.

    Who finds that nobody holds it where the leader did knows that the leader has gone, and need not wait for its lease to end. It
    says nothing about a leader whose guard is elsewhere, at another server of a cluster.

    :cvar lag: for how many seconds a daemon that has lost it may go on as if it had not.
    """

    @property
    def lag(self) -> float: ...

    async def locate(self) -> str:
        """
        Return a name of where it is, which nothing else has: a server, or a file.

        :raises resourced.errors.StoreUnavailable: that cannot be found out at present.
        """

    async def hold(self) -> bool:
        """
        Return whether it is held now; take it if nobody does.

        :raises resourced.errors.StoreUnavailable: that cannot be found out at present.
        """

    async def drop(self) -> None:
        """Let somebody else have it, if it is held."""

    async def release(self) -> None:
        """Let go of it, and of whatever it takes to ask for it."""


class FileGuard:
    """
    A lock on a file beside the store, for daemons on one machine.

    The system takes it away with the process, and only then. The file stays: to remove it would be to let two daemons lock two files.
    Should somebody remove it all the same, its number tells the two apart.
    """

    lag: ClassVar[float] = 0.0

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._descriptor = -1

    async def locate(self) -> str:
        return f"file {os.fstat(self._open()).st_ino}"

    async def hold(self) -> bool:
        try:
            # Whoever has it gets it again.
            fcntl.flock(self._open(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    async def drop(self) -> None:
        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    async def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> int:
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StoreUnavailable(f"The file {self._path} cannot be opened: {error.strerror}.") from None
        return self._descriptor


class ServerGuard:
    """
    A named lock of the MySQL server, for daemons on any machine.

    It lives as long as a connection of its own. If that is lost, any daemon may take the lock. The next holder learns from the epoch in the
    store whether somebody else was there in between.
    """

    lag: ClassVar[float] = LEADER_LEASE

    def __init__(self, reactor: Any, dialect: MySQL) -> None:
        self._reactor = reactor
        self._dialect = dialect
        self._name = _name_of(dialect)
        self._connection: Any = None
        self._term = 0
        self._held = False

    async def locate(self) -> str:
        return str(await self._in_thread(self._locate))

    async def hold(self) -> bool:
        return bool(await self._in_thread(self._hold))

    async def drop(self) -> None:
        if self._held:
            await self._in_thread(self._drop)

    async def release(self) -> None:
        await self._in_thread(self._disconnect)

    def _in_thread(self, work: Callable[[], Any]) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work)

    def _locate(self) -> str:
        try:
            self._connect()
            self._ask("SELECT 1")
        except self._dialect.error as error:
            self._disconnect()
            raise StoreUnavailable(refusal(self._dialect, error)) from None
        server = self._dialect.one.identity
        return "" if server is None else server.name

    def _hold(self) -> bool:
        try:
            self._connect()
            self._held = bool(
                self._ask("SELECT COALESCE(IS_USED_LOCK(%s) = CONNECTION_ID(), 0)", self._name)
                or self._ask("SELECT COALESCE(GET_LOCK(%s, 0), 0)", self._name)
            )
        except self._dialect.error as error:
            self._disconnect()
            raise StoreUnavailable(refusal(self._dialect, error)) from None
        return self._held

    def _drop(self) -> None:
        try:
            self._ask("SELECT COALESCE(RELEASE_LOCK(%s), 0)", self._name)
            self._held = False
        except self._dialect.error:
            self._disconnect()

    def _connect(self) -> None:
        if self._connection is not None and not self._dialect.one.holds(self._term):
            # A daemon that has the lock at one server and its data at another has nothing.
            self._disconnect()
        if self._connection is None:
            self._term = self._dialect.one.term
            self._connection = self._dialect.open(autocommit=True, database=None)
            self._ask(f"SET SESSION wait_timeout = {SILENCE}")

    def _ask(self, statement: str, *parameters: str) -> int:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            row = cursor.fetchone()
        return row[0] if row else 0

    def _disconnect(self) -> None:
        self._held = False
        connection, self._connection = self._connection, None
        if connection is not None:
            # Without a word of farewell, which might block: the server notices all the same.
            connection._force_close()  # noqa: SLF001 - the driver's public close() writes to the server first


def guard_of(reactor: Any, dialect: Dialect) -> Guard:
    """Return the guard that fits a database."""
    if isinstance(dialect, MySQL):
        return ServerGuard(reactor, dialect)
    if isinstance(dialect, SQLite):
        return FileGuard(f"{dialect.settings.path}.lock")
    raise TypeError(f"There is no guard for {dialect!r}.")


def _name_of(dialect: MySQL) -> str:
    """Return the name of the lock: these are one for the whole server, and short; databases have theirs."""
    return f"resourced:{hashlib.sha256(dialect.settings.database.encode()).hexdigest()[:32]}"


def _beats(dialect: MySQL, cursor: Any) -> bool:
    """Tell whether the row of any daemon changes. At another server of a cluster one may hold its guard, of which this one does not know."""
    database = dialect.settings.database.replace("`", "``")

    def row() -> Any:
        cursor.execute(f"SELECT SUM(epoch), SUM(beat), SUM(state = 'up') FROM `{database}`.server")
        return cursor.fetchone()

    try:
        seen = row()
    except dialect.error:
        # There is no such database, or nobody has led by this schema yet.
        return False
    until = time.monotonic() + LEADER_LEASE + MARGIN
    while seen is not None and seen[2] and time.monotonic() < until:
        time.sleep(PERIOD / 4)
        if row() != seen:
            return True
    return False


@contextmanager
def exclusive(dialect: Dialect) -> Iterator[None]:
    """
    Hold the guard of a store, so that no daemon serves it meanwhile. Waits for the driver.

    :raises ConfigurationError: one serves it.
    """
    served = ConfigurationError(f"A daemon serves {dialect.describe()}. Stop it, and those that stand by, first.")
    if isinstance(dialect, MySQL):
        with closing(dialect.open(autocommit=True, database=None)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT COALESCE(GET_LOCK(%s, 0), 0)", (_name_of(dialect),))
            if cursor.fetchone() != (1,):
                raise served
            yield
        return
    if not isinstance(dialect, SQLite):
        raise TypeError(f"There is no guard for {dialect!r}.")
    descriptor = os.open(f"{dialect.settings.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise served from None
        yield
    finally:
        os.close(descriptor)


def is_served(dialect: Dialect) -> bool:
    """
    Tell whether a daemon serves a store at this moment. Waits for the driver, and after a daemon was killed until its lease is over.

    :raises Exception: that of the driver, or an ``OSError``: it cannot be found out.
    """
    if isinstance(dialect, MySQL):
        with closing(dialect.open(autocommit=True, database=None)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT IS_USED_LOCK(%s)", (_name_of(dialect),))
            return cursor.fetchone()[0] is not None or _beats(dialect, cursor)
    if not isinstance(dialect, SQLite):
        raise TypeError(f"There is no guard for {dialect!r}.")
    try:
        descriptor = os.open(f"{dialect.settings.path}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, and for this moment only: others who look do not take each other for a daemon.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class Heartbeat:
    """
    Keeps the leader's lease: commits a heartbeat now and then, also beside other commits, as it says what these do not. And keeps the guard,
    and has the store say where it is held.

    :param settled_event: tells up to which id all events are committed, and none is given out any more; see ``Store.beat``.
    :param passed: tells what the clock of marks shows. Others go on from there, so what they say of ages is wrong by a period at most.
    """

    def __init__(
        self,
        clock: IReactorTime,
        guard: Guard,
        store: Store,
        journal: GroupCommitJournal,
        lease: LeaderLease,
        settled_event: Callable[[], int] = lambda: 0,
        passed: Callable[[], int] = lambda: 0,
    ) -> None:
        self._guard = guard
        self._store = store
        self._journal = journal
        self._lease = lease
        self._settled_event = settled_event
        self._passed = passed
        # When the last heartbeat was sent that was committed.
        self._sent = -inf
        # Where the guard is held, and where the store says that it is.
        self._guarded = self._said = ""
        # One must not wait for the other: they have connections of their own.
        self._loops = [self._loop(clock, PERIOD, self._look), self._loop(clock, PERIOD / 2, self._beat)]

    def _loop(
        self, clock: IReactorTime, period: float, work: Callable[[], Coroutine[Deferred[Any], Any, None]]
    ) -> tuple[LoopingCall, float]:
        loop = LoopingCall(lambda: Deferred.fromCoroutine(work()))
        loop.clock = clock
        return loop, period

    def start(self) -> None:
        """Begin."""
        for loop, period in self._loops:
            loop.start(period).addErrback(self._broken)

    def stop(self) -> None:
        """Look no more, and commit no heartbeat any more."""
        for loop, _ in self._loops:
            if loop.running:
                loop.stop()

    async def _look(self) -> None:
        try:
            held = await self._guard.hold()
            self._guarded = await self._guard.locate() if held else ""
        except StoreUnavailable:
            self._guarded = ""

    async def _beat(self) -> None:
        sent, guarded = self._lease.now(), self._guarded
        if sent - self._sent < PERIOD and guarded == self._said:
            return
        try:
            await self._store.beat(guarded, self._settled_event(), self._passed())
        except StoreUnavailable:
            # Others say so. The lease ends by itself, and goes on with the next one that succeeds.
            return
        except EpochLost as error:
            self._journal.step_down(error)
            return
        self._sent, self._said = sent, guarded
        self._lease.renew(sent)

    def _broken(self, failure: Failure) -> None:
        log.failure("The watch has a bug.", failure)
        self._journal.step_down(EpochLost("It cannot be known whether another daemon has taken over this store."))
