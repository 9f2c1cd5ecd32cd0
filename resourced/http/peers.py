"""How many connections each address has, so that none takes them all."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Address, ip_network

from resourced.forwarded import address_of

#: What one client of IPv6 gets: it may use every address of its network.
NETWORK = 64


def client_of(peer: str) -> str:
    """Return what one client has: an address of IPv4, or a network of IPv6."""
    address = address_of(peer)
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), NETWORK), strict=False))
    return peer if address is None else str(address)


class Peers:
    """
    Counts connections by client.

    :param most: how many a client may have.
    :ivar full: how many clients have as many as they may.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._connections: Counter[str] = Counter()
        self.full = 0

    def __len__(self) -> int:
        """Return how many clients there are."""
        return len(self._connections)

    def join(self, peer: str) -> bool:
        """Count one more connection; false, and it does not count, if its client has as many as it may."""
        client = client_of(peer)
        if self._connections[client] >= self._most:
            return False
        self._connections[client] += 1
        self.full += self._connections[client] == self._most
        return True

    def leave(self, peer: str) -> None:
        """Count a connection no more that was counted."""
        client = client_of(peer)
        self.full -= self._connections[client] == self._most
        self._connections[client] -= 1
        if not self._connections[client]:
            del self._connections[client]
