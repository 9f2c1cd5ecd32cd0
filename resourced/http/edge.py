"""What a connection needs of the site that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime

from resourced.errors import NotAuthorized
from resourced.forwarded import TrustedProxies
from resourced.http.access_log import AccessRecord
from resourced.http.flow import Budget
from resourced.http.limits import EdgeLimits

#: Says of a request why its body is not to be read, if it is not, from all values of its headers ``x-api-key`` and ``Authorization``.
Gate = Callable[[Sequence[bytes], Sequence[bytes]], NotAuthorized | None]


class Edge(Protocol):
    """What a connection needs of the site that it belongs to."""

    limits: EdgeLimits
    reactor: IReactorTime
    seconds: Callable[[], float]
    draining: bool
    busy: int
    waiting: int
    budget: Budget
    proxies: TrustedProxies

    @property
    def gate(self) -> Gate:
        """Say why the body of a request is not to be read."""

    def date(self) -> bytes:
        """Return the time of day for ``Date``."""

    @property
    def overrun(self) -> bool:
        """Whether a connection that there is no room for is to be dropped rather than told so."""

    def joined(self, channel: Any) -> bool:
        """Count a new connection in; false if there is no room for it."""

    def is_crowd(self, channel: Any) -> bool:
        """Count a connection for its address, too; true if that has as many as it may."""

    def left(self, channel: Any) -> None:
        """Count a connection out."""

    def access(self, access: AccessRecord) -> None:
        """Put one request into the access log."""
