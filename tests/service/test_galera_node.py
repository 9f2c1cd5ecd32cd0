"""A daemon at one node of a Galera cluster: what it reads is never old, what the cluster has undone is done again, and no quorum is no server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_twisted

from resourced.errors import StoreUnavailable
from resourced.storage.sql.pool import Transaction
from resourced.storage.sql.server_identity import identity_of
from tests.cluster import DATABASE, Careless, Made, fence, raise_fence
from tests.daemon import Daemon, eventually
from tests.galera import Galera, require
from tests.proxy import Proxy

require()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Galera]:
    with Galera(2) as cluster:
        yield cluster


@pytest_twisted.async_yield_fixture
async def made() -> AsyncIterator[Made]:
    databases = Made("root")
    yield databases
    for database in databases:
        await database.close()


def test_nodes_are_told_apart(cluster: Galera) -> None:
    """Each node has a name of its own, by which connections are compared."""
    found = []
    for node in cluster.nodes:
        with node.connect() as connection:
            found.append(identity_of(connection))
    assert all(identity.galera for identity in found)
    assert [identity.wsrep_node_name for identity in found] == ["n1", "n2"]
    assert found[0] != found[1]


async def test_nothing_old_is_read(cluster: Galera, made: Made) -> None:
    """At a node that lags, a read waits for what was committed on another one before; without that it tells what is over."""
    first, second = cluster.nodes
    there = await made.at(first)
    patient, careless = await made.at(second), await made.at(second, Careless)
    await there.write(raise_fence)
    before = await patient.read(fence)
    hasty = await made.at(second, timeout=2.0)
    with second.lag(first):
        await there.write(raise_fence)
        for ask in (hasty.read, hasty.probe, hasty.write):
            with pytest.raises(StoreUnavailable):
                await ask(fence)
        assert await careless.read(fence) == before
    assert await there.read(fence) == before + 1
    assert await patient.read(fence) == before + 1


async def test_conflict_at_the_commit(cluster: Galera, made: Made) -> None:
    """A transaction that the cluster undoes at its commit, because of one on another node, is done anew, once and whole."""
    first, second = cluster.nodes
    await made.at(first)
    here = await made.at(second)
    before = await here.read(fence)
    runs: list[int] = []

    def work(transaction: Transaction) -> None:
        raise_fence(transaction)
        runs.append(1)
        if len(runs) == 1:
            first.run("UPDATE server SET fence = fence + 10 WHERE id = 1", database=DATABASE)

    await here.write(work)
    # The other change may arrive only during the second try, which is undone then too.
    assert len(runs) >= 2
    assert await here.read(fence) == before + 11


def test_without_quorum(cluster: Galera, tmp_path: Path) -> None:
    """
    A node without quorum is no server: a daemon that serves says so and goes on when the node is back, one that stands by or waits for its
    store waits for it, and none of them thinks that another daemon has taken over.
    """
    node = cluster.nodes[1]
    settings = {"MYSQL_PORT": str(node.port), "RESOURCED_STORE_TIMEOUT": "2"}
    folders = [tmp_path / name for name in ("serving", "waiting", "standby")]
    for folder in folders:
        folder.mkdir()
    serving = Daemon(folders[0], settings | {"MYSQL_DATABASE": DATABASE})
    waiting = Daemon(folders[1], settings | {"MYSQL_DATABASE": "waiting"}, ("--store-wait",))
    standby = Daemon(folders[2], settings | {"MYSQL_DATABASE": "standby"}, ("--standby",))
    try:
        serving.start()
        serving.create("printer")
        held = serving.post("/resource/printer/A4/lock")
        node.cut_off()
        try:
            eventually(
                lambda: serving.get("/health", key="").json.get("code") == "store_unreachable", 60, "it has no quorum"
            )
            for daemon in (waiting, standby):
                daemon.launch()
            eventually(lambda: all("Waiting for it." in daemon.log for daemon in (waiting, standby)), what="they wait")
        finally:
            node.rejoin()
            cluster.await_synced()
        for daemon in (serving, waiting, standby):
            eventually(daemon.healthy, 60, "it serves")
            assert "Another daemon" not in daemon.log
            assert "Traceback" not in daemon.log
        assert serving.post("/resource/printer/A4/lock", ticket=held.ticket).fence == held.fence
    finally:
        for daemon in (serving, waiting, standby):
            daemon.kill()


def test_node_that_leaves(cluster: Galera, tmp_path: Path) -> None:
    """When a proxy leads a daemon to another node because the first has left, it begins anew there, and all that anybody was told is there."""
    first, second = cluster.nodes
    with Proxy(first.port) as proxy:
        environ = {"MYSQL_PORT": str(proxy.port), "MYSQL_DATABASE": "moved", "RESOURCED_STORE_TIMEOUT": "2"}
        with Daemon(tmp_path, environ) as daemon:
            daemon.create("printer")
            held = daemon.post("/resource/printer/A4/lock")
            assert daemon.put("/resource/printer/A4", '"told"', ticket=held.ticket).status == 204
            assert f"a node of the Galera cluster tests of {len(cluster.nodes)};" in daemon.log
            proxy.target = second.port
            first.stop()
            eventually(lambda: "different servers" in daemon.log, what="it sees that the node is another one")
            eventually(lambda: "a node of the Galera cluster tests of 1;" in daemon.log, what="it begins anew")
            eventually(daemon.healthy, what="it serves")
            kept = daemon.get("/resource/printer/A4", ticket=held.ticket)
            assert kept.fence == held.fence
            assert "told" in kept.json["data"]
            assert daemon.put("/resource/printer/A4", '"told again"', ticket=held.ticket).status == 204
            assert daemon.post("/resource/printer/A4/unlock", ticket=held.ticket).json == {"unlocked": True}
            assert daemon.post("/resource/printer/A4/lock").fence > held.fence
            assert "Another daemon" not in daemon.log
            assert "Traceback" not in daemon.log
