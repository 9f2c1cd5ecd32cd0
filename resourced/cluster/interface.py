"""Who owns which partition, as those who answer requests see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from resourced.partitions import NodeState

#: In how many seconds a client may ask again when a partition is about to have another owner.
RETRY_AFTER: Final = 1


class Mine(NamedTuple):
    """It is owned here."""


class Peer(NamedTuple):
    """
    Another node owns it.

    :ivar node: its number.
    :ivar url: where the others reach it.
    """

    node: int
    url: str


class Moving(NamedTuple):
    """
    No node is known to own it at this moment.

    :ivar retry_after: in how many seconds that will probably be over.
    """

    retry_after: int = RETRY_AFTER


#: Who owns a partition.
Owner = Mine | Peer | Moving


class NodeView(NamedTuple):
    """
    A node, as this one sees it.

    :ivar id: its number, 1 or higher.
    :ivar url: where the others reach it; empty if it is alone.
    :ivar beat: grows with each of its commits.
    :ivar still: for how many seconds this node has seen the same beat; 0 for itself.
    :ivar draining: whether it wants no partitions.
    :ivar partitions: how many it owns.
    :ivar here: whether it is this node.
    """

    id: int
    url: str
    state: NodeState
    term: int
    beat: int
    still: float
    draining: bool
    partitions: int
    here: bool


class Ownership(Protocol):
    """Who owns which partition. What is asked here is answered from memory; the store is looked at each second."""

    def owner_of(self, group: str) -> Owner:
        """
        Say who owns the partition of a group.

        ``Mine`` is certain for as long as the leader's lease is held. ``Peer`` may be old by a second: such a peer says that it is not
        the owner, and never passes a request on again.
        """

    def owner_of_partition(self, number: int) -> Owner:
        """Say who owns a partition, as ``owner_of`` does."""

    def nodes(self) -> Sequence[NodeView]:
        """Return the nodes of the store by their numbers, those that have gone too."""

    def partitions(self) -> Sequence[int]:
        """Return the number of the owner of each partition; 0 where none is known."""

    async def drain(self) -> None:
        """
        Give all partitions of this node to the others, and want none until ``undrain``; return when it owns none.

        :raises resourced.errors.StoreUnavailable: the store is away, or no other node can take them.
        """

    async def undrain(self) -> None:
        """
        Want partitions again.

        :raises resourced.errors.StoreUnavailable: the store is away.
        """

    def listen(self, changed: Callable[[], object]) -> None:
        """Call a function each time an owner, or the state of a node, has changed."""
