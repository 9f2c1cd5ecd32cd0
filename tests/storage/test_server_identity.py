"""That two connections tell whether they reach the same server."""

from __future__ import annotations

from contextlib import closing

import pytest

from resourced.storage.sql.server_identity import OneServer, OtherServer, ServerIdentity, identity_of
from tests.mariadb import MariaDB
from tests.stores import mariadb_fixture  # noqa: F401 - a fixture


def asked(server: MariaDB) -> ServerIdentity:
    with closing(server.connect()) as connection:
        return identity_of(connection)


def test_one_server(mariadb: MariaDB) -> None:
    """However often it is asked, a server says that it is the same one, and no other server says that."""
    first = asked(mariadb)
    assert first == asked(mariadb)
    assert first.port == mariadb.port
    assert first.hostname
    assert f":{mariadb.port}" in first.describe()
    assert not first.galera
    assert not first.group
    with MariaDB("--server-id=7") as another:
        assert asked(another) != first
        assert asked(another).server_id == 7


def test_all_that_tells_servers_apart() -> None:
    """Servers on machines of one image may differ in nothing but one of these; a name in a cluster is one of them."""
    one = ServerIdentity("db", 3306, 1, "u", "n1")
    others = [
        ServerIdentity("db2", 3306, 1, "u", "n1"),
        ServerIdentity("db", 3307, 1, "u", "n1"),
        ServerIdentity("db", 3306, 2, "u", "n1"),
        ServerIdentity("db", 3306, 1, "v", "n1"),
        ServerIdentity("db", 3306, 1, "u", "n2"),
    ]
    assert one not in others
    # What it is at present says nothing about which one it is.
    assert one == ServerIdentity("db", 3306, 1, "u", "n1", galera=True, group=True)


def test_first_decides() -> None:
    """The first connection decides which server it is. One that reaches another parts the daemon from both, until it begins a new term."""
    one, other = ServerIdentity("a", 3306, 1, "", ""), ServerIdentity("b", 3306, 2, "", "")
    held = OneServer()
    told: list[tuple[ServerIdentity, ServerIdentity]] = []
    held.on_parted = lambda *both: told.append(both)
    for _ in range(2):
        held.admit(one)
    assert held.holds(0)
    held.begin_term()
    assert held.term == 0
    for identity in (other, other, one):
        with pytest.raises(OtherServer, match=r"a:3306 \(server_id 1\) and "):
            held.admit(identity)
        assert not held.holds(0)
    assert told == [(one, other)]
    held.begin_term()
    held.admit(other)
    assert (held.term, held.identity) == (1, other)
    assert held.holds(1)
    assert not held.holds(0)
    with pytest.raises(OtherServer):
        held.admit(one)
    assert told == [(one, other), (other, one)]
