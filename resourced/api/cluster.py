"""The nodes of the cluster: which there are, what each of them owns, and how one is emptied."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from twisted.internet.defer import TimeoutError as TooLate
from twisted.internet.interfaces import IReactorTime

from resourced.api.base import Routes, route
from resourced.api.params import fields_of, only
from resourced.api.responses import answer
from resourced.auth.keys import Keys, Permission
from resourced.cluster.interface import NodeView, Ownership
from resourced.deferreds import shielded
from resourced.errors import BadRequest, NodeNotFound, NoOtherNode
from resourced.http.request import EdgeRequest
from resourced.locks.manager import LockManager
from resourced.partitions import NodeState
from resourced.storage.interface import Store

#: For how many seconds whoever empties a node waits, at most, to hear that it is done or why it cannot be.
DRAIN_WAIT: Final = 1.0


class Clustered(Routes):
    """
    The nodes.

    :param clock: what waits run by.
    """

    def __init__(
        self, keys: Keys, store: Store, locks: LockManager, *, ownership: Ownership, clock: IReactorTime
    ) -> None:
        super().__init__(keys, store, locks)
        self._ownership = ownership
        self._clock = clock

    @route("/cluster", ["GET"])
    async def cluster(self, request: EdgeRequest) -> bytes:
        """Show the nodes, and who owns which partition, as this node sees it."""
        self.authorize(request, Permission.READ)
        only(request)
        partitions = list(self._ownership.partitions())
        return answer(
            request,
            200,
            {
                "nodes": [_shown(node) for node in self._ownership.nodes()],
                "partitions": partitions,
                "moving": partitions.count(0),
            },
        )

    @route("/cluster/<name:node>", ["PATCH"])
    async def change(self, request: EdgeRequest, node: str) -> bytes:
        """Let this node give its partitions to the others, or want some again."""
        self.authorize(request, Permission.WRITE).require_all()
        only(request)
        draining = fields_of(request.body(), "draining").get("draining")
        if not isinstance(draining, bool):
            raise BadRequest("draining is neither true nor false.", "bad_draining")
        self._here(node)
        if draining:
            await self._drain()
        else:
            await shielded(self._ownership.undrain())
        # It is committed, and is seen with the next look at the store.
        return answer(request, 200, _shown(self._here(node)._replace(draining=draining)))

    async def _drain(self) -> None:
        if not any(node.state is NodeState.UP and not (node.here or node.draining) for node in self._ownership.nodes()):
            raise NoOtherNode("There is no other node that could take the partitions.")
        # After that it goes on, and ``GET /cluster`` shows how far it is.
        with suppress(TooLate):
            await shielded(self._ownership.drain()).addTimeout(DRAIN_WAIT, self._clock)

    def _here(self, number: str) -> NodeView:
        """Return this node, if it is the one that was asked for. Others are asked themselves, see ``passing``."""
        found = next((node for node in self._ownership.nodes() if node.here and str(node.id) == number), None)
        if found is None:
            raise NodeNotFound("There is no such node, or it does not serve.")
        return found


def _shown(node: NodeView) -> dict[str, object]:
    return {**node._asdict(), "state": node.state.name.lower(), "still": round(node.still, 1)}
