"""Which ciphers TLS endpoints of the daemon take: only such that a stolen key does not open what was recorded before."""

from __future__ import annotations

from typing import Any, Final, Protocol

#: For TLS 1.2, as OpenSSL spells it; TLS 1.3 has no others.
FORWARD_SECRET: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20"


class ContextFactory(Protocol):
    """What makes the context of a TLS connection."""

    def getContext(self) -> Any: ...


class ForwardSecret:
    """
    A reactor as an ``ssl:`` endpoint sees it.

    The description of an endpoint has no word for ciphers, and Twisted's own choice for it takes RSA key exchange too.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenSSL(self, port: int, factory: object, contextFactory: ContextFactory, *args: Any, **kwargs: Any) -> Any:
        """Listen, with these ciphers only."""
        contextFactory.getContext().set_cipher_list(FORWARD_SECRET)
        return self._reactor.listenSSL(port, factory, contextFactory, *args, **kwargs)
