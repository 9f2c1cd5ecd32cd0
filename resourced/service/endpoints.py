"""One server at several places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from zope.interface import implementer


@implementer(IStreamServerEndpoint)
class Several:
    """Listens at several endpoints: at all of them, or at none."""

    def __init__(self, *endpoints: IStreamServerEndpoint) -> None:
        self._endpoints = endpoints

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        return Deferred.fromCoroutine(self._listen(protocolFactory))

    async def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        ports: list[IListeningPort] = []
        try:
            for endpoint in self._endpoints:
                port = await endpoint.listen(factory)
                ports.append(port)
        except BaseException:
            await _Ports(ports).stopListening()
            raise
        return _Ports(ports)


@implementer(IListeningPort)
class _Ports:
    """The ports of one server, of which the first stands for all."""

    def __init__(self, ports: Sequence[IListeningPort]) -> None:
        self._ports = ports

    def startListening(self) -> None:
        """They listen."""

    def stopListening(self) -> Deferred[Any]:
        return gatherResults([maybeDeferred(port.stopListening) for port in self._ports])

    def getHost(self) -> Any:
        return self._ports[0].getHost()
