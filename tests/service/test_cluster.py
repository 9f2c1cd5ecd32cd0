"""Several daemons that serve one store together, in processes of their own on one MariaDB: killed, frozen, stopped, added."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Answer, Daemon, eventually
from tests.mariadb import MariaDB
from tests.stores import mariadb_fixture  # noqa: F401 - a fixture

#: Enough resources that some are in the partitions of each node.
NAMES = [f"printer {number}" for number in range(24)]


class Nodes:
    """Daemons on a database of their own."""

    def __init__(self, server: MariaDB, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.database = f"cluster_{next(_count)}"
        self.exits = ExitStack()
        self.nodes: list[Daemon] = []

    def add(self, *arguments: str) -> Daemon:
        """Start one more."""
        folder = self.folder / str(len(self.nodes))
        folder.mkdir()
        settings = {
            "RESOURCED_STORE": "mysql",
            "MYSQL_HOST": "127.0.0.1",
            "MYSQL_PORT": str(self.server.port),
            "MYSQL_DATABASE": self.database,
            "MYSQL_USER": "root",
            "MYSQL_PASSWORD": "",
        }
        node = Daemon(folder, settings, arguments)
        node.arguments = ("--cluster", "--advertise", f"http://127.0.0.1:{node.port}", *arguments)
        self.nodes.append(node)
        return self.exits.enter_context(node)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return self.server.run(statement, database=self.database)

    def shares(self) -> dict[str, int]:
        """Return how many partitions each node that is up owns, by its URL."""
        found = self.rows(
            "SELECT url, COUNT(number) FROM server LEFT JOIN partition_owner ON node = id AND term = epoch "
            "WHERE id > 1 AND state = 'up' GROUP BY id"
        )
        return {url.decode(): count for url, count in found}

    def settle(self, *nodes: Daemon) -> None:
        """Wait until these are all that are up, and own everything."""
        urls = {f"http://127.0.0.1:{node.port}" for node in nodes}

        def settled() -> bool:
            shares = self.shares()
            return set(shares) == urls and sum(shares.values()) == 256 and min(shares.values()) > 256 // len(urls) // 2

        eventually(settled, what="the nodes share everything")

    def ask(self, method: str, target: str, **parts: Any) -> Answer:
        """Ask each node in turn, until one decides about it."""

        def asked() -> Answer | None:
            for node in self.nodes:
                if node.process is None:
                    continue
                answer = node.request(method, target, **parts)
                if answer.status != 503:
                    return answer
            return None

        return eventually(asked, what=f"a node answers {method} {target}")

    def lock(self, name: str, ticket: str = "") -> Answer:
        return self.ask("POST", f"/resource/{name.replace(' ', '%20')}/A4/lock", ticket=ticket)


_count = itertools.count(1)


@pytest.fixture(name="nodes")
def nodes_fixture(mariadb: MariaDB, tmp_path: Path) -> Iterator[Nodes]:
    nodes = Nodes(mariadb, tmp_path)
    with nodes.exits:
        yield nodes


def test_a_node_comes_and_leaves(nodes: Nodes) -> None:
    """Locks go on with their tickets and fences, whoever decides about them: when a node comes, and when it leaves."""
    first = nodes.add()
    for name in NAMES:
        first.create(name)
    held = {name: nodes.lock(name) for name in NAMES}
    waiting = {name: nodes.lock(name).ticket for name in NAMES}
    second = nodes.add()
    nodes.settle(first, second)
    for name in NAMES:
        again = nodes.lock(name, held[name].ticket)
        assert (again.status, again.fence) == (200, held[name].fence)
        assert nodes.lock(name, waiting[name]).json == {"locked": False, "position": 1}
    first.terminate()
    first.process = None
    nodes.settle(second)
    for name in NAMES:
        path = f"/resource/{name.replace(' ', '%20')}/A4"
        assert nodes.ask("PUT", f"{path}?unlock=1", ticket=held[name].ticket, body="1").status == 204
        next_ = nodes.lock(name, waiting[name])
        assert next_.status == 200
        assert next_.fence > held[name].fence


def test_a_node_dies(nodes: Nodes) -> None:
    """What a node had that was killed the others serve soon, with all tickets and higher fences."""
    first, second = nodes.add(), nodes.add()
    nodes.settle(first, second)
    for name in NAMES:
        nodes.ask("POST", "/resource", body=f'{{"name": "{name}"}}')
    held = {name: nodes.lock(name) for name in NAMES}
    second.kill()
    nodes.settle(first)
    for name in NAMES:
        again = nodes.lock(name, held[name].ticket)
        assert (again.status, again.fence) == (200, held[name].fence)
        assert nodes.ask("POST", f"/resource/{name.replace(' ', '%20')}/A4/unlock", ticket=again.ticket).json == {
            "unlocked": True
        }
        assert nodes.lock(name).fence > held[name].fence


def test_a_frozen_node_has_no_say_any_more(nodes: Nodes) -> None:
    """A node that stood still while others took over tells nobody that they hold anything, and ends."""
    first, second = nodes.add(), nodes.add()
    nodes.settle(first, second)
    for name in NAMES:
        nodes.ask("POST", "/resource", body=f'{{"name": "{name}"}}')
    held = {name: nodes.lock(name) for name in NAMES}
    process = second.process
    second.freeze()
    second.process = None
    nodes.settle(first)
    for name in NAMES:
        nodes.ask("POST", f"/resource/{name.replace(' ', '%20')}/A4/unlock", ticket=held[name].ticket)
        assert nodes.lock(name).fence > held[name].fence
    second.process = process
    connections = [
        second.ask("POST", f"/resource/{name.replace(' ', '%20')}/A4/lock", ticket=held[name].ticket) for name in NAMES
    ]
    second.thaw()
    for connection in connections:
        try:
            assert connection.answer().status == 503
        except OSError:
            pass
        finally:
            connection.close()
    assert second.wait() == 1
    assert "declared dead" in first.log


def test_alone_and_together(nodes: Nodes) -> None:
    """A daemon that is to serve the store by itself does not start beside nodes."""
    first = nodes.add()
    folder = nodes.folder / "alone"
    folder.mkdir()
    alone = Daemon(folder, first.environ)
    assert "Another daemon serves this store already." in alone.fails()
    assert first.healthy()
