"""What one client, and all of them together, may ask of the server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """
    The limits of the HTTP edge. Times are in seconds.

    :ivar max_body: the largest request body, in bytes.
    :ivar max_headers: the request line and all headers together, in bytes.
    :ivar request: the time from the first byte of a request to its last.
    :ivar idle: how long a connection stays open with no request on it.
    :ivar linger: how long what is left of a refused request is read and dropped, so that its client gets the answer.
    :ivar stall: how long a client may take nothing of an answer before its connection is cut.
    :ivar buffered: bytes that all connections together may have in memory, of bodies and of answers; beyond them bodies are refused.
    :ivar peer_connections: open connections of one address, or of one /64 network of IPv6, unless it is a
        trusted proxy's; the ones beyond are answered 429.
    :ivar connections: open connections; the ones beyond are answered 503.
    :ivar requests: requests that are being answered at once, without those that wait for a lock; the ones beyond are answered 503.
    """

    max_body: int = 1_048_576
    max_headers: int = 16_384
    request: float = 30
    idle: float = 60
    linger: float = 5
    stall: float = 30
    buffered: int = 1 << 28
    connections: int = 10_000
    peer_connections: int = 10_000
    requests: int = 1_000
