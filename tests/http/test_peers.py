"""How many connections each address has."""

from __future__ import annotations

import pytest

from resourced.http.peers import Peers, client_of


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:a:b:c:d", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
    ],
)
def test_who_is_one_client(peer: str, client: str) -> None:
    """Whoever has one address of IPv6 has its whole network; an address of IPv4 is the same on a socket of both."""
    assert client_of(peer) == client


def test_a_network_has_as_many_as_an_address() -> None:
    """A client that comes from ever new addresses of its network has no more than another; and what has gone is forgotten."""
    peers = Peers(2)
    assert [peers.join(f"2001:db8::{number}") for number in range(1, 5)] == [True, True, False, False]
    assert [peers.join(f"::ffff:192.0.2.{number}") for number in range(1, 5)] == [True] * 4
    assert (len(peers), peers.full) == (5, 1)
    peers.leave("2001:db8::2")
    assert peers.full == 0
    assert peers.join("2001:db8::9")
    for gone in ("2001:db8::1", "2001:db8::9", *(f"192.0.2.{number}" for number in range(1, 5))):
        peers.leave(gone)
    assert (len(peers), peers.full) == (0, 0)
