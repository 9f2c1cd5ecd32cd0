"""What runs a client where it is used: a reactor, with connections of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from resourced.calls.access import Access
from resourced.client.loop import LoopReactor, running_loop
from resourced.client.servers import Servers
from resourced.client.wire import Wire
from resourced.clock import elapsed
from resourced.connections import Connections, Sender


@dataclass(frozen=True, slots=True)
class _Here:
    """
    What a client has in one place.

    :ivar connections: none if something else sends the requests.
    """

    reactor: Any
    servers: Servers
    connections: Connections | None


@dataclass(frozen=True, slots=True)
class _Means:
    """What runs a client, if not what is there; see ``Client.using``."""

    reactor: Any = None
    treq: Sender | None = None
    seconds: Callable[[], float] = elapsed


def _reactor(loop: asyncio.AbstractEventLoop | None) -> Any:
    """Return what runs a client that was not told: a loop of asyncio's, or else Twisted's own reactor."""
    if loop is not None:
        return LoopReactor(loop)
    from twisted.internet import reactor  # noqa: PLC0415 - to import it is to choose it

    return reactor


class RunningClient(Access):
    """A client of coroutines that can be used on any loop and in any process, one after the other; it is closed in each."""

    _means = _Means()

    def using(self, *, reactor: Any = None, treq: Any = None, seconds: Callable[[], float] | None = None) -> Self:
        """
        Be run by something else than what is there, before it is first used; return the client.

        :param reactor: what runs it; without one, the loop of asyncio's that runs where it is used, or else Twisted's own reactor.
        :param treq: what sends the requests, such as ``treq.testing.StubTreq``; without it, a client with a pool of connections.
        :param seconds: a clock that never goes back, for leases. Without it that of the system, which also counts
            the time that the machine sleeps.
        """
        self._means = _Means(reactor, treq, seconds or elapsed)
        return self

    def _connect(self) -> _Here:
        """
        Return what the client has where it is used: on this loop, and in this process. What it had elsewhere is left there. A loop
        that is over can do nothing any more, and what a process was forked from does what it has to do itself.
        """
        means = self._means
        place = (os.getpid(), None if means.reactor else running_loop())
        here: _Here | None = self._places.get(place)
        if here is None:
            reactor = means.reactor or _reactor(place[1])
            connections = None if means.treq else Connections(reactor, self._timeout)
            sender = means.treq or connections
            assert sender is not None  # noqa: S101 - it is one or the other
            wire = Wire(reactor, sender, {"x-api-key": self._key, "accept": "application/json"}, means.seconds)
            servers = Servers(
                self._urls, wire, reactor, means.seconds, timeout=self._timeout, retry_timeout=self._retry_timeout
            )
            here = _Here(reactor, servers, connections)
            self._places = {place: here}
        return here

    @property
    def _servers(self) -> Servers:
        return self._connect().servers

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Whatever is under way is not waited for: leave the blocks of all locks first."""
        here = self._connect()
        here.servers.close()
        await here.servers.settled()
        if here.connections is not None:
            await here.connections.close()
