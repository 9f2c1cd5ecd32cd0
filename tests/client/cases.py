"""What tests of the client start from: the real server in memory, and a network that loses requests and answers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived

from resourced.client import (
    Client,
    Waiting,
)
from resourced.testing import MemoryServer

PASS, REFUSE, LOSE, SWALLOW, CONNECT = "pass", "refuse", "lose", "swallow", "connect"


class Network:
    """
    The network between a client and a server.

    :ivar fate: says what becomes of a request: it passes, the connection is refused, the answer is lost, or nothing comes back;
        a number is the seconds that the answer takes; or the connection is never made.
    :ivar asked: every request: when, its method, its path with the query, and its headers.
    """

    def __init__(self, server: MemoryServer, clock: Clock) -> None:
        self._treq = server.treq
        self._clock = clock
        self.fate: Callable[[str, str], str | float] = lambda method, path: PASS
        self.asked: list[tuple[float, str, str, dict[str, str]]] = []

    def request(self, method: str, url: str, *, headers: Any, **rest: Any) -> Deferred[Any]:
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        said = {name.decode().lower(): values[0].decode() for name, values in headers.getAllRawHeaders()}
        self.asked.append((self._clock.seconds(), method, path, {**said, "host": parts.netloc}))
        fate = self.fate(method, url)
        if fate == REFUSE:
            return fail(error.ConnectionRefusedError())
        if fate == SWALLOW:
            return Deferred()
        if fate == CONNECT:
            # What Twisted makes of it if it is cancelled while it looks the name up.
            return Deferred(lambda lookup: lookup.errback(error.DNSLookupError("Couldn't find the hostname.")))
        answer = self._treq.request(method, url, headers=headers, **rest)
        if fate == LOSE:
            answer.addErrback(lambda _: None)
            answer.cancel()
            self._treq.flush()
            return fail(ResponseNeverReceived([Failure(error.ConnectionLost())]))
        if isinstance(fate, float):
            answer.addCallback(lambda response: deferLater(self._clock, fate, lambda: response))
        return answer

    def times(self, method: str, end: str) -> list[float]:
        """When requests of a method were sent to paths that end so."""
        return [when for when, how, path, _ in self.asked if how == method and path.endswith(end)]


def once(fate: str | float, method: str, end: str) -> Callable[[str, str], str | float]:
    """The fate of the next request of a method to a path that ends so; all others pass."""
    left = [fate]

    def decide(how: str, url: str) -> str | float:
        return left.pop() if left and how == method and url.endswith(end) else PASS

    return decide


class ClientTestCase(SynchronousTestCase):
    """A server that knows a printer, whose locks last 30 seconds, and a client of it."""

    def setUp(self):
        self.clock = Clock()
        self.server = MemoryServer(self.clock, lease=30.0, place=20.0, claim=10.0)
        self.network = Network(self.server, self.clock)
        self.client = self.another()
        self.now(self.client.create("printer"))
        self.network.asked.clear()
        self.addCleanup(lambda: self.successResultOf(Deferred.fromCoroutine(self.server.close())))

    def another(self, key: str = "", **options: Any) -> Client:
        return self.server.client(key or self.server.write_key, treq=self.network, **options)

    def begin(self, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        outcome = Deferred.fromCoroutine(work)
        self.server.advance()
        return outcome

    def now(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of what must not take any time."""
        return self.successResultOf(self.begin(work))

    def fails(self, kind: type[Exception], work: Coroutine[Any, Any, Any] | Deferred[Any]) -> Any:
        outcome = work if isinstance(work, Deferred) else self.begin(work)
        return self.failureResultOf(outcome, kind).value

    def hold(self, client: Client | None = None, **options: Any) -> Block:
        """Begin a block that holds printer/A4 until it is told to end."""
        block = Block(client or self.client, **options)
        self.server.advance()
        return block

    def holder(self) -> list[int]:
        """The fences of those who hold a lock, by the server."""
        return [place.fence for place in self.server.store.places.values() if place.fence]

    def waiting(self) -> int:
        """How many tickets wait, by the server."""
        return sum(not place.fence for place in self.server.store.places.values())


class Block:
    """An ``async with`` block in a coroutine of its own, and what can be seen of it."""

    def __init__(self, client: Client, **options: Any) -> None:
        self.told: list[Waiting] = []
        self.held: Any = None
        self.cancelled = 0
        self.lock = client.lock("printer", "A4", **{"on_queued": self.told.append, **options})
        self._end: Deferred[None] = Deferred()
        self.outcome = Deferred.fromCoroutine(self._run())

    async def _run(self) -> str:
        async with self.lock as self.held:
            try:
                await self._end
            except CancelledError:
                self.cancelled += 1
                raise
        return "through"

    def end(self, error: Exception | None = None) -> None:
        if error is None:
            self._end.callback(None)
        else:
            self._end.errback(error)
