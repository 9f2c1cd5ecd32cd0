"""
What every store of nodes keeps to: who may write, and what nobody can take that another one owns.

The module that takes these tests has a fixture ``nodes``, which makes the nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest

from resourced.errors import EpochLost, NotOwner, StoreUnavailable
from resourced.model import GRANT, Batch, Event, LockKey, Loss, Place, Standing
from resourced.partitions import PARTITIONS, ClusterRows, Holding, NodeState, partition_of, ticket_in
from resourced.storage.sql.pool import Transaction
from resourced.storage.sql_node import Advertised, SQLNode
from resourced.storage.sql_store import SQLStore
from resourced.testing import MemoryStore
from resourced.wants import Card, JointRequest, Want
from tests.leading import lead
from tests.memory_node import Disk, MemoryNode
from tests.stores import MySQLBackend

A4 = LockKey("printer", "A4")
HOME = partition_of("printer")


class InSQL:
    """Makes nodes, and daemons that serve the store by themselves, on one database."""

    def __init__(self, mysql: MySQLBackend) -> None:
        self.mysql = mysql

    async def alone(self) -> SQLStore:
        return await self.mysql.store()

    async def new(self, url: str, *, wants: bool = True) -> AnyNode:
        await self.mysql.store()
        return SQLNode(self.mysql.database(), Advertised(url, wants))


class InMemory:
    """The same in memory."""

    def __init__(self) -> None:
        self.disk = Disk()

    async def alone(self) -> MemoryStore:
        return self.disk.alone.another()

    async def new(self, url: str, *, wants: bool = True) -> AnyNode:
        return MemoryNode(self.disk, url, wants=wants)


AnyNode = SQLNode | MemoryNode
Made = InSQL | InMemory


async def node(nodes: Made, url: str, *, wants: bool = True) -> AnyNode:
    """Make a node, which has a term."""
    made = await nodes.new(url, wants=wants)
    await lead(made)
    return made


def orphans(rows: ClusterRows) -> set[int]:
    return {number for number in range(PARTITIONS) if rows.is_orphan(number)}


async def claim_all(node: AnyNode) -> set[int]:
    rows = await node.rows()
    return await node.claim({number: rows.owners[number] for number in orphans(rows)})


def place(seq: int, key: LockKey = A4) -> Place:
    return Place(seq, key, f"{seq:032x}", Standing.HOLDING, seq, "", "")


def joint(seq: int, resource: str) -> JointRequest:
    ticket = ticket_in(partition_of("printer" if resource == "scanner" else resource), f"{seq:032x}")
    return JointRequest(seq, ticket, (Want(resource),), False, 0, 0, "", "", "")


async def test_nodes_have_rows_of_their_own(nodes: Made) -> None:
    """Each node has a number and a term; one that has left makes room for the next, whose term is a later one."""
    one, two = await node(nodes, "http://one"), await node(nodes, "http://two", wants=False)
    rows = (await two.rows()).nodes
    assert [(row.id, row.url, row.state, row.wants) for row in rows.values()] == [
        (one.node, "http://one", NodeState.UP, True),
        (two.node, "http://two", NodeState.UP, False),
    ]
    await two.leave()
    assert (await one.rows()).nodes[two.node].state is NodeState.GONE
    again = await node(nodes, "http://three")
    assert (again.node, again.term) == (two.node, two.term + 1)
    with pytest.raises(EpochLost):
        await two.beat("")


async def test_a_partition_has_one_owner(nodes: Made) -> None:
    """What one node owns no other can claim, whatever it has seen; what nobody owns the first one gets."""
    one, two = await node(nodes, "http://one"), await node(nodes, "http://two")
    before = await two.rows()
    assert await claim_all(one) == set(range(PARTITIONS))
    assert await two.claim({7: before.owners[7]}) == set()
    assert orphans(await two.rows()) == set()
    # To claim once more what is one's own changes nothing, and says so.
    assert await one.claim({7: Holding(one.node, one.term)}) == {7}


async def test_left_and_taken(nodes: Made) -> None:
    """A partition that is left is nobody's until it is claimed; then its last owner cannot leave it once more."""
    one, two = await node(nodes, "http://one"), await node(nodes, "http://two")
    await claim_all(one)
    await one.release({7: two.node, 8: two.node})
    rows = await two.rows()
    assert rows.owners[7] == Holding(two.node, 0)
    assert rows.is_orphan(7)
    # Nine is the first one's: that is seen to again where it is claimed.
    assert await two.claim({7: rows.owners[7], 9: rows.owners[9]}) == {7}
    with pytest.raises(StoreUnavailable):
        await one.release({7: one.node})


async def test_dead_by_its_beat(nodes: Made) -> None:
    """A node is declared dead only if it has committed nothing since it was seen; then it can commit nothing, and what it had is nobody's."""
    one, two = await node(nodes, "http://one"), await node(nodes, "http://two")
    await claim_all(one)
    seen = (await two.rows()).nodes[one.node]
    await one.beat("")
    assert not await two.declare_dead(seen)
    assert await two.declare_dead((await two.rows()).nodes[one.node])
    for late in (
        lambda: one.commit(Batch(1, [place(1)])),
        lambda: one.claim({7: Holding(one.node, one.term)}),
        lambda: one.release({7: two.node}),
        one.begin_term,
    ):
        with pytest.raises(EpochLost):
            await late()
    assert await claim_all(two) == set(range(PARTITIONS))


async def test_own_partitions_go_on_into_the_next_term(nodes: Made) -> None:
    """After a failure a node begins a new term, and still owns what it did; a commit of the term before is not done."""
    one = await node(nodes, "http://one")
    await claim_all(one)
    snapshot = await one.begin_term()
    assert snapshot.partitions == frozenset(range(PARTITIONS))
    assert orphans(await one.rows()) == set()


async def test_own_partitions_go_on_if_an_answer_was_lost(nodes: Made) -> None:
    """A node that does not know that its new term has begun begins another one, and still owns what it did."""
    one = await node(nodes, "http://one")
    await claim_all(one)
    known = one.term
    await one.begin_term()
    one._epoch = known
    snapshot = await one.begin_term()
    assert snapshot.partitions == frozenset(range(PARTITIONS))
    assert orphans(await one.rows()) == set()


async def test_a_snapshot_of_some_partitions(nodes: Made) -> None:
    """A node reads what is in its partitions, and numbers that are higher than those that any node has given out."""
    one, two = await node(nodes, "http://one"), await node(nodes, "http://two")
    await claim_all(one)
    await one.create_resource("printer", 0)
    await one.create_resource("scanner", 0, group="printer")
    await one.create_resource("fax", 0)
    scan, fax = LockKey("scanner", "1"), LockKey("fax", "1")
    await one.commit(
        Batch(
            900,
            [place(5), place(6, scan), place(7, fax)],
            event=800,
            losses=[Loss(1, A4, "t", ""), Loss(2, fax, "t", "")],
            joints=[joint(8, "scanner"), joint(9, "fax")],
            cards={scan: Card(frozenset({"x"})), fax: Card(frozenset({"x"}))},
        )
    )
    await one.release({HOME: two.node})
    await two.claim({HOME: Holding(two.node, 0)})
    snapshot = await two.load({HOME})
    assert [found.key for found in snapshot.places] == [A4, scan]
    assert [loss.key for loss in snapshot.losses] == [A4]
    assert [request.seq for request in snapshot.joints] == [8]
    assert list(snapshot.cards) == [scan]
    assert snapshot.homes == {"printer": HOME, "scanner": HOME}
    assert {"printer", "scanner"} == snapshot.resources.keys()
    assert (snapshot.fence, snapshot.event, snapshot.seq, snapshot.node) == (900, 800, 9, two.node)


async def test_others_cost_nothing(nodes: Made) -> None:
    """However much there is of another partition, no more is read of it than the names of its resources."""
    if isinstance(nodes, InMemory):
        pytest.skip("In memory nothing is read.")
    one, two = await node(nodes, "http://one"), await node(nodes, "http://two")
    await claim_all(one)
    await one.create_resource("printer", 0)
    await one.create_resource("fax", 0)
    keys = [LockKey("fax", str(number)) for number in range(300)]
    await one.commit(
        Batch(
            0,
            [place(5), *(place(number, key) for number, key in enumerate(keys, 10))],
            losses=[Loss(number, key, "t", "") for number, key in enumerate(keys, 1)],
            joints=[joint(number, "fax") for number in range(1000, 1300)],
            cards=dict.fromkeys(keys, Card(frozenset())),
        )
    )
    await one.release({HOME: two.node})
    await two.claim({HOME: Holding(two.node, 0)})
    read, query = [], Transaction.query

    def counted(self: Transaction, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        found = query(self, statement, parameters)
        read.extend(found)
        return found

    with patch.object(Transaction, "query", counted):
        snapshot = await two.load({HOME})
    assert [found.key for found in snapshot.places] == [A4]
    assert len(read) < 10


async def test_definitions_are_changed_by_the_owner(nodes: Made) -> None:
    """Only who decides about a resource changes it, so that what the owner remembers of it is right."""
    one, two = await node(nodes, "http://one"), await node(nodes, "http://two")
    await claim_all(one)
    await one.create_resource("printer", 0)
    await one.change_resource("printer", {"timeout": 5})
    await one.release({HOME: two.node})
    for changes in ({"timeout": 6}, {"group": "fax"}):
        with pytest.raises(NotOwner):
            await one.change_resource("printer", changes)
    await two.claim({HOME: Holding(two.node, 0)})
    with pytest.raises(NotOwner):
        await two.change_resource("printer", {"group": "fax"})
    assert (await two.change_resource("printer", {"timeout": 7})).timeout == 7


async def test_events_count_once_all_are_there(nodes: Made) -> None:
    """Events are counted, weighed and marked only up to where each node that is up gives out no ids any more."""
    if isinstance(nodes, InMemory):
        pytest.skip("In the simulation nobody keeps house.")
    one, two = await node(nodes, "http://one"), await node(nodes, "http://two")
    ids = [256 + one.node, 512 + two.node]
    for store, id_ in zip((one, two), ids, strict=True):
        await store.commit(Batch(0, events=[Event(id_, GRANT, 0, A4, "ci", 1, 1.0)], event=id_))
    assert (await one.newest_event(), await two.roll_up(9)) == (ids[0], ids[0])
    assert (await one.weigh_events(0, 9)).last == ids[0]
    await one.beat("", ids[1])
    assert (await one.newest_event(), await two.roll_up(9)) == (ids[1], ids[1])
    # One that has come just now holds the others up until it has looked.
    three = await node(nodes, "http://three")
    assert await one.newest_event() == 0
    await three.beat("", (await three.load(())).event)
    assert await one.newest_event() == ids[1]


async def test_alone_or_together(nodes: Made) -> None:
    """A daemon serves the store by itself only if no node has done anything since it looked, and nodes come only when it has ended."""
    alone = await nodes.alone()
    one = await nodes.new("http://one")
    early = await one.look()
    await lead(alone)
    with pytest.raises(EpochLost):
        await one.begin_term(early)
    assert not (await one.look()).ended
    await alone.commit(Batch(40, [], event=30))
    await alone.leave()
    look = await alone.look()
    await lead(one)
    assert (await one.load(())).fence == 40
    with pytest.raises(EpochLost):
        await alone.begin_term(look)


async def test_alone_after_nodes(nodes: Made) -> None:
    """A daemon that serves the store by itself ends the terms of all nodes, unless one has done anything since it looked."""
    if isinstance(nodes, InMemory):
        pytest.skip("In the simulation there are only nodes.")
    alone, one = await nodes.alone(), await node(nodes, "http://one")
    await one.commit(Batch(700, [], event=600))
    look = await alone.look()
    assert not look.ended
    await one.beat("")
    with pytest.raises(EpochLost):
        await alone.begin_term(look)
    snapshot = await alone.begin_term(await alone.look())
    assert (snapshot.fence, snapshot.event) == (700, 600)
    with pytest.raises(EpochLost):
        await one.beat("")


def test_what_is_old_names_no_false_orphan() -> None:
    """Rows of nodes that are older than those of partitions take nothing away from a node that has come since."""
    rows = ClusterRows({}, [Holding(2, 6), Holding(0, 0)])
    assert not rows.is_orphan(0)
    assert rows.is_orphan(1)
