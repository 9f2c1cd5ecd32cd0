"""Whose request it is that comes from a proxy: what a trusted proxy says of its client, and nobody else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

#: What the peer of a Unix socket is called.
UNIX = "unix"

#: A parameter of an element of ``Forwarded`` (RFC 7239, 4).
_PARAMETER = re.compile(rb'\s*([A-Za-z]+)=([^";,\s]+|"[^"\\]*")\s*')
#: An address of a client, and perhaps its port: IPv6 stands in brackets, if it has one.
_NODE = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|([0-9.]+)(?::\d+)?|([0-9A-Fa-f:.]+)")


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """
    The proxies that are believed.

    :ivar networks: of their addresses.
    :ivar unix: whether whoever comes by a Unix socket is one.
    """

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    unix: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read addresses, networks and the word ``unix``, with commas between them.

        :raises ValueError: it is something else.
        """
        words = [word.strip() for word in text.split(",") if word.strip()]
        return cls(tuple(ip_network(word) for word in words if word != UNIX), UNIX in words)

    def trust(self, peer: str) -> bool:
        """Tell whether an address is that of a proxy that is believed."""
        if peer == UNIX:
            return self.unix
        address = address_of(peer)
        return address is not None and any(address in network for network in self.networks)

    def client(self, peer: str, forwarded: Sequence[bytes], x_forwarded_for: Sequence[bytes]) -> str:
        """
        Return the address of the client of a request, as far as proxies that are believed tell it.

        Each proxy adds whom it got the request from at the end. So the list is read from its end, up to the first that is no trusted proxy:
        what stands before may be made up. If both headers are there and differ, the proxy has set one of them only, and nobody knows which.

        :param peer: who sent it; it must be trusted.
        :param forwarded: all values of that header; the same for ``x_forwarded_for``.
        """
        told = [
            self._nearest(peer, hops)
            for hops in (_forwarded(forwarded), [hop.decode("latin-1").strip() for hop in _split(x_forwarded_for)])
            if hops
        ]
        return told[0] if told and len(set(told)) == 1 else peer

    def _nearest(self, peer: str, hops: Sequence[str]) -> str:
        for hop in reversed(hops):
            node = _NODE.fullmatch(hop)
            address = address_of(node[1] or node[2] or node[3]) if node else None
            if address is None:
                break
            peer = str(address)
            if not self.trust(peer):
                break
        return peer


def _split(values: Sequence[bytes]) -> list[bytes]:
    return b",".join(values).split(b",") if values else []


def _forwarded(values: Sequence[bytes]) -> list[str]:
    """Return whom each element of ``Forwarded`` is for; a word that is no address, if it does not say."""
    hops = []
    for element in _split(values):
        parameters = {}
        for pair in element.split(b";"):
            match = _PARAMETER.fullmatch(pair)
            if match:
                parameters[match[1].lower()] = match[2].strip(b'"')
        hops.append(parameters.get(b"for", b"unknown").decode("latin-1"))
    return hops


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a text is, if it is one."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A socket that takes both families tells IPv4 so.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
