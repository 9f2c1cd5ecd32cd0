"""
Daemons at different nodes of a Galera cluster: only one of them leads, whatever the nodes know of each other.

Each case is run once more without the safeguard that it is about, to show that it takes it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import deferToThread

from resourced.config import MySQLSettings
from resourced.errors import EpochLost
from resourced.model import Batch
from resourced.service.leadership import STILL
from resourced.storage import statements
from resourced.storage.leader_lease import LEADER_LEASE
from resourced.storage.sql.executor import Database
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql_store import SQLStore
from tests.daemon import Daemon, eventually
from tests.galera import Galera, Node, require
from tests.leading import lead
from tests.preloaded import UNFENCED
from tests.stores import place
from tests.unfenced import claim_nothing

require()

A4 = "/resource/printer/A4"
#: Seconds that anything may take on a machine that does much else.
LONG = 90.0
NUMBERS = count(1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Galera]:
    with Galera(2) as cluster:
        yield cluster


class Stores:
    """Stores of daemons at nodes of the cluster, all on a database of their own."""

    def __init__(self) -> None:
        self.name = f"stores_{next(NUMBERS)}"
        self.databases: list[Database] = []

    async def at(self, node: Node) -> SQLStore:
        from twisted.internet import reactor

        dialect = MySQL(MySQLSettings("127.0.0.1", node.port, self.name, "root", ""), 10.0)
        database = Database(reactor, dialect, direct=False)
        self.databases.append(database)
        await database.prepare()
        return SQLStore(database)

    async def close(self) -> None:
        for database in self.databases:
            await database.close()


@pytest_twisted.async_yield_fixture
async def stores() -> AsyncIterator[Stores]:
    stores = Stores()
    yield stores
    await stores.close()


async def commit_when_deposed(cluster: Galera, stores: Stores) -> None:
    """Have a daemon commit a place in a queue when another one has taken over, and its own node does not know of that yet."""
    here, there = cluster.nodes
    old, new = await stores.at(here), await stores.at(there)
    await lead(old)
    seen = await new.look()
    busy = "SELECT 1 FROM information_schema.processlist WHERE db = %s AND command = 'Query'"
    with here.lag(there):
        await new.begin_term(seen)
        late = ensureDeferred(old.commit(Batch(0, [place(1)])))
        # It has got as far as it gets.
        for _ in range(3):
            while not await deferToThread(here.run, busy, stores.name):
                pass
    await late


@pytest.mark.deadline(LONG)
async def test_a_deposed_daemon_commits_nothing(cluster: Galera, stores: Stores) -> None:
    """Not even what changes nothing but a place in a queue, at a node that has not heard of the other daemon."""
    with pytest.raises(EpochLost):
        await commit_when_deposed(cluster, stores)
    assert list(cluster.nodes[1].run("SELECT seq FROM place", database=stores.name)) == []


@pytest.mark.deadline(LONG)
async def test_without_a_change_of_its_row(cluster: Galera, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a commit need not change the leader's row, the cluster does not see that it must not be."""
    monkeypatch.setattr(statements, "claim", claim_nothing)
    await commit_when_deposed(cluster, stores)
    eventually(lambda: cluster.nodes[1].run("SELECT seq FROM place", database=stores.name), what="both have committed")


@dataclass
class Pair:
    """
    A daemon at each node, on one database.

    :ivar here: the one at the first node.
    :ivar there: the one at the second.
    """

    here: Daemon
    there: Daemon

    def without(self, safeguard: str) -> None:
        """Take a safeguard out of both."""
        for daemon in (self.here, self.there):
            daemon.command = (*UNFENCED, safeguard)


@pytest.fixture
def pair(cluster: Galera, tmp_path: Path) -> Iterator[Pair]:
    database = f"pair_{next(NUMBERS)}"
    made = []
    for name, node in zip(("here", "there"), cluster.nodes, strict=True):
        (tmp_path / name).mkdir()
        environ = {
            "MYSQL_HOST": "127.0.0.1",
            "MYSQL_PORT": str(node.port),
            "MYSQL_DATABASE": database,
            "RESOURCED_STORE_TIMEOUT": "4",
            "RESOURCED_GRACE": "1",
        }
        made.append(Daemon(tmp_path / name, environ))
    with ExitStack() as stack:
        for daemon in made:
            stack.callback(daemon.kill)
        yield Pair(*made)


def stand_by(daemon: Daemon) -> None:
    daemon.arguments = ("--standby",)
    daemon.launch()
    eventually(lambda: "Standing by" in daemon.log or "waiting for its end" in daemon.log, LONG, "it stands by")


def renews(daemon: Daemon, ticket: str) -> bool:
    """Whether a daemon tells a holder that it is one."""
    try:
        return daemon.post(f"{A4}/lock", ticket=ticket, timeout=20).status == 200
    except OSError:
        return False


def tells_while_the_other_serves(cluster: Galera, pair: Pair) -> bool:
    """
    Let the node of the leader fall behind, so that its commits do not get through and all that it reads is old.

    :returns: whether it tells a holder that it is one when the other daemon serves already.
    """
    here, there = cluster.nodes
    pair.here.start(LONG)
    pair.here.create("printer")
    ticket = pair.here.post(f"{A4}/lock").ticket
    stand_by(pair.there)
    with here.lag(there):
        eventually(lambda: not renews(pair.here, ticket) or pair.there.healthy(2), LONG, "one of them ends")
        eventually(lambda: pair.there.healthy(2), LONG, "the other one serves")
        told = renews(pair.here, ticket)
        assert renews(pair.there, ticket)
    return told


def test_a_leader_whose_node_falls_behind(cluster: Galera, pair: Pair) -> None:
    """It tells nobody that they hold when the other daemon has taken over, and ends when it learns of that."""
    assert not tells_while_the_other_serves(cluster, pair)
    assert pair.here.wait(LONG) == 1
    assert "Another daemon has taken over this store, so this one must stop." in pair.here.log
    assert "Traceback" not in pair.here.log + pair.there.log


def test_without_the_lease(cluster: Galera, pair: Pair) -> None:
    """A leader that believes what it can read goes on to tell that, beside the one that has taken over."""
    pair.without("lease")
    assert tells_while_the_other_serves(cluster, pair)


def test_a_healthy_leader_is_left_alone(pair: Pair) -> None:
    """
    Neither a daemon that is started at another node, nor one that stands by there, deposes it; but when it ends in order the other one
    serves, with all its locks.
    """
    assert STILL > LEADER_LEASE
    pair.here.start(LONG)
    pair.here.create("printer")
    holder = pair.here.post(f"{A4}/lock")
    log = pair.there.fails(LONG)
    assert "Another daemon serves this store already. With --standby this one would wait for its end." in log
    stand_by(pair.there)
    until = time.monotonic() + STILL + 2
    while time.monotonic() < until:
        assert renews(pair.here, holder.ticket)
        assert not pair.there.healthy()
        time.sleep(0.5)

    pair.here.terminate(LONG)
    eventually(pair.there.healthy, LONG, "the other one serves")
    assert pair.there.post(f"{A4}/lock", ticket=holder.ticket).fence == holder.fence
    assert "Traceback" not in pair.here.log + pair.there.log
    assert "has taken over" not in pair.here.log + pair.there.log


def test_nobody_migrates_under_a_leader(cluster: Galera, pair: Pair) -> None:
    """A daemon of a later version at another node leaves the schema alone while one of an earlier version leads; afterwards it changes it."""
    pair.here.start(LONG)
    pair.here.create("printer")
    database = pair.here.environ["MYSQL_DATABASE"]
    version = "SELECT version FROM schema_version"
    [(known,)] = cluster.nodes[0].run(version, database=database)
    cluster.nodes[0].run("UPDATE schema_version SET version = version - 1", database=database)
    assert "Another daemon serves this store already." in pair.there.fails(LONG)
    assert cluster.nodes[0].run(version, database=database) == [(known - 1,)]
    assert pair.here.post(f"{A4}/lock").status == 200
    pair.here.terminate(LONG)
    pair.there.start(LONG)
    assert cluster.nodes[0].run(version, database=database) == [(known,)]


def test_without_waiting(pair: Pair) -> None:
    """A daemon that does not wait until the leader's row stands still deposes one that is well."""
    pair.without("still")
    pair.here.start(LONG)
    # The leader may commit between the look at its row and the take-over, which has to be tried again then.
    pair.there.arguments = ("--standby",)
    pair.there.start(LONG)
    assert pair.here.wait(LONG) == 1
    assert "Another daemon has taken over this store, so this one must stop." in pair.here.log


def test_the_very_first_start(pair: Pair) -> None:
    """Of two daemons that make the database at the same time, at two nodes, one serves, and the other one waits for its end."""
    for daemon in (pair.here, pair.there):
        daemon.arguments = ("--standby",)
        daemon.launch()

    def settled() -> tuple[Daemon, Daemon] | None:
        # A look at the one that serves may be late on a busy machine, and says nothing of the other one.
        for serving, standby in ((pair.here, pair.there), (pair.there, pair.here)):
            if "waiting for its end" in standby.log and serving.healthy():
                return serving, standby
        return None

    first, second = eventually(settled, LONG, "one of them serves, and the other one waits")
    first.create("printer")
    assert not second.healthy()
    first.terminate(LONG)
    eventually(second.healthy, LONG, "the other one serves")
    assert second.get(f"{A4}?lock=0").status == 404
    assert "Traceback" not in first.log + second.log
