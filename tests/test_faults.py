"""Each fault of a database, done to a real one while clients keep asking; ``python -m tests.faults`` prints the same as a table."""

from __future__ import annotations

import resource
import signal
import socket
from contextlib import ExitStack, closing

import pytest

from tests.daemon import Daemon, eventually
from tests.faults import SCENARIOS, Scenario, check
from tests.mariadb import MariaDB
from tests.ports import free_port

A4 = "/resource/printer/A4"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_fault(scenario: Scenario):
    """
    While the database has a fault clients are refused with 503 and ``Retry-After``, soon, and are never given old data for new.

    ``/health`` tells which fault it is, the log has one line about it and all have the same sentence. Afterwards all is served again, the log
    says that it is over, and nothing is lost.
    """
    check(scenario)


def test_waits_for_a_database_that_is_gone_at_the_start(tmp_path):
    """With --store-wait a daemon whose database server is not there says so once, waits for it, and then serves."""
    with MariaDB() as server, ExitStack() as stack:
        server.stop()
        # Somebody who hangs up at once is no server either, but can tell when it was tried.
        nobody = stack.enter_context(closing(socket.create_server(("127.0.0.1", server.port))))
        environ = {"MYSQL_PORT": str(server.port), "RESOURCED_STORE_TIMEOUT": "1"}
        daemon = Daemon(tmp_path, environ, ("--store-wait",))
        try:
            daemon.launch()
            # What is said of the second try would be in the log before the third.
            for _ in range(3):
                nobody.accept()[0].close()
            assert daemon.log.count("Waiting for it.") == 1
            assert f"at 127.0.0.1:{server.port} as user root" in daemon.log
            assert not daemon.healthy(1)
            stack.close()
            server.start()
            eventually(daemon.healthy, what="it serves")
            daemon.create("printer")
            assert daemon.terminate() == -signal.SIGTERM
        finally:
            daemon.kill()


def test_stops_while_it_waits_for_the_database(tmp_path):
    """A daemon that waits for its database can be asked to end."""
    daemon = Daemon(tmp_path, {"MYSQL_PORT": str(free_port())}, ("--store-wait",))
    try:
        daemon.launch()
        eventually(lambda: "Waiting for it." in daemon.log, what="it says that it waits")
        assert daemon.terminate() == -signal.SIGTERM
        assert "Traceback" not in daemon.log
    finally:
        daemon.kill()


def test_standby_survives_a_database_that_is_gone(tmp_path):
    """A standby daemon without a database answers that it stands by, and serves when the database is there."""
    with MariaDB() as server:
        server.stop()
        environ = {"MYSQL_PORT": str(server.port), "RESOURCED_STORE_TIMEOUT": "1", "RESOURCED_STANDBY": "1"}
        daemon = Daemon(tmp_path, environ)
        try:
            daemon.launch()
            eventually(lambda: "Listening" in daemon.log, what="it listens")
            answer = daemon.get("/health", key="")
            assert (answer.status, answer.json) == (503, {"health": "standby"})
            server.start()
            eventually(daemon.healthy, what="it serves")
        finally:
            daemon.kill()


def test_slow_queries_do_not_pile_up(tmp_path):
    """
    With a database that takes a second for each look-up, many more clients than it can serve are answered within a bounded time:
    those whom it cannot serve get 503. ``/health`` is not held up by them.
    """
    with MariaDB() as server:
        environ = {"MYSQL_PORT": str(server.port), "MYSQL_DATABASE": "printers", "RESOURCED_STORE_TIMEOUT": "4"}
        with Daemon(tmp_path, environ) as daemon:
            for number in range(60):
                daemon.create(f"printer{number}")
            # Every look-up of a resource has to wait for this.
            server.run("RENAME TABLE resource TO slow", database="printers")
            server.run("CREATE VIEW resource AS SELECT * FROM slow WHERE SLEEP(1) = 0", database="printers")
            clients = [daemon.ask("POST", f"/resource/printer{number}/A4/lock") for number in range(60)]
            eventually(lambda: "A4/lock 200" in daemon.log, what="the first client is served")
            assert daemon.healthy()
            assert not clients[-1].answered
            statuses = []
            for client in clients:
                with closing(client):
                    statuses.append(client.answer().status)
            assert set(statuses) == {200, 503}
            # Four at a time, a second each, for the four seconds that anyone may wait in line; and one more each that was begun by then.
            assert 4 <= statuses.count(200) <= 20


def test_refused_write_shows_for_a_moment(tmp_path):
    """When only what is written now and then fails, ``/health`` says why right after it, and soon goes by the rest again."""
    with Daemon(tmp_path) as daemon:
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        assert daemon.post("/resource", '{"name": "printer"}').code == "store_unavailable"
        assert daemon.get("/health", key="").code == "store_full"
        eventually(daemon.healthy, what="it is well, as far as one can know")
