"""The page that leads from the original server to this one and back, done as it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import WRITE, Daemon
from tests.documents import read_blocks
from tests.mariadb import MariaDB
from tests.resourcectl import RESOURCECTL

PAGE = Path(__file__).parent.parent.parent / "docs" / "how-to" / "migrate.rst"
BLOCKS = {block.caption: block.text for block in read_blocks(PAGE.read_text(), "docs/how-to/migrate.rst")}
FILES = ("tables.sql", "encode.py")
DATABASE = "small_swoole_resource"
#: As the original keeps them.
RESOURCES = (("r1", "printer", 300), ("r2", "queue", 3))
DATA = (("d1", "r1", "A4", '{"n": 1}'), ("d2", "r1", "order%3A17", "[1, 2]"), ("d3", "r2", "a%20b%2Fc", '"x"'))


@pytest.fixture(scope="module")
def server():
    with MariaDB() as mariadb:
        yield mariadb


@pytest.fixture
def original(server, tmp_path):
    """The database of an original server, and the files of somebody who follows the page."""
    (tmp_path / ".my.cnf").write_text(f"[client]\nhost=127.0.0.1\nport={server.port}\nuser=root\n")
    for name in FILES:
        (tmp_path / name).write_text(BLOCKS[name])
    for database in (DATABASE, "original_again"):
        server.run(f"DROP DATABASE IF EXISTS {database}")
    server.run(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")
    for statement in BLOCKS["tables.sql"].split(";"):
        if statement.strip():
            server.run(statement, database=DATABASE)
    for row in RESOURCES:
        server.run("INSERT INTO resource VALUES (%s, %s, %s)", *row, database=DATABASE)
    for entry in DATA:
        server.run(
            "INSERT INTO resource_data (id, id_resource, selector, data) VALUES (%s, %s, %s, %s)",
            *entry,
            database=DATABASE,
        )
    return server


def do(caption: str, folder: Path, daemon: Daemon) -> None:
    """Do what a block of the page says."""
    script = BLOCKS[caption].replace("/opt/resourced/bin/python", sys.executable)
    environ = {
        "PATH": f"{Path(RESOURCECTL).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "RESOURCED_URL": f"http://127.0.0.1:{daemon.port}",
        "RESOURCED_KEY": WRITE,
    }
    subprocess.run(["bash", "-euc", script], cwd=folder, env=environ, check=True, timeout=60, stdout=subprocess.DEVNULL)


def kept(server: MariaDB, database: str) -> tuple[Any, Any]:
    """What the original finds in a database."""
    resources = server.run("SELECT id, name, timeout FROM resource ORDER BY id", database=database)
    data = server.run(
        "SELECT id_resource, selector, data FROM resource_data ORDER BY id_resource, selector", database=database
    )
    return resources, data


def test_there_and_back(original, tmp_path):
    """What was there is found here by the same URL; what was written since is found there, also when it is taken over once more."""
    store = {"RESOURCED_STORE": "mysql", "MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": str(original.port)}
    daemon = Daemon(tmp_path, {**store, "MYSQL_DATABASE": DATABASE, "MYSQL_USER": "root"})
    before = kept(original, DATABASE)
    do("copy", tmp_path, daemon)
    with daemon:
        do("leases", tmp_path, daemon)
        assert daemon.get("/resource/printer/order%3A17?lock=0&raw=1").json == [1, 2]
        ticket = daemon.post("/resource/printer/new%20one/lock").ticket
        assert daemon.put("/resource/printer/new%20one", "true", ticket=ticket).status == 204
    do("return", tmp_path, daemon)
    resources, data = kept(original, "original_again")
    assert list(resources) == [RESOURCES[0], ("r2", "queue", 300)]
    assert sorted(data) == sorted([*(row[1:] for row in DATA), ("r1", "new%20one", "true")])
    do("restore", tmp_path, daemon)
    assert kept(original, DATABASE) == before
    daemon.environ = {**daemon.environ, "MYSQL_DATABASE": "original_again"}
    with daemon:
        assert daemon.get("/resource/printer/new%20one?lock=0&raw=1").json is True
        assert daemon.get("/resource/queue/a%20b%2Fc?lock=0&raw=1").json == "x"
