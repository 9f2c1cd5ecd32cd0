"""Whatever nodes, their store and their clocks do: what a cluster promises holds, in a simulation of it on the real code."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, cast
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

import resourced.assembly
from resourced.cluster.membership import Membership
from resourced.errors import NotOwner
from resourced.locks.shares import Shares
from resourced.locks.state import record
from resourced.locks.state.requests import LockRequest, LockState
from resourced.model import LockKey, Snapshot, Term
from resourced.partitions import Holding, NodeRow, partition_of
from resourced.storage.leader_lease import LEADER_LEASE, MARGIN, LeaderLease
from tests.examples import examples
from tests.memory_node import MemoryNode
from tests.simulation import Link, Weather, World, end_all

#: How many nodes a large cluster has: a hundred in a search that goes as far as usual, which ``make test`` does not.
LARGE = min(100, examples(100))

#: Everything goes wrong now and then.
STORM = Weather(slow=0.05, lost=0.01, refused=0.01, old=3.0, frozen=0.03, killed=0.01)
#: What a safeguard saves from is most often a node that stood still.
FROST = replace(STORM, frozen=0.1)


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """Leave nothing behind."""
    yield
    end_all()


def settled(world: World) -> bool:
    return 0 not in world.owners()


weathers = st.builds(
    Weather,
    slow=st.sampled_from([0.0, 0.05, 0.2]),
    lost=st.sampled_from([0.0, 0.01, 0.05]),
    refused=st.sampled_from([0.0, 0.01, 0.05]),
    old=st.sampled_from([0.0, 3.0, 20.0]),
    frozen=st.sampled_from([0.0, 0.03, 0.1]),
    killed=st.sampled_from([0.0, 0.01, 0.03]),
)


@settings(max_examples=examples(12), deadline=None)
@given(seed=st.integers(0, 2**32), nodes=st.integers(2, 7), weather=weathers)
def test_promises(seed: int, nodes: int, weather: Weather) -> None:
    """No two nodes decide about the same, no fence is given twice or goes down, and whoever came first has the lock first."""
    world = World(seed, nodes, weather)
    world.run(40)
    world.add()
    world.run(20)
    assert world.faults == []


def settle(world: World) -> None:
    """Wait until every partition has an owner where it belongs, and none moves any more."""
    for _ in range(60):
        before = world.moves
        world.run(2)
        if settled(world) and world.moves == before:
            return
    raise AssertionError("the nodes have not settled")


@pytest.mark.parametrize(("nodes", "deaths"), [(3, 1), (5, 3), (LARGE, 7)])
def test_served_again(nodes: int, deaths: int) -> None:
    """Whatever dead nodes had is served again 2 seconds after their leases and the margin have ended; nobody else has a pause."""
    world = World(7, nodes)
    settle(world)
    gone = world.nodes[:deaths]
    before = world.owners()
    for node in gone:
        world.kill(node)
    world.run(1)
    dead = {node.id for node in gone}
    assert [owner for owner in before if owner not in dead] == [owner for owner in world.owners() if owner]
    # The clocks of nodes differ by a hundredth.
    world.run((LEADER_LEASE + MARGIN) * 1.01 + 2 - 1)
    assert settled(world)
    assert world.faults == []


@pytest.mark.parametrize("nodes", [1, 3, 20])
def test_moves(nodes: int) -> None:
    """When a node comes, only what it gets moves; when one leaves or dies, only what that had."""
    world = World(11, nodes)
    settle(world)
    before = world.moves
    new = world.add()
    settle(world)
    share = world.owners().count(new.id)
    assert share > 256 // (nodes + 1) // 3
    assert world.moves - before == share
    assert world.faults == []
    if nodes > 1:
        old, before = world.nodes[0], world.moves
        share = world.owners().count(old.id)
        world.kill(old)
        settle(world)
        assert world.moves - before == share


def test_drained() -> None:
    """A node that is drained leaves everything to the others, and takes it back when it wants to."""
    world = World(13, 3)
    settle(world)
    node = world.nodes[0]
    assert node.locking.node is not None
    drained = Deferred.fromCoroutine(node.locking.node.drain())
    settle(world)
    assert drained.called
    assert node.id not in world.owners()
    node.go(node.locking.node.undrain())
    settle(world)
    assert node.id in world.owners()
    assert world.faults == []


@pytest.mark.parametrize("killed", [False, True])
def test_how_long_it_has_been_held(killed: bool) -> None:
    """Of what a node gets from another one it knows the age, though each has a clock of its own and they began at different times."""
    world = World(31, 1)
    world.clients = []
    settle(world)
    [old] = world.nodes
    keys = [LockKey(f"r{number}", "s") for number in range(12)]
    for key in keys:
        old.locking.locks.territory.learn(world.disk.alone.resources[key.resource])
        Deferred.fromCoroutine(old.locking.locks.acquire(LockRequest(key, 3600.0)))
    began = world.clock.seconds()
    world.run(200)
    new = world.add()
    settle(world)
    world.run(100)
    if killed:
        world.kill(old)
        settle(world)
    moved = [key for key in keys if world.owners()[partition_of(key.resource)] == new.id]
    assert len(moved) == len(keys) if killed else moved
    for key in moved:
        states: list[LockState] = []
        new.locking.locks.territory.learn(world.disk.alone.resources[key.resource])
        lasted = world.clock.seconds() - began
        Deferred.fromCoroutine(new.locking.locks.views.state(key, 0, 1)).addCallback(states.append)
        world.run(1)
        assert states[0].holder is not None
        # A second and a half from one heartbeat to the next, one for the answer, and clocks that differ by a hundredth.
        assert abs(states[0].holder.held - lasted) < 1.5 + 1 + lasted * 0.02
    assert world.faults == []


def test_who_waits_when_a_partition_moves() -> None:
    """Who waits is told to ask again, at once; who could not be known again then has left no place behind that it would wait for."""
    world = World(19, 1)
    world.clients = []
    settle(world)
    [node] = world.nodes
    locks = node.locking.locks
    keys = [LockKey(f"r{number}", "s") for number in range(12)]
    waiting: dict[LockKey, list[Deferred[object]]] = {}
    for key in keys:
        locks.territory.learn(world.disk.alone.resources[key.resource])
        Deferred.fromCoroutine(locks.acquire(LockRequest(key, 3600.0)))
        waiting[key] = [
            Deferred.fromCoroutine(locks.acquire(LockRequest(key, 3600.0, wait=500.0, idempotency_key=again)))
            for again in ("", "again")
        ]
    # For longer than a place lasts that is not used: these are.
    world.run(70)
    new = world.add()
    settle(world)
    moved = [key for key in keys if world.owners()[partition_of(key.resource)] == new.id]
    assert moved
    for key in keys:
        places = [place for place in world.disk.alone.places.values() if place.key == key]
        told = [deferred for deferred in waiting[key] if deferred.called]
        assert (len(places), len(told)) == ((2, 2) if key in moved else (3, 0))
        for deferred in told:
            deferred.addErrback(lambda failure: failure.trap(NotOwner))
    assert world.faults == []


def test_a_term_that_begins_while_partitions_are_read() -> None:
    """What a node has claimed is not taken in twice if its journal has begun a new term, and so read all of it, before it was read."""
    world = World(29, 1)
    settle(world)
    world.run(10)
    new = world.add()
    read = new.link.load

    async def late(partitions: Collection[int]) -> Snapshot:
        if partitions:
            new.locking.journal.begin_anew()
            await deferLater(new.clock, 1.0)
        return cast("Snapshot", await read(partitions))

    with patch.object(new.link, "load", late, create=True):
        world.run(5)
        settle(world)
    names = {
        name for name in map(str, world.disk.alone.resources) if partition_of(name) in new.locking.locks.shares.owned
    }
    held = [place for place in world.disk.alone.places.values() if place.key.resource in names and place.fence]
    counts = new.locking.locks.quotas.tenant("")
    assert counts.held == len(held)
    assert held
    assert world.faults == []


def test_who_wants_nothing_serves_if_nobody_else_is_there() -> None:
    """A node that stands by owns nothing while others are up, and everything once they are dead."""
    world = World(17, 2)
    spare = world.add(wants=False)
    settle(world)
    assert spare.id not in world.owners()
    for node in world.nodes[:2]:
        world.kill(node)
    world.run((LEADER_LEASE + MARGIN) * 1.01 + 2)
    assert set(world.owners()) == {spare.id}
    assert world.faults == []


def test_the_store_has_the_last_word() -> None:
    """A node that owns less than it thinks, because a term of which it had no answer took nothing along, decides about nothing of it."""
    known: dict[MemoryNode, int] = {}
    begin_term, ask = MemoryNode.begin_term, Link._ask

    async def left_behind(self: MemoryNode, over: Term | None = None, guard: str = "") -> Snapshot:
        if over is not None or not self._leads:
            return await begin_term(self, over, guard)
        return await self.take_along(known.get(self, self.server.epoch))

    async def answered(self: Link, name: str, *arguments: Any, **options: Any) -> Any:
        answer = await ask(self, name, *arguments, **options)
        if name == "begin_term":
            known[self.inner] = answer.epoch
        return answer

    with patch.object(MemoryNode, "begin_term", left_behind), patch.object(Link, "_ask", answered):
        # Those that have found it.
        for seed in (0, 8):
            world = World(seed, 3, replace(STORM, lost=0.03))
            for _ in range(3):
                world.run(15)
                if len(world.nodes) < 6:
                    world.add()
            assert world.faults == []


# -- Without a safeguard


def renew_late(self: LeaderLease, sent: float) -> None:
    """Count from when the answer comes."""
    renew(self, self.now())


renew = LeaderLease.renew


def claim_nothing(self: MemoryNode) -> None:
    """Commit whether or not the term is over."""
    self.server.beat += 1


async def declare_dead_blindly(self: MemoryNode, row: NodeRow) -> bool:
    """Declare dead whoever looked dead, whatever it has done since."""
    self.disk.rows[row.id].state = "dead"
    return True


async def claim_blindly(self: MemoryNode, orphans: dict[int, Holding]) -> set[int]:
    """Claim what looked like nobody's, whoever has it by now."""
    self._claim()
    for number in orphans:
        self.disk.owners[number] = Holding(self.node, self.term)
    return set(orphans)


load = MemoryNode.load


async def load_own_numbers(self: MemoryNode, partitions: Collection[int]) -> Snapshot:
    """Go on from one's own numbers, whatever the owner before has given out."""
    return (await load(self, partitions))._replace(fence=self.server.fence)


async def load_own_events(self: MemoryNode, partitions: Collection[int]) -> Snapshot:
    """Give events the ids that follow one's own, whatever the others have given out."""
    return (await load(self, partitions))._replace(event=self.server.event)


async def load_nothing(self: MemoryNode, partitions: Collection[int]) -> Snapshot:
    """Begin without the places of the owner before."""
    return (await load(self, partitions))._replace(places=[])


async def suspend_nothing(self: Shares, partitions: Collection[int]) -> None:
    """Go on to decide until another one does."""


async def suspend_without_commit(self: Shares, partitions: Collection[int]) -> None:
    """Leave partitions to others before what was decided is committed."""
    self._restoration.suspend(partitions)


class Safeguard(NamedTuple):
    """
    What the tests take out.

    :ivar owner: of what it is the attribute ``name``; ``without`` is what is there instead.
    :ivar seed: of a world in which something is seen soon.
    """

    owner: object
    name: str
    without: Any
    seed: int


SAFEGUARDS = {
    "the lease counts from the sending": Safeguard(LeaderLease, "renew", renew_late, 28),
    "the lease": Safeguard(LeaderLease, "held", lambda _: True, 28),
    "a commit needs a term": Safeguard(MemoryNode, "_claim", claim_nothing, 1),
    "a beat that stood still": Safeguard(MemoryNode, "declare_dead", declare_dead_blindly, 38),
    "the time that it has to stand still": Safeguard(resourced.assembly, "Membership", lambda: Membership(0.5), 16),
    "a claim needs an orphan": Safeguard(MemoryNode, "claim", claim_blindly, 0),
    "numbers go on above those of others": Safeguard(MemoryNode, "load", load_own_numbers, 0),
    "ids of events go on above those of others": Safeguard(MemoryNode, "load", load_own_events, 0),
    "ids are over when all are committed": Safeguard(
        Shares, "settled_event", property(lambda self: self._record.newest_event), 19
    ),
    "places are read": Safeguard(MemoryNode, "load", load_nothing, 0),
    "nothing is decided while it is left": Safeguard(Shares, "suspend", suspend_nothing, 0),
    "what was decided is committed first": Safeguard(Shares, "suspend", suspend_without_commit, 0),
    "each node has numbers of its own": Safeguard(record, "next_after", lambda number, _: number + 1, 28),
}


@pytest.mark.parametrize("safeguard", SAFEGUARDS.values(), ids=SAFEGUARDS)
def test_each_safeguard_is_needed(safeguard: Safeguard) -> None:
    """Without any one of the safeguards a promise is broken, and this is seen."""
    with patch.object(safeguard.owner, safeguard.name, safeguard.without):
        # Whatever is changed may have a world take another course: then a new seed makes this quick again.
        for seed in (safeguard.seed, *range(200)):
            world = World(seed, 3, FROST)
            for part in range(1, 16):
                world.run(3)
                if world.faults:
                    return
                if part in {5, 10}:
                    world.add()
    raise AssertionError("nothing was seen")
