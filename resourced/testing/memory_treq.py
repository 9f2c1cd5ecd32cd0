"""What ``treq`` is to a client, without a network: requests go straight to the site of a server in this process."""

from __future__ import annotations

from typing import Any, Final

from treq.client import HTTPClient
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.test import iosim
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from resourced.http.site import ResourcedSite

SERVER: Final = IPv4Address("TCP", "127.0.0.1", 9501)
CLIENT: Final = IPv4Address("TCP", "127.0.0.1", 31337)


class MemoryTreq:
    """
    Sends requests to a site in memory.

    :param clock: what the timeouts of requests run by.
    """

    def __init__(self, site: ResourcedSite, clock: IReactorTime) -> None:
        self._connections = MemoryConnections(site)
        agent = Agent.usingEndpointFactory(clock, self._connections)
        self._http: Any = HTTPClient(agent, data_to_body_producer=_Body)
        self._flushing = False
        self._again = False

    def request(self, method: str, url: str, **rest: Any) -> Deferred[Any]:
        """Send a request, as ``treq.request`` does."""
        answer: Deferred[Any] = self._http.request(method, url, **rest)
        self.flush()
        return answer

    def flush(self) -> None:
        """Let everything arrive that is under way, in either direction, and what follows from that."""
        self._again = True
        if self._flushing:
            return
        self._flushing = True
        try:
            while self._again:
                self._again = False
                self._connections.flush()
        finally:
            self._flushing = False


@implementer(IAgentEndpointFactory)
class MemoryConnections:
    """The connections to a site, whatever host they ask for."""

    def __init__(self, site: ResourcedSite) -> None:
        self._site = site
        self._open: list[Any] = []

    def endpointForURI(self, uri: URI) -> MemoryConnections:  # noqa: ARG002
        return self

    def connect(self, factory: Any) -> Deferred[Any]:
        """Connect a client with the site, as an endpoint does."""
        client, server = factory.buildProtocol(SERVER), self._site.buildProtocol(CLIENT)
        ours = iosim.FakeTransport(server, isServer=True, hostAddress=SERVER, peerAddress=CLIENT)
        theirs = iosim.FakeTransport(client, isServer=False, hostAddress=CLIENT, peerAddress=SERVER)
        self._open.append(iosim.connect(server, ours, client, theirs))
        return succeed(client)

    def flush(self) -> None:
        """Let arrive what is under way."""
        for pump in tuple(self._open):
            pump.flush()
        self._open = [pump for pump in self._open if not (pump.clientIO.disconnected and pump.serverIO.disconnected)]


@implementer(IBodyProducer)
class _Body:
    """A body that is sent at once."""

    def __init__(self, body: bytes | str) -> None:
        self._body = body.encode() if isinstance(body, str) else body
        self.length = len(self._body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def stopProducing(self) -> None:
        """Nothing is left to be sent."""

    def pauseProducing(self) -> None:
        """Nothing is left to be sent."""

    def resumeProducing(self) -> None:
        """Nothing is left to be sent."""
