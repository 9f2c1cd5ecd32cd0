"""A node: looks at the others, takes over what belongs to it, and leaves to others what belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from resourced.cluster.interface import Mine, Moving, NodeView, Owner, Peer
from resourced.cluster.membership import Membership
from resourced.cluster.plan import plan, wanting
from resourced.deferreds import waiter_in, wake
from resourced.errors import EpochLost, StoreUnavailable
from resourced.model import Snapshot
from resourced.partitions import ClusterRows, Holding, NodeRow, partition_of
from resourced.storage.leader_lease import LeaderLease
from resourced.storage.nodes import NodeStore

log = Logger()

#: Seconds between two looks at the others; and while partitions are not where they belong.
PERIOD: Final = 1.0
HASTE: Final = 0.1
#: How many partitions are left to others at once.
TOGETHER: Final = 16

_MINE: Final = Mine()


class Locks(Protocol):
    """The locks of this node. They are the ``Shares`` of the lock manager."""

    @property
    def owned(self) -> Collection[int]: ...

    def adopt(self, snapshot: Snapshot) -> bool:
        """Decide about more partitions; return whether they were read in the present term."""

    async def suspend(self, partitions: Collection[int]) -> None:
        """Decide nothing more about some partitions; return when all that was decided is committed."""

    def abandon(self, partitions: Collection[int]) -> None:
        """Forget partitions that were suspended."""

    def tidy(self) -> None:
        """Forget what is not needed."""

    def keep_up(self, event: int, node: int) -> None:
        """Give no event an id that is not higher than one that another node has given out."""


class Journal(Protocol):
    """What keeps the decisions of this node."""

    def check(self) -> None:
        """Return if decisions can be kept at present."""

    def begin_anew(self) -> None:
        """Begin a new term, in which nothing counts but what the store knows by then."""

    def step_down(self, error: EpochLost) -> None:
        """Take nothing more."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What a node moves partitions with."""

    store: NodeStore
    locks: Locks
    journal: Journal
    lease: LeaderLease


class Node:
    """
    An ``Ownership`` of one of several nodes.

    Only rows in the store say where a partition *is*; where it belongs follows from who is up. A claim is one commit, and so is a release. It
    fails if the row is not as it was seen, or if this node's term is over. One such thing is done after the other.
    """

    def __init__(self, clock: IReactorTime, engine: Engine, membership: Membership) -> None:
        self._clock = clock
        self._store = engine.store
        self._locks = engine.locks
        self._journal = engine.journal
        self._lease = engine.lease
        self._membership = membership
        self._rows = ClusterRows({}, ())
        self._running: Deferred[None] | None = None
        self._listeners: list[Callable[[], object]] = []
        self._shown: object = None
        self._looked: list[Deferred[None]] = []

    # -- Ownership

    def owner_of(self, group: str) -> Owner:
        return self.owner_of_partition(partition_of(group))

    def owner_of_partition(self, number: int) -> Owner:
        if number in self._locks.owned:
            return _MINE if self._lease.held() else Moving()
        row = self._owner(number)
        return Moving() if row is None or row.id == self._store.node else Peer(row.id, row.url)

    def nodes(self) -> Sequence[NodeView]:
        now, own = self._lease.now(), self._store.node
        owners = self.partitions()
        return [
            NodeView(
                row.id,
                row.url,
                row.state,
                row.term,
                row.beat,
                0.0 if row.id == own else self._membership.still(row, now),
                draining=not row.wants,
                partitions=owners.count(row.id),
                here=row.id == own,
            )
            for row in sorted(self._rows.nodes.values())
        ]

    def partitions(self) -> Sequence[int]:
        owners = (self._owner(number) for number in range(len(self._rows.owners)))
        return [0 if row is None else row.id for row in owners]

    async def drain(self) -> None:
        if not any(row.id != self._store.node for row in self._candidates()):
            raise StoreUnavailable("There is no other node that could take the partitions.")
        await self._store.want(partitions=False)
        while self._locks.owned:
            await waiter_in(self._looked)

    async def undrain(self) -> None:
        await self._store.want(partitions=True)

    def listen(self, changed: Callable[[], object]) -> None:
        self._listeners.append(changed)

    # -- Its life

    def start(self) -> None:
        """Begin to look."""
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._broken)

    def stop(self) -> None:
        """Look no more, and move nothing; what is under way in the store ends there."""
        if self._running is not None:
            self._running.cancel()
            self._running = None

    async def _run(self) -> None:
        with suppress(CancelledError):
            while True:
                pause = HASTE
                try:
                    pause = await self.look()
                except StoreUnavailable:
                    # Others say so. What was claimed is found by the next look, and a release that failed has begun a new term.
                    pass
                except EpochLost as error:
                    self._journal.step_down(error)
                    return
                wake(self._looked)
                await deferLater(self._clock, pause)

    async def look(self) -> float:
        """
        Look at the others once, and do what follows from it.

        :returns: in how many seconds to look again.
        :raises resourced.errors.StoreUnavailable: the store is away, or may have done something of it.
        :raises resourced.errors.EpochLost: this node's term is over.
        """
        rows = await self._store.rows()
        self._see(rows)
        self._journal.check()
        self._locks.keep_up(max((row.event for row in rows.nodes.values()), default=0), self._store.node)
        self._locks.tidy()
        dead = self._membership.dead(rows, self._store.node, self._lease.now())
        if dead:
            for row in dead:
                await self._declare_dead(row)
            return HASTE
        homes = plan(wanting(rows.nodes.values()))
        await self._leave([number for number in self._locks.owned if homes[number] not in {0, self._store.node}], homes)
        await self._take(
            {number: rows.owners[number] for number in self._free(rows) if homes[number] == self._store.node}
        )
        self._tell()
        if not all(self._is_at(number, home) for number, home in enumerate(homes)):
            return HASTE
        death = self._membership.next_death(rows, self._store.node, self._lease.now())
        return min(PERIOD, max(HASTE, death))

    # -- How it is done

    def _see(self, rows: ClusterRows) -> None:
        self._rows = rows
        self._membership.see(rows, self._lease.now())
        self._tell()

    async def _declare_dead(self, row: NodeRow) -> None:
        sent = self._lease.now()
        if await self._store.declare_dead(row):
            log.warn("Node {id} ({url}) does nothing any more: it was declared dead.", id=row.id, url=row.url)
        self._lease.renew(sent)

    async def _take(self, free: dict[int, Holding]) -> None:
        """Own what belongs to this node and is nobody's."""
        if not free:
            return
        sent = self._lease.now()
        claimed = await self._store.claim(free)
        self._lease.renew(sent)
        if claimed and self._locks.adopt(await self._store.load(claimed)):
            log.info("This node owns {count} more partitions.", count=len(claimed))

    async def _leave(self, numbers: Iterable[int], homes: Sequence[int]) -> None:
        """Leave some of what belongs to others to them."""
        leaving = dict.fromkeys(sorted(numbers)[:TOGETHER], 0)
        if not leaving:
            return
        leaving = {number: homes[number] for number in leaving}
        try:
            await self._locks.suspend(leaving)
            sent = self._lease.now()
            await self._store.release(leaving)
        except StoreUnavailable:
            # It may have been done. A new term settles that.
            self._journal.begin_anew()
            raise
        self._lease.renew(sent)
        self._locks.abandon(leaving)
        log.info("This node has left {count} partitions to others.", count=len(leaving))

    def _free(self, rows: ClusterRows) -> Iterable[int]:
        """Return the partitions that nobody decides about: those of nobody, and those of this node that it has not read yet."""
        own = Holding(self._store.node, self._store.term)
        owned = self._locks.owned
        return [
            number
            for number, holding in enumerate(rows.owners)
            if number not in owned and (holding == own or rows.is_orphan(number))
        ]

    def _owner(self, number: int) -> NodeRow | None:
        """Return the node that owns a partition, as far as is known."""
        own = self._rows.nodes.get(self._store.node)
        if number in self._locks.owned:
            return own
        if number >= len(self._rows.owners) or self._rows.is_orphan(number):
            return None
        row = self._rows.nodes.get(self._rows.owners[number].node)
        return None if row is own else row

    def _is_at(self, number: int, home: int) -> bool:
        row = self._owner(number)
        return row is not None and row.id == home

    def _candidates(self) -> list[NodeRow]:
        wanted = wanting(self._rows.nodes.values())
        return [row for row in self._rows.nodes.values() if row.id in wanted]

    def _tell(self) -> None:
        """Tell the listeners if anything has changed that they could see."""
        shown = [(row.id, row.state, row.wants) for row in self._rows.nodes.values()], self.partitions()
        if shown != self._shown:
            self._shown = shown
            for listener in self._listeners:
                listener()

    def _broken(self, failure: Failure) -> None:
        """Make room for another node: this one would never move anything again."""
        log.failure("The node has a bug.", failure)
        self._journal.step_down(
            EpochLost("An unexpected error keeps this daemon from going on, so it must stop; the log has more.")
        )
