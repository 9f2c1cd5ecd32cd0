"""Which servers can be used without the driver, and that a script which comes too late is not done."""

from __future__ import annotations

import os
import socket
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest

from resourced.config import MySQLSettings
from resourced.storage.sql.direct.handshake import KEEP_TIME, OpenConnection, open_connection, whole
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.statement import Statement
from tests.certificates import Authority
from tests.mariadb import MariaDB
from tests.stores import mariadb_fixture  # noqa: F401 - a fixture


def dialect(server: MariaDB, host: str = "127.0.0.1") -> MySQL:
    return MySQL(MySQLSettings(host, server.port, "mysql", "root", ""), 2.0)


def opened(server: MariaDB, host: str = "127.0.0.1") -> OpenConnection | None:
    """A line, whose descriptor nobody needs any more."""
    line = open_connection(dialect(server, host))
    if line is not None:
        os.close(line.descriptor)
    return line


def test_to_a_port(mariadb: MariaDB) -> None:
    """A server that listens at a port is spoken to there, and does not block."""
    line = open_connection(dialect(mariadb))
    assert line is not None
    with closing(socket.socket(line.family, fileno=line.descriptor)) as wire:
        assert line.family == socket.AF_INET
        assert line.compound
        assert not os.get_blocking(line.descriptor)
        assert wire.getpeername() == ("127.0.0.1", mariadb.port)
        assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not os.get_inheritable(line.descriptor)


def test_to_a_socket(mariadb: MariaDB) -> None:
    """So is one at a Unix socket."""
    line = opened(mariadb, mariadb.socket)
    assert line is not None
    assert line.family == socket.AF_UNIX


def test_nobody_there(mariadb: MariaDB) -> None:
    """Where no server is there is no line, and what the driver says of it is raised."""
    for host in ("/no/such/socket", "127.0.0.2"):
        with pytest.raises(pymysql.MySQLError):
            opened(mariadb, host)


@pytest.mark.parametrize("offered", [True, False])
def test_to_another_host(mariadb: MariaDB, offered: bool, tmp_path: Path) -> None:
    """To another host the driver encrypts if it can, and what is encrypted cannot be used without it."""
    if not offered:
        assert opened(mariadb, "127.1") is not None
        return
    server = MariaDB(*Authority(tmp_path).of_server())
    with server:
        assert opened(server, "127.1") is None
        assert opened(server) is not None


def test_server_whose_clock_stands_still() -> None:
    """A server that tells when a statement began, if it is asked for the time, cannot tell whether it is too late."""
    with MariaDB("--sysdate-is-now") as server:
        assert opened(server) is None


class Deaf:
    """A connection to a server that does not know all that is said to it."""

    def __init__(self, connection: Any, unknown: tuple[str, ...]) -> None:
        self._connection = connection
        self._unknown = unknown

    def cursor(self) -> Any:
        cursor = self._connection.cursor()
        execute = cursor.execute

        def heard(text: str, *parameters: Any) -> Any:
            return execute(text.replace("BEGIN", "GEBIN") if text.startswith(self._unknown) else text, *parameters)

        cursor.execute = heard
        return cursor

    def close(self) -> None:
        self._connection.close()


class Older(MySQL):
    """A server that does not take statements as one, as none of MySQL does."""

    def writer(self, new_socket: Any = None) -> Any:
        return Deaf(super().writer(new_socket), ("BEGIN NOT ATOMIC",))


def test_server_without_compound_statements(mariadb: MariaDB) -> None:
    """A server that takes only single statements gets them one after the other, as it does from the driver."""
    line = open_connection(Older(MySQLSettings("127.0.0.1", mariadb.port, "mysql", "root", ""), 2.0))
    assert line is not None
    os.close(line.descriptor)
    assert not line.compound


@pytest.fixture
def writer(mariadb: MariaDB) -> Any:
    """A connection with a table ``note``, and one that has kept the time."""
    mariadb.run("CREATE DATABASE IF NOT EXISTS line")
    mariadb.run("CREATE OR REPLACE TABLE line.note (number INT PRIMARY KEY)")
    with closing(dialect(mariadb).connect(writes=True)) as connection:
        connection.query(KEEP_TIME.decode())
        yield connection
        mariadb.run("DROP DATABASE line")


def run(connection: Any, text: bytes) -> None:
    """Have a script done, and go back to where it began if it fails."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(text.decode())
            while cursor.nextset():
                pass
    except pymysql.MySQLError:
        connection.rollback()
        raise


def note(number: int) -> Statement:
    return Statement("INSERT INTO line.note (number) VALUES (%s)", (number,))


@pytest.mark.parametrize("compound", [True, False])
def test_done_or_not_at_all(mariadb: MariaDB, writer: Any, compound: bool) -> None:
    """A script is committed when all of it is done; nothing is left of one that fails anywhere in it."""
    run(writer, whole([note(1), note(2)], 60.0, compound=compound))
    assert mariadb.run("SELECT number FROM line.note") == [(1,), (2,)]
    with pytest.raises(pymysql.IntegrityError):
        run(writer, whole([note(3), note(1), note(4)], 60.0, compound=compound))
    assert mariadb.run("SELECT number FROM line.note") == [(1,), (2,)]


@pytest.mark.parametrize("compound", [True, False])
def test_too_late(mariadb: MariaDB, writer: Any, compound: bool) -> None:
    """A script whose time is over when the server comes to its end is not done."""
    check = MySQL(MySQLSettings("", 1, "", "", ""), 1.0).is_check
    time.sleep(0.05)
    for script, seconds in (([], 0.05), ([], 0.0), ([], -1.0), ([Statement("DO SLEEP(0.3)", ())], 0.2)):
        with pytest.raises(pymysql.MySQLError) as raised:
            run(writer, whole([note(1), *script], seconds, compound=compound))
        assert check(raised.value)
    assert mariadb.run("SELECT number FROM line.note") == []
    run(writer, whole([note(1)], 5.0, compound=compound))
    assert mariadb.run("SELECT number FROM line.note") == [(1,)]


@pytest.mark.parametrize("kept", ["NULL", "SYSDATE(6) - INTERVAL 1 HOUR", "SYSDATE(6) + INTERVAL 1 HOUR"])
def test_clock_that_was_set(mariadb: MariaDB, writer: Any, kept: str) -> None:
    """When the server's clock was set meanwhile, or has never been looked at, a script is not done."""
    writer.query(f"SET @kept = {kept}")
    with pytest.raises(pymysql.MySQLError):
        run(writer, whole([note(1)], 60.0, compound=True))
    assert mariadb.run("SELECT number FROM line.note") == []
