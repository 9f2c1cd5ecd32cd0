"""The ``Store`` in SQL. Every statement lives here, or in ``batches``."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

from resourced.deferreds import Gathered
from resourced.errors import (
    UNDONE,
    ConfigurationError,
    DataNotFound,
    EpochLost,
    EventsForgotten,
    ResourceExists,
    ResourceNotFound,
    StoreRefused,
    StoreUnavailable,
)
from resourced.model import (
    EVENT_SIZE,
    Batch,
    Document,
    Event,
    EventKind,
    Key,
    Loss,
    Mark,
    Place,
    Resource,
    Snapshot,
    Standing,
    Term,
    Weight,
    Write,
)
from resourced.storage import statements
from resourced.storage.sql.executor import Database
from resourced.storage.sql.health import Fault
from resourced.storage.sql.pool import DuplicateKey, Transaction, Work
from resourced.storage.sql.statement import Statement

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Spelling:
    """The few statements that the two databases spell each in its own way."""

    keep: str
    locked: str
    along: str


_SPELLINGS: Final[Mapping[str, _Spelling]] = {
    "mysql": _Spelling(
        keep="ON DUPLICATE KEY UPDATE data = VALUES(data), version = VALUES(version)",
        locked=" FOR UPDATE",
        # Left to itself, MariaDB walks to where a page begins from the first of all that have the same name.
        along=" FORCE INDEX ({})",
    ),
    "sqlite": _Spelling(
        keep="ON CONFLICT (id_resource, selector) DO UPDATE SET data = excluded.data, version = excluded.version",
        # Its one writer at a time needs no more.
        locked="",
        along="",
    ),
}

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
_PATIENCE: Final = 0.01

#: How many events are forgotten at once: whoever commits meanwhile waits for it.
FORGET_AT_ONCE: Final = 500

#: More than any id is.
_ALL: Final = 2**63 - 1

_LOST: Final = "Another daemon has taken over this store, so this one must stop."
_GONE_BACK: Final = (
    "This store has gone back to what it was before this daemon began to serve it, so this daemon must stop."
)


class _Row(NamedTuple):
    """A row about a resource, and about the data at one of its selectors if there is any."""

    resource_id: str
    id: str
    data: str | None
    version: int


class SQLStore:
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
        self._database = database
        self._owner = owner or secrets.token_hex(16)
        self._judge = judge
        self._now = now
        self._spelling = _SPELLINGS[database.dialect.name]
        self._epoch = 0
        # Whether the database has become another server, in which this daemon has begun no term yet.
        self._elsewhere = False
        self._reads = Gathered(self._look_at, _TOGETHER)

    async def create_resource(self, name: str, timeout: int) -> Resource:
        resource = Resource(str(uuid.uuid4()), name, timeout)

        def create(transaction: Transaction) -> None:
            transaction.execute(
                "INSERT INTO resource (id, name, timeout) VALUES (%s, %s, %s)", (resource.id, name, timeout)
            )

        try:
            await self._write(create)
        except DuplicateKey:
            raise ResourceExists(f"There is a resource named {name!r} already.") from None
        return resource

    async def change_resource(self, name: str, timeout: int) -> Resource:
        def change(transaction: Transaction) -> list[tuple[Any, ...]]:
            transaction.execute("UPDATE resource SET timeout = %s WHERE name = %s", (timeout, name))
            return transaction.query("SELECT id FROM resource WHERE name = %s", (name,))

        rows = await self._write(change)
        if not rows:
            raise _unknown(name)
        return Resource(rows[0][0], name, timeout)

    async def list_resources(self, prefix: str, after: str, limit: int) -> list[Resource]:
        within, bounds = _between("name", prefix, after)
        rows = await self._database.read(
            lambda transaction: transaction.query(
                f"SELECT id, name, timeout FROM resource WHERE {within} ORDER BY name LIMIT %s", (*bounds, limit)
            )
        )
        return [Resource(id_, _text(name), _timeout(timeout)) for id_, name, timeout in rows]

    async def list_selectors(self, resource: Resource, prefix: str, after: str, limit: int) -> list[str]:
        within, bounds = _between("selector", prefix, after)
        rows = await self._database.read(
            lambda transaction: transaction.query(
                f"SELECT selector FROM resource_data{self._along('resource_data_selector')} "
                f"WHERE id_resource = %s AND {within} AND data IS NOT NULL ORDER BY selector LIMIT %s",
                (resource.id, *bounds, limit),
            )
        )
        return [_text(selector) for (selector,) in rows]

    async def find_resource(self, name: str) -> Resource:
        rows = await self._database.read(
            lambda transaction: transaction.query("SELECT id, timeout FROM resource WHERE name = %s", (name,))
        )
        if not rows:
            raise _unknown(name)
        return Resource(rows[0][0], name, _timeout(rows[0][1]))

    async def read(self, resource: Resource, selector: str) -> Document:
        found = await self._reads.get(Key(resource.name, selector))
        if found is None:
            raise _unknown(resource.name)
        if found.data is None:
            raise DataNotFound(f"There is no data at selector {selector!r} of resource {resource.name!r} yet.")
        return Document(found.id, found.resource_id, selector, found.data, found.version)

    async def events(self, key: Key, before: int, limit: int) -> list[Event]:
        rows = await self._database.read(
            lambda transaction: transaction.query(
                f"SELECT {statements.EVENT_COLUMNS} FROM event{self._along('event_of_lock')} "
                "WHERE resource = %s AND selector = %s AND id < %s ORDER BY id DESC LIMIT %s",
                (*key, before or _ALL, limit),
            )
        )
        return _events(rows)

    async def events_since(self, after: int, limit: int) -> list[Event]:
        def read(transaction: Transaction) -> tuple[list[tuple[Any, ...]], int]:
            rows = transaction.query(
                f"SELECT {statements.EVENT_COLUMNS} FROM event WHERE id > %s ORDER BY id LIMIT %s",
                (after, limit),
            )
            # Looked at last: what is kept now was kept when the others were read. They are forgotten in their order.
            ((newest, oldest),) = transaction.query(
                "SELECT event, (SELECT MIN(id) FROM event) FROM server WHERE id = 1"
            )
            return rows, newest + 1 if oldest is None else oldest

        rows, oldest = await self._database.read(read)
        if after + 1 < oldest:
            raise EventsForgotten("What has happened since is not kept any more.")
        return _events(rows)

    async def newest_event(self) -> int:
        ((newest,),) = await self._database.read(lambda transaction: transaction.query("SELECT MAX(id) FROM event"))
        return newest or 0

    async def weigh_events(self, after: int, limit: int) -> Weight:
        # Names are in an index too. Of the digits there are two for each byte, in either database.
        names, others = (
            " + ".join(f"LENGTH(HEX({column}))" for column in columns)
            for columns in (("resource", "selector"), ("owner", "key_name", "broken_by", "reason"))
        )
        ((last, count, double),) = await self._database.read(
            lambda transaction: transaction.query(
                f"SELECT MAX(id), COUNT(*), SUM(2 * ({names}) + {others}) FROM "
                "(SELECT * FROM event WHERE id > %s ORDER BY id LIMIT %s) AS oldest",
                (after, limit),
            )
        )
        return Weight(last or after, count, count * EVENT_SIZE + int(double or 0) // 2)

    async def marks(self) -> list[Mark]:
        rows = await self._database.read(
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
        ((count, reached),) = await self._database.read(
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

    async def ping(self) -> None:
        own_epoch = self._own_epoch()
        ((epoch, owner),) = await self._database.probe(
            lambda transaction: transaction.query("SELECT epoch, owner FROM server WHERE id = 1")
        )
        if own_epoch and _text(owner) != self._owner:
            raise EpochLost(_lost(epoch, own_epoch))

    async def look(self) -> Term:
        ((epoch, beat, owner, state, guard),) = await self._database.probe(
            lambda transaction: transaction.query("SELECT epoch, beat, owner, state, guard FROM server WHERE id = 1")
        )
        return Term(epoch, beat, _text(owner) == self._owner, _text(state) == "gone", _text(guard))

    async def begin_term(self, over: Term | None = None, guard: str = "") -> Snapshot:
        elsewhere = self._elsewhere = self._database.begin_term() or self._elsewhere
        if elsewhere:
            try:
                await self._database.prepare()
            except ConfigurationError as error:
                raise StoreUnavailable(error.sentence) from None
        self._epoch = await self._database.write(
            lambda transaction: self._raise_epoch(transaction, over, guard, elsewhere=elsewhere)
        )
        self._elsewhere = False
        return await self._database.read(self._survey)

    async def beat(self, guard: str) -> None:
        await self._write(
            lambda transaction: transaction.execute("UPDATE server SET guard = %s WHERE id = 1", (guard,))
        )

    async def leave(self) -> None:
        await self._write(
            lambda transaction: transaction.execute("UPDATE server SET state = 'gone', guard = '' WHERE id = 1")
        )

    async def commit(self, batch: Batch) -> None:
        epoch = self._own_epoch()
        await self._database.write_at_once(
            lambda: self._script(epoch, batch), lambda transaction: self._apply(transaction, epoch, batch)
        )

    async def restored(self) -> str:
        """Return the word of the restoration that was last done."""
        ((word,),) = await self._database.read(
            lambda transaction: transaction.query("SELECT restored FROM server WHERE id = 1")
        )
        return _text(word)

    async def note_restored(self, word: str) -> None:
        """Take note of a restoration by its word."""
        await self._write(
            lambda transaction: transaction.execute("UPDATE server SET restored = %s WHERE id = 1", (word,))
        )

    async def sweep(self) -> bool:
        removed = await self._database.read(
            lambda transaction: transaction.query(
                "SELECT id FROM resource WHERE name >= %s AND name < %s LIMIT 1", (statements.REMOVED, _FIRST)
            )
        )
        if not removed:
            return False
        ((id_,),) = removed

        def sweep(transaction: Transaction) -> None:
            rows = transaction.query("SELECT id FROM resource_data WHERE id_resource = %s LIMIT %s", (id_, _SWEPT))
            until = self._now() + _PATIENCE
            for row in rows:
                transaction.execute("DELETE FROM resource_data WHERE id = %s", row)
                if self._now() > until:
                    return
            if len(rows) < _SWEPT:
                transaction.execute("DELETE FROM resource WHERE id = %s", (id_,))

        await self._write(sweep)
        return True

    async def close(self) -> None:
        await self._database.close()

    async def _look_at(self, keys: list[Key]) -> dict[Key, _Row]:
        """Fetch what is kept at some selectors, as far as their resources exist, in one statement."""
        each = (
            "SELECT {} AS number, r.id, d.id, d.data, d.version FROM resource AS r "
            # An original server's column may allow NULL, which is no data.
            "LEFT JOIN resource_data AS d ON d.id_resource = r.id AND d.selector = %s AND d.data IS NOT NULL "
            "WHERE r.name = %s"
        )
        statement = " UNION ALL ".join(each.format(number) for number in range(len(keys)))
        names = [name for key in keys for name in (key.selector, key.resource)]
        rows = await self._database.read(lambda transaction: transaction.query(statement, names))
        found = {keys[number]: _Row(*row) for number, *row in rows}
        if sum(len(row.data or "") for row in found.values()) > _MUCH:
            self._reads.most = max(1, self._reads.most // 2)
        elif len(keys) == self._reads.most:
            self._reads.most = min(_TOGETHER, self._reads.most * 2)
        return found

    def _along(self, index: str) -> str:
        """Say by which index a page is to be found."""
        return self._spelling.along.format(index)

    async def _write(self, work: Work[T]) -> T:
        """Do work in a transaction that fails if this daemon's term is over, and excludes those of all others."""
        epoch = self._own_epoch()

        def claimed(transaction: Transaction) -> T:
            self._claim(transaction, epoch)
            return work(transaction)

        return await self._database.write(claimed)

    def _own_epoch(self) -> int:
        """
        Return the epoch of this daemon's term, or 0 if it has had none.

        :raises resourced.errors.StoreUnavailable: there is none in the server that the database has become. What that says of the leader is old.
        """
        if self._elsewhere:
            raise StoreUnavailable(f"{Fault.PARTED.sentence} {UNDONE}")
        return self._epoch

    def _raise_epoch(self, transaction: Transaction, over: Term | None, guard: str, *, elsewhere: bool) -> int:
        """
        Begin a term, or a part of it.

        :param elsewhere: whether this is another server than before, which may not know yet that this daemon is the leader.
        """
        ((epoch, beat, owner, state),) = transaction.query(
            f"SELECT epoch, beat, owner, state FROM server WHERE id = 1{self._spelling.locked}"
        )
        if over is not None:
            free = (epoch, beat) == (over.epoch, over.beat)
        else:
            mine = _text(owner) == self._owner and _text(state) == "up"
            free = bool(self._epoch) and (mine or (elsewhere and epoch < self._epoch))
        new = max(int(epoch), self._epoch) + 1
        # What was read may be old, in a cluster: to change the row is what counts.
        if not free or not transaction.execute(
            "UPDATE server SET epoch = %s, beat = beat + 1, owner = %s, state = 'up', "
            "guard = CASE WHEN %s THEN %s ELSE guard END WHERE id = 1 AND epoch = %s AND beat = %s",
            (new, self._owner, over is not None, guard, epoch, beat),
        ):
            raise EpochLost(_lost(epoch, self._epoch))
        return new

    def _survey(self, transaction: Transaction) -> Snapshot:
        ((epoch, owner, fence, event),) = transaction.query(
            "SELECT epoch, owner, fence, event FROM server WHERE id = 1"
        )
        if (epoch, _text(owner)) != (self._epoch, self._owner):
            raise EpochLost(_lost(epoch, self._epoch))
        places = transaction.query(
            "SELECT seq, resource, selector, ticket, standing, fence, owner, idempotency_key, key_name, since FROM place ORDER BY seq"
        )
        losses = transaction.query("SELECT event, resource, selector, ticket, key_name FROM loss ORDER BY event")
        ((passed,),) = transaction.query("SELECT MAX(passed) FROM event_mark")
        timeouts = transaction.query(
            "SELECT name, timeout FROM resource WHERE name IN (SELECT DISTINCT resource FROM place)"
        )
        return Snapshot(
            epoch=epoch,
            fence=fence,
            places=[
                Place(
                    seq,
                    Key(_text(name), _text(part)),
                    _text(ticket),
                    Standing(standing),
                    grant,
                    _text(who),
                    _text(idempotency_key),
                    _text(key_name),
                    since,
                )
                for seq, name, part, ticket, standing, grant, who, idempotency_key, key_name, since in places
            ],
            timeouts={_text(name): _timeout(timeout) for name, timeout in timeouts},
            event=event,
            losses=tuple(
                Loss(id_, Key(_text(name), _text(part)), _text(ticket), _text(key_name))
                for id_, name, part, ticket, key_name in losses
            ),
            passed=passed or 0,
        )

    def _claim(self, transaction: Transaction, epoch: int, fence: int = 0, event: int = 0) -> None:
        """Change the leader's row, so that no other term begins before the transaction ends."""
        if transaction.execute(*statements.claim(epoch, self._owner, fence, event)):
            return
        ((now, owner),) = transaction.query("SELECT epoch, owner FROM server WHERE id = 1")
        if _text(owner) == self._owner:
            raise StoreUnavailable("The lock table was read anew meanwhile; try again.")
        raise EpochLost(_lost(now, epoch))

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
            statements.claim(epoch, self._owner, batch.fence, batch.event),
            statements.FOUND,
            *statements.before(batch),
            *checks,
            *statements.after(batch, self._spelling.keep),
        ]

    def _check_holders(self, transaction: Transaction, writes: list[Write]) -> None:
        holders: dict[int, tuple[Key, str, int]] = {}
        for chunk in _chunks(sorted({write.seq for write in writes})):
            rows = transaction.query(
                "SELECT seq, resource, selector, ticket, fence, standing FROM place "
                f"WHERE seq IN ({statements.marks(chunk)}){self._spelling.locked}",
                chunk,
            )
            for seq, name, part, ticket, fence, standing in rows:
                if standing in {Standing.HOLDING, Standing.GRANTED}:
                    holders[seq] = (Key(_text(name), _text(part)), _text(ticket), fence)
        for write in writes:
            if holders.get(write.seq) != (write.key, write.ticket, write.fence):
                raise StoreRefused("In the store this ticket does not hold the lock, so nothing was written.")


def _lost(epoch: int, own_epoch: int) -> str:
    """Say why a term is over, by the epoch that the store has and the one that it had."""
    return _LOST if epoch >= own_epoch else _GONE_BACK


def _unknown(name: str) -> ResourceNotFound:
    return ResourceNotFound(f"There is no resource named {name!r}.")


def _events(rows: list[tuple[Any, ...]]) -> list[Event]:
    return [
        Event(
            id_,
            EventKind(kind),
            at,
            Key(_text(name), _text(part)),
            _text(owner),
            fence,
            seconds,
            _text(key_name),
            _text(by),
            _text(reason),
        )
        for id_, kind, at, name, part, owner, fence, seconds, key_name, by, reason in rows
    ]


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


def _text(value: str | bytes) -> str:
    """Return a name as text: MySQL keeps exact names as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _timeout(value: int | None) -> int:
    """Return a timeout that can be used: the original server did not mind NULL or less than nothing."""
    return max(0, value or 0)


def _chunks(numbers: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(numbers), _CHUNK):
        yield numbers[start : start + _CHUNK]
