"""A node of a cluster, in SQL: its own row beside those of the others, and the partitions that it owns."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from resourced.errors import EpochLost, NotOwner, StoreUnavailable
from resourced.model import Snapshot, Term
from resourced.partitions import (
    STRIDE,
    ClusterRows,
    Holding,
    NodeRow,
    NodeState,
    partition_of,
    partition_of_ticket,
    ticket_in,
)
from resourced.storage import statements
from resourced.storage.spelling import text
from resourced.storage.sql.executor import Database
from resourced.storage.sql.pool import Transaction
from resourced.storage.sql_store import SQLStore
from resourced.storage.sql_terms import ALONE

#: The first row of a node.
_FIRST: Final = ALONE + 1
#: How many names one statement has at most.
NAMES: Final = 500


@dataclass(frozen=True, slots=True)
class Advertised:
    """
    What a node says of itself.

    :ivar url: where the others reach it.
    :ivar wants: whether it wants partitions.
    """

    url: str
    wants: bool = True


class SQLNode(SQLStore):
    """
    The ``Store`` of a node, which is a ``NodeStore`` too. In MySQL and MariaDB only.

    Whoever comes changes the row of a daemon that would serve the store by itself. So no two nodes come at once, and none beside such a
    daemon.
    """

    def __init__(
        self,
        database: Database,
        advertised: Advertised,
        *,
        owner: str = "",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(database, owner=owner, now=now)
        self._advertised = advertised
        self._row = 0

    @property
    def node(self) -> int:
        return self._row

    @property
    def term(self) -> int:
        return self._epoch

    async def look(self, *, everywhere: bool = False) -> Term:
        if everywhere:
            return await super().look()
        ((epoch, beat, state, guard),) = await self.database.probe(
            lambda transaction: transaction.query(
                "SELECT epoch, beat, state, guard FROM server WHERE id = %s", (ALONE,)
            )
        )
        up = text(state) == "up"
        return Term(epoch, beat, mine=False, ended=not up, guard=text(guard) if up else "")

    async def rows(self) -> ClusterRows:
        def read(transaction: Transaction) -> ClusterRows:
            nodes = transaction.query(
                "SELECT id, epoch, beat, url, state, wants, fence, event FROM server WHERE id > %s", (ALONE,)
            )
            owners = transaction.query("SELECT node, term FROM partition_owner ORDER BY number")
            return ClusterRows(
                {
                    id_: NodeRow(id_, term, beat, text(url), NodeState[text(state).upper()], bool(wants), fence, event)
                    for id_, term, beat, url, state, wants, fence, event in nodes
                },
                [Holding(*row) for row in owners],
            )

        return await self.database.read(read)

    async def declare_dead(self, row: NodeRow) -> bool:
        return bool(
            await self._write(
                lambda transaction: transaction.execute(*statements.declared_dead(row.id, row.term, row.beat))
            )
        )

    async def claim(self, orphans: Mapping[int, Holding]) -> set[int]:
        epoch = self._own_epoch()

        def claim(transaction: Transaction) -> set[int]:
            for holding, numbers in _by_value(orphans):
                transaction.execute(
                    "UPDATE partition_owner SET node = %s, term = %s "
                    f"WHERE node = %s AND term = %s AND number IN ({statements.marks(numbers)}) "
                    "AND NOT EXISTS (SELECT 1 FROM server WHERE id = %s AND epoch = %s AND state = 'up' AND id != %s)",
                    (self._row, epoch, *holding, *numbers, *holding, self._row),
                )
            return self._owned(transaction, epoch) & orphans.keys()

        return await self._write(claim)

    async def load(self, partitions: Collection[int]) -> Snapshot:
        return await self.database.read(lambda transaction: self._survey_of(transaction, frozenset(partitions)))

    async def release(self, targets: Mapping[int, int]) -> None:
        epoch = self._own_epoch()

        def release(transaction: Transaction) -> None:
            left = 0
            for target, numbers in _by_value(targets):
                left += transaction.execute(
                    "UPDATE partition_owner SET node = %s, term = 0 "
                    f"WHERE node = %s AND term = %s AND number IN ({statements.marks(numbers)})",
                    (target, self._row, epoch, *numbers),
                )
            if left != len(targets):
                raise StoreUnavailable("A partition has another owner than this node has believed.")

        await self._write(release)

    async def want(self, *, partitions: bool) -> None:
        await self._write(
            lambda transaction: transaction.execute(
                "UPDATE server SET wants = %s WHERE id = %s", (int(partitions), self._row)
            )
        )

    def _check_change(self, transaction: Transaction, name: str, changes: Mapping[str, int | str]) -> None:
        # A release changes this node's own row too, so it comes before this or after it.
        found = transaction.query("SELECT resource_group FROM resource WHERE name = %s", (name,))
        groups = {text(group) or name for (group,) in found}
        if "group" in changes:
            groups.add(str(changes["group"]) or name)
        if not self._owned(transaction, self._epoch).issuperset(map(partition_of, groups)):
            raise NotOwner("Another node decides about this resource, or about the group that it is to have.")

    def _raise_epoch(self, transaction: Transaction, over: Term | None, guard: str, *, elsewhere: bool) -> int:
        if over is not None:
            return self._join(transaction, over, guard)
        before = self._epoch
        new = super()._raise_epoch(transaction, None, guard, elsewhere=elsewhere)
        # Terms may have begun since of which this node knows nothing, as the answer was lost. All were its own.
        transaction.execute(
            "UPDATE partition_owner SET term = %s WHERE node = %s AND term >= %s", (new, self._row, before)
        )
        return new

    def _join(self, transaction: Transaction, over: Term, guard: str) -> int:
        """
        Take a row.

        :param over: the row of a daemon that serves the store by itself, as it was seen: it is up no more.
        """
        rows = transaction.query(
            f"SELECT id, epoch, beat, url, state FROM server ORDER BY id{self._spelling.locked}",
        )
        # The term grows, so that a daemon of an earlier version looks at the schema before it serves the store by itself.
        if not transaction.execute(
            "UPDATE server SET epoch = epoch + 1, beat = beat + 1, guard = '', "
            "state = CASE WHEN state = 'up' THEN 'dead' ELSE state END WHERE id = %s AND epoch = %s AND beat = %s",
            (ALONE, over.epoch, over.beat),
        ):
            raise EpochLost("Another daemon serves this store by itself, or another node has come at the same time.")
        url = self._advertised.url
        free = [row for row in rows if row[0] != ALONE and text(row[4]) != "up"]
        if not free:
            new = max(max(row[0] for row in rows) + 1, _FIRST)
            if new >= STRIDE:
                raise StoreUnavailable(f"There are {STRIDE - _FIRST} nodes already.")
            transaction.execute(
                "INSERT INTO server (id, epoch, owner, fence) VALUES (%s, 0, '', 0)",
                (new,),
            )
            free = [(new, 0, 0, url, "gone")]
        id_, epoch, beat, *_ = min(free, key=lambda row: (text(row[3]) != url, row[0]))
        if not transaction.execute(
            "UPDATE server SET epoch = epoch + 1, beat = beat + 1, owner = %s, url = %s, wants = %s, state = 'up', "
            "guard = %s WHERE id = %s AND epoch = %s AND beat = %s",
            (self._owner, url, int(self._advertised.wants), guard, id_, epoch, beat),
        ):
            raise EpochLost("Another node has come at the same time.")
        self._row = int(id_)
        return int(epoch) + 1

    def _survey(self, transaction: Transaction) -> Snapshot:
        return self._survey_of(transaction, frozenset(self._owned(transaction, self._epoch)))

    def _owned(self, transaction: Transaction, epoch: int) -> set[int]:
        rows = transaction.query("SELECT number FROM partition_owner WHERE node = %s AND term = %s", (self._row, epoch))
        return {number for (number,) in rows}

    def _survey_of(self, transaction: Transaction, partitions: frozenset[int]) -> Snapshot:
        homes = _homes(transaction, partitions)
        known = self._snapshot(transaction, _Share(partitions, homes).rows)
        ((place, joint),) = transaction.query(
            "SELECT (SELECT MAX(seq) FROM place), (SELECT MAX(seq) FROM joint_request)"
        )
        wanted = {want.resource: partition_of_ticket(each.ticket) or 0 for each in known.joints for want in each.wants}
        return known._replace(
            partitions=partitions, homes={**wanted, **homes}, node=self._row, seq=max(place or 0, joint or 0)
        )


class _Share:
    """
    Reads the rows of some partitions, so that what others have costs little.

    :param homes: the resources in them of which something is known.
    """

    def __init__(self, partitions: Collection[int], homes: Collection[str]) -> None:
        self._tickets = [ticket_in(number, "") for number in partitions]
        self._names = list(homes)

    def rows(self, transaction: Transaction, columns: str, table: str) -> list[tuple[Any, ...]]:
        """Read rows of a table in the order of the first of some columns."""
        if table == "joint_request":
            where, wanted = "LEFT(ticket, 2)", self._tickets
        else:
            where, wanted = "name" if table == "resource" else "resource", self._names
        found: list[tuple[Any, ...]] = []
        for some in statements.batched(wanted, NAMES):
            found += transaction.query(
                f"SELECT {columns} FROM {table} WHERE {where} IN ({statements.marks(some)})", some
            )
        return sorted(found, key=itemgetter(0))


def _homes(transaction: Transaction, partitions: Collection[int]) -> dict[str, int]:
    """Return the partition of each resource in some of them of which something is known beside its definition."""
    used = transaction.query(
        "SELECT used.resource, resource.resource_group FROM "
        "(SELECT resource FROM place UNION SELECT resource FROM card UNION SELECT resource FROM loss) AS used "
        "LEFT JOIN resource ON resource.name = used.resource"
    )
    homes = {text(name): partition_of(text(group or name)) for name, group in used}
    return {name: home for name, home in homes.items() if home in partitions}


def _by_value(numbers: Mapping[int, Any]) -> list[tuple[Any, list[int]]]:
    """Return the numbers that have the same value, for each of these."""
    ordered = sorted(numbers, key=lambda number: (numbers[number], number))
    return [(value, list(group)) for value, group in groupby(ordered, key=lambda number: numbers[number])]
