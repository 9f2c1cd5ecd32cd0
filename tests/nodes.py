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
from resourced.deferreds import waiter_in, wake
from resourced.http.site import ResourcedSite
from resourced.partitions import PARTITIONS, NodeState, partition_of
from resourced.passing.peers import Peers
from resourced.testing.memory_treq import MemoryConnections
from tests.assembled import serve, surroundings
from tests.leading import open_journal
from tests.wire import A4, Answer, Exchange, FaultyStore, Fields, WebTests

#: What the nodes of the tests know.
SECRET = "what only nodes know"


class Shared:
    """
    Who owns what, for all nodes of a test.

    :ivar owners: the number of the owner of each partition; 0 while it moves.
    :ivar draining: the nodes that want none.
    """

    def __init__(self, nodes: int) -> None:
        self.count = nodes
        self.owners = [1] * PARTITIONS
        self.views: list[View] = []
        self.draining: set[int] = set()

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
        self._given: list[Deferred[None]] = []
        self.blind = False
        shared.views.append(self)

    def look(self) -> None:
        """See what is so by now, unless this node is blind."""
        if not self.blind:
            self._owners = list(self._shared.owners)

    def tell(self) -> None:
        """Tell whoever listens that something may have changed."""
        wake(self._given)
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
                draining=number in self._shared.draining,
                partitions=self._owners.count(number),
                here=number == self._node,
            )
            for number in range(1, self._shared.count + 1)
        ]

    def partitions(self) -> Sequence[int]:
        return self._owners

    async def drain(self) -> None:
        """Wait until a test has given all of this node's partitions away."""
        self._shared.draining.add(self._node)
        while self._node in self._owners:
            await waiter_in(self._given)

    async def undrain(self) -> None:
        self._shared.draining.discard(self._node)

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


class Node:
    """One of the nodes of a test, with a store of its own."""

    def __init__(self, test: PassingTests, number: int) -> None:
        self.store = FaultyStore()
        self.view = View(test.shared, number)
        around = surroundings(
            test.clock,
            test.leadership_lost.append,
            new_ticket=test.tickets.__next__,
            ownership=self.view,
            peers=Peers(test.network, test.clock, SECRET),
        )
        self.server = serve(test.config, around, self.store)
        self.site = self.server.site
        test.network.add(number, self.site)


class PassingTests(WebTests):
    """Three nodes; the first is asked, and the second owns the printer."""

    def restart(self) -> None:
        self.shared = Shared(3)
        self.network = Network(self.clock)
        self.nodes = [Node(self, number) for number in (1, 2, 3)]
        for node in self.nodes:
            locking = node.server.locking
            self.successResultOf(Deferred.fromCoroutine(open_journal(locking.journal, locking.store)))
            self.successResultOf(Deferred.fromCoroutine(node.store.create_resource("printer", 0)))
        self.site = self.nodes[0].site
        self.shared.give("printer", 2)

    def holder(self, number: int) -> str | None:
        """Return who holds A4 at a node, as it knows by itself."""
        site, self.site = self.site, self.nodes[number - 1].site
        owners, self.nodes[number - 1].view._owners = self.nodes[number - 1].view._owners, [number] * 256
        holder = self.ask("GET", f"{A4}/lock").json["holder"]
        self.site, self.nodes[number - 1].view._owners = site, owners
        return None if holder is None else str(holder["owner"])

    def advance(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass, in which requests and answers arrive."""
        for _ in range(int(seconds / step)):
            self.clock.advance(step)
            self.network.flush()

    def wait(self, *, ticket: str = "", headers: Fields = (), seconds: int = 20) -> Exchange:
        return self.begin("POST", f"{A4}/lock?wait={seconds}", ticket=ticket, headers=headers)

    def assertFrom(self, node: int, answer: Answer) -> None:
        """The answer says which node has given it."""
        self.assertEqual(answer.headers["X-Resourced-Node"], url_of(node))


def url_of(node: int) -> str:
    """Return where a node of the tests is reached: its port is its number."""
    return f"http://node:{node}"
