"""What of a request, and of its answer, goes on to the next node: all but what is about one connection."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from twisted.web.http_headers import Headers

from resourced.forwarded import TrustedProxies

#: Marks a request that a node has passed on; its value is what only nodes know.
MARK: Final = b"x-resourced-passed"
#: Names the node that has answered, where there are several.
NODE: Final = b"x-resourced-node"

#: What is about one connection only (RFC 9110, 7.6.1), and what each node says for itself.
_CONNECTION: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_NOT_ONWARD: Final = _CONNECTION | {
    b"content-length",
    b"expect",
    b"forwarded",
    b"host",
    b"x-forwarded-for",
    MARK,
}
_NOT_BACK: Final = _CONNECTION | {b"server", b"date", b"x-content-type-options", NODE}

#: Nobody is believed but the node whose mark was checked.
_NEAREST: Final = TrustedProxies()


class AnyHeaders(Protocol):
    """Headers, of the fast path or of Twisted."""

    def getRawHeaders(self, name: bytes, default: Sequence[bytes]) -> Sequence[bytes]:
        """Return all values of a header."""

    def getAllRawHeaders(self) -> Iterable[tuple[bytes, Sequence[bytes]]]:
        """Return all headers."""


def onward(headers: AnyHeaders, client: str, secret: bytes) -> Headers:
    """
    Return the headers of a request as they go on.

    :param client: the address that the request came from.
    :param secret: what only nodes know.
    """
    sent = Headers(dict(_kept(headers, _NOT_ONWARD)))
    sent.setRawHeaders(MARK, [secret])
    sent.setRawHeaders(b"forwarded", [b'for="%s"' % (f"[{client}]" if ":" in client else client).encode()])
    return sent


def back(headers: AnyHeaders) -> Iterable[tuple[bytes, list[bytes]]]:
    """Return the headers of an answer as they go back."""
    return _kept(headers, _NOT_BACK)


def passed_on(headers: AnyHeaders) -> bool:
    """Tell whether a request says that it was passed on. Who says so in vain only has it answered by nobody else."""
    return bool(headers.getRawHeaders(MARK, ()))


def from_node(headers: AnyHeaders, secret: bytes) -> bool:
    """Tell whether a request comes from a node."""
    return any(hmac.compare_digest(value, secret) for value in headers.getRawHeaders(MARK, ()))


def client_of(headers: AnyHeaders, peer: str) -> str:
    """
    Return where a request comes from that was passed on by a node.

    :param peer: the address of that node.
    """
    return _NEAREST.client(peer, headers.getRawHeaders(b"forwarded", ()), ())


def _kept(headers: AnyHeaders, dropped: frozenset[bytes]) -> Iterable[tuple[bytes, list[bytes]]]:
    listed = b",".join(headers.getRawHeaders(b"connection", ())).lower()
    dropped |= {word.strip(b" \t") for word in listed.split(b",")}
    return ((name, list(values)) for name, values in headers.getAllRawHeaders() if name.lower() not in dropped)
