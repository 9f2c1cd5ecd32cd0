"""Who leads, in SQL: the row that every commit of a daemon changes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from resourced.errors import UNDONE, ConfigurationError, EpochLost, StoreUnavailable
from resourced.model import LockKey, Loss, Place, Snapshot, Standing, Term
from resourced.storage import statements
from resourced.storage.spelling import RESOURCE_COLUMNS, SPELLINGS, resource_of, text
from resourced.storage.sql.executor import Database
from resourced.storage.sql.health import Fault
from resourced.storage.sql.pool import Transaction, Work
from resourced.wants import Card, JointRequest, wants_from

T = TypeVar("T")

#: Reads rows of a table by their columns, in the order of the first one.
Rows = Callable[[Transaction, str, str], list[tuple[Any, ...]]]

#: The row of a daemon that serves the store by itself. Those of the nodes of a cluster have higher numbers.
ALONE: Final = 1

_LOST: Final = "Another daemon has taken over this store, so this one must stop."
_GONE_BACK: Final = (
    "This store has gone back to what it was before this daemon began to serve it, so this daemon must stop."
)


def every_row(transaction: Transaction, columns: str, table: str) -> list[tuple[Any, ...]]:
    """Read all rows of a table; of resources those that something is known of."""
    used = " WHERE name IN (SELECT resource FROM place UNION SELECT resource FROM card)" if table == "resource" else ""
    return transaction.query(f"SELECT {columns} FROM {table}{used} ORDER BY 1")


class SQLTerms:
    """
    The part of the ``Store`` that says who may write.

    :param owner: a name for this daemon that no other one has.
    """

    def __init__(self, database: Database, *, owner: str = "") -> None:
        self.database = database
        self._owner = owner or secrets.token_hex(16)
        self._spelling = SPELLINGS[database.dialect.name]
        self._row = ALONE
        self._epoch = 0
        # Whether the database has become another server, in which this daemon has begun no term yet.
        self._elsewhere = False

    async def ping(self) -> None:
        own_epoch = self._own_epoch()
        ((epoch, owner, state),) = await self.database.probe(
            lambda transaction: transaction.query("SELECT epoch, owner, state FROM server WHERE id = %s", (self._row,))
        )
        if own_epoch and (text(owner) != self._owner or text(state) == "dead"):
            raise EpochLost(_lost(epoch, own_epoch))

    async def look(self, *, everywhere: bool = False) -> Term:  # noqa: ARG002 - such a daemon serves the store by itself
        rows = await self.database.probe(
            lambda transaction: transaction.query("SELECT id, epoch, beat, owner, state, guard FROM server")
        )
        up = [row for row in rows if text(row[4]) == "up"]
        own = next((row for row in rows if row[0] == self._row), None)
        return Term(
            *_together((epoch, beat) for _, epoch, beat, *_ in rows),
            own is not None and text(own[3]) == self._owner and up in ([], [own]),
            not up,
            text(own[5]) if own is not None and up == [own] else "",
        )

    async def begin_term(self, over: Term | None = None, guard: str = "") -> Snapshot:
        elsewhere = self._elsewhere = self.database.begin_term() or self._elsewhere
        if elsewhere:
            try:
                await self.database.prepare()
            except ConfigurationError as error:
                raise StoreUnavailable(error.sentence) from None
        self._epoch = await self.database.write(
            lambda transaction: self._raise_epoch(transaction, over, guard, elsewhere=elsewhere)
        )
        self._elsewhere = False
        return await self.database.read(self._survey)

    async def beat(self, guard: str, event: int = 0, passed: int = 0) -> None:
        def beat(transaction: Transaction) -> None:
            transaction.execute(
                "UPDATE server SET guard = %s, passed = CASE WHEN passed < %s THEN %s ELSE passed END WHERE id = %s",
                (guard, passed, passed, self._row),
            )

        await self._write(beat, event)

    async def leave(self) -> None:
        await self._write(
            lambda transaction: transaction.execute(
                "UPDATE server SET state = 'gone', guard = '' WHERE id = %s", (self._row,)
            )
        )

    async def restored(self) -> str:
        """Return the word of the restoration that was last done."""
        ((word,),) = await self.database.read(
            lambda transaction: transaction.query("SELECT restored FROM server WHERE id = 1")
        )
        return text(word)

    async def note_restored(self, word: str) -> None:
        """Take note of a restoration by its word."""
        await self._write(
            lambda transaction: transaction.execute("UPDATE server SET restored = %s WHERE id = 1", (word,))
        )

    async def close(self) -> None:
        await self.database.close()

    async def _write(self, work: Work[T], event: int = 0) -> T:
        """Do work in a transaction that fails if this daemon's term is over, and excludes that anybody ends it meanwhile."""
        epoch = self._own_epoch()

        def claimed(transaction: Transaction) -> T:
            self._claim(transaction, epoch, 0, event)
            return work(transaction)

        return await self.database.write(claimed)

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
        if over is not None:
            self._end_all(transaction, over)
        ((epoch, beat, owner, state),) = transaction.query(
            f"SELECT epoch, beat, owner, state FROM server WHERE id = %s{self._spelling.locked}", (self._row,)
        )
        mine = text(owner) == self._owner and text(state) == "up"
        free = over is not None or (bool(self._epoch) and (mine or (elsewhere and epoch < self._epoch)))
        new = max(int(epoch), self._epoch) + 1
        # What was read may be old, in a cluster: to change the row is what counts.
        if not free or not transaction.execute(
            "UPDATE server SET epoch = %s, beat = beat + 1, owner = %s, state = 'up', "
            "guard = CASE WHEN %s THEN %s ELSE guard END WHERE id = %s AND epoch = %s AND beat = %s",
            (new, self._owner, over is not None, guard, self._row, epoch, beat),
        ):
            raise EpochLost(_lost(epoch, self._epoch))
        return new

    def _end_all(self, transaction: Transaction, over: Term) -> None:
        """End the terms of all nodes, if nobody has committed anything since they were looked at."""
        rows = transaction.query(f"SELECT id, epoch, beat, state FROM server{self._spelling.locked}")
        if _together((epoch, beat) for _, epoch, beat, _ in rows) != (over.epoch, over.beat):
            raise EpochLost(_LOST)
        for id_, epoch, beat, state in rows:
            if (
                id_ != self._row
                and text(state) == "up"
                and not transaction.execute(*statements.declared_dead(id_, epoch, beat))
            ):
                raise EpochLost(_LOST)

    def _survey(self, transaction: Transaction) -> Snapshot:
        return self._snapshot(transaction, every_row)

    def _snapshot(self, transaction: Transaction, rows: Rows) -> Snapshot:
        """
        Say what the store knows.

        :param rows: reads the rows of a table that the snapshot is about, in their order.
        """
        # Whoever has served the store before, be it alone or as a node, has its numbers in a row of its own.
        ((epoch, owner, fence, event),) = transaction.query(
            "SELECT epoch, owner, (SELECT MAX(fence) FROM server), (SELECT MAX(event) FROM server) FROM server "
            "WHERE id = %s",
            (self._row,),
        )
        if (epoch, text(owner)) != (self._epoch, self._owner):
            raise EpochLost(_lost(epoch, self._epoch))
        places = rows(transaction, statements.PLACE_COLUMNS, "place")
        losses = rows(transaction, "event, resource, selector, ticket, key_name", "loss")
        joints = rows(transaction, statements.JOINT_COLUMNS, "joint_request")
        cards = rows(transaction, statements.CARD_COLUMNS, "card")
        resources = rows(transaction, RESOURCE_COLUMNS, "resource")
        ((marked, beaten),) = transaction.query(
            "SELECT (SELECT MAX(passed) FROM event_mark), (SELECT MAX(passed) FROM server)"
        )
        return Snapshot(
            epoch=epoch,
            fence=fence,
            places=[_place(*row) for row in places],
            resources={resource.name: resource for resource in map(resource_of, resources)},
            event=event,
            losses=tuple(
                Loss(id_, LockKey(text(name), text(part)), text(ticket), text(key_name))
                for id_, name, part, ticket, key_name in losses
            ),
            passed=max(marked or 0, beaten),
            joints=tuple(_joint(*row) for row in joints),
            cards=dict(_unit(*row) for row in cards),
        )

    def _claim(self, transaction: Transaction, epoch: int, fence: int = 0, event: int = 0) -> None:
        """Change this daemon's row, so that its term does not end before the transaction does."""
        if transaction.execute(*statements.claim(self._row, epoch, self._owner, fence, event)):
            return
        ((now, owner, state),) = transaction.query("SELECT epoch, owner, state FROM server WHERE id = %s", (self._row,))
        if text(owner) == self._owner and text(state) != "dead":
            raise StoreUnavailable("The lock table was read anew meanwhile; try again.")
        raise EpochLost(_lost(now, epoch))


def _together(rows: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Add epochs and beats up: both only grow, so two such sums are the same only if no row has changed in between."""
    found = list(rows)
    return sum(int(epoch) for epoch, _ in found), sum(int(beat) for _, beat in found)


def _lost(epoch: int, own_epoch: int) -> str:
    """Say why a term is over, by the epoch that the store has and the one that it had."""
    return _LOST if epoch >= own_epoch else _GONE_BACK


def _place(
    seq: int,
    name: str,
    part: str,
    ticket: str,
    standing: int,
    fence: int,
    owner: str,
    again: str,
    key_name: str,
    *rest: int,
) -> Place:
    return Place(
        seq,
        LockKey(text(name), text(part)),
        text(ticket),
        Standing(standing),
        fence,
        text(owner),
        text(again),
        text(key_name),
        *rest,
    )


def _joint(
    seq: int,
    ticket: str,
    wants: str,
    yields: int,
    priority: int,
    lease: int,
    owner: str,
    key_name: str,
    again: str,
    since: int,
    granted: int,
) -> JointRequest:
    return JointRequest(
        seq,
        text(ticket),
        wants_from(text(wants)),
        bool(yields),
        priority,
        lease,
        text(owner),
        text(key_name),
        text(again),
        since,
        bool(granted),
    )


def _unit(name: str, part: str, tags: str, note: str, out: str | None, out_since: int) -> tuple[LockKey, Card]:
    card = Card(frozenset(text(tags).split()), text(note), None if out is None else text(out), out_since)
    return LockKey(text(name), text(part)), card
