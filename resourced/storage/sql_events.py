"""What has happened, in SQL: events, the marks of their times, and losses."""

from __future__ import annotations

from typing import Any, Final

from resourced.errors import EventsForgotten
from resourced.model import EVENT_SIZE, Event, EventKind, LockKey, Mark, Weight
from resourced.storage import statements
from resourced.storage.spelling import text
from resourced.storage.sql.pool import Transaction
from resourced.storage.sql_terms import SQLTerms

#: How many events are forgotten at once: whoever commits meanwhile waits for it.
FORGET_AT_ONCE: Final = 500

#: More than any id is.
_ALL: Final = 2**63 - 1

#: Up to which id all events are known: a node that is up gives out none any more that is not higher than the one in its row. A daemon that
#: is alone, and so has row 1, commits them in their order.
SETTLED: Final = f"(SELECT COALESCE(MIN(event), {_ALL}) FROM server WHERE id > 1 AND state = 'up')"


class SQLEvents(SQLTerms):
    """The part of the ``Store`` that keeps what has happened."""

    async def events(self, key: LockKey, before: int, limit: int) -> list[Event]:
        rows = await self.database.read(
            lambda transaction: transaction.query(
                f"SELECT {statements.EVENT_COLUMNS} FROM event{self._spelling.along} "
                "WHERE resource = %s AND selector = %s AND id < %s ORDER BY id DESC LIMIT %s",
                (*key, before, limit),
            )
        )
        return events_of(rows)

    async def events_before(self, before: int, limit: int) -> list[Event]:
        rows = await self.database.read(
            lambda transaction: transaction.query(
                f"SELECT {statements.EVENT_COLUMNS} FROM event WHERE id < %s ORDER BY id DESC LIMIT %s",
                (before, limit),
            )
        )
        return events_of(rows)

    async def events_since(self, after: int, limit: int) -> list[Event]:
        def read(transaction: Transaction) -> tuple[list[tuple[Any, ...]], int]:
            rows = transaction.query(
                f"SELECT {statements.EVENT_COLUMNS} FROM event WHERE id > %s ORDER BY id LIMIT %s",
                (after, limit),
            )
            # Looked at last: what is kept now was kept when the others were read. They are forgotten in their order.
            ((newest, oldest),) = transaction.query("SELECT MAX(event), (SELECT MIN(id) FROM event) FROM server")
            return rows, newest + 1 if oldest is None else oldest

        rows, oldest = await self.database.read(read)
        if after + 1 < oldest:
            raise EventsForgotten("What has happened since is not kept any more.")
        return events_of(rows)

    async def newest_event(self) -> int:
        ((newest,),) = await self.database.read(
            lambda transaction: transaction.query(f"SELECT MAX(id) FROM event WHERE id <= {SETTLED}")
        )
        return newest or 0

    async def weigh_events(self, after: int, limit: int) -> Weight:
        # Names are in an index too, which may be half empty in InnoDB. Of the digits there are two for each byte, in either database.
        names, others = (
            " + ".join(f"LENGTH(HEX({column}))" for column in columns)
            for columns in (("resource", "selector"), ("owner", "key_name", "broken_by", "reason"))
        )
        ((last, count, digits),) = await self.database.read(
            lambda transaction: transaction.query(
                # In the inner statement: MariaDB would copy whole rows, to measure the copies.
                f"SELECT MAX(id), COUNT(*), SUM(digits) FROM (SELECT id, 3 * ({names}) + {others} AS digits "
                f"FROM event WHERE id > %s AND id <= {SETTLED} ORDER BY id LIMIT %s) AS oldest",
                (after, limit),
            )
        )
        return Weight(last or after, count, count * EVENT_SIZE + int(digits or 0) // 2)

    async def marks(self) -> list[Mark]:
        rows = await self.database.read(
            lambda transaction: transaction.query("SELECT passed, event FROM event_mark ORDER BY passed")
        )
        return [Mark(*row) for row in rows]

    async def mark(self, mark: Mark, first: int, last: int) -> None:
        def keep(transaction: Transaction) -> None:
            # By somebody else's clock it may be later, or earlier.
            transaction.execute("DELETE FROM event_mark WHERE passed < %s OR passed > %s", (first, last))
            transaction.execute("INSERT INTO event_mark (passed, event) VALUES (%s, %s)", mark)

        await self._write(keep)

    async def forget_events(self, last: int) -> bool:
        return await self._forget("event", "id", last)

    async def forget_losses(self, last: int) -> bool:
        return await self._forget("loss", "event", last)

    async def _forget(self, table: str, number: str, last: int) -> bool:
        """Forget some of the rows of a table that have the lowest numbers."""
        ((count, reached),) = await self.database.read(
            lambda transaction: transaction.query(
                f"SELECT COUNT(*), MAX({number}) FROM "
                f"(SELECT {number} FROM {table} WHERE {number} <= %s ORDER BY {number} LIMIT %s) AS oldest",
                (last, FORGET_AT_ONCE),
            )
        )
        if not count:
            return False
        await self._write(
            lambda transaction: transaction.execute(f"DELETE FROM {table} WHERE {number} <= %s", (reached,))
        )
        return bool(count == FORGET_AT_ONCE)


def events_of(rows: list[tuple[Any, ...]]) -> list[Event]:
    """Return events by their rows of ``EVENT_COLUMNS``."""
    return [
        Event(
            id_,
            EventKind(kind),
            at,
            LockKey(text(name), text(part)),
            text(owner),
            fence,
            seconds,
            text(key_name),
            text(by),
            text(reason),
            priority,
        )
        for id_, kind, at, name, part, owner, fence, seconds, key_name, by, reason, priority in rows
    ]
