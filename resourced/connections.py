"""How requests get to a server: connections that are kept for the next one, over TCP or TLS, to names and addresses."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IConsumer, IProtocolFactory, IStreamClientEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

#: Seconds that a connection is kept while nothing goes over it: less than a server keeps it.
IDLE_TIMEOUT: Final = 30
#: How many of them are kept per server.
PER_SERVER: Final = 100
#: Of how many servers it is remembered how they are reached.
SERVERS: Final = 64


class Sender(Protocol):
    """What sends requests, as ``treq`` does."""

    def request(
        self, method: str, url: str, *, headers: Headers, data: bytes | None, **options: Any
    ) -> Deferred[IResponse]: ...


class Connections:
    """
    The connections of one client. Whatever they need of a reactor they take from the one that is given, which may be one of many.

    :param timeout: seconds within which a connection has to be made.
    """

    def __init__(self, reactor: Any, timeout: float) -> None:
        self._pool = HTTPConnectionPool(reactor)
        self._pool.cachedConnectionTimeout = IDLE_TIMEOUT
        self._pool.maxPersistentPerHost = PER_SERVER
        # What may be sent again is for the client to say.
        self._pool.retryAutomatically = False
        self._agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor, timeout), self._pool)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Headers,
        data: bytes | None,
        **_: Any,
    ) -> Deferred[IResponse]:
        """Send a request, as ``treq`` does that is to follow no redirect and to keep no answer."""
        target = url.encode()
        if "%" in url.split("/", 3)[2]:
            # What its scope is called here is nothing to the server.
            uri = URI.fromBytes(target)
            headers.setRawHeaders("host", [f"[{uri.host.decode().partition('%')[0]}]:{uri.port}"])
        body = None if data is None else RequestBody(data)
        answer: Deferred[IResponse] = self._agent.request(method.encode(), target, headers, body)
        return answer

    def close(self) -> Deferred[None]:
        """Close those over which nothing goes."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Where to connect to for a URL. An IPv6 address stands in brackets in it, and its scope after ``%25`` (RFC 6874)."""

    def __init__(self, reactor: Any, timeout: float) -> None:
        self._reactor = reactor
        self._timeout = timeout
        self._policy = BrowserLikePolicyForHTTPS()
        # Each request asks for one, and to make it takes longer than all else about a connection that is kept.
        self._endpoint = lru_cache(maxsize=SERVERS)(self._new_endpoint)

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return self._endpoint(uri.scheme, uri.host, uri.port)

    def _new_endpoint(self, scheme: bytes, name: bytes, port: int) -> IStreamClientEndpoint:
        host = name.decode()
        endpoint: IStreamClientEndpoint
        if ":" in host:
            host, _, scope = host.partition("%25")
            address = f"{host}%{scope}" if scope else host
            endpoint = TCP6ClientEndpoint(self._reactor, address, port, self._timeout)
        else:
            endpoint = HostnameEndpoint(self._reactor, host, port, self._timeout)
        if scheme == b"https":
            endpoint = _Secure(self._reactor, endpoint, self._policy.creatorForNetloc(host.encode(), port))
        return _Silent(endpoint)


@implementer(IStreamClientEndpoint)
class _Silent:
    """Another endpoint, whose connections are not in the log of a program one by one."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        protocolFactory.noisy = False
        connected: Deferred[Any] = self._endpoint.connect(protocolFactory)
        return connected


@implementer(IStreamClientEndpoint)
class _Secure:
    """TLS over another endpoint. Twisted's own goes by the clock of the process's reactor, which need not run."""

    def __init__(self, reactor: Any, endpoint: IStreamClientEndpoint, creator: Any) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._creator = creator

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        factory = TLSMemoryBIOFactory(self._creator, True, protocolFactory, clock=self._reactor)
        connected: Deferred[Any] = self._endpoint.connect(factory)
        return connected.addCallback(lambda protocol: protocol.wrappedProtocol)


@implementer(IBodyProducer)
class RequestBody:
    """A body that is there already. Twisted's own producers go by the process's reactor."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """All is written at once."""

    resumeProducing = stopProducing = pauseProducing
