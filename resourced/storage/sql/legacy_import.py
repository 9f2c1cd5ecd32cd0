"""
How a database of the original server is taken over: whether its names can be kept, and which selectors are decoded.

``survey`` only looks.  ``decode_selectors`` changes rows, in the transaction of its caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

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
#: Below so many seconds the timeout of an adopted resource was probably meant as a wait.
SHORT: Final = 60
#: How many names one line of the log has.
TOGETHER: Final = 50


class EncodedSelector(NamedTuple):
    """
    A row of the original server whose selector is percent-encoded.

    :ivar stored: the bytes of UTF-8 that stand there.
    :ivar name: what they are when they are decoded.
    """

    row: str
    resource: str
    stored: bytes
    name: str


def survey(connection: Any) -> list[str]:
    """
    Look at everything that the original server has kept in a MySQL database, before anything is changed.

    :returns: what whoever takes it over should know, in sentences.
    :raises resourced.errors.ConfigurationError: the tables are not those of the original server, or some names cannot be kept as exact
        names. Nor can names that are there twice, now or when the selectors are decoded.
    """
    faults: list[str] = []
    remarks: list[str] = []
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
        if table == "resource":
            remarks += _waits(connection, exact)
        else:
            faults += _homeless(connection)
            encoded, kept = _encoded(connection)
            remarks += kept
            faults += _colliding(connection, encoded)
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise ConfigurationError(
            f"It cannot be taken over, and nothing in it was changed, because {'; '.join(faults[:SHOWN])}{more}. "
            "Rename or delete these rows, then start again."
        )
    return remarks


def decode_selectors(connection: Any) -> None:
    """
    Give every selector the name that its URL has now; each stands as it stood in the URL of the original server.

    To run it twice would decode twice: the caller commits it together with the word that it was done.
    """
    encoded, _ = _encoded(connection)
    with connection.cursor() as cursor:
        # A decoded name is shorter.  So whoever has that name now, and is decoded too, comes before.
        for selector in sorted(encoded, key=lambda selector: len(selector.stored)):
            cursor.execute(
                "UPDATE resource_data SET selector = %s WHERE id = %s", (selector.name.encode(), selector.row)
            )


def _encoded(connection: Any) -> tuple[list[EncodedSelector], list[str]]:
    """
    Find the selectors that are percent-encoded.

    :returns: those that can be decoded, and a sentence about each of the others.
    """
    exact = _exact("selector", _charsets(connection, "resource_data")["selector"])
    encoded, kept = [], []
    for row, resource, stored in _rows(connection, f"SELECT id, id_resource, {exact} FROM resource_data"):
        # As the server decodes the segments of a path: a percent sign that encodes nothing stands for itself.
        decoded = unquote_to_bytes(stored or b"")
        if not stored or decoded == stored:
            continue
        reason = _reason(decoded)
        if reason:
            kept.append(
                f"In resource_data, row {row}, the selector {_shown(stored)} is kept as it is: decoded, it {reason}. "
                f"Ask for it as {quote(stored, safe='')}."
            )
        else:
            encoded.append(EncodedSelector(row, resource, stored, decoded.decode()))
    return encoded, kept


def _colliding(connection: Any, encoded: list[EncodedSelector]) -> list[str]:
    """Find the rows that would have one selector when they are decoded."""
    faults = []
    decoded = {selector.row for selector in encoded}
    taken: dict[tuple[str, bytes], tuple[str, bytes]] = {}
    for row, resource, stored, name in encoded:
        first = taken.setdefault((resource, name.encode()), (row, stored))
        if first[0] != row:
            faults.append(_collision(resource, first, (row, stored)))
    exact = _exact("selector", _charsets(connection, "resource_data")["selector"])
    for row, resource, stored in _rows(connection, f"SELECT id, id_resource, {exact} FROM resource_data"):
        if row not in decoded and (resource, stored) in taken:
            faults.append(_collision(resource, taken[resource, stored], (row, stored)))
    return faults


def _collision(resource: str, one: tuple[str, bytes], other: tuple[str, bytes]) -> str:
    return (
        f"in resource_data, rows {one[0]} and {other[0]} of resource {resource} have the selectors "
        f"{_shown(one[1])} and {_shown(other[1])}, which are one name when they are decoded"
    )


def _waits(connection: Any, exact: str) -> list[str]:
    """Name the resources whose timeout was a wait there, and is a lease here."""
    short = f"SELECT {exact}, timeout FROM resource WHERE timeout BETWEEN 1 AND {SHORT - 1} ORDER BY 1"
    named = [f"{_shown(name or b'')} {timeout} s" for name, timeout in _rows(connection, short)]
    return [
        "In the original server a timeout is how long a request waits for a lock; here it is the lease of the lock. "
        "These resources lose a lock that is not used for so many seconds; PATCH what is too short: "
        f"{', '.join(named[start : start + TOGETHER])}."
        for start in range(0, len(named), TOGETHER)
    ]


def _rows(connection: Any, statement: str) -> Iterator[tuple[Any, ...]]:
    """Read row by row: there may be millions."""
    with connection.cursor(SSCursor) as cursor:
        cursor.execute(statement)
        yield from cursor


def _shown(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace")[:80])


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
    for row, name in _rows(connection, f"SELECT id, {exact} FROM {table}"):
        reason = _reason(name)
        if reason:
            shown = "" if name is None else f" {_shown(name)}"
            faults.append(f"in {table}, row {row}, the {column}{shown} {reason}")
    return faults


def _homeless(connection: Any) -> list[str]:
    found = _rows(connection, "SELECT id FROM resource_data WHERE id_resource IS NULL")
    return [f"in resource_data, row {row}, the id_resource is NULL" for (row,) in found]


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
        return [f"in {table}, {count} rows have the {column} {_shown(name)}" for name, count in cursor.fetchall()]
