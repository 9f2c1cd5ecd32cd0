"""Lists of what all nodes know: each node is asked for its part, and the parts are merged in order."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any, Final, cast

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.web.client import ResponseFailed

from resourced.api.base import Handling
from resourced.api.params import argument, limit_of
from resourced.api.responses import answer
from resourced.cluster.interface import NodeView, Ownership, Peer
from resourced.errors import BadRequest, OwnerAway
from resourced.http.request import EdgeRequest
from resourced.partitions import NodeState
from resourced.passing.headers import MARK, passed_on
from resourced.passing.peers import Exchange, Peers
from resourced.passing.relay import body_of

#: How far a list was read at each node: its number, and the number of the last row from there.
_CURSOR: Final = re.compile(r"\d{1,5}:\d{1,19}(,\d{1,5}:\d{1,19})*")

Row = dict[str, Any]


class Merging:
    """
    Lets lists be of all nodes. If one of them does not answer, there is no list: a part would look like the whole.

    The order is that of each node's own list, and between nodes the seconds that are shown. While partitions move, a page may repeat or leave
    out what moves.
    """

    def __init__(self, ownership: Ownership, peers: Peers) -> None:
        self._ownership = ownership
        self._peers = peers

    def around(self, label: str, methods: Sequence[str], handler: Handling) -> Handling:
        """Return what answers a route: its handler, or that of a list with the parts of all nodes."""
        merge = {"/locks": self._locks, "/resource": self._resources}.get(label) if "GET" in methods else None
        if merge is None:
            return handler

        @wraps(handler)
        async def handle(request: EdgeRequest, **_: str) -> bytes:
            # Who is asked by another node is asked for its own part.
            return await (handler(request) if passed_on(request.requestHeaders) else merge(handler, request))

        return handle

    async def _locks(self, handler: Handling, request: EdgeRequest) -> bytes:
        cursor = _cursor_of(argument(request, b"after"))
        sort, limit = argument(request, b"sort"), limit_of(request)
        nodes = self._up()
        targets = {node.id: _target(request, cursor.get(node.id, 0)) for node in nodes}
        # This node's own part comes as those of the others do: with the number of each row.
        request.requestHeaders.setRawHeaders(MARK, [b""])
        path, _, query = targets[self._here(nodes)].partition(b"?")
        request.uri, request.args = path + b"?" + query, {**request.args, b"after": [query.rpartition(b"=")[2]]}
        parts = await self._parts(handler, request, nodes, targets)
        someone, seconds = ("waiter", "waited") if sort == "waiting" else ("holder", "held")
        lists = [[(node, row) for row in part["locks"]] for node, part in parts.items()]
        merged = list(heapq.merge(*lists, key=lambda row: -row[1][someone][seconds]))
        for node, row in merged[:limit]:
            cursor[node] = row.pop("number")
        left = {node for node, _ in merged[limit:]}
        for node, part in parts.items():
            if part["next"] is not None and node not in left:
                cursor[node] = part["next"]
        more = left or any(part["next"] is not None for part in parts.values())
        after = ",".join(f"{node}:{number}" for node, number in sorted(cursor.items())) if more else None
        return answer(request, 200, {"locks": [row for _, row in merged[:limit]], "next": after})

    async def _resources(self, handler: Handling, request: EdgeRequest) -> bytes:
        nodes = self._up()
        parts = await self._parts(handler, request, nodes, {node.id: request.uri for node in nodes})
        page = parts[self._here(nodes)]
        known = {node: {row["name"]: row for row in part["resources"]} for node, part in parts.items()}
        for place, row in enumerate(page["resources"]):
            owner = self._ownership.owner_of(row.get("group") or row["name"])
            if isinstance(owner, Peer):
                page["resources"][place] = known.get(owner.node, {}).get(row["name"], row)
        return answer(request, 200, page)

    # -- The parts

    def _up(self) -> list[NodeView]:
        return [node for node in self._ownership.nodes() if node.here or node.state is NodeState.UP]

    def _here(self, nodes: Sequence[NodeView]) -> int:
        return next(node.id for node in nodes if node.here)

    async def _parts(
        self, handler: Handling, request: EdgeRequest, nodes: Sequence[NodeView], targets: Mapping[int, bytes]
    ) -> dict[int, Row]:
        """
        Return the part of each node, by its number.

        :raises resourced.errors.OwnerAway: a node has none.
        """
        # First this one's: what it refuses nobody else is asked for.
        parts = {self._here(nodes): json.loads(await handler(request))}
        others = [node for node in nodes if not node.here]
        reads = [
            Deferred.fromCoroutine(_read(self._peers.get(node.url, request, targets[node.id]), node.url))
            for node in others
        ]
        try:
            found = cast(list[Row], await gatherResults(reads, consumeErrors=True))
        except FirstError as error:
            error.subFailure.raiseException()
        return parts | {node.id: part for node, part in zip(others, found, strict=True)}


async def _read(exchange: Exchange, url: str) -> Row:
    response = await exchange.response
    try:
        body = await body_of(response)
        part = json.loads(body)
    except (ResponseFailed, ValueError):
        part = None
    if response.code != 200 or not isinstance(part, dict):
        raise OwnerAway(f"The node at {url} does not tell its part of the list at present.", unclear=False)
    return part


def _cursor_of(after: str | None) -> dict[int, int]:
    """Read how far a list was read at each node."""
    if after in {None, "0"}:
        return {}
    if after is None or _CURSOR.fullmatch(after) is None:
        raise BadRequest("after in the query is not what an answer had as next.", "bad_after")
    return {int(node): int(number) for node, _, number in (part.partition(":") for part in after.split(","))}


def _target(request: EdgeRequest, after: int) -> bytes:
    """Return what a node is asked for: the same, after a row of its own list."""
    path, _, query = request.uri.partition(b"?")
    pieces = [piece for piece in query.split(b"&") if piece and not piece.startswith(b"after=")]
    return path + b"?" + b"&".join([*pieces, b"after=%d" % after])
