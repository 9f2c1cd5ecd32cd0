"""The partitions, the nodes that own them, and what a store says of both. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from resourced.transitions import Named

#: How many partitions there are. It is kept in every store: never change it.
PARTITIONS: Final = 256

#: Each node gives out every so manieth number only: fences, ids of events and arrivals. So no two give out the same.
STRIDE: Final = 256


def partition_of(group: str) -> int:
    """
    Return the number of the partition that a group is in, 0 to ``PARTITIONS`` - 1.

    Every node and every version has to come to the same, so it is a hash that is the same everywhere.
    """
    return blake2b(group.encode(), digest_size=1).digest()[0]


def ticket_in(partition: int, name: str) -> str:
    """Return a name for the ticket of a request for several things, which says in which partition it is by its first two digits."""
    return f"{partition:02x}{name[2:]}"


def partition_of_ticket(name: str) -> int | None:
    """Return the partition of the ticket of a request for several things; nothing if it is malformed."""
    try:
        return int(name[:2], 16)
    except ValueError:
        return None


def next_after(number: int, node: int) -> int:
    """
    Return the next number that a node may give out after another one.

    :param node: 0 for a daemon that serves a store by itself, and gives out every number.
    """
    return number + 1 if not node else last_before(number, node) + STRIDE


def last_before(number: int, node: int) -> int:
    """Return the highest of a node's numbers that is not above another one."""
    return number - (number - node) % STRIDE


class NodeState(Named):
    """The state of a node as the store has it; its value says what that means."""

    UP = "serves, or could"
    GONE = "has left in order"
    DEAD = "was declared dead by another node"


class NodeRow(NamedTuple):
    """
    A node as the store has it.

    :ivar id: its number: 2 to ``STRIDE`` - 1. The row 1 is that of a daemon that serves a store by itself.
    :ivar term: grows each time that the number is taken, and after each failure of a commit.
    :ivar beat: grows with each commit.
    :ivar wants: whether it wants partitions.
    :ivar fence: the highest that it has given out.
    :ivar event: no event to which it gives an id from now on has one up to this.
    """

    id: int
    term: int
    beat: int
    url: str
    state: NodeState
    wants: bool
    fence: int
    event: int


class Holding(NamedTuple):
    """
    Who owns a partition: a node in one of its terms.

    :ivar term: 0 is no term of any node. Then ``node`` is whom the last owner has left it to, or 0.
    """

    node: int
    term: int


class ClusterRows(NamedTuple):
    """
    What a store says at a moment. It may be old, and parts of it older than others.

    :ivar nodes: by their numbers.
    :ivar owners: of each partition.
    """

    nodes: Mapping[int, NodeRow]
    owners: Sequence[Holding]

    def is_orphan(self, number: int) -> bool:
        """
        Return whether nobody owns a partition.

        Once that is so of a node and a term it stays so, as terms only grow. So a partition that was an orphan still is one, or has another
        owner.
        """
        node, term = self.owners[number]
        if not term:
            return True
        row = self.nodes.get(node)
        return row is not None and (term < row.term or (term == row.term and row.state is not NodeState.UP))
