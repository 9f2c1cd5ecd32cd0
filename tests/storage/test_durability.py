"""What the log says at the start about what stands behind the promises, at real servers and for settings that take a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from resourced.config import MySQLSettings, SQLiteSettings
from resourced.errors import StoreUnavailable
from resourced.storage.sql.durability import durability, of_server
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.sqlite import SQLite
from tests.daemon import Daemon, eventually
from tests.mariadb import MariaDB
from tests.ports import free_port

SAFE = {"version": "10.11.9-MariaDB", "innodb_flush_log_at_trx_commit": "1", "log_bin": "OFF", "sync_binlog": "0"}
LOGGED = SAFE | {"log_bin": "ON", "sync_binlog": "1", "slaves_connected": "2"}
SEMI = LOGGED | {
    "rpl_semi_sync_master_enabled": "ON",
    "rpl_semi_sync_master_status": "ON",
    "rpl_semi_sync_master_timeout": "4294967295",
    "rpl_semi_sync_master_wait_no_slave": "ON",
}
SOURCE = {name.replace("master", "source").replace("no_slave", "no_replica"): value for name, value in SEMI.items()}


@pytest.mark.parametrize(
    ("known", "said", "warned"),
    [
        (
            SAFE,
            "MariaDB 10.11.9 at db, a single server; innodb_flush_log_at_trx_commit=1, no binary log; encrypted",
            [],
        ),
        (SAFE | {"version": "9.7.0"}, "MySQL 9.7.0 at db, a single server", []),
        (SAFE | {"innodb_flush_log_at_trx_commit": "2"}, "commit=2", ["commit=2: when the machine loses power"]),
        (LOGGED | {"slaves_connected": "0"}, "a single server; innodb_flush_log_at_trx_commit=1, sync_binlog=1", []),
        (LOGGED | {"slaves_connected": "0", "sync_binlog": "0"}, "sync_binlog=0", ["sync_binlog=0: when the machine"]),
        (LOGGED, "a server with 2 replicas, asynchronous", ["only afterwards"]),
        (SEMI, "a server with 2 replicas, semi-synchronous, which does not fall back", []),
        (SOURCE, "a server with 2 replicas, semi-synchronous, which does not fall back", []),
        (SEMI | {"rpl_semi_sync_master_timeout": "10000"}, "falls back after 10 s", ["falls back to asynchronous"]),
        (SEMI | {"rpl_semi_sync_master_wait_no_slave": "OFF"}, "falls back", ["falls back to asynchronous"]),
        (SOURCE | {"rpl_semi_sync_source_status": "OFF"}, "semi-synchronous", ["not at work"]),
        (SAFE | {"slaves_running": "1"}, "a single server, itself a replica", ["is a replica"]),
        (SAFE | {"read_only": "ON"}, "a single server, which only reads", []),
        (
            SAFE | {"wsrep_on": "ON", "wsrep_cluster_name": "c", "wsrep_cluster_size": "3", "log_bin": "ON"},
            "a node of the Galera cluster c of 3",
            [],
        ),
        (
            SAFE | {"wsrep_on": "ON", "innodb_flush_log_at_trx_commit": "0"},
            "a node of the Galera cluster",
            ["if all nodes lose power at once"],
        ),
        (LOGGED | {"group_replication_group_name": "aaaa"}, "a member of the group aaaa", []),
    ],
)
def test_judged(known: dict[str, str], said: str, warned: list[str]) -> None:
    """Each set-up is named, and where it keeps less than what is promised there is one warning for each way to lose something."""
    found = of_server(known, "db", "encrypted")
    assert said in found.sentence
    assert len(found.warnings) == len(warned)
    for warning, words in zip(found.warnings, warned, strict=True):
        assert words in warning


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    options = ("--log-bin=bin", "--server-id=1", "--rpl-semi-sync-master-timeout=5000", "--sync-binlog=1")
    with MariaDB(*options) as server:
        yield server


def dialect(server: MariaDB, user: str = "root", password: str = "") -> MySQL:
    return MySQL(MySQLSettings("127.0.0.1", server.port, "mysql", user, password), 5.0)


def test_replication(server: MariaDB) -> None:
    """A real pair of servers is told for what it is, from either side, to a user without privileges too."""
    server.run("CREATE USER nobody IDENTIFIED BY 'n'")
    for asked in (dialect(server), dialect(server, "nobody", "n")):
        found = durability(asked)
        ((version,),) = server.run("SELECT VERSION()")
        assert found.sentence.startswith(f"MariaDB {version.split('-')[0]} at ")
        assert f":{server.port} (server_id 1), a single server; " in found.sentence
        assert found.sentence.endswith(
            "innodb_flush_log_at_trx_commit=1, sync_binlog=1; not encrypted, on this machine"
        )
        assert found.warnings == ()
    server.run("CREATE USER replica IDENTIFIED BY 'r'")
    server.run("GRANT REPLICATION SLAVE ON *.* TO replica")
    with MariaDB("--server-id=2") as replica:
        replica.run(
            "CHANGE MASTER TO master_host='127.0.0.1', master_port=%s, master_user='replica', master_password='r', "
            "master_use_gtid=slave_pos",
            server.port,
        )
        replica.run("SET GLOBAL rpl_semi_sync_slave_enabled = ON")
        replica.run("START SLAVE")
        eventually(lambda: "1 replica, asynchronous" in durability(dialect(server, "nobody", "n")).sentence)
        assert "itself a replica" in durability(dialect(replica)).sentence
        server.run("SET GLOBAL rpl_semi_sync_master_enabled = ON")
        found = durability(dialect(server, "nobody", "n"))
        assert "semi-synchronous, which falls back after 5 s" in found.sentence
        replica.run("STOP SLAVE")


def test_said_at_the_start(server: MariaDB, tmp_path: Path) -> None:
    """The log of a daemon has one line about its database, and one for each way to lose something."""
    server.run("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    environ = {"MYSQL_PORT": str(server.port), "MYSQL_DATABASE": "printers", "RESOURCED_STORE_TIMEOUT": "60"}
    with Daemon(tmp_path, environ) as daemon:
        assert daemon.log.count("The database is MariaDB ") == 1
        assert daemon.log.count("#warn] innodb_flush_log_at_trx_commit=2: ") == 1
        assert daemon.log.count("Semi-synchronous replication falls back") == daemon.log.count(
            "semi-synchronous, which"
        )
        # One that stands by is about to promise the same.
        (tmp_path / "standby").mkdir()
        standby = Daemon(tmp_path / "standby", environ, ("--standby",))
        try:
            standby.launch()
            eventually(lambda: standby.log.count("The database is MariaDB ") == 1, what="it says what it knows")
        finally:
            standby.kill()
    server.run("SET GLOBAL innodb_flush_log_at_trx_commit = 1")


def test_sqlite(tmp_path: Path) -> None:
    """SQLite is told with its version, how it keeps its journal, and when it writes to the disk."""
    found = durability(SQLite(SQLiteSettings(str(tmp_path / "s.sqlite")), 1.0))
    assert found.sentence.startswith("SQLite 3.")
    assert found.sentence.endswith(", journal_mode=WAL, synchronous=FULL")
    assert found.warnings == ()
    with Daemon(tmp_path) as daemon:
        assert f"The database is {found.sentence}." in daemon.log


def test_nobody_there() -> None:
    """What cannot be asked is not judged."""
    settings = MySQLSettings("127.0.0.1", free_port(), "mysql", "root", "")
    with pytest.raises(StoreUnavailable, match="Can't connect"):
        durability(MySQL(settings, 1.0))
