"""What sends requests to nodes, on connections that are kept for the next ones."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.web.client import URI
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse

from resourced.connections import IDLE_TIMEOUT, PER_SERVER, Connections, Endpoints, Sender
from resourced.passing.link import FREE, Link


class KeptConnections:
    """
    A ``Sender`` for nodes that are reached by plain HTTP.

    :param clock: by which connections grow old.
    :param endpoints: how a node is reached.
    :param others: sends what goes another way: over TLS, or to an address with a scope.
    """

    def __init__(self, clock: IReactorTime, endpoints: IAgentEndpointFactory, others: Sender) -> None:
        self._clock = clock
        self._endpoints = endpoints
        self._others = others
        # By host and port, each with the time since when nothing goes over it, the newest last.
        self._free: dict[str, list[tuple[float, Link]]] = {}

    def request(
        self, method: str, url: str, *, headers: Headers, data: bytes | None, **options: Any
    ) -> Deferred[IResponse]:
        """Send a request, as ``treq`` does that is to follow no redirect and to keep no answer."""
        scheme, _, place, target = url.split("/", 3)
        if scheme != "http:" or "%" in place:
            return self._others.request(method, url, headers=headers, data=data, **options)
        request = _written(method, place, target, headers, data)
        no_body = method == "HEAD"
        free = self._free.setdefault(place, [])
        oldest = self._clock.seconds() - IDLE_TIMEOUT
        while free:
            since, link = free.pop()
            if link.state is FREE and since > oldest:
                return link.ask(request, no_body=no_body)
            if link.state is FREE:
                link.hang_up()
        factory = Factory()
        factory.noisy = False
        factory.protocol = lambda: Link(lambda link: self._keep(place, link))
        connected: Deferred[Any] = self._endpoints.endpointForURI(URI.fromBytes(url.encode())).connect(factory)
        return connected.addCallback(lambda link: link.ask(request, no_body=no_body))

    def _keep(self, place: str, link: Link) -> None:
        free = self._free[place]
        if len(free) < PER_SERVER:
            free.append((self._clock.seconds(), link))
        else:
            link.hang_up()


def sender_of(reactor: Any, timeout: float, *, kept: bool) -> Sender:
    """
    Return what sends requests to nodes.

    :param timeout: seconds within which a connection has to be made.
    :param kept: whether it may do so by ``KeptConnections``.
    """
    others = Connections(reactor, timeout)
    return KeptConnections(reactor, Endpoints(reactor, timeout), others) if kept else others


def _written(method: str, place: str, target: str, headers: Headers, data: bytes | None) -> bytes:
    """Write a request out."""
    lines = [f"{method} /{target} HTTP/1.1\r\nHost: {place}\r\n".encode("ascii")]
    lines += [b"%s: %s\r\n" % (name, value) for name, values in headers.getAllRawHeaders() for value in values]
    if data is not None or method in {"POST", "PUT", "PATCH"}:
        lines.append(b"Content-Length: %d\r\n" % len(data or b""))
    lines += [b"\r\n", data or b""]
    return b"".join(lines)
