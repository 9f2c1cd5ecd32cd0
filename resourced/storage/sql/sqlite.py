"""SQLite: how to connect, what its errors mean, how it spells SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Final

from resourced.config import SQLiteSettings
from resourced.storage.sql.health import Fault
from resourced.storage.sql.server_identity import OneServer

#: How many statements SQLite keeps prepared: a commit has some for each number of rows.
STATEMENTS: Final = 512


class SQLite:
    """An SQLite file in this process: readers beside one writer, and what is committed survives a power cut."""

    name: ClassVar[str] = "sqlite"
    driver: ClassVar[str] = "sqlite3"
    readers: ClassVar[int] = 1
    error: ClassVar[type[Exception]] = sqlite3.Error

    _FAULTS: ClassVar[Mapping[int, Fault]] = {
        sqlite3.SQLITE_BUSY: Fault.SILENT,
        sqlite3.SQLITE_CANTOPEN: Fault.UNREACHABLE,
        sqlite3.SQLITE_FULL: Fault.FULL,
        sqlite3.SQLITE_IOERR: Fault.UNREACHABLE,
        sqlite3.SQLITE_NOTADB: Fault.UNREACHABLE,
        sqlite3.SQLITE_READONLY: Fault.READ_ONLY,
        sqlite3.SQLITE_TOOBIG: Fault.OVERSIZED,
    }

    def __init__(self, settings: SQLiteSettings, timeout: float) -> None:
        self.settings = settings
        self.timeout = timeout
        self.one = OneServer()

    def describe(self) -> str:
        return self.settings.describe()

    def connect(self, *, writes: bool) -> Any:  # noqa: ARG002 - the driver begins no transaction by itself
        connection = sqlite3.connect(
            self.settings.path,
            timeout=self.timeout,
            isolation_level=None,
            cached_statements=STATEMENTS,
            # Each connection stays in one thread; but another one closes it in the end.
            check_same_thread=False,
        )
        try:
            for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                rows_of(connection, f"PRAGMA {setting}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def look(self) -> Any:
        """
        Open the file to read, and change nothing, not even the files beside it.

        :raises sqlite3.Error: it cannot be opened.
        """
        path = Path(self.settings.path)
        # Where there is no log of what was written last, nobody has it open, and SQLite would make one to look into.
        way = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
        return sqlite3.connect(f"{path.as_uri()}?{way}", uri=True, timeout=self.timeout, isolation_level=None)

    def hang_up(self, connection: Any) -> None:
        """Nothing: there is only one file."""

    def check(self, connection: Any) -> None:
        """Nothing: a file does not hang up."""

    def catch_up(self, connection: Any) -> None:
        """Nothing: there is one file."""

    def begin(self, connection: Any) -> None:
        connection.execute("BEGIN IMMEDIATE")

    def spelled(self, statement: str) -> str:
        return "%".join(part.replace("%s", "?") for part in statement.split("%%"))

    def code(self, error: Exception) -> int:
        return getattr(error, "sqlite_errorcode", 0)

    def fault(self, error: Exception, *, fresh: bool = False) -> Fault:  # noqa: ARG002
        code = self.code(error)
        if code in {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}:
            # Such as a limit of the file's size, or a quota; or the file beside it that all share cannot grow.
            return Fault.FULL
        # The upper bits say more about the same error.
        return self._FAULTS.get(code & 0xFF, Fault.REFUSED)

    def is_duplicate(self, error: Exception) -> bool:
        return self.code(error) in {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}

    def is_lost(self, error: Exception) -> bool:  # noqa: ARG002
        return False

    def is_late(self, error: Exception) -> bool:
        return self.code(error) == sqlite3.SQLITE_BUSY

    def is_undone(self, error: Exception) -> bool:  # noqa: ARG002 - a commit that fails may be tried again on the same connection
        return False

    def is_retryable(self, error: Exception) -> bool:  # noqa: ARG002
        return False

    def is_passing(self, error: Exception) -> bool:
        return self.is_late(error)


def rows_of(connection: Any, statement: str) -> list[tuple[Any, ...]]:
    """
    Run a statement; return its rows, so that nothing of it stays open.

    A cursor that still has rows keeps its transaction open until it is closed. Not every Python closes it when nobody refers to it any more.
    """
    with closing(connection.execute(statement)) as cursor:
        return list(cursor.fetchall())
