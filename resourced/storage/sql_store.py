"""The ``Store`` in SQL: resources, their data, and commits. What a commit is says ``statements``."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from typing import Any, Final, NamedTuple, TypeVar

from resourced.deferreds import Gathered
from resourced.errors import (
    DataNotFound,
    ResourceExists,
    ResourceNotFound,
    StoreRefused,
)
from resourced.model import (
    Batch,
    Document,
    LockKey,
    Resource,
    Standing,
    Write,
)
from resourced.storage import statements
from resourced.storage.spelling import RESOURCE_COLUMNS, resource_of, text
from resourced.storage.sql.executor import Database
from resourced.storage.sql.pool import DuplicateKey, Transaction
from resourced.storage.sql.statement import Statement
from resourced.storage.sql_usage import SQLUsage

T = TypeVar("T")


#: How many selectors are looked at in one statement, SQLite takes 500; and fewer if they have more than so many characters.
_TOGETHER: Final = 100
_MUCH: Final = 4 << 20

#: How many rows one ``IN (...)`` names at most.
_CHUNK: Final = 1000

#: What comes before every name that a client can say, and after those of removed resources.
_FIRST: Final = " "
#: How many rows of removed data are deleted in one transaction, and for how many seconds: while it lasts no lock changes hands, and
#: to delete a long text takes a while.
_SWEPT: Final = 100
_CHECK_TIMEOUT: Final = 0.01


#: The columns of what can be changed of a resource, by its fields.
_COLUMNS: Final[Mapping[str, str]] = {
    "timeout": "timeout",
    "group": "resource_group",
    "longest": "longest",
    "slots": "slots",
}


class _Row(NamedTuple):
    """A row about a resource, and about the data at one of its selectors if there is any."""

    resource_id: str
    id: str
    data: str | None
    version: int


class SQLStore(SQLUsage):
    """
    The ``Store`` in MySQL, MariaDB or SQLite.

    :param owner: a name for this daemon that no other one has.
    :param judge: check of each write that its ticket holds the lock in the store.  Without it, for a daemon that keeps
        its places in memory only, just the epoch is checked.
    :param now: a clock in seconds that nobody sets.
    """

    def __init__(
        self,
        database: Database,
        *,
        owner: str = "",
        judge: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(database, owner=owner)
        self._judge = judge
        self._now = now
        self._reads = Gathered(self._look_at, _TOGETHER)

    @property
    def together(self) -> int:
        """How many documents are read in one statement at most: fewer if they are large."""
        return self._reads.most

    async def create_resource(
        self, name: str, timeout: int, *, group: str = "", longest: int = 0, slots: int = 0
    ) -> Resource:
        resource = Resource(str(uuid.uuid4()), name, timeout, group, longest, slots)

        def create(transaction: Transaction) -> None:
            transaction.execute(
                f"INSERT INTO resource ({RESOURCE_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s)", astuple(resource)
            )

        try:
            await self._write(create)
        except DuplicateKey:
            raise ResourceExists(f"There is a resource named {name!r} already.") from None
        return resource

    async def change_resource(self, name: str, changes: Mapping[str, int | str]) -> Resource:
        columns = [_COLUMNS[field] for field in changes]

        def change(transaction: Transaction) -> list[tuple[Any, ...]]:
            self._check_change(transaction, name, changes)
            transaction.execute(
                f"UPDATE resource SET {', '.join(f'{column} = %s' for column in columns)} WHERE name = %s",
                (*changes.values(), name),
            )
            return transaction.query(f"SELECT {RESOURCE_COLUMNS} FROM resource WHERE name = %s", (name,))

        rows = await self._write(change)
        if not rows:
            raise _unknown(name)
        return resource_of(rows[0])

    async def list_resources(self, prefix: str, after: str, limit: int) -> list[Resource]:
        within, bounds = _between("name", prefix, after)
        rows = await self.database.read(
            lambda transaction: transaction.query(
                f"SELECT {RESOURCE_COLUMNS} FROM resource WHERE {within} ORDER BY name LIMIT %s", (*bounds, limit)
            )
        )
        return list(map(resource_of, rows))

    async def list_selectors(self, resource: Resource, prefix: str, after: str, limit: int) -> list[str]:
        within, bounds = _between("selector", prefix, after)
        rows = await self.database.read(
            lambda transaction: transaction.query(
                "SELECT selector FROM resource_data "
                f"WHERE id_resource = %s AND {within} AND data IS NOT NULL ORDER BY selector LIMIT %s",
                (resource.id, *bounds, limit),
            )
        )
        return [text(selector) for (selector,) in rows]

    async def find_resource(self, name: str) -> Resource:
        rows = await self.database.read(
            lambda transaction: transaction.query(f"SELECT {RESOURCE_COLUMNS} FROM resource WHERE name = %s", (name,))
        )
        if not rows:
            raise _unknown(name)
        return resource_of(rows[0])

    async def read(self, resource: Resource, selector: str) -> Document:
        found = await self._reads.get(LockKey(resource.name, selector))
        if found is None:
            raise _unknown(resource.name)
        document = _document(found, selector)
        if document is None:
            raise DataNotFound.at(resource.name, selector)
        return document

    async def read_all(self, wanted: Sequence[tuple[Resource, str]]) -> list[Document | None]:
        documents: list[Document | None] = []
        while len(documents) < len(wanted):
            some = wanted[len(documents) : len(documents) + self.together]
            keys = [LockKey(resource.name, selector) for resource, selector in some]
            found = await self._look_at(keys)
            for key in keys:
                row = found.get(key)
                if row is None:
                    raise _unknown(key.resource)
                documents.append(_document(row, key.selector))
        return documents

    async def commit(self, batch: Batch) -> None:
        epoch = self._own_epoch()
        await self.database.write_at_once(
            lambda: self._script(epoch, batch), lambda transaction: self._apply(transaction, epoch, batch)
        )

    async def sweep(self) -> bool:
        removed = await self.database.read(
            lambda transaction: transaction.query(
                "SELECT id FROM resource WHERE name >= %s AND name < %s LIMIT 1", (statements.REMOVED, _FIRST)
            )
        )
        if not removed:
            return False
        ((id_,),) = removed

        def sweep(transaction: Transaction) -> None:
            rows = transaction.query(
                "SELECT selector FROM resource_data WHERE id_resource = %s LIMIT %s", (id_, _SWEPT)
            )
            until = self._now() + _CHECK_TIMEOUT
            for (selector,) in rows:
                transaction.execute(
                    "DELETE FROM resource_data WHERE id_resource = %s AND selector = %s", (id_, selector)
                )
                if self._now() > until:
                    return
            if len(rows) < _SWEPT:
                transaction.execute("DELETE FROM resource WHERE id = %s", (id_,))

        await self._write(sweep)
        return True

    async def _look_at(self, keys: list[LockKey]) -> dict[LockKey, _Row]:
        """Fetch what is kept at some selectors, as far as their resources exist, in one statement."""
        each = (
            "SELECT {} AS number, r.id, d.id, d.data, d.version FROM resource AS r "
            # An original server's column may allow NULL, which is no data.
            "LEFT JOIN resource_data AS d ON d.id_resource = r.id AND d.selector = %s AND d.data IS NOT NULL "
            "WHERE r.name = %s"
        )
        statement = " UNION ALL ".join(each.format(number) for number in range(len(keys)))
        names = [name for key in keys for name in (key.selector, key.resource)]
        rows = await self.database.read(lambda transaction: transaction.query(statement, names))
        found = {keys[number]: _Row(*row) for number, *row in rows}
        if sum(len(row.data or "") for row in found.values()) > _MUCH:
            self._reads.most = max(1, self._reads.most // 2)
        elif len(keys) == self._reads.most:
            self._reads.most = min(_TOGETHER, self._reads.most * 2)
        return found

    def _check_change(self, transaction: Transaction, name: str, changes: Mapping[str, int | str]) -> None:
        """Raise if another daemon decides about a resource."""

    def _apply(self, transaction: Transaction, epoch: int, batch: Batch) -> None:
        self._claim(transaction, epoch, batch.fence, batch.event)
        for statement in statements.before(batch):
            transaction.execute(*statement)
        if batch.writes and self._judge:
            self._check_holders(transaction, batch.writes)
        for statement in statements.after(batch, self._spelling.keep):
            transaction.execute(*statement)

    def _script(self, epoch: int, batch: Batch) -> list[Statement]:
        """The same as statements alone, one of which fails if the term is over, and one if a write is not the holder's."""
        checks = [statements.judge(batch.writes)] if batch.writes and self._judge else []
        return [
            statements.claim(self._row, epoch, self._owner, batch.fence, batch.event),
            statements.FOUND,
            *statements.before(batch),
            *checks,
            *statements.after(batch, self._spelling.keep),
        ]

    def _check_holders(self, transaction: Transaction, writes: list[Write]) -> None:
        holders: dict[int, tuple[LockKey, str, int]] = {}
        for chunk in statements.batched(sorted({write.seq for write in writes}), _CHUNK):
            rows = transaction.query(
                "SELECT seq, resource, selector, ticket, fence, standing FROM place "
                f"WHERE seq IN ({statements.marks(chunk)}){self._spelling.locked}",
                chunk,
            )
            for seq, name, part, ticket, fence, standing in rows:
                if standing in {Standing.HOLDING, Standing.GRANTED}:
                    holders[seq] = (LockKey(text(name), text(part)), text(ticket), fence)
        for write in writes:
            if holders.get(write.seq) != (write.key, write.ticket, write.fence):
                raise StoreRefused("In the store this ticket does not hold the lock, so nothing was written.")


def _document(row: _Row, selector: str) -> Document | None:
    """Return what is kept at a selector, if anything is."""
    return None if row.data is None else Document(row.id, row.resource_id, selector, row.data, row.version)


def _unknown(name: str) -> ResourceNotFound:
    return ResourceNotFound(f"There is no resource named {name!r}.")


def _between(column: str, prefix: str, after: str) -> tuple[str, list[str]]:
    """Return a condition, and its parameters, for names that begin with a prefix and come after some name; never for removed ones."""
    within, bounds = f"{column} >= %s AND {column} > %s", [max(prefix, _FIRST), after]
    if end := _end(prefix):
        return f"{within} AND {column} < %s", [*bounds, end]
    return within, bounds


def _end(prefix: str) -> str:
    """Return the first name, by code points, after all that begin with a prefix; empty if there is no such name."""
    rest = prefix.rstrip("\U0010ffff")
    if not rest:
        return ""
    last = ord(rest[-1]) + 1
    # Half a pair is no character, and UTF-8 has no bytes for it.
    return rest[:-1] + chr(0xE000 if last == 0xD800 else last)
