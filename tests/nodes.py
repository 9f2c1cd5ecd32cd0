"""Several nodes in this process: servers of the tests that reach each other without a network, and who owns what as a test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from resourced.cluster.interface import Mine, Moving, NodeView, Owner, Peer
from resourced.connections import RequestBody
from resourced.http.site import ResourcedSite
from resourced.partitions import PARTITIONS, NodeState, partition_of
from resourced.testing.memory_treq import MemoryConnections

#: What the nodes of the tests know.
SECRET = "what only nodes know"


class Shared:
    """
    Who owns what, for all nodes of a test.

    :ivar owners: the number of the owner of each partition; 0 while it moves.
    """

    def __init__(self, nodes: int) -> None:
        self.count = nodes
        self.owners = [1] * PARTITIONS
        self.views: list[View] = []

    def give(self, group: str, node: int) -> None:
        """Let a node own the partition of a group, as all see at once; 0 is no node."""
        self.owners[partition_of(group)] = node
        self.changed()

    def changed(self) -> None:
        for view in self.views:
            view.look()
        for view in self.views:
            view.tell()


class View:
    """What one node sees of it: an ``Ownership``."""

    def __init__(self, shared: Shared, node: int) -> None:
        self._shared = shared
        self._node = node
        self._listeners: list[Callable[[], object]] = []
        self._owners = list(shared.owners)
        self.blind = False
        shared.views.append(self)

    def look(self) -> None:
        """See what is so by now, unless this node is blind."""
        if not self.blind:
            self._owners = list(self._shared.owners)

    def tell(self) -> None:
        """Tell whoever listens that something may have changed."""
        for listener in self._listeners:
            listener()

    def owner_of(self, group: str) -> Owner:
        return self.owner_of_partition(partition_of(group))

    def owner_of_partition(self, number: int) -> Owner:
        node = self._owners[number]
        if node == self._node:
            return Mine()
        return Peer(node, url_of(node)) if node else Moving()

    def nodes(self) -> Sequence[NodeView]:
        return [
            NodeView(
                id=number,
                url=url_of(number),
                state=NodeState.UP,
                term=1,
                beat=1,
                still=0.0,
                draining=False,
                partitions=self._owners.count(number),
                here=number == self._node,
            )
            for number in range(1, self._shared.count + 1)
        ]

    def partitions(self) -> Sequence[int]:
        return self._owners

    async def drain(self) -> None:
        """Nothing moves by itself here."""

    async def undrain(self) -> None:
        """Nothing moves by itself here."""

    def listen(self, changed: Callable[[], object]) -> None:
        self._listeners.append(changed)


class Network:
    """
    What reaches the nodes: a ``resourced.connections.Sender``.

    :ivar down: the nodes that refuse connections.
    :ivar silent: the nodes of which nothing arrives any more, nor anything at them.
    :ivar sent: the method, the path and the headers of each request, with the node that it went to.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._nodes: dict[int, MemoryConnections] = {}
        self.down: set[int] = set()
        self.silent: set[int] = set()
        self.sent: list[tuple[int, str, str, Headers]] = []

    def add(self, node: int, site: ResourcedSite) -> None:
        """Let a node be reached."""
        self._nodes[node] = MemoryConnections(site)

    def request(self, method: str, url: str, *, headers: Headers, data: bytes | None, **_: Any) -> Deferred[IResponse]:
        node = urlsplit(url).port or 0
        if node in self.down:
            return fail(Refused())
        self.sent.append((node, method, url.removeprefix(url_of(node)), headers))
        agent = Agent.usingEndpointFactory(self._clock, self._nodes[node])
        body = None if data is None else RequestBody(data)
        answer: Deferred[IResponse] = agent.request(method.encode(), url.encode(), headers, body)
        self.flush()
        return answer

    def flush(self) -> None:
        """Let everything arrive that is under way."""
        for node in self._nodes.keys() - self.silent:
            self._nodes[node].flush()


def url_of(node: int) -> str:
    """Return where a node of the tests is reached: its port is its number."""
    return f"http://node:{node}"
