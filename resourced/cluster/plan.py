"""
Where each partition belongs, by the nodes that are up: rendezvous hashing (Thaler and Ravishankar, 1998).

A node that comes takes only what belongs to it from then on, and of one that goes only what it had moves. So no plan moves less.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

from resourced.partitions import PARTITIONS, NodeRow, NodeState


def wanting(nodes: Iterable[NodeRow]) -> frozenset[int]:
    """Return the nodes among which the partitions are shared: those that want any, or if none does, all that are up."""
    up = [row for row in nodes if row.state is NodeState.UP]
    return frozenset(row.id for row in up if row.wants) or frozenset(row.id for row in up)


@lru_cache(maxsize=16)
def plan(nodes: frozenset[int]) -> tuple[int, ...]:
    """Return the node to which each partition belongs; 0 if there is none."""
    return tuple(max(nodes, key=lambda node: _weight(node, number), default=0) for number in range(PARTITIONS))


def _weight(node: int, number: int) -> bytes:
    return blake2b(b"%d %d" % (node, number), digest_size=8).digest()
