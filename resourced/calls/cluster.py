"""What a client can ask for of the nodes."""

from __future__ import annotations

import json

from resourced.calls.listing import Listing
from resourced.calls.values import Cluster, Node, take


class ClusterCalls(Listing):
    """The part of a client that is about the nodes."""

    async def cluster(self) -> Cluster:
        """Tell which nodes there are, and which of them owns what."""
        answer = await self._servers.ask("GET", "/cluster")
        nodes = tuple(take(Node, node) for node in answer.items("nodes"))
        return take(Cluster, {**answer.fields, "nodes": nodes, "partitions": tuple(answer.items("partitions"))})

    async def drain(self, node: int) -> Node:
        """
        Let a node give its partitions to the others, and take none until ``undrain``; it may go on after this returns.

        :raises Conflict: there is no other node that could take them (``code`` is ``no_other_node``).
        """
        return await self._want(node, draining=True)

    async def undrain(self, node: int) -> Node:
        """Let a node have partitions again."""
        return await self._want(node, draining=False)

    async def _want(self, node: int, *, draining: bool) -> Node:
        body = json.dumps({"draining": draining}).encode()
        return take(Node, (await self._servers.ask("PATCH", f"/cluster/{node}", body=body)).fields)
