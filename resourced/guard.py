"""One daemon per store: the guard that only one can hold, and the watch that notices when it is lost."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from resourced.dialect import Dialect, MySQL, SQLite, refusal
from resourced.errors import EpochLost, StoreUnavailable
from resourced.journal import Journal
from resourced.store import Store

log = Logger()

#: How often the guard is looked at, in seconds.
PERIOD = 1.0

#: For how many seconds a daemon goes on telling holders that they are such when it cannot be known whether it still reigns.
BELIEF = 5.0

#: After how many seconds of silence a server lets go of the guard for a daemon that is frozen or cut off.
SILENCE = 30


class Guard(Protocol):
    """
    Something that only one daemon can hold at a time, and that a dead one does not hold.

    :cvar lag: for how many seconds a daemon that has lost it may go on as if it had not.
    """

    @property
    def lag(self) -> float: ...

    async def hold(self) -> bool:
        """
        Return whether it is held now; take it if nobody does.

        :raises resourced.errors.StoreUnavailable: that cannot be found out at present.
        """

    async def release(self) -> None:
        """Let go."""


class FileGuard:
    """
    A lock on a file beside the store, for daemons on one machine.

    The system takes it away with the process, and only then. The file stays: to remove it would be to let two daemons lock two files.
    """

    lag: ClassVar[float] = 0.0

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._descriptor = -1

    async def hold(self) -> bool:
        if self._descriptor >= 0:
            return True
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"The file {self._path} cannot be opened: {error.strerror}.") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    async def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class ServerGuard:
    """
    A named lock of the MySQL server, for daemons on any machine.

    It has a connection of its own, with which it lives and dies: should that be lost, the lock is anybody's, and whoever holds it
    next finds out from the epoch in the store whether somebody else was there in between.
    """

    lag: ClassVar[float] = BELIEF

    def __init__(self, reactor: Any, dialect: MySQL) -> None:
        self._reactor = reactor
        self._dialect = dialect
        self._name = _name_of(dialect)
        self._connection: Any = None
        self._term = 0

    async def hold(self) -> bool:
        return bool(await self._in_thread(self._hold))

    async def release(self) -> None:
        await self._in_thread(self._disconnect)

    def _in_thread(self, work: Callable[[], Any]) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work)

    def _hold(self) -> bool:
        try:
            if self._connection is not None and not self._dialect.one.holds(self._term):
                # A daemon that has the lock at one server and its data at another has nothing.
                self._disconnect()
            if self._connection is None:
                self._term = self._dialect.one.term
                self._connection = self._dialect.open(autocommit=True, database=None)
                self._ask(f"SET SESSION wait_timeout = {SILENCE}")
            if self._ask("SELECT COALESCE(IS_USED_LOCK(%s) = CONNECTION_ID(), 0)", self._name):
                return True
            return bool(self._ask("SELECT COALESCE(GET_LOCK(%s, 0), 0)", self._name))
        except self._dialect.error as error:
            self._disconnect()
            raise StoreUnavailable(refusal(self._dialect, error)) from None

    def _ask(self, statement: str, *parameters: str) -> int:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            row = cursor.fetchone()
        return row[0] if row else 0

    def _disconnect(self) -> None:
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


def is_served(dialect: Dialect) -> bool:
    """
    Tell whether a daemon holds the guard of a store at this moment. Waits for the driver.

    :raises Exception: that of the driver, or an ``OSError``: it cannot be found out.
    """
    if isinstance(dialect, MySQL):
        with closing(dialect.open(autocommit=True, database=None)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT IS_USED_LOCK(%s)", (_name_of(dialect),))
            return cursor.fetchone()[0] is not None
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


class Watch:
    """Looks again and again whether this daemon still reigns, and lets the journal know."""

    def __init__(self, clock: IReactorTime, guard: Guard, store: Store, journal: Journal) -> None:
        self._clock = clock
        self._guard = guard
        self._store = store
        self._journal = journal
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._look()))
        self._loop.clock = clock

    def start(self) -> None:
        """Begin to look."""
        self._loop.start(PERIOD).addErrback(self._broken)

    def stop(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()

    async def _look(self) -> None:
        looked = self._clock.seconds()
        try:
            held = await self._guard.hold()
            await self._store.ping()
        except StoreUnavailable:
            # Others say so.  What counts here is only that it is not known.
            return
        except EpochLost as error:
            self._journal.abdicate(error)
            return
        if held:
            self._journal.trust(looked)
        else:
            self._journal.abdicate(EpochLost("Another daemon has taken over this store, so this one must stop."))

    def _broken(self, failure: Failure) -> None:
        log.failure("The watch has a bug.", failure)
        self._journal.abdicate(EpochLost("It cannot be known whether another daemon has taken over this store."))
