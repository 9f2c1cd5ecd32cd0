"""The events of a real daemon, followed by real clients: live, after a break, after a crash, and by too many or too slow ones."""

from __future__ import annotations

import itertools
import resource
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.daemon import LOCK, READ, STOCK, Daemon, eventually
from tests.mariadb import MariaDB
from tests.sse import Listener

pytestmark = pytest.mark.reference_path

A4 = "/resource/printer/A4"

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def mariadb():
    with MariaDB() as server:
        yield server


@pytest.fixture(params=("sqlite", "mariadb"))
def store(request: pytest.FixtureRequest) -> dict[str, str]:
    """The variables for a store of each kind."""
    return in_mariadb(request.getfixturevalue("mariadb")) if request.param == "mariadb" else {}


def in_mariadb(server: MariaDB) -> dict[str, str]:
    return {"MYSQL_PORT": str(server.port), "MYSQL_DATABASE": f"events_{next(_numbers)}"}


def turn(daemon: Daemon, path: str = A4, owner: str = "ci-7") -> None:
    """Take a lock and release it."""
    held = daemon.post(f"{path}/lock", headers={"x-owner": owner})
    assert held.status == 200, held
    assert daemon.post(f"{path}/unlock", ticket=held.ticket).json == {"unlocked": True}


def history(daemon: Daemon, path: str = A4) -> list[Any]:
    """Read all that is kept of a lock, the oldest first."""
    found: list[Any] = []
    query = "?limit=1000"
    while query:
        answer = daemon.get(f"{path}/events{query}", key=READ)
        assert answer.status == 200, answer
        found += answer.json["events"]
        query = f"?limit=1000&before={answer.json['next']}" if answer.json["next"] else ""
    return found[::-1]


def follows(listener: Listener, ids: list[int]) -> None:
    """Wait until a client has got events, and these only."""
    eventually(lambda: listener.last >= ids[-1], what=f"event {ids[-1]} has come")
    assert listener.ids == ids


def test_live(tmp_path, store):
    """Who follows sees every kind of event in its order, with its owner, fence and time; and so does who looks it up later."""
    with Daemon(tmp_path, {"RESOURCED_LEASE": "3", **store}) as daemon, Listener(daemon) as listener:
        daemon.create("printer")
        daemon.create("plotter", timeout=300)
        held = daemon.post(f"{A4}/lock", headers={"x-owner": "ci-7"})
        assert daemon.put(A4, "1", ticket=held.ticket).status == 204
        assert daemon.post(f"{A4}/unlock", ticket=held.ticket).json == {"unlocked": True}
        daemon.get(A4, key=LOCK, headers={"x-owner": "ci-8"})
        eventually(lambda: len(listener.events) >= 5, what="the lease is over")
        broken = daemon.post("/resource/plotter/x/lock")
        assert daemon.request("DELETE", f"/resource/plotter/x/lock?fence={broken.fence}").status == 204
        eventually(lambda: len(listener.events) >= 7, what="the lock is broken")
        told = listener.events
        assert [(e["event"], e["selector"], e["owner"], e["fence"]) for e in told] == [
            ("grant", "A4", "ci-7", 1),
            ("write", "A4", "ci-7", 1),
            ("release", "A4", "ci-7", 1),
            ("grant", "A4", "ci-8", 2),
            ("expiry", "A4", "ci-8", 2),
            ("grant", "x", "default", 3),
            ("break", "x", "default", 3),
        ]
        assert [e["id"] for e in told] == sorted({e["id"] for e in told})
        assert told[4]["seconds"] >= 3
        assert told[:5] == history(daemon)
        assert told[5:] == history(daemon, "/resource/plotter/x")


def test_break(tmp_path, store):
    """A client whose connection breaks, or whose daemon is killed, comes back and has missed nothing and got nothing twice."""
    with Daemon(tmp_path, store) as daemon:
        daemon.create("printer")
        with Listener(daemon) as first:
            turn(daemon)
            follows(first, [1, 2])
        turn(daemon)
        with Listener(daemon, last=first.last) as second:
            follows(second, [3, 4])
            turn(daemon)
            daemon.kill()
            eventually(lambda: second.blocks and second.ended)
        daemon.start()
        with Listener(daemon, last=second.last) as third:
            turn(daemon)
            newest = history(daemon)[-1]["id"]
            eventually(lambda: third.last >= newest)
            ids = first.ids + second.ids + third.ids
            assert ids == [event["id"] for event in history(daemon)]
            assert len(ids) == 8
            assert third.resets == 0


def test_another_life(tmp_path):
    """An id that the daemon has not given out begins anew, with a word about it; what is none is refused."""
    with Daemon(tmp_path) as daemon:
        daemon.create("printer")
        turn(daemon)
        with Listener(daemon, last=1_000_000) as listener:
            turn(daemon)
            follows(listener, [3, 4])
            assert (listener.resets, listener.blocks[0].id) == (1, 2)
        answer = daemon.get("/events", key=READ, headers={"last-event-id": "yesterday"})
        assert (answer.status, answer.code) == (400, "bad_last_event_id")


def test_outage(tmp_path):
    """While the store is away a stream is silent; when it is back, all that was kept meanwhile comes, and nothing else."""
    with MariaDB() as server:
        environ = {**in_mariadb(server), "RESOURCED_STORE_TIMEOUT": "1"}
        with Daemon(tmp_path, environ) as daemon, Listener(daemon) as listener:
            daemon.create("printer")
            turn(daemon)
            follows(listener, [1, 2])
            # A commit is under way when the server stops, of which nobody knows then what becomes.
            server.freeze()
            asked = [daemon.ask("POST", f"/resource/printer/{number}/lock") for number in range(5)]
            assert {connection.answer().status for connection in asked} == {503}
            server.thaw()
            eventually(daemon.healthy)
            turn(daemon, "/resource/printer/after")
            eventually(lambda: [event for event in listener.events if event["selector"] == "after"][1:])
            kept = server.run("SELECT id FROM event ORDER BY id", database=environ["MYSQL_DATABASE"])
            assert listener.ids == [id_ for (id_,) in kept]
            assert listener.resets == 0


def test_retention(tmp_path):
    """Events are forgotten after their time. Who comes back later than that is told so; where nothing is kept, nothing is written."""
    store = tmp_path / "resourced.sqlite"

    def kept() -> list[int]:
        with closing(sqlite3.connect(store)) as database:
            return [id_ for (id_,) in database.execute("SELECT id FROM event ORDER BY id")]

    with Daemon(tmp_path, {"RESOURCED_EVENTS_KEEP": "3600"}) as daemon:
        daemon.create("printer")
        for _ in range(3):
            turn(daemon)
    with closing(sqlite3.connect(store)) as database, database:
        # As if a daemon had served it for more than an hour since the fourth.
        database.execute("DELETE FROM event_mark")
        database.execute("INSERT INTO event_mark (passed, event) VALUES (1, 4), (3601000, 6)")
    with Daemon(tmp_path, {"RESOURCED_EVENTS_KEEP": "3600"}) as daemon:
        eventually(lambda: kept() == [5, 6], what="what is old is forgotten")
        with Listener(daemon, last=2) as late, Listener(daemon, last=4) as early:
            eventually(lambda: late.resets)
            turn(daemon)
            follows(late, [7, 8])
            follows(early, [5, 6, 7, 8])
            assert early.resets == 0
    with Daemon(tmp_path, {"RESOURCED_EVENTS_KEEP": "0"}) as daemon, Listener(daemon) as listener:
        eventually(lambda: not kept(), what="everything is forgotten")
        turn(daemon)
        follows(listener, [9, 10])
        assert (kept(), history(daemon)) == ([], [])


def test_volatile(tmp_path):
    """Where locks are kept in memory only, all events are streamed, and only writes are kept."""
    with Daemon(tmp_path, {"RESOURCED_VOLATILE_LOCKS": "1"}) as daemon, Listener(daemon) as listener:
        daemon.create("printer")
        held = daemon.post(f"{A4}/lock")
        assert daemon.put(f"{A4}?unlock=1", "1", ticket=held.ticket).status == 204
        eventually(lambda: len(listener.events) >= 3)
        assert [event["event"] for event in listener.events] == ["grant", "write", "release"]
        assert [event["event"] for event in history(daemon)] == ["write"]
        last = listener.last
        daemon.kill()
        daemon.start()
        # By now there are newer events than that one; what came between them nobody knows.
        turn(daemon)
        with Listener(daemon, last=last) as again:
            eventually(lambda: again.resets == 1)
            turn(daemon)
            eventually(lambda: len(again.events) >= 2)
            assert min(again.ids) > last


def memory(daemon: Daemon) -> int:
    """Return how much memory a daemon has, in bytes."""
    (line,) = [one for one in Path(f"/proc/{daemon.pid}/status").read_text().splitlines() if one.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


def test_slow_readers(tmp_path):
    """Clients that do not read cost the daemon a bounded piece of memory each; when they read again they get all in its order."""
    readers, turns = 40, 500
    # An event has about three thousand bytes.
    path = f"/resource/{quote('🖨' * 250)}/{quote('A' * 255)}"
    with Daemon(tmp_path) as daemon, ExitStack() as stack:
        daemon.create("🖨" * 250)
        listeners = [stack.enter_context(Listener(daemon, room=4096)) for _ in range(readers)]
        before = memory(daemon)
        with closing(daemon.connect()) as client:
            for _ in range(turns):
                ticket = client.ask("POST", f"{path}/lock", headers={"x-owner": "o" * 255}).answer().ticket
                assert client.ask("POST", f"{path}/unlock", ticket=ticket).answer().status == 200
        assert memory(daemon) - before < readers * turns * 2 * 1000
        ids = [event["id"] for event in history(daemon, path)]
        assert len(ids) == 2 * turns
        for listener in listeners[::20]:
            follows(listener, ids)


def test_thousand_streams(tmp_path):
    """A thousand clients follow, one more is refused; locks are given as ever, and all clients are told of them."""
    most = 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with Daemon(tmp_path) as daemon, ExitStack() as stack:
            daemon.create("printer")
            listeners = [stack.enter_context(Listener(daemon)) for _ in range(most)]
            refused = daemon.get("/events", key=READ)
            assert (refused.status, refused.code) == (503, "overloaded")
            assert int(refused.headers["retry-after"]) >= 1
            for _ in range(20):
                turn(daemon)
            for listener in listeners:
                follows(listener, list(range(1, 41)))
            listeners[0].close()
            eventually(lambda: daemon.request("HEAD", "/events", key=READ).status == 200)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_drain(tmp_path):
    """When the daemon stops, streams end in order, and at once."""
    with Daemon(tmp_path, {"RESOURCED_GRACE": "1000"}) as daemon, Listener(daemon) as listener:
        daemon.create("printer")
        turn(daemon)
        follows(listener, [1, 2])
        daemon.terminate()
        assert listener.ids == [1, 2]
        assert listener.ended
        assert listener.whole
        (line,) = [line for line in daemon.log.splitlines() if "GET /events" in line]
        assert " 200 " in line


@pytest.mark.skipif(STOCK, reason="it is about the start, which is the same")
def test_refused_settings(tmp_path):
    """What cannot be a number of streams or a time is told at the start."""
    for variable in ("RESOURCED_MAX_STREAMS", "RESOURCED_EVENTS_KEEP"):
        assert variable in Daemon(tmp_path, {variable: "many"}).fails()
