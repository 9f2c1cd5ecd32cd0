"""Daemons of the tests that serve one store together, in processes of their own on one MariaDB."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Answer, Daemon, eventually
from tests.mariadb import MariaDB

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
        return self.exits.enter_context(self.make(*arguments))

    def make(self, *arguments: str) -> Daemon:
        """Make one more, and do not start it."""
        folder = self.folder / str(len(self.nodes))
        folder.mkdir()
        settings = {
            "RESOURCED_STORE": "mysql",
            "MYSQL_HOST": "127.0.0.1",
            "MYSQL_PORT": str(self.server.port),
            "MYSQL_DATABASE": self.database,
            "MYSQL_USER": "root",
            "MYSQL_PASSWORD": "",
            "RESOURCED_CLUSTER_KEY": "what-only-nodes-know",
        }
        node = Daemon(folder, settings, arguments)
        node.arguments = ("--cluster", "--advertise", f"http://127.0.0.1:{node.port}", *arguments)
        self.nodes.append(node)
        return node

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
