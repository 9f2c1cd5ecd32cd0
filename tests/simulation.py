"""
Nodes of a cluster in one process, on clocks of their own, over a store that delays, refuses, loses answers and shows what is old.

What decides, keeps, moves and watches is the real code; only the database, the network and time are made up. From the same seed the same
happens. ``World.faults`` has every promise that was broken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from resourced.assembly import Locking, assemble_locking
from resourced.errors import EpochLost, ResourcedError, StoreUnavailable, TicketEnded, TooFew
from resourced.locks.state.joints import JointAsk, JointQueued
from resourced.locks.state.requests import Acquired, LockRequest, Queued
from resourced.metrics.collect import Metrics
from resourced.model import Batch, LockKey, Resource, Standing
from resourced.partitions import PARTITIONS, partition_of
from resourced.service.guard import Heartbeat
from resourced.storage.leader_lease import LEADER_LEASE
from resourced.wants import Card, Want
from tests.assembled import configured, surroundings
from tests.memory_node import Disk, MemoryNode

#: How long one step is, in seconds.
STEP = 0.05
#: What may be asked of the store, and goes through its delays.
ASKED = frozenset(
    {
        *("begin_term", "beat", "commit", "leave", "declare_dead", "claim", "release", "want"),
        *("load", "rows", "ping", "look", "find_resource"),
    }
)
#: What counts only in the term in which it was sent.
OF_A_TERM = frozenset({"beat", "commit", "leave", "declare_dead", "claim", "release", "want"})
#: What may be answered from what was so some time ago: no decision relies on it alone.
OLD = frozenset({"rows"})


@dataclass(frozen=True)
class Weather:
    """
    How much goes wrong.

    :ivar slow: how often the store takes its time, out of one.
    :ivar lost: how often an answer is lost; ``refused`` how often nothing is done.
    :ivar old: for how many seconds what is shown may be old, at most.
    :ivar frozen: how often in a second a node stands still for some seconds; ``killed`` how often it is killed.
    """

    slow: float = 0.0
    lost: float = 0.0
    refused: float = 0.0
    old: float = 0.0
    frozen: float = 0.0
    killed: float = 0.0


class NoGuard:
    """A guard that is held nowhere."""

    lag = 0.0

    async def locate(self) -> str:
        return ""

    async def hold(self) -> bool:
        return False

    async def drop(self) -> None:
        """Nothing is held."""

    async def release(self) -> None:
        """Nothing is held."""


class Link:
    """One node's connections to the store."""

    def __init__(self, world: World, node: SimulatedNode, store: MemoryNode) -> None:
        self._world = world
        self._node = node
        self.inner = store

    def __getattr__(self, name: str) -> Any:
        if name in ASKED:
            return partial(self._ask, name)
        return getattr(self.inner, name)

    async def _ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        answer: Deferred[Any] = Deferred(lambda _: None)
        world, random, weather = self._world, self._world.random, self._world.weather
        delay = random.choice((0.5, 2.0, 8.0)) * random.random() if random.random() < weather.slow else 0.002
        fate = random.random()
        term = self.inner.term

        def do() -> None:
            if name in OF_A_TERM and term != self.inner.term:
                outcome: Any = StoreUnavailable("Another term has begun meanwhile.")
            elif fate < weather.refused:
                outcome = StoreUnavailable("The simulated store refuses.")
            else:
                outcome = world.done(self._node, name, arguments, options)
                if name in OLD and weather.old and not isinstance(outcome, Exception):
                    outcome = world.seen_before(random.random() * weather.old)
                if weather.refused <= fate < weather.refused + weather.lost:
                    outcome = StoreUnavailable("The simulated answer is lost.")
            world.clock.callLater(delay / 2, self._node.deliver, partial(_answer, answer, outcome))

        world.clock.callLater(delay / 2, do)
        return await answer


def _answer(waiter: Deferred[Any], outcome: Any) -> None:
    if not waiter.called:
        (waiter.errback if isinstance(outcome, Exception) else waiter.callback)(outcome)


class SimulatedNode:
    """
    A process.

    :ivar alive: whether it has not ended.
    :ivar frozen: until when it stands still, by the clock of the world.
    """

    def __init__(self, world: World, url: str, *, wants: bool = True) -> None:
        self.world = world
        self.url = url
        self.alive = True
        self.frozen = 0.0
        self.ready = self.stopped = False
        self.clock = Clock()
        self._rate = world.random.uniform(0.99, 1.01)
        self._behind = 0.0
        self._arrived: list[Callable[[], object]] = []
        self.link = Link(world, self, MemoryNode(world.disk, url, wants=wants))
        tickets = count(1)
        around = surroundings(
            self.clock,
            self._over,
            new_ticket=lambda: f"{world.random.getrandbits(64):016x}{next(tickets):016x}",
            leader_lease=LEADER_LEASE,
            soon=lambda work: self.clock.callLater(0, work),
            node_store=self.link,
        )
        self.locking: Locking = assemble_locking(configured(cluster=True), around, self.link, Metrics())
        shares = self.locking.locks.shares
        self.heartbeat = Heartbeat(
            self.clock,
            NoGuard(),
            self.locking.store,
            self.locking.journal,
            self.locking.lease,
            lambda: shares.settled_event,
            lambda: self.locking.locks.places.lifetimes.passed(self.clock.seconds()),
        )
        self.go(self._start())

    @property
    def id(self) -> int:
        return self.link.inner.node

    @property
    def tells(self) -> bool:
        """Whether it would tell a client at this moment what it believes."""
        return self.alive and self.frozen <= self.world.clock.seconds() and self.locking.lease.held()

    def go(self, work: Coroutine[Deferred[Any], Any, Any]) -> None:
        Deferred.fromCoroutine(work).addErrback(self.world.broken)

    async def _start(self) -> None:
        assert self.locking.node is not None
        while True:
            try:
                await self.locking.journal.open(await self.locking.store.look())
                await self.locking.node.look()
            except (StoreUnavailable, EpochLost):
                if self.locking.journal.newest or self.link.inner.node:
                    break
                await deferLater(self.clock, 0.5)
            else:
                break
            if self.stopped:
                return
        if not self.stopped:
            self.heartbeat.start()
            self.locking.node.start()
            self.ready = True

    def _over(self, error: EpochLost) -> None:
        self.alive = False
        if "another daemon has taken over" not in error.sentence.lower():
            self.world.faults.append(f"node {self.id} has ended: {error.sentence}")

    def stop(self) -> None:
        """Begin nothing any more."""
        self.stopped = True
        self.heartbeat.stop()
        if self.locking.node is not None:
            self.locking.node.stop()
        self.locking.locks.stop_waiting()

    def deliver(self, answer: Callable[[], object]) -> None:
        """Let an answer arrive."""
        if not self.alive:
            return
        if self.frozen > self.world.clock.seconds():
            self._arrived.append(answer)
        else:
            answer()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, which is noticed only when the process runs."""
        self._behind += seconds * self._rate
        if not self.alive or self.frozen > self.world.clock.seconds():
            return
        behind, self._behind = self._behind, 0.0
        arrived, self._arrived = self._arrived, []
        if self.world.random.random() < 0.5:
            self.clock.advance(behind)
            behind = 0.0
        for answer in arrived:
            if self.alive:
                answer()
        if self.alive:
            self.clock.advance(behind)


class Client:
    """Somebody who wants a lock, holds it for a while, and lets go of it."""

    def __init__(self, world: World, key: LockKey) -> None:
        self.world = world
        self.key = key
        self.number = next(world.numbers)
        self.turn = 0
        self.ticket = ""
        self.leaving = False
        self.busy = False
        self.held_until = 0.0

    def act(self) -> None:
        """Do what is next, at a node that answers."""
        if self.busy:
            return
        nodes = [node for node in self.world.living if node.ready and node.frozen <= self.world.clock.seconds()]
        home = partition_of(self.key.resource)
        # Most of the time it is somebody who believes to know.
        if self.world.random.random() < 0.9:
            nodes = [node for node in nodes if home in node.locking.locks.shares.owned]
        if nodes:
            self.busy = True
            node = self.world.random.choice(nodes)
            node.go(self._ask(node))
            # An answer that does not come is not waited for.
            self.world.clock.callLater(3.0, self._give_up)

    def _give_up(self) -> None:
        self.busy = False

    async def _ask(self, node: SimulatedNode) -> None:
        now = self.world.clock.seconds()
        locks, ticket = node.locking.locks, self.ticket
        try:
            locks.territory.learn(await self._find(node))
            if ticket and self.world.holder.get(self.key) == ticket and now > self.held_until:
                # From here on somebody else may have it.
                del self.world.holder[self.key]
                self.leaving = True
            if self.leaving:
                await locks.unlock(self.key, ticket)
                self._begin_anew(ticket)
                return
            # Some cannot be known again if they ask again.
            again = f"{self.number} {self.turn}" if not ticket and self.number % 3 else ""
            wait = self.world.random.choice((0.0, 0.0, 2.0))
            outcome = await locks.acquire(LockRequest(self.key, 3600.0, ticket, wait, idempotency_key=again))
        except TicketEnded:
            self._ended(node, ticket)
            return
        except ResourcedError as error:
            self.world.errors[type(error).__name__] += 1
            return
        finally:
            self.busy = False
        if not node.alive or self.ticket != ticket or self.leaving:
            return
        self.ticket = outcome.ticket
        if isinstance(outcome, Acquired):
            self.world.told(node, self.key, outcome.ticket)
            self.held_until = self.world.clock.seconds() + 1.0
        assert isinstance(outcome, Acquired | Queued)

    def _ended(self, node: SimulatedNode, ticket: str) -> None:
        """Its claim window has passed while nobody could be asked; it was never told that it holds the lock, or has let go of it."""
        if self.world.holder.get(self.key) == ticket:
            self.world.faults.append(f"{ticket} has lost {self.key} without a word")
        if not ticket and self.world.weather.frozen == 0:
            self.world.faults.append(f"a client of node {node.id} was told that a ticket has ended that it never had")
        self._begin_anew(ticket)

    def _begin_anew(self, ticket: str) -> None:
        """Have another turn after one that is over."""
        if self.ticket == ticket:
            self.ticket, self.leaving, self.turn = "", False, self.turn + 1

    async def _find(self, node: SimulatedNode) -> Resource:
        while True:
            changes = node.locking.locks.changes
            found = await node.locking.store.find_resource(self.key.resource)
            if changes == node.locking.locks.changes:
                return found


class Job(Client):
    """Somebody who wants two units of a pool at once. It may not learn that there are too few."""

    def __init__(self, world: World, resource: str) -> None:
        super().__init__(world, LockKey(resource, ""))

    async def _ask(self, node: SimulatedNode) -> None:
        several, ticket = node.locking.locks.several, self.ticket
        try:
            node.locking.locks.territory.learn(await self._find(node))
            if self.leaving:
                await several.unlock(ticket, "")
                self._begin_anew(ticket)
                return
            name = self.key.resource
            wants = (Want(name, "", frozenset(("x",)), 2),)
            again = f"{self.number} {self.turn}" if not ticket else ""
            outcome = await several.acquire(
                JointAsk(wants, {name: 3600.0}, ticket, idempotency_key=again, group=name), _read_nothing
            )
        except TooFew:
            self.world.faults.append(f"node {node.id} does not know the units of {self.key.resource}")
            return
        except TicketEnded:
            if self.ticket == ticket:
                self.ticket, self.turn = "", self.turn + 1
            return
        except ResourcedError as error:
            self.world.errors[type(error).__name__] += 1
            return
        finally:
            self.busy = False
        if not node.alive or self.ticket != ticket or self.leaving:
            return
        if isinstance(outcome, JointQueued):
            self.ticket = outcome.ticket
            return
        got, _ = outcome
        self.ticket = got.ticket
        self.world.several += 1
        self.leaving = True
        if len(got.units) != 2:
            self.world.faults.append(f"{got.ticket} was given {got.units}")


async def _read_nothing(keys: Sequence[LockKey]) -> list[str | None]:
    return [None] * len(keys)


class World:
    """
    Everything.

    :ivar faults: what was promised and broken.
    :ivar moves: how often a partition got another owner.
    :ivar grants: how often a client was told that it holds a lock.
    :ivar several: how often a client was told that it holds several units.
    :ivar holder: which ticket was told last that it holds a lock, and has not let go of it.
    :ivar errors: how often a client was refused, by the kind of error.
    """

    def __init__(self, seed: int, nodes: int, weather: Weather = Weather(), resources: int = 12) -> None:
        self.random = Random(seed)
        self.clock = Clock()
        self.weather = weather
        self.disk = Disk()
        self.faults: list[str] = []
        self.moves = 0
        self.grants = self.several = 0
        self.errors: Counter[str] = Counter()
        self.holder: dict[LockKey, str] = {}
        self._fences: dict[LockKey, int] = {}
        self._given: set[int] = set()
        self._past: list[tuple[float, Any]] = []
        self._urls = count(1)
        self.numbers = count(1)
        self._settled = 0
        self._last: dict[int, int] = {}
        for number in range(resources):
            name = f"r{number}"
            self.disk.alone.resources[name] = Resource(f"i{number}", name, 0)
        for number in range(3):
            name = f"pool{number}"
            self.disk.alone.resources[name] = Resource(f"p{number}", name, 0)
            for unit in "abc":
                self.disk.alone.cards[LockKey(name, unit)] = Card(frozenset(("x",)))
        WORLDS.append(self)
        self.nodes: list[SimulatedNode] = []
        self._made: list[SimulatedNode] = []
        for _ in range(nodes):
            self.add()
        self.clients = [
            *(Client(self, LockKey(f"r{number}", "s")) for number in range(resources) for _ in range(3)),
            *(Job(self, f"pool{number}") for number in range(3) for _ in range(4)),
        ]

    def add(self, *, wants: bool = True) -> SimulatedNode:
        """Let a node come."""
        node = SimulatedNode(self, f"http://node{next(self._urls)}", wants=wants)
        self.nodes.append(node)
        self._made.append(node)
        return node

    def end(self) -> None:
        """Let everything that is under way come to its end, also in nodes that were killed, so that nothing is left behind."""
        self.weather, self.clients = Weather(), []
        for node in self._made:
            node.alive, node.frozen = True, 0.0
            node.stop()
        for _ in range(300):
            self.clock.advance(STEP)
            for node in self._made:
                node.pass_time(STEP)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.clock.seconds() + seconds
        while self.clock.seconds() < until and not self.faults:
            self._disturb()
            self.clock.advance(STEP)
            for node in list(self.nodes):
                node.pass_time(STEP)
            for client in self.clients:
                if self.random.random() < 0.1:
                    client.act()
            self._check()

    @property
    def living(self) -> Iterator[SimulatedNode]:
        return (node for node in self.nodes if node.alive)

    def owners(self) -> list[int]:
        """Return the node that owns each partition and is there to serve it, or 0."""
        found = [0] * PARTITIONS
        for node in self.living:
            if node.tells:
                for number in node.locking.locks.shares.owned:
                    found[number] = node.id
        return found

    def broken(self, failure: Any) -> None:
        """Take note of an error that nobody has thought of."""
        self.faults.append(f"error: {failure.getErrorMessage()} {failure.getTraceback()[-600:]}")

    # -- The store

    def done(self, node: SimulatedNode, name: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Let something be done by the store, in one step; return what it says, be it an exception."""
        owners = list(self.disk.owners)
        outcome: list[Any] = []
        work = getattr(node.link.inner, name)(*arguments, **options)
        Deferred.fromCoroutine(work).addBoth(outcome.append)
        if owners != self.disk.owners:
            for number, holding in enumerate(self.disk.owners):
                if holding.term and holding.node != self._last.get(number):
                    self.moves += number in self._last
                    self._last[number] = holding.node
        if name in {"claim", "release", "begin_term", "declare_dead", "beat", "commit"}:
            self._past.append((self.clock.seconds(), self.disk.look()))
            del self._past[:-400]
        before, self._settled = self._settled, max(self._settled, self._settled_event())
        result = outcome[0]
        error = getattr(result, "value", None)
        if isinstance(error, Exception):
            return error
        if name == "commit":
            batch: Batch = arguments[0]
            self._committed(node, batch)
            late = [event.id for event in batch.events if event.id <= before]
            if late:
                self.faults.append(f"node {node.id} gives events the ids {late}, which were over with {before}")
        return result

    def _settled_event(self) -> int:
        """Return up to which id all events are there, as those believe who follow the events of all nodes."""
        return min((row.event for row in self.disk.rows.values() if row.state == "up"), default=0)

    def seen_before(self, seconds: float) -> Any:
        """Return the rows as they were some time ago."""
        at = self.clock.seconds() - seconds
        before = [rows for when, rows in self._past if when <= at]
        return before[-1] if before else self.disk.look()

    # -- What is promised

    def _committed(self, node: SimulatedNode, batch: Batch) -> None:
        for place in batch.places:
            key = place.key
            holding = self.disk.owners[partition_of(key.resource)]
            if holding != (node.id, node.link.inner.term):
                self.faults.append(f"node {node.id} has decided about {key}, which is that of {holding}")
            if place.standing is Standing.WAITING or place.seq not in self.disk.alone.places:
                continue
            others = [other for other in self.disk.alone.places.values() if other.key == key and other.seq != place.seq]
            if any(other.standing is not Standing.WAITING for other in others):
                self.faults.append(f"two hold {key}")
            if place.fence in self._given and self._fences.get(key) != place.fence:
                self.faults.append(f"the fence {place.fence} was given twice")
            if place.fence < self._fences.get(key, 0):
                self.faults.append(f"the fence {place.fence} of {key} comes after {self._fences[key]}")
            if place.fence > self._fences.get(key, 0):
                older = [other.seq for other in others if other.seq < place.seq]
                if older:
                    self.faults.append(f"{place.seq} has {key} before {older}")
            self._given.add(place.fence)
            self._fences[key] = place.fence

    def told(self, node: SimulatedNode, key: LockKey, ticket: str) -> None:
        """Take note that a client was told that it holds a lock."""
        other = self.holder.get(key)
        if other is not None and other != ticket:
            self.faults.append(f"node {node.id} tells {ticket} that it holds {key}, which {other} holds")
        self.holder[key] = ticket
        self.grants += 1

    def _check(self) -> None:
        seen: dict[int, int] = {}
        for node in self.living:
            if not node.tells:
                continue
            for number in node.locking.locks.shares.owned:
                if number in seen:
                    self.faults.append(f"nodes {seen[number]} and {node.id} both decide about partition {number}")
                    return
                seen[number] = node.id

    # -- What goes wrong

    def _disturb(self) -> None:
        now = self.clock.seconds()
        for node in list(self.living):
            if self.random.random() < self.weather.frozen * STEP and node.frozen < now:
                node.frozen = now + self.random.choice((1.0, 4.0, 9.0, 20.0))
            elif self.random.random() < self.weather.killed * STEP and sum(1 for _ in self.living) > 1:
                self.kill(node)
        while sum(1 for _ in self.living) < 2 and self.weather.killed:
            self.add()

    def kill(self, node: SimulatedNode) -> None:
        """End a node as a power cut would."""
        node.alive = False
        with suppress(ValueError):
            self.nodes.remove(node)


#: All that were made, to be ended when a test is over.
WORLDS: list[World] = []


def end_all() -> None:
    """End all worlds."""
    while WORLDS:
        WORLDS.pop().end()
