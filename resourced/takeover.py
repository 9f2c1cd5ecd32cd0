"""Whether a database of the original server can be taken over as it is. Only looks, and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pymysql.cursors import SSCursor

from resourced.errors import ConfigurationError
from resourced.model import valid_name

#: What the original server's tables have.
TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "resource": ("id", "name", "timeout"),
    "resource_data": ("id", "id_resource", "selector", "locked", "data"),
}
#: How many faults are told by name.
SHOWN: Final = 5
#: Character sets whose bytes are UTF-8 as they are.
UTF8: Final = frozenset({"utf8mb4", "utf8mb3", "utf8", "ascii"})


def check_old_tables(connection: Any) -> None:
    """
    Look at every name that the original server has kept in a MySQL database.

    :raises resourced.errors.ConfigurationError: some of them cannot be kept as exact names, or are there twice; or the
        tables are not those of the original server.
    """
    faults: list[str] = []
    for table, columns in TABLES.items():
        charsets = _charsets(connection, table)
        if not charsets:
            continue
        missing = [column for column in columns if column not in charsets]
        if missing:
            raise ConfigurationError(
                f"Its table {table} has no column {missing[0]}, so it is not the original server's; "
                "use a database of its own."
            )
        column = "name" if table == "resource" else "selector"
        exact = _exact(column, charsets[column])
        faults += _unfit(connection, table, column, exact)
        faults += _doubled(connection, table, column, exact)
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise ConfigurationError(
            f"It cannot be taken over, and nothing in it was changed, because {'; '.join(faults[:SHOWN])}{more}. "
            "Rename or delete these rows, then start again."
        )


def _charsets(connection: Any, table: str) -> dict[str, str | None]:
    """Return the character set of each column; none if it holds bytes or numbers, nothing at all without the table."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name, character_set_name FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND table_name = %s",
            (table,),
        )
        return {name.lower(): charset for name, charset in cursor.fetchall()}


def _exact(column: str, charset: str | None) -> str:
    """Return the expression for the bytes of UTF-8 that a name will have."""
    if charset is None or charset in UTF8:
        return f"CAST({column} AS BINARY)"
    return f"CAST(CONVERT({column} USING utf8mb4) AS BINARY)"


def _unfit(connection: Any, table: str, column: str, exact: str) -> list[str]:
    faults = []
    # Row by row: there may be millions.
    with connection.cursor(SSCursor) as cursor:
        cursor.execute(f"SELECT id, {exact} FROM {table}")
        for row, name in cursor:
            reason = _reason(name)
            if reason:
                shown = "" if name is None else f" {name.decode('utf-8', 'backslashreplace')[:80]!r}"
                faults.append(f"in {table}, row {row}, the {column}{shown} {reason}")
    return faults


def _reason(name: bytes | None) -> str:
    if name is None:
        return "is NULL"
    try:
        return valid_name(name.decode())
    except UnicodeDecodeError:
        return "is not valid UTF-8"


def _doubled(connection: Any, table: str, column: str, exact: str) -> list[str]:
    within = "id_resource, " if table == "resource_data" else ""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {exact} AS exact_name, COUNT(*) FROM {table} WHERE {column} IS NOT NULL "
            f"GROUP BY {within}exact_name HAVING COUNT(*) > 1"
        )
        return [
            f"in {table}, {count} rows have the {column} {name.decode('utf-8', 'backslashreplace')[:80]!r}"
            for name, count in cursor.fetchall()
        ]
