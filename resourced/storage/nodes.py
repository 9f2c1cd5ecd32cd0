"""What a store does for the nodes of a cluster, beside what it does for any daemon."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from resourced.model import Snapshot
from resourced.partitions import ClusterRows, Holding, NodeRow


class NodeStore(Protocol):
    """
    The rows of the nodes, and the owners of partitions.

    A node's number and term are those of ``begin_term`` of its ``Store``. Every method may raise ``resourced.errors.StoreUnavailable``; then
    it is not known whether anything was done. Those that change something raise ``resourced.errors.EpochLost`` if the node's term is over.
    """

    @property
    def node(self) -> int:
        """The number of this node; 0 before its first term."""

    @property
    def term(self) -> int:
        """The number of its present term."""

    async def rows(self) -> ClusterRows:
        """Look at all nodes and partitions."""

    async def declare_dead(self, row: NodeRow) -> bool:
        """
        End the term of another node.

        :param row: as it was seen.
        :returns: whether that was so still; if not, it has committed something.
        """

    async def claim(self, orphans: Mapping[int, Holding]) -> set[int]:
        """
        Own partitions that nobody owns.

        :param orphans: who owned each, as it was seen.
        :returns: those that this node owns now.
        """

    async def load(self, partitions: Collection[int]) -> Snapshot:
        """Read what is there of some partitions, and the highest numbers that any node has given out."""

    async def release(self, targets: Mapping[int, int]) -> None:
        """
        Own some partitions no more.

        :param targets: to which node each is left.
        """

    async def want(self, *, partitions: bool) -> None:
        """Say whether this node wants partitions."""
