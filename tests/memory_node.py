"""A node of a cluster over a store in memory: what ``SQLNode`` is over MariaDB, and held to it by the same tests."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from resourced.errors import EpochLost, NotOwner, StoreUnavailable
from resourced.model import Resource, Snapshot, Term
from resourced.partitions import PARTITIONS, ClusterRows, Holding, NodeRow, NodeState, partition_of
from resourced.testing import MemoryStore
from resourced.testing.store import SharedState


@dataclass
class Row(SharedState):
    """The row of a node."""

    url: str = ""
    wants: bool = True


@dataclass
class Disk:
    """
    What all nodes share.

    :ivar alone: the tables, with the row of a daemon that serves the store by itself.
    """

    alone: MemoryStore = field(default_factory=MemoryStore)
    rows: dict[int, Row] = field(default_factory=dict)
    owners: list[Holding] = field(default_factory=lambda: [Holding(0, 0)] * PARTITIONS)

    def look(self) -> ClusterRows:
        """Return the rows as they are."""
        return ClusterRows(
            {
                id_: NodeRow(
                    id_,
                    row.epoch,
                    row.beat,
                    row.url,
                    NodeState[row.state.upper()],
                    row.wants,
                    row.fence,
                    row.event,
                )
                for id_, row in self.rows.items()
            },
            list(self.owners),
        )


class MemoryNode(MemoryStore):
    """The ``Store`` of a node, and its ``NodeStore``."""

    def __init__(self, disk: Disk, url: str, *, wants: bool = True) -> None:
        super().__init__()
        alone = disk.alone
        self.resources, self.documents, self.places = alone.resources, alone.documents, alone.places
        self.events_kept, self.marks_kept, self.losses = alone.events_kept, alone.marks_kept, alone.losses
        self.joints, self.cards, self.used = alone.joints, alone.cards, alone.used
        self.disk = disk
        self.node = 0
        self._url = url
        self._wants = wants

    @property
    def term(self) -> int:
        return self._epoch

    def _claim(self) -> None:
        row = self.server
        if row.owner is self._owner and row.state == "up" and row.epoch != self._epoch:
            raise StoreUnavailable("The lock table was read anew meanwhile; try again.")
        super()._claim()

    async def ping(self) -> None:
        if self._epoch and not self._leads:
            raise EpochLost("Another daemon has taken over this store.")

    async def look(self, *, everywhere: bool = False) -> Term:
        alone = self.disk.alone.server
        return Term(alone.epoch, alone.beat, mine=False, ended=alone.state != "up", guard="")

    async def begin_term(self, over: Term | None = None, guard: str = "") -> Snapshot:
        if over is not None:
            self._join(over)
        elif not self._leads:
            raise EpochLost("Another daemon has taken over this store.")
        return await self.take_along(self.server.epoch)

    async def take_along(self, before: int) -> Snapshot:
        """Begin a new term, with the partitions that an earlier one has."""
        self.server.epoch += 1
        self.server.beat += 1
        for number in self._owned(before):
            self.disk.owners[number] = Holding(self.node, self.server.epoch)
        self._epoch = self.server.epoch
        return await self.load(self._owned(self._epoch))

    def _join(self, over: Term) -> None:
        alone = self.disk.alone.server
        if (alone.epoch, alone.beat) != (over.epoch, over.beat):
            raise EpochLost("Another daemon serves this store by itself, or another node has come at the same time.")
        alone.epoch, alone.beat, alone.state = alone.epoch + 1, alone.beat + 1, "gone"
        free = [id_ for id_, row in self.disk.rows.items() if row.state != "up"]
        new = max(self.disk.rows, default=1) + 1
        self.node = min(free, key=lambda id_: (self.disk.rows[id_].url != self._url, id_), default=new)
        row = self.server = self.disk.rows.setdefault(self.node, Row())
        row.owner, row.state, row.url, row.wants = self._owner, "up", self._url, self._wants

    def _owned(self, term: int) -> set[int]:
        return {number for number in range(PARTITIONS) if self.disk.owners[number] == (self.node, term)}

    async def rows(self) -> ClusterRows:
        return self.disk.look()

    async def declare_dead(self, row: NodeRow) -> bool:
        self._claim()
        now = self.disk.rows[row.id]
        if (now.epoch, now.beat, now.state) != (row.term, row.beat, "up"):
            return False
        now.state, now.beat = "dead", now.beat + 1
        return True

    async def claim(self, orphans: Mapping[int, Holding]) -> set[int]:
        self._claim()
        for number, holding in orphans.items():
            row = self.disk.rows.get(holding.node)
            owned = row is not None and row.epoch == holding.term and row.state == "up" and holding.node != self.node
            if self.disk.owners[number] == holding and not owned:
                self.disk.owners[number] = Holding(self.node, self._epoch)
        return self._owned(self._epoch) & orphans.keys()

    async def load(self, partitions: Collection[int]) -> Snapshot:
        if self.server.owner is not self._owner or self.server.epoch != self._epoch:
            raise EpochLost("Another daemon has taken over this store.")
        every = [self.disk.alone.server, *self.disk.rows.values()]
        names = {key.resource for key in self.cards} | {place.key.resource for place in self.places.values()}
        names |= {loss.key.resource for loss in self.losses.values()}
        names |= {want.resource for joint in self.joints.values() for want in joint.wants}
        homes = {name: partition_of(self._group(name)) for name in names}
        ours = {name: home for name, home in homes.items() if home in partitions}
        places = sorted(self.places.values())
        joints = sorted(self.joints.values(), key=lambda joint: joint.seq)
        return Snapshot(
            self._epoch,
            max(row.fence for row in every),
            [place for place in places if place.key.resource in ours],
            {name: self.resources[name] for name in ours if name in self.resources},
            max(row.event for row in every),
            tuple(loss for loss in sorted(self.losses.values()) if loss.key.resource in ours),
            max([*(row.passed for row in every), *self.marks_kept]),
            tuple(joint for joint in joints if joint.wants[0].resource in ours),
            {key: card for key, card in self.cards.items() if key.resource in ours},
            frozenset(partitions),
            ours,
            self.node,
            max([0, *(place.seq for place in places), *(joint.seq for joint in joints)]),
        )

    async def release(self, targets: Mapping[int, int]) -> None:
        self._claim()
        if not targets.keys() <= self._owned(self._epoch):
            raise StoreUnavailable("A partition has another owner than this node has believed.")
        for number, target in targets.items():
            self.disk.owners[number] = Holding(target, 0)

    async def want(self, *, partitions: bool) -> None:
        self._claim()
        self.disk.rows[self.node].wants = partitions

    async def change_resource(self, name: str, changes: Mapping[str, int | str]) -> Resource:
        groups = {self._group(name), str(changes.get("group") or self._group(name))}
        if not self._owned(self._epoch).issuperset(map(partition_of, groups)):
            raise NotOwner("Another node decides about this resource, or about the group that it is to have.")
        return await super().change_resource(name, changes)

    def _group(self, name: str) -> str:
        resource = self.resources.get(name)
        return (resource and resource.group) or name
