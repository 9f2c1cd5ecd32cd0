"""What holds on MariaDB holds on MySQL 9: the contract of the store, by each way that commits go, and what its server says of itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_twisted

from tests.daemon import Daemon
from tests.faults import SCENARIOS, check
from tests.mysql9 import MySQL9, require
from tests.storage.contract import *  # noqa: F403 - its tests
from tests.storage.node_contract import *  # noqa: F403 - its tests
from tests.storage.node_contract import InSQL, Made
from tests.stores import DirectBackend

require()


@pytest.fixture(scope="module")
def mysql9() -> Iterator[MySQL9]:
    # Where nobody pulls the plug it need not wait for the disk.
    with MySQL9("--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0") as server:
        yield server


@pytest_twisted.async_yield_fixture
async def backend(mysql9: MySQL9) -> AsyncIterator[DirectBackend]:
    backend = DirectBackend(mysql9)
    yield backend
    await backend.close()


@pytest.fixture
def any_backend(backend: DirectBackend) -> DirectBackend:
    return backend


@pytest.fixture(name="nodes")
def nodes_fixture(backend: DirectBackend) -> Made:
    return InSQL(backend)


@pytest.mark.parametrize("name", ["dead server", "server only reads"])
def test_faults(name: str) -> None:
    """Its faults are those of any other server, to clients too."""
    (scenario,) = (scenario for scenario in SCENARIOS if scenario.name == name)
    check(replace(scenario, kind=MySQL9))


def test_user_of_the_readme(mysql9: MySQL9, tmp_path: Path) -> None:
    """A user with a password, who has the rights that the guide asks for, is let in at a port though nobody has logged in before, and served."""
    mysql9.run("CREATE DATABASE printers CHARACTER SET utf8mb4")
    mysql9.run("CREATE USER resourced@'127.0.0.1' IDENTIFIED BY 'a password'")
    rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, REFERENCES"
    mysql9.run(f"GRANT {rights} ON printers.* TO resourced@'127.0.0.1'")
    environ = {
        "MYSQL_PORT": str(mysql9.port),
        "MYSQL_DATABASE": "printers",
        "MYSQL_USER": "resourced",
        "MYSQL_PASSWORD": "a password",
    }
    with Daemon(tmp_path, environ) as daemon:
        daemon.create("printer")
        held = daemon.post("/resource/printer/A4/lock")
        assert daemon.put("/resource/printer/A4", '"ready"', ticket=held.ticket).status == 204
        assert "The database is MySQL 9." in daemon.log
        daemon.kill()
        daemon.start()
        assert daemon.get("/resource/printer/A4", ticket=held.ticket).fence == held.fence
        # A server that logs statements for its replicas takes nothing.
        daemon.terminate()
        mysql9.run("SET GLOBAL binlog_format = STATEMENT")
        try:
            assert "binlog_format=STATEMENT" in daemon.fails()
        finally:
            mysql9.run("SET GLOBAL binlog_format = ROW")
        daemon.start()
