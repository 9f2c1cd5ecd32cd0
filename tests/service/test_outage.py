"""What clients see of a real daemon while its database server dies, freezes or drops connections, and after it has come back."""

from __future__ import annotations

import signal
import time
from contextlib import closing
from typing import Any

import pytest

from tests.daemon import LOCK, Answer, Daemon, eventually
from tests.mariadb import MariaDB

pytestmark = pytest.mark.reference_path

A4 = "/resource/printer/A4"
#: The store's timeout where the database says nothing, in seconds; elsewhere it is one that is never over.
SILENCE = 2.0
#: What an answer may take on a machine that does much else.
LATE = 30.0


@pytest.fixture(scope="module")
def server():
    with MariaDB() as server:
        yield server


@pytest.fixture
def mariadb(server):
    """A server with nothing on it, to be broken."""
    yield server
    server.restart()
    server.run("DROP DATABASE printers")


@pytest.fixture
def timeout():
    """The store's timeout; a test may be parametrized with another one."""
    return 20.0


@pytest.fixture
def daemon(tmp_path, mariadb, timeout):
    environ = {
        "MYSQL_PORT": str(mariadb.port),
        "MYSQL_DATABASE": "printers",
        "RESOURCED_STORE_TIMEOUT": str(timeout),
        "RESOURCED_GRACE": "1",
        "RESOURCED_MAX_WAIT": "1000",
    }
    with Daemon(tmp_path, environ) as started:
        started.create("printer")
        yield started
        assert "Traceback" not in started.log


def unavailable(daemon: Daemon, method: str, target: str, **parts: Any) -> None:
    """Make a request that the daemon cannot serve now; it must say so in time."""
    began = time.monotonic()
    answer = daemon.request(method, target, **parts)
    assert time.monotonic() - began < LATE
    assert (answer.status, answer.code) == (503, "store_unavailable"), answer
    assert int(answer.headers["retry-after"]) >= 1


def nothing_works(daemon: Daemon, holder: Answer) -> None:
    """Try everything while the database server is away."""
    unavailable(daemon, "PUT", A4, body='"during"', ticket=holder.ticket)
    unavailable(daemon, "GET", A4, key=LOCK)
    unavailable(daemon, "GET", f"{A4}?lock=0")
    unavailable(daemon, "POST", "/resource/printer/A5/lock")
    unavailable(daemon, "POST", f"{A4}/unlock", ticket=holder.ticket)
    unavailable(daemon, "POST", "/resource", body='{"name": "other"}')
    began = time.monotonic()
    health = daemon.get("/health", key="")
    assert time.monotonic() - began < LATE
    assert health.status == 503
    assert int(health.headers["retry-after"]) >= 1
    # What needs no database is answered as ever.
    assert daemon.get(A4, key="wrong").status == 401
    assert daemon.get("/no/path").status == 404
    assert daemon.put(A4, "{", ticket=holder.ticket).code == "bad_json"


def all_works_again(daemon: Daemon, holder: Answer, second: str, third: str) -> None:
    """Look for the locks as they were before, and pass them on."""
    eventually(daemon.healthy, what="the daemon is healthy again")
    kept = eventually(lambda: answered(daemon.get(A4, key=LOCK, ticket=holder.ticket)), what="the lock is known")
    assert (kept.status, kept.fence) == (200, holder.fence)
    # Nobody knows of a write that was answered 503 whether it was done.
    assert kept.json["data"] in {'"before"', '"during"'}
    assert daemon.get(A4, key=LOCK, ticket=third).json == {"unavailable": True, "position": 2}
    assert daemon.get(A4, key=LOCK, ticket=second).json == {"unavailable": True, "position": 1}
    assert daemon.put(f"{A4}?unlock=1", '"after"', ticket=holder.ticket).status == 204
    next_waiter = daemon.get(A4, key=LOCK, ticket=second)
    assert (next_waiter.status, next_waiter.json["data"]) == (200, '"after"')
    assert next_waiter.fence > holder.fence
    fresh = daemon.post("/resource/printer/A5/lock")
    assert (fresh.status, fresh.json) == (200, {"locked": True})
    assert fresh.fence > next_waiter.fence
    assert daemon.post("/resource", '{"name": "another"}').status == 201


def answered(answer: Answer) -> Answer | None:
    return None if answer.status == 503 else answer


def three_clients(daemon: Daemon) -> tuple[Answer, str, str]:
    """Have a holder that has written, and two that wait."""
    holder = daemon.post(f"{A4}/lock")
    assert daemon.put(A4, '"before"', ticket=holder.ticket).status == 204
    second, third = daemon.get(A4, key=LOCK), daemon.get(A4, key=LOCK)
    assert [second.json["position"], third.json["position"]] == [1, 2]
    return holder, second.ticket, third.ticket


def test_lost_connections_are_not_noticed(daemon, mariadb):
    """When the database server ends every connection, no client sees an error."""
    holder, _, _ = three_clients(daemon)
    for round_ in range(3):
        for target, parts, status in (
            (f"/resource?round={round_}", {"method": "POST", "body": f'{{"name": "stapler {round_}"}}'}, 201),
            (A4, {"method": "GET", "ticket": holder.ticket}, 200),
            (A4, {"method": "PUT", "ticket": holder.ticket, "body": str(round_)}, 204),
            (f"{A4}?lock=0", {"method": "GET"}, 200),
            (f"/resource/printer/B{round_}/lock", {"method": "POST"}, 200),
            (f"{A4}/unlock", {"method": "POST", "ticket": "0" * 32}, 200),
            ("/health", {"method": "GET"}, 200),
        ):
            for number in mariadb.connections("printers"):
                mariadb.end_connection(number)
            answer = daemon.request(parts.pop("method"), target, **parts)
            assert answer.status == status, answer
    assert daemon.get(f"{A4}?lock=0").json["data"] == "2"


def test_restarted_server_is_not_noticed(daemon, mariadb):
    """When the server is back before anybody has missed it, the first write that comes is done, on a connection that is new."""
    holder, _, _ = three_clients(daemon)
    mariadb.restart()
    eventually(daemon.healthy, what="the daemon is healthy again")
    answer = daemon.put(A4, '"after"', ticket=holder.ticket)
    assert answer.status == 204, answer


def test_dead_server(daemon, mariadb):
    """While the database server is dead clients get 503 and a time to come back; when it lives again all is as it was."""
    holder, second, third = three_clients(daemon)
    mariadb.kill()
    nothing_works(daemon, holder)
    mariadb.start()
    all_works_again(daemon, holder, second, third)


@pytest.mark.parametrize("timeout", [SILENCE])
def test_frozen_server(daemon, mariadb):
    """A database server that is there but does not answer is the same to clients."""
    holder, second, third = three_clients(daemon)
    mariadb.freeze()
    nothing_works(daemon, holder)
    mariadb.thaw()
    all_works_again(daemon, holder, second, third)


def test_reads_of_the_store_are_never_old(daemon, mariadb):
    """What is not told from memory is what is in the store, also if another daemon has put it there a moment ago, unnoticed as yet."""
    daemon.terminate()
    daemon.environ = {**daemon.environ, "RESOURCED_REFERENCE_PATH": "1"}
    daemon.start()
    holder = daemon.post(f"{A4}/lock")
    assert daemon.put(A4, '"before"', ticket=holder.ticket).status == 204
    assert daemon.get(f"{A4}?lock=0").json["data"] == '"before"'
    for statement, status, data in (
        ("UPDATE server SET epoch = epoch + 1", 200, '"before"'),
        ("""UPDATE resource_data SET data = '"after"'""", 200, '"after"'),
        ("DELETE FROM resource_data", 404, None),
        ("DELETE FROM resource", 404, None),
    ):
        mariadb.run(statement, database="printers")
        answer = daemon.get(f"{A4}?lock=0")
        assert (answer.status, answer.json.get("data")) == (status, data), statement
    assert answer.code == "unknown_resource"


def test_memory_ends_with_the_term(daemon, mariadb):
    """Who tells data from memory notices by itself, within its lease, that another daemon has taken over; then it tells nothing more."""
    holder = daemon.post(f"{A4}/lock")
    assert daemon.put(A4, '"before"', ticket=holder.ticket).status == 204
    mariadb.run("UPDATE server SET epoch = epoch + 1, owner = 'another'", database="printers")
    mariadb.run("""UPDATE resource_data SET data = '"after"'""", database="printers")
    assert daemon.wait() == 1
    assert "Another daemon has taken over" in daemon.log


def test_waiting_requests_outlast_the_outage(daemon, mariadb):
    """A request that waits through an outage is answered, and gets the lock when it is released after it."""
    holder, second, _ = three_clients(daemon)
    with closing(daemon.ask("GET", f"{A4}?wait=1000", key=LOCK, ticket=second)) as waiting:
        assert all(daemon.healthy() for _ in range(5))
        mariadb.restart()
        eventually(daemon.healthy, what="the daemon is healthy again")
        assert not waiting.answered
        eventually(lambda: answered(daemon.post(f"{A4}/unlock", ticket=holder.ticket)), what="the lock is released")
        answer = waiting.answer()
        assert (answer.status, answer.ticket) == (200, second)


def test_killed_during_the_outage(daemon, mariadb):
    """Locks are as they were also when the daemon dies with its database server."""
    holder, second, third = three_clients(daemon)
    mariadb.kill()
    unavailable(daemon, "PUT", A4, body='"during"', ticket=holder.ticket)
    daemon.kill()
    mariadb.start()
    daemon.start()
    all_works_again(daemon, holder, second, third)


@pytest.mark.parametrize(("how", "timeout"), [("kill", 20.0), ("freeze", SILENCE)])
def test_stop_during_the_outage(daemon, mariadb, how):
    """A daemon whose database server is away can be asked to end, and has an answer for the one that waits."""
    _, second, _ = three_clients(daemon)
    with closing(daemon.ask("GET", f"{A4}?wait=40", key=LOCK, ticket=second)) as waiting:
        assert all(daemon.healthy() for _ in range(5))
        getattr(mariadb, how)()
        unavailable(daemon, "POST", "/resource/printer/A5/lock")
        assert daemon.terminate() == -signal.SIGTERM
        assert waiting.answer().status in {202, 503}
