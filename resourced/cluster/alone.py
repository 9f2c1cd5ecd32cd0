"""A cluster of one: a daemon that serves a store by itself owns all partitions, and never looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from resourced.cluster.interface import Mine, NodeView, Owner
from resourced.errors import StoreUnavailable
from resourced.partitions import PARTITIONS, NodeState

_MINE = Mine()


class Alone:
    """An ``Ownership`` without other nodes."""

    def owner_of(self, group: str) -> Owner:  # noqa: ARG002
        return _MINE

    def owner_of_partition(self, number: int) -> Owner:  # noqa: ARG002
        return _MINE

    def nodes(self) -> Sequence[NodeView]:
        return [NodeView(1, "", NodeState.UP, 0, 0, 0.0, draining=False, partitions=PARTITIONS, here=True)]

    def partitions(self) -> Sequence[int]:
        return [1] * PARTITIONS

    async def drain(self) -> None:
        raise StoreUnavailable("There is no other node that could take the partitions.")

    async def undrain(self) -> None:
        """There is nothing to want."""

    def listen(self, changed: Callable[[], object]) -> None:
        """Nothing changes."""
