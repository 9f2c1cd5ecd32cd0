"""A daemon behind a proxy that leads new connections to another server than the ones that are there, as after a fail-over."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.daemon import LOCK, Daemon, eventually
from tests.mariadb import MariaDB, program
from tests.preloaded import RESOURCED, UNFENCED
from tests.proxy import Proxy

A4 = "/resource/printer/A4"
#: The same daemon, which does not mind what server a connection reaches.
CARELESS = (*UNFENCED, "one-server")
DATABASE = "printers"


class Pair(NamedTuple):
    """Two servers, of which the second is a copy of the first; the ticket of a lock is in both, and what its holder wrote."""

    first: MariaDB
    second: MariaDB
    ticket: str


def environ(port: int) -> dict[str, str]:
    return {
        "MYSQL_PORT": str(port),
        "MYSQL_DATABASE": DATABASE,
        "RESOURCED_STORE_TIMEOUT": "2",
        "RESOURCED_REFERENCE_PATH": "0",
    }


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[MariaDB, MariaDB]]:
    with MariaDB("--server-id=1") as first, MariaDB("--server-id=2") as second:
        yield first, second


@pytest.fixture
def pair(tmp_path: Path, servers: tuple[MariaDB, MariaDB]) -> Pair:
    first, second = servers
    for server in servers:
        server.run(f"DROP DATABASE IF EXISTS {DATABASE}")
    with Daemon(tmp_path, environ(first.port)) as daemon:
        daemon.create("printer")
        ticket = daemon.post(f"{A4}/lock").ticket
        assert daemon.put(A4, '"copied"', ticket=ticket).status == 204
        daemon.terminate()
    copy = subprocess.run(
        [program("mariadb-dump", "mysqldump"), "--no-defaults", f"--socket={first.socket}", "--databases", DATABASE],
        stdout=subprocess.PIPE,
        check=True,
    )
    client = [program("mariadb", "mysql"), "--no-defaults", f"--socket={second.socket}"]
    subprocess.run(client, input=copy.stdout, check=True)
    return Pair(first, second, ticket)


def data(daemon: Daemon) -> str:
    return str(json.loads(daemon.get(f"{A4}?lock=0").json["data"]))


def listed(daemon: Daemon) -> list[str]:
    """What the store has: a list is never told from memory, as data may be."""
    return [found["name"] for found in daemon.get("/resource").json["resources"]]


@pytest.mark.parametrize("command", [RESOURCED, CARELESS], ids=["as it is", "careless"])
def test_new_connections_reach_another_server(tmp_path: Path, pair: Pair, command: tuple[str, ...]) -> None:
    """
    When one connection reaches another server than the others, all are dropped and the daemon begins anew on that server: it never reads from
    one and writes to the other. A daemon that does not look reads what is old for as long as it lives.
    """
    with Proxy(pair.first.port) as proxy, Daemon(tmp_path, environ(proxy.port), command=command) as daemon:
        assert daemon.put(A4, '"only on the first"', ticket=pair.ticket).status == 204
        assert data(daemon) == "only on the first"
        daemon.create("first")
        assert listed(daemon) == ["first", "printer"]
        before = daemon.get(A4, ticket=pair.ticket).fence
        assert daemon.get(A4, key=LOCK).json["position"] == 1
        # First what may fail: from here on any new connection, also one that the daemon opens by itself, reaches the second server.
        readers = reading(pair.first, daemon)
        proxy.target = pair.second.port
        for number in readers:
            pair.first.end_connection(number)
        if command is CARELESS:
            assert listed(daemon) == ["printer"]
            daemon.create("lost")
            assert listed(daemon) == ["printer"]
            assert daemon.healthy()
            return
        # Whether this is answered at all is not promised, but nothing may be told that a later answer takes back.
        daemon.get("/resource")
        eventually(lambda: not pair.first.connections(DATABASE), what="nothing is left of the first server")
        eventually(daemon.healthy, what="it serves again")
        assert "different servers" in daemon.log
        assert f":{pair.second.port} (server_id 2)" in daemon.log
        # What the second server knows is what counts: there the lock is still its holder's, and nobody waits. Nothing is told from memory.
        assert listed(daemon) == ["printer"]
        assert data(daemon) == "copied"
        assert daemon.get(A4, ticket=pair.ticket).fence == before
        assert daemon.get(A4, key=LOCK).json["position"] == 1
        for number in range(5):
            assert daemon.put(A4, json.dumps(f"second {number}"), ticket=pair.ticket).status == 204
            assert data(daemon) == f"second {number}"
        assert daemon.post("/resource", '{"name": "stapler"}').status == 201
        assert pair.second.run("SELECT COUNT(*) FROM resource", database=DATABASE) == [(2,)]
        assert daemon.terminate() < 0
    assert "Traceback" not in daemon.log


def reading(server: MariaDB, daemon: Daemon) -> list[int]:
    """Return the connections by which the daemon reads."""
    server.run("SET GLOBAL log_output = 'TABLE'")
    server.run("TRUNCATE TABLE mysql.general_log")
    server.run("SET GLOBAL general_log = 1")
    for _ in range(8):
        listed(daemon)
    server.run("SET GLOBAL general_log = 0")
    rows = server.run(
        "SELECT DISTINCT thread_id FROM mysql.general_log WHERE command_type = 'Query' AND argument LIKE 'SELECT %% FROM resource WHERE %%'"
    )
    return [int(number) for (number,) in rows]


class RoundRobin(Proxy):
    """A proxy that spreads connections over two servers."""

    def __init__(self, *ports: int) -> None:
        self._ports = ports
        self._next = 0
        super().__init__(0)

    @property
    def target(self) -> int:
        self._next += 1
        return self._ports[self._next % len(self._ports)]

    @target.setter
    def target(self, port: int) -> None:
        """It goes by its own list."""


def test_connections_spread_over_servers(tmp_path: Path, servers: tuple[MariaDB, MariaDB]) -> None:
    """Behind a proxy that spreads connections a daemon does not begin to serve, and says why."""
    for server in servers:
        server.run("CREATE DATABASE spread")
    with RoundRobin(*(server.port for server in servers)) as proxy:
        log = Daemon(tmp_path, environ(proxy.port) | {"MYSQL_DATABASE": "spread"}).fails()
        assert "Its connections reach different servers: " in log
        assert "Traceback" not in log
        (tmp_path / "waiting").mkdir()
        waiting = Daemon(tmp_path / "waiting", environ(proxy.port) | {"MYSQL_DATABASE": "spread"}, ("--store-wait",))
        try:
            waiting.launch()
            eventually(lambda: waiting.log.count("different servers") >= 2, what="it says so more than once")
            assert not waiting.healthy(1)
            assert waiting.terminate() < 0
        finally:
            waiting.kill()
