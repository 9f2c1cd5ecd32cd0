"""Several things at once, asked of a real daemon on either store, which is killed meanwhile."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, eventually
from tests.mariadb import MariaDB

pytestmark = pytest.mark.reference_path

Rows = Callable[[str], list[Any]]
FIVE = json.dumps({"want": [{"resource": "phones", "tags": ["android"], "count": 5}]})


@pytest.fixture(scope="module", name="mariadb")
def mariadb_fixture() -> Iterator[MariaDB]:
    with MariaDB() as server:
        yield server


@pytest.fixture(params=["sqlite", "mariadb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Mapping[str, str], Rows]:
    """The variables of a store of either kind, and a way to its rows."""
    if request.param == "sqlite":

        def rows(statement: str) -> list[Any]:
            with closing(sqlite3.connect(tmp_path / "resourced.sqlite", 20)) as connection, connection:
                return connection.execute(statement).fetchall()

        return {}, rows
    server: MariaDB = request.getfixturevalue("mariadb")
    name = f"several_{request.node.name.translate(dict.fromkeys(map(ord, '[]-'), '_'))}"[:60]
    return (
        {"MYSQL_PORT": str(server.port), "MYSQL_DATABASE": name},
        lambda statement: server.run(statement, database=name),
    )


def pool(daemon: Daemon) -> None:
    """Have five androids."""
    daemon.create("phones")
    for number in range(5):
        answer = daemon.request("PATCH", f"/resource/phones/{number}", body='{"tags": ["android"]}')
        assert answer.status == 200, answer.body


def fences(answer: Any) -> dict[str, int]:
    assert answer.status == 200, answer.body
    return {unit["selector"]: unit["fence"] for unit in answer.json["got"]}


@pytest.mark.parametrize("waits", [False, True])
def test_killed_between_commit_and_answer(tmp_path, store, waits):
    """A client whose grant of five units was committed, and that never saw the answer, has all five after the restart."""
    environment, rows = store
    again = {"Idempotency-Key": "build 7"}
    with Daemon(tmp_path, environment) as daemon:
        pool(daemon)
        held = daemon.post("/resource/phones/3/lock").ticket if waits else ""
        asks = daemon.ask("POST", "/lock?wait=50", body=FIVE, headers=again)
        if waits:
            eventually(lambda: rows("SELECT seq FROM joint_request") or None, what="the request")
            daemon.post("/resource/phones/3/unlock", ticket=held)
        eventually(lambda: rows("SELECT seq FROM joint_request WHERE granted = 1") or None, what="the grant")
        daemon.kill()
        asks.close()
        daemon.start()
        answer = daemon.post("/lock", FIVE, headers=again)
        got = fences(answer)
        assert sorted(got) == ["0", "1", "2", "3", "4"]
        assert len(set(got.values())) == 5
        # Each fence is that of the store: a write under it is taken.
        assert daemon.put("/resource/phones/2", "{}", ticket=answer.ticket).status == 204
        assert fences(daemon.post("/lock", ticket=answer.ticket)) == got
        assert daemon.post("/unlock", ticket=answer.ticket).json == {"unlocked": True}
        assert rows("SELECT seq FROM joint_request") == []
        assert rows("SELECT seq FROM place") == []


def test_killed_while_waiting(tmp_path, store):
    """Who waits keeps the place and what is kept for it, and a unit that is out stays out, with its reason."""
    environment, _ = store
    with Daemon(tmp_path, environment) as daemon:
        pool(daemon)
        held = daemon.post("/resource/phones/3/lock").ticket
        waiting = daemon.post("/lock", FIVE)
        assert (waiting.status, waiting.json["position"]) == (202, 1)
        daemon.request("PATCH", "/resource/phones/5", body='{"tags": ["android"], "out": "cracked"}')
        daemon.kill()
        daemon.start()
        # Idle units are kept for it, so nobody younger has them.
        younger = daemon.post("/resource/phones/0/lock")
        assert (younger.status, younger.json["position"]) == (202, 2)
        assert daemon.post("/resource/phones/5/lock").json["out"] == "cracked"
        assert daemon.post("/resource/phones/3/unlock", ticket=held).json == {"unlocked": True}
        assert sorted(fences(daemon.post("/lock", ticket=waiting.ticket))) == ["0", "1", "2", "3", "4"]


def test_volatile(tmp_path):
    """Where locks are kept in memory only, units are kept all the same."""
    with Daemon(tmp_path, {"RESOURCED_VOLATILE_LOCKS": "1"}) as daemon:
        pool(daemon)
        ticket = daemon.post("/lock", FIVE).ticket
        daemon.kill()
        daemon.start()
        assert daemon.post("/lock", ticket=ticket).status == 410
        assert len(fences(daemon.post("/lock", FIVE))) == 5
