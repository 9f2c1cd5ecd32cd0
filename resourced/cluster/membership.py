"""Which nodes are alive, by beats that move or stand still; nobody's clock is compared with another's."""

from __future__ import annotations

from typing import Final

from resourced.partitions import ClusterRows, NodeRow, NodeState
from resourced.storage.leader_lease import LEADER_LEASE, MARGIN

#: For how many seconds the row of a node has to stand still until it counts as dead.
STILL: Final = LEADER_LEASE + MARGIN


class Membership:
    """
    Watches the rows of the others.

    What is read may be old, so a node that is judged dead here may be alive. Whoever declares it dead does that by a commit that fails if its
    row has changed since.

    :param still: for how many seconds a row has to stand still.
    """

    def __init__(self, still: float = STILL) -> None:
        self._still = still
        self._seen: dict[int, tuple[tuple[int, int], float]] = {}

    def see(self, rows: ClusterRows, when: float) -> None:
        """
        Take note of the rows.

        :param when: when they had arrived: whatever they tell of was done before that.
        """
        for row in rows.nodes.values():
            moved = (row.term, row.beat)
            if row.id not in self._seen or self._seen[row.id][0] != moved:
                self._seen[row.id] = (moved, when)

    def still(self, row: NodeRow, when: float) -> float:
        """Return for how many seconds a row has been seen as it is."""
        moved, since = self._seen.get(row.id, (None, when))
        return when - since if moved == (row.term, row.beat) else 0.0

    def dead(self, rows: ClusterRows, own: int, when: float) -> list[NodeRow]:
        """Return the nodes that are up by their rows, and have not done anything for too long."""
        return [
            row
            for row in rows.nodes.values()
            if row.id != own and row.state is NodeState.UP and self.still(row, when) > self._still
        ]

    def next_death(self, rows: ClusterRows, own: int, when: float) -> float:
        """Return in how many seconds a node will count as dead at the earliest, if it does nothing until then."""
        others = (row for row in rows.nodes.values() if row.id != own and row.state is NodeState.UP)
        return min((self._still - self.still(row, when) for row in others), default=self._still)
