"""Real daemons that stand still beyond a lease, as in a virtual machine that is paused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.daemon import LOCK, Connection, Daemon, eventually
from tests.mariadb import MariaDB
from tests.stores import mariadb_fixture  # noqa: F401 - a fixture

A = "/resource/printer/A{}"
#: Seconds of a lease, and of the pauses: beyond it, and beyond the leader's lease too.
LEASE = 5
PAUSES = (5.5, 10.0)
#: How many locks are renewed at once.
LOCKS = 20


@pytest.fixture(params=["sqlite", "mysql"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    environ = {"RESOURCED_MAX_CONNECTIONS": "1000"}
    if request.param == "mysql":
        server: MariaDB = request.getfixturevalue("mariadb")
        environ |= {"MYSQL_PORT": str(server.port), "MYSQL_DATABASE": f"paused_{tmp_path.name[-20:]}"}
    with Daemon(tmp_path, environ) as started:
        started.create("printer", LEASE)
        yield started
        assert "Traceback" not in started.log


def test_renewal_that_was_there_keeps_the_lock(daemon: Daemon):
    """
    Each renewal that arrived while the daemon stood still, before the lease was over, keeps its lock under its fence, whatever the store; and
    so does a write. Whoever waits is told nothing else.
    """
    for first, pause in enumerate(PAUSES):
        with ExitStack() as stack:
            holders = []
            for number in range(first * LOCKS, (first + 1) * LOCKS):
                connection = stack.enter_context(closing(daemon.connect()))
                held = connection.ask("POST", f"{A.format(number)}/lock", key=LOCK).answer()
                holders.append((number, connection, held))
            for number, connection, held in holders:
                waiting = daemon.post(f"{A.format(number)}/lock", key=LOCK)
                assert (held.status, waiting.status) == (200, 202)
                # All leases begin anew, so that they end at nearly the same time.
                assert (
                    connection.ask("POST", f"{A.format(number)}/lock", key=LOCK, ticket=held.ticket).answer().status
                    == 200
                )
            daemon.freeze()
            for number, connection, held in holders:
                renew(connection, number, held.ticket)
            time.sleep(pause)
            daemon.thaw()
            for number, connection, held in holders:
                renewed = connection.answer()
                assert renewed.status == (204 if number % 2 else 200), (number, pause, renewed)
                assert renewed.headers.get("x-fence", str(held.fence)) == str(held.fence)
            for number, _, held in holders:
                # On a busy machine some of the new leases may be over by now.
                assert daemon.post(f"{A.format(number)}/unlock", ticket=held.ticket).status == 200


def renew(connection: Connection, number: int, ticket: str) -> None:
    if number % 2:
        connection.ask("PUT", A.format(number), body="1", ticket=ticket)
    else:
        connection.ask("POST", f"{A.format(number)}/lock", key=LOCK, ticket=ticket)


def test_lock_passes_on_if_nothing_was_there(daemon: Daemon):
    """A lock whose holder had sent nothing falls to the next in line a lease after the pause, and not before."""
    held = daemon.post(f"{A.format(1)}/lock", key=LOCK)
    waiting = daemon.post(f"{A.format(1)}/lock", key=LOCK)
    daemon.freeze()
    time.sleep(PAUSES[0])
    thawed = time.monotonic()
    daemon.thaw()
    eventually(lambda: daemon.post(f"{A.format(1)}/lock", key=LOCK, ticket=waiting.ticket).status == 200)
    assert time.monotonic() - thawed > LEASE - 0.5
    assert daemon.post(f"{A.format(1)}/lock", key=LOCK, ticket=held.ticket).status == 410
