"""MySQL and its relatives, by PyMySQL: how to connect, what its errors mean, how it spells SQL."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pymysql
from pymysql.constants import CLIENT, CR, ER, SERVER_STATUS
from twisted.logger import Logger

from resourced.config import MySQLSettings
from resourced.storage.sql import driver
from resourced.storage.sql.error_codes import Errno, meaning
from resourced.storage.sql.health import Fault
from resourced.storage.sql.server_identity import OneServer, OtherServer, identity_of
from resourced.storage.sql.statement import CHECK_FAILED, Statement, written_out
from resourced.storage.sql.tls import Encryption, Way

log = Logger()


class MySQL:
    """MySQL 8 and MariaDB, by PyMySQL."""

    name: ClassVar[str] = "mysql"
    driver: ClassVar[str] = "pymysql"
    readers: ClassVar[int] = 4
    error: ClassVar[type[Exception]] = pymysql.MySQLError

    #: Seconds after which the server ends a connection that says nothing in the middle of a transaction, so that a
    #: daemon that is frozen there, or whose machine is gone, no longer holds its row locks.
    _SILENCE = 30

    def __init__(self, settings: MySQLSettings, timeout: float) -> None:
        self.settings = settings
        self.timeout = timeout
        self.one = OneServer()
        self.encryption = Encryption(settings)
        # How the last connection was made.
        self.way = self.encryption.way(encrypted=self.encryption.context is not None)
        self._warned: set[Way] = set()

    def describe(self) -> str:
        return self.settings.describe()

    def connect(self, *, writes: bool) -> Any:
        return self.writer() if writes else self.open(autocommit=True, database=self.settings.database)

    def writer(self, new_socket: Callable[[], socket.socket] | None = None) -> Any:
        """Open a connection that writes; for the parameter and the errors see ``open``."""
        connection = self.open(autocommit=False, database=self.settings.database, several=True, new_socket=new_socket)
        # MySQL knows silence only as such, and would end a connection that merely has nothing to do.
        silence = "idle_transaction_timeout" if "MariaDB" in connection.get_server_info() else "wait_timeout"
        with connection.cursor() as cursor:
            cursor.execute(
                f"SET SESSION {silence} = {self._SILENCE}, "
                f"SESSION innodb_lock_wait_timeout = {max(1, int(self.timeout) - 1)}"
            )
        return connection

    def open(
        self,
        *,
        autocommit: bool,
        database: str | None,
        read_timeout: float = 0.0,
        several: bool = False,
        new_socket: Callable[[], socket.socket] | None = None,
    ) -> Any:
        """
        Open a connection to a database of the server, or to none.

        :param read_timeout: seconds that an answer may take, if longer than the timeout.
        :param several: let several statements be sent at once.
        :param new_socket: makes what it is opened on, if not the driver.
        :raises pymysql.MySQLError: it cannot be had.
        """
        host = self.settings.host
        where: dict[str, Any] = {"host": host, "port": self.settings.port}
        if host.startswith("/"):
            where = {"unix_socket": host}
        options: dict[str, Any] = {
            "user": self.settings.user,
            # The driver would encode text as latin-1, and show it in the error when that fails.
            "password": self.settings.password.encode(),
            "database": database,
            "charset": "utf8mb4",
            "autocommit": autocommit,
            "client_flag": CLIENT.FOUND_ROWS | (CLIENT.MULTI_STATEMENTS if several else 0),
            "sql_mode": "STRICT_ALL_TABLES",
            # Without it, looking for a row that is not there would lock out inserts of other rows.
            "init_command": "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "connect_timeout": self.timeout,
            "read_timeout": max(self.timeout, read_timeout),
            "write_timeout": self.timeout,
            "defer_connect": True,
        }

        def log_in(*, encrypted: bool) -> Any:
            connection: Any = pymysql.connect(**where, **options, **self.encryption.options(encrypted=encrypted))
            connection.connect(new_socket() if new_socket else None)
            try:
                self._look_at(connection, reads=autocommit)
            except Exception:
                driver.abandon(connection)
                raise
            self._note(self.encryption.way(encrypted=encrypted))
            return connection

        try:
            if self.encryption.context is not None:
                try:
                    return log_in(encrypted=True)
                except pymysql.OperationalError as error:
                    if not self.encryption.optional or self.code(error) != CR.CR_SSL_CONNECTION_ERROR:
                        raise
            # It is not wanted, or the server has none to offer.
            return log_in(encrypted=False)
        except pymysql.MySQLError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the driver makes of an answer that no MySQL server gives
            raise pymysql.OperationalError(
                CR.CR_CONN_HOST_ERROR, f"No MySQL server answers there ({type(error).__name__})"
            ) from None

    def _note(self, way: Way) -> None:
        """Warn, but once, if the password has gone a way that it should not go."""
        self.way = way
        if way not in self._warned and self.settings.password and (warning := self.encryption.warning(way)):
            self._warned.add(way)
            log.warn("{warning}", warning=warning)

    def _look_at(self, connection: Any, *, reads: bool) -> None:
        """Find out which server a connection has reached, and let its reads see all that was committed anywhere before."""
        identity = identity_of(connection)
        self.one.admit(identity)
        # In a group this would have each commit wait too.
        causal = "group_replication_consistency = 'BEFORE'" if identity.group and reads else ""
        # Here only what begins with a read waits.
        causal = "wsrep_sync_wait = 1" if identity.galera else causal
        if causal:
            with connection.cursor() as cursor:
                cursor.execute(f"SET SESSION {causal}")

    def hang_up(self, connection: Any) -> None:
        driver.cut(connection)

    def check(self, connection: Any) -> None:
        connection.ping()

    def catch_up(self, connection: Any) -> None:
        identity = self.one.identity
        if identity is None or not (identity.galera or identity.group):
            return
        # What was in the way is certain to be done, but that takes its time here; and whatever begins before then is undone by it again.
        with connection.cursor() as cursor:
            if identity.group:
                cursor.execute("SET SESSION group_replication_consistency = 'BEFORE'")
            cursor.execute("SELECT epoch FROM server WHERE id = 1")
            connection.rollback()
            if identity.group:
                cursor.execute("SET SESSION group_replication_consistency = DEFAULT")

    def at_once(self, connection: Any, script: Sequence[Statement]) -> None:
        """Do all statements in one round trip, up to the first that fails; the commit is not among them."""
        if connection.server_status & SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES:
            # What is written out would be read in another way: this is not the session that was opened.
            raise pymysql.OperationalError(CR.CR_SERVER_LOST, "The session takes a backslash for a letter")
        connection.query(written_out(script))
        for _ in script[1:]:
            connection.next_result()

    def is_check(self, error: Exception) -> bool:
        """Tell whether a statement failed whose only purpose is to fail if the others must not be done."""
        return self.code(error) == CHECK_FAILED

    def is_undone(self, error: Exception) -> bool:
        return self.is_check(error) or self._meaning(error).undone

    def _meaning(self, error: Exception) -> Errno:
        identity = self.one.identity
        return meaning(self.code(error), group=identity is not None and identity.group)

    def begin(self, connection: Any) -> None:
        """Nothing: without autocommit the first statement starts a transaction, and saves a round trip."""

    def spelled(self, statement: str) -> str:
        return statement

    def code(self, error: Exception) -> int:
        return error.args[0] if error.args and isinstance(error.args[0], int) else 0

    def fault(self, error: Exception, *, fresh: bool = False) -> Fault:
        if self.is_late(error):
            return Fault.SILENT
        if isinstance(error, OtherServer):
            return Fault.PARTED
        code = self.code(error)
        if fresh and code == CR.CR_SERVER_GONE_ERROR:
            # It was there, and hung up before it had read all of the statement.
            return Fault.OVERSIZED
        return self._meaning(error).fault

    def is_duplicate(self, error: Exception) -> bool:
        return self.code(error) == ER.DUP_ENTRY

    def is_lost(self, error: Exception) -> bool:
        return self._meaning(error).lost

    def is_late(self, error: Exception) -> bool:
        # The driver says so in English only; but it was handling the socket's own error then.
        return isinstance(error.__context__, TimeoutError)

    def late(self) -> pymysql.MySQLError:
        """Return what the driver raises when the server has let the whole timeout pass."""
        error = pymysql.OperationalError(CR.CR_SERVER_LOST, "Lost connection to MySQL server during query (timed out)")
        error.__context__ = TimeoutError()
        return error

    def is_retryable(self, error: Exception) -> bool:
        return self._meaning(error).again or (self.is_lost(error) and not self.is_late(error))

    def is_passing(self, error: Exception) -> bool:
        return self._meaning(error).passing
