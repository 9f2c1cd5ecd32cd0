"""How a database comes to the schema that this version of the server needs. Runs in a thread, and waits for the driver."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import closing, suppress
from importlib.resources import files
from pathlib import Path
from random import SystemRandom
from typing import Any, Final, NamedTuple

import pymysql
from pymysql.constants import ER

from resourced.errors import ConfigurationError, StoreUnavailable
from resourced.storage.sql.dialect import Dialect, refusal
from resourced.storage.sql.legacy_import import decode_selectors, survey
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.sqlite import SQLite, rows_of

#: The version of the MySQL schema from which on a leader can be seen by its row alone.
LEADER_ROW: Final = 9

#: Seconds that one statement of a migration may take, or another daemon's whole migration: large tables are copied.
LONGEST_MIGRATION: Final = 3600.0
#: What a row needs in a packet besides its data, twice as long when every character is escaped.
PACKET_MARGIN: Final = 64 * 1024
#: The version of the MySQL schema from which on all names are exact, and selectors are not percent-encoded as the original
#: server kept them.
EXACT_NAMES: Final = 2

#: A statement finds that its work was done a moment before it.
DONE_ELSEWHERE: Final = frozenset({ER.DUP_FIELDNAME, ER.DUP_KEYNAME, ER.CANT_DROP_FIELD_OR_KEY, ER.LOCK_DEADLOCK})

#: How often that may be, and for how many seconds it is left to the other daemon then.
MEETINGS: Final = 100
PAUSE: Final = (0.05, 0.5)

#: The version of a database into which a store is being moved, until all of it is there: no server takes it.
UNFINISHED: Final = 2**31 - 1

_TOO_NEW: Final = (
    "Its schema has version {found}, and this server knows none above {known}: a newer server has used it."
)


def migrations(dialect: str) -> list[list[str]]:
    """
    Read the numbered files of a dialect's schema.

    In them a comment has a line of its own, and a statement ends with a semicolon at the end of a line.

    :return: for each version, from 1 on, its statements.
    """
    folder = files("resourced") / "schema" / dialect
    found = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [split(file.read_text(encoding="utf-8")) for file in found]


def split(text: str) -> list[str]:
    """Split the text of a schema file into its statements."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return [statement.strip() for statement in ("\n".join(lines) + "\n").split(";\n") if statement.strip()]


def prepare(dialect: Dialect, max_body: int, remark: Callable[[str], object] = lambda _: None) -> None:
    """
    Make a database if it is missing, and bring its schema up to date.

    :param max_body: the most bytes of data in one row.
    :param remark: told in sentences what whoever takes over a database of the original server should know.
    :raises resourced.errors.ConfigurationError: it cannot be used as it is; the sentence says why.
    :raises resourced.errors.StoreUnavailable: it cannot be reached, or is busy.
    """
    try:
        if isinstance(dialect, MySQL):
            _prepare_mysql(dialect, max_body, remark)
        elif isinstance(dialect, SQLite):
            _prepare_sqlite(dialect)
    except dialect.error as error:
        kind = StoreUnavailable if dialect.is_passing(error) else ConfigurationError
        raise kind(refusal(dialect, error)) from None
    except (ConfigurationError, StoreUnavailable) as error:
        raise type(error)(f"Cannot use {dialect.describe()}: {error.sentence}") from None


class Schema(NamedTuple):
    """
    How far a database is.

    :ivar version: that of its schema; 0 if it has none yet.
    :ivar known: the one that this version of the server needs.
    """

    version: int
    known: int


def look(dialect: Dialect, max_body: int) -> Schema:
    """
    Say what ``prepare`` would find, and change nothing.

    :raises resourced.errors.ConfigurationError: the database cannot be used as it is; the sentence says why.
    :raises resourced.errors.StoreUnavailable: it cannot be reached, or is busy.
    """
    known = len(migrations(dialect.name))
    try:
        version = _look_mysql(dialect, max_body) if isinstance(dialect, MySQL) else _look_sqlite(dialect)
    except dialect.error as error:
        kind = StoreUnavailable if dialect.is_passing(error) else ConfigurationError
        raise kind(refusal(dialect, error)) from None
    _check_version(version, known)
    return Schema(version, known)


def may_be_led(dialect: Dialect) -> bool:
    """
    Tell whether ``prepare`` would change a schema by which a daemon may lead at another server of a cluster.

    :raises resourced.errors.ConfigurationError: the database cannot be used as it is; the sentence says why.
    :raises resourced.errors.StoreUnavailable: it cannot be reached, or is busy.
    """
    if not isinstance(dialect, MySQL):
        return False
    try:
        with (
            closing(dialect.open(autocommit=True, database=dialect.settings.database)) as connection,
            connection.cursor() as cursor,
        ):
            return LEADER_ROW <= _version(cursor) < len(migrations(dialect.name))
    except pymysql.MySQLError as error:
        if dialect.code(error) == ER.BAD_DB_ERROR:
            return False
        kind = StoreUnavailable if dialect.is_passing(error) else ConfigurationError
        raise kind(refusal(dialect, error)) from None


def _check_version(version: int, known: int) -> None:
    """
    Check that a schema is not beyond this version of the server.

    :raises ConfigurationError: it is.
    """
    if version == UNFINISHED:
        raise ConfigurationError(
            "A store was to be moved into it, and that was cut short, so not all of it is there. Delete it, and move again."
        )
    if version > known:
        raise ConfigurationError(_TOO_NEW.format(found=version, known=known))


def _look_sqlite(dialect: Dialect) -> int:
    if not isinstance(dialect, SQLite):
        raise TypeError(f"{dialect!r} is not looked at.")
    if not Path(dialect.settings.path).exists():
        folder = Path(dialect.settings.path).parent
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigurationError(f"There is no such file, and none can be made in {folder}.")
        return 0
    with closing(dialect.look()) as connection:
        if not rows_of(connection, "SELECT 1 FROM sqlite_master WHERE name = 'schema_version'"):
            return 0
        ((version,),) = rows_of(connection, "SELECT version FROM schema_version WHERE id = 1")
        return int(version)


def _look_mysql(dialect: MySQL, max_body: int) -> int:
    try:
        connection = dialect.open(autocommit=True, database=dialect.settings.database)
    except pymysql.MySQLError as error:
        if dialect.code(error) != ER.BAD_DB_ERROR:
            raise
        return 0
    with closing(connection), connection.cursor() as cursor:
        _check_packet(cursor, max_body)
        version = _version(cursor)
        _check_owner(cursor, version)
        if version < EXACT_NAMES:
            list(survey(connection))
        return max(version, 0)


def _prepare_sqlite(dialect: SQLite) -> None:
    versions = migrations(dialect.name)
    # For nobody else to read, and so are the files that SQLite makes beside it. What is wrong with the path SQLite says. One that is there
    # already is not even opened: to close it would give up the locks that SQLite has on it for the other connections of this process (POSIX),
    # and the next process that closes the file would take itself for the last one, and remove the log of what was written.
    with suppress(OSError):
        os.close(os.open(dialect.settings.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(dialect.connect(writes=True)) as connection:
        # Two daemons that start at once wait for each other here; and here, unlike in MySQL, all of it is one transaction.
        dialect.begin(connection)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_version (id INTEGER PRIMARY KEY, version INTEGER NOT NULL)"
        )
        connection.execute("INSERT OR IGNORE INTO schema_version (id, version) VALUES (1, 0)")
        ((version,),) = rows_of(connection, "SELECT version FROM schema_version WHERE id = 1")
        _check_version(version, len(versions))
        for statements in versions[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute("UPDATE schema_version SET version = ? WHERE id = 1", (len(versions),))
        connection.commit()


def _prepare_mysql(dialect: MySQL, max_body: int, remark: Callable[[str], object]) -> None:
    versions = migrations(dialect.name)
    with closing(_connect_or_create(dialect)) as connection, connection.cursor() as cursor:
        _check_packet(cursor, max_body)
        if _version(cursor) == len(versions):
            return
    name = dialect.settings.database
    with (
        closing(
            dialect.open(autocommit=True, database=name, read_timeout=LONGEST_MIGRATION + dialect.timeout)
        ) as connection,
        connection.cursor() as cursor,
    ):
        _wait_alone(cursor, name)
        for _ in range(MEETINGS):
            try:
                _migrate_mysql(connection, cursor, versions, remark)
            except pymysql.MySQLError as error:
                if dialect.code(error) not in DONE_ELSEWHERE:
                    raise
            else:
                return
            # By a daemon at another server of a cluster: the lock above is this server's own. One of the two gets ahead.
            time.sleep(SystemRandom().uniform(*PAUSE))
        _migrate_mysql(connection, cursor, versions, remark)


def _connect_or_create(dialect: MySQL) -> Any:
    name = dialect.settings.database
    try:
        return dialect.open(autocommit=True, database=name)
    except pymysql.MySQLError as error:
        if dialect.code(error) != ER.BAD_DB_ERROR:
            raise
    with closing(dialect.open(autocommit=True, database=None)) as connection, connection.cursor() as cursor:
        quoted = name.replace("`", "``")
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS `{quoted}` CHARACTER SET utf8mb4")
    return dialect.open(autocommit=True, database=name)


def _check_packet(cursor: Any, max_body: int) -> None:
    cursor.execute("SELECT @@max_allowed_packet")
    (allowed,) = cursor.fetchone()
    needed = 2 * max_body + PACKET_MARGIN
    if allowed < needed:
        raise ConfigurationError(
            f"For bodies of up to {max_body} bytes the server's max_allowed_packet must be at least {needed}, and it is "
            f"{allowed}; raise it there, or lower RESOURCED_MAX_BODY."
        )


def _has_table(cursor: Any, table: str) -> bool:
    cursor.execute(
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s", (table,)
    )
    return bool(cursor.fetchone()[0])


def _version(cursor: Any) -> int:
    """Return the version of the schema; 0 before the first one is complete, and -1 in a database that is not ours yet."""
    if not _has_table(cursor, "schema_version"):
        return -1
    cursor.execute("SELECT version FROM schema_version WHERE id = 1")
    row = cursor.fetchone()
    return int(row[0]) if row else 0


def _check_owner(cursor: Any, version: int) -> None:
    """
    Check that the tables of a database that is not ours yet are at most the original server's.

    :raises ConfigurationError: they are somebody else's.
    """
    if version != -1:
        return
    for table in ("server", "place"):
        # Unless another daemon has made it just now.
        if _has_table(cursor, table) and _version(cursor) == -1:
            raise ConfigurationError(f"It has a table {table} that is somebody else's; use a database of its own.")


def _wait_alone(cursor: Any, database: str) -> None:
    """Keep every other daemon from migrating this database, until this connection ends, however it ends."""
    lock = f"resourced:migration:{hashlib.sha256(database.encode()).hexdigest()[:32]}"
    cursor.execute("SELECT GET_LOCK(%s, %s)", (lock, int(LONGEST_MIGRATION)))
    if cursor.fetchone()[0] != 1:
        raise StoreUnavailable("Another daemon has been bringing its schema up to date for too long.")


def _migrate_mysql(connection: Any, cursor: Any, versions: list[list[str]], remark: Callable[[str], object]) -> None:
    """Check everything before anything is changed, then run what is missing of the schema."""
    version = _version(cursor)
    _check_version(version, len(versions))
    _check_owner(cursor, version)
    if version < EXACT_NAMES:
        for sentence in survey(connection):
            remark(sentence)
    cursor.execute(
        "CREATE TABLE IF NOT EXISTS schema_version (id TINYINT NOT NULL PRIMARY KEY, version INT NOT NULL) ENGINE = InnoDB"
    )
    cursor.execute("INSERT IGNORE INTO schema_version (id, version) VALUES (1, 0)")
    for number, statements in enumerate(versions, start=1):
        # Somebody else may have come further meanwhile.
        if number > _version(cursor):
            _migrate_to(connection, cursor, number, statements)


def _migrate_to(connection: Any, cursor: Any, number: int, statements: list[str]) -> None:
    """
    Run what leads to one version from the one before.

    MySQL commits around every statement that changes a table.  So a daemon that is killed in between leaves the
    statements up to there done. The next one runs the whole file again, which each statement allows.  What must not be done
    twice is done in one transaction with the new version.
    """
    for statement in statements:
        cursor.execute(statement)
    cursor.execute("BEGIN")
    # Only who changes this row may go on: a daemon at another server of a cluster may have come so far just now.
    mine = cursor.execute("UPDATE schema_version SET version = %s WHERE id = 1 AND version < %s", (number, number))
    if mine and number == EXACT_NAMES:
        decode_selectors(connection)
    connection.commit()
