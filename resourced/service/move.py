"""
``resourced move``: all of a store but running locks, into an empty one of the other kind, compared row by row. Waits for the drivers.

Until the last transaction the target is marked as unfinished, and no daemon takes it. No more than some rows are in memory at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any, Final, NamedTuple

from pymysql.cursors import SSCursor

from resourced.errors import ConfigurationError
from resourced.model import BREAK, WAITING
from resourced.service.guard import exclusive
from resourced.storage.leader_lease import LEADER_LEASE, MARGIN
from resourced.storage.spelling import RESOURCE_COLUMNS
from resourced.storage.sql.dialect import Dialect
from resourced.storage.sql.migration import UNFINISHED, look, prepare
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql_usage import USAGE_COLUMNS
from resourced.storage.statements import CARD_COLUMNS, EVENT_COLUMNS, marks

Row = tuple[Any, ...]

#: How many rows are read, written and compared at a time, and how many characters of data at most, but for one row.
ROWS: Final = 200
CHARACTERS: Final = 4 << 20

#: Who is said to have ended the locks that ran, and why.
BY, REASON = "resourced", "the store was moved"


class Table(NamedTuple):
    """
    A table whose rows are moved.

    :ivar columns: the first ones name a row.
    :ivar where: which of its rows count.
    :ivar named: how many columns name a row.
    """

    name: str
    columns: Sequence[str]
    where: str = "1 = 1"
    named: int = 1

    def select(self, where: str = "") -> str:
        """Return the statement that reads rows."""
        # An original server's timeout may be NULL, which is none.
        read = ("COALESCE(timeout, 0)" if column == "timeout" else column for column in self.columns)
        return f"SELECT {', '.join(read)} FROM {self.name} WHERE {where or self.where}"


TABLES: Final = (
    Table("resource", RESOURCE_COLUMNS.split(", ")),
    # An original server's column may allow NULL, which is no data.
    Table("resource_data", ("id_resource", "selector", "id", "data", "version"), "data IS NOT NULL", named=2),
    Table("event", EVENT_COLUMNS.split(", ")),
    Table("event_mark", ("passed", "event")),
    Table("loss", ("event", "resource", "selector", "ticket", "key_name")),
    Table("usage_day", USAGE_COLUMNS, named=4),
    Table("card", CARD_COLUMNS.split(", "), named=2),
)
_EVENT, _LOSS = TABLES[2], TABLES[4]
_PLACE: Final = Table(
    "place", ("seq", "resource", "selector", "ticket", "standing", "fence", "owner", "key_name", "priority")
)
_JOINT: Final = Table("joint_request", ("seq",))


class Side:
    """One of the two stores, with a connection for statements and one to read long results."""

    def __init__(self, dialect: Dialect, exits: ExitStack) -> None:
        self.dialect = dialect
        self._connection = exits.enter_context(closing(self._open()))
        self._exits = exits

    def _open(self) -> Any:
        if isinstance(self.dialect, MySQL):
            connection = self.dialect.open(autocommit=False, database=self.dialect.settings.database)
            with connection.cursor() as cursor:
                # What is read in the meantime is written elsewhere, which may take a while.
                cursor.execute("SET SESSION net_write_timeout = 3600")
            return connection
        return self.dialect.connect(writes=True)

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return what a statement finds, as text where MySQL has bytes."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(self.dialect.spelled(statement), tuple(values))
            return [_plain(row) for row in cursor.fetchall()]

    def each(self, table: Table) -> Iterator[list[Row]]:
        """Read a table, some rows at a time."""
        with closing(self._open()) as connection:
            cursor = connection.cursor(SSCursor) if isinstance(self.dialect, MySQL) else connection.cursor()
            with closing(cursor):
                cursor.execute(self.dialect.spelled(table.select()))
                rows: list[Row] = []
                size = 0
                while (row := cursor.fetchone()) is not None:
                    rows.append(_plain(row))
                    size += sum(len(value) for value in row if isinstance(value, str | bytes))
                    if len(rows) == ROWS or size > CHARACTERS:
                        yield rows
                        rows, size = [], 0
                if rows:
                    yield rows

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Write rows, in the transaction that is open."""
        statement = f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({marks(table.columns)})"
        self.begin()
        with closing(self._connection.cursor()) as cursor:
            cursor.executemany(self.dialect.spelled(statement), rows)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Change something, in the transaction that is open."""
        self.begin()
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(self.dialect.spelled(statement), tuple(values))

    def begin(self) -> None:
        """Have a transaction; MySQL has one as soon as anything is done."""
        if not isinstance(self.dialect, MySQL) and not self._connection.in_transaction:
            self.dialect.begin(self._connection)

    def commit(self) -> None:
        """End the transaction that is open."""
        self._connection.commit()

    def leader(self) -> Row:
        """Return what every daemon changes with each commit, and whether any is up."""
        self.commit()
        [row] = self.query("SELECT SUM(epoch), SUM(beat), MAX(CASE WHEN state = 'up' THEN 1 ELSE 0 END) FROM server")
        self.commit()
        return row


def move(source: Dialect, target: Dialect, max_body: int, say: Callable[[str], object]) -> None:
    """
    Move a store.

    :param say: is told in lines how it goes.
    :raises resourced.errors.ResourcedError: it cannot be moved, or not all of it was; the sentence says why.
    """
    if source.describe() == target.describe():
        raise ConfigurationError("The two stores are one and the same.")
    schema = look(source, max_body)
    if not schema.version:
        raise ConfigurationError(f"There is nothing to move: {source.describe()} is no store yet.")
    if schema.version < schema.known:
        raise ConfigurationError(
            f"{source.describe()} has a schema of an earlier version. Start this version of the server on it once."
        )
    try:
        with ExitStack() as exits:
            exits.enter_context(exclusive(source))
            exits.enter_context(exclusive(target))
            old = Side(source, exits)
            led = _unled(old)
            prepare(target, max_body)
            _move(old, led, Side(target, exits), look(target, max_body).known, say)
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: {error.strerror}.") from None
    except (source.error, target.error) as error:
        raise ConfigurationError(f"A database has refused something, so it was not moved: {error}") from None


def _move(source: Side, led: Row, target: Side, version: int, say: Callable[[str], object]) -> None:
    """
    Copy, compare, and make it count.

    :param led: how the source was last led.
    :param version: that of the schema of the target.
    """
    before = [led, _unled(target)]
    _check_empty(target)
    target.execute("UPDATE schema_version SET version = %s WHERE id = 1", (UNFINISHED,))
    target.commit()
    for table in TABLES:
        for rows in source.each(table):
            target.insert(table, rows)
            target.commit()
    for table in TABLES:
        say(f"{table.name}: {_compare(source, target, table)} rows, the same in both")
    if [side.leader()[:2] for side in (source, target)] != before:
        raise ConfigurationError(
            "A daemon has served one of the two meanwhile, so this was for nothing. Delete the target."
        )
    [(counted,)] = source.query("SELECT event FROM usage_mark WHERE id = 1")
    target.execute("UPDATE usage_mark SET event = %s WHERE id = 1", (counted,))
    [(fence, event)] = source.query("SELECT MAX(fence), MAX(event) FROM server")
    [(restored,)] = source.query("SELECT restored FROM server WHERE id = 1")
    ended, event = _end_places(source, target, event)
    target.execute("UPDATE server SET fence = %s, event = %s, restored = %s WHERE id = 1", (fence, event, restored))
    # With this it is whole.
    target.execute("UPDATE schema_version SET version = %s WHERE id = 1", (version,))
    target.commit()
    say(f"{ended} locks and places in queues were left behind, and have ended")
    say(f"{target.dialect.describe()} is the store now. Start no daemon on {source.dialect.describe()} any more.")


def _unled(side: Side) -> Row:
    """
    Wait until it is certain that no daemon leads a store, also from another machine; return what its row says.

    :raises ConfigurationError: one does.
    """
    epoch, beat, up = side.leader()
    if up and isinstance(side.dialect, MySQL):
        time.sleep(LEADER_LEASE + MARGIN)
        if side.leader() != (epoch, beat, up):
            raise ConfigurationError(
                f"A daemon serves {side.dialect.describe()}. Stop it, and those that stand by, first."
            )
    return epoch, beat


def _check_empty(target: Side) -> None:
    """
    Check that there is nothing in a store.

    :raises ConfigurationError: there is.
    """
    for table in (*TABLES, _PLACE, _JOINT):
        if target.query(f"SELECT COUNT(*) FROM {table.name}") != [(0,)]:
            raise ConfigurationError(
                f"{target.dialect.describe()} is not empty: there is something in its table {table.name}."
            )
    if target.query("SELECT MAX(fence), MAX(event) FROM server") != [(0, 0)]:
        raise ConfigurationError(
            f"{target.dialect.describe()} is not empty: fences or ids of events were given out by it."
        )


def _compare(source: Side, target: Side, table: Table) -> int:
    """
    Compare each row of a table; return how many there are.

    :raises ConfigurationError: they are not the same.
    """
    one = f"({' AND '.join(f'{column} = %s' for column in table.columns[: table.named])})"
    count = 0
    for rows in source.each(table):
        names = [row[: table.named] for row in rows]
        found = target.query(table.select(" OR ".join([one] * len(names))), [value for name in names for value in name])
        missing = set(rows) - set(found)
        if missing or len(found) != len(rows):
            raise ConfigurationError(
                f"In the table {table.name} not all rows are the same, such as {', '.join(map(str, min(names)))}."
            )
        count += len(rows)
    if target.query(f"SELECT COUNT(*) FROM {table.name}") != [(count,)]:
        raise ConfigurationError(f"The table {table.name} has other rows than before.")
    return count


def _end_places(source: Side, target: Side, event: int) -> tuple[int, int]:
    """Let tickets know that they have lost their locks and places, and the history too; return how many, and the last event."""
    now = int(time.time() * 1000)
    first = event
    for rows in source.each(_PLACE):
        events, losses = [], []
        for _, resource, selector, ticket, standing, fence, owner, key_name, priority in rows:
            event += 1
            held = 0 if standing == WAITING else fence
            events.append((event, int(BREAK), now, resource, selector, owner, held, 0.0, "", BY, REASON, priority))
            losses.append((event, resource, selector, ticket, key_name))
        target.insert(_EVENT, events)
        target.insert(_LOSS, losses)
    return event - first, event


def _plain(row: Row) -> Row:
    return tuple([value.decode() if isinstance(value, bytes) else value for value in row])
