"""What travels to a MySQL server encrypted and what does not, at a real server, through somebody in the middle, and by each kind of connection."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pymysql
import pytest
from pymysql.constants import CLIENT

from resourced.config import MySQLSettings
from resourced.errors import ConfigurationError
from resourced.storage.sql.direct.handshake import open_connection
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.tls import Way, is_local
from tests.certificates import Authority, Certificate
from tests.daemon import Daemon
from tests.logged import log_lines
from tests.mariadb import MariaDB
from tests.preloaded import RESOURCED
from tests.proxy import Proxy, without_tls
from tests.stores import mariadb_fixture  # noqa: F401 - a fixture

PASSWORD = "a-secret-password"
#: It is this machine all the same, but who would know.
NETWORK, LOCAL = "127.1", "127.0.0.1"


class Place(NamedTuple):
    """A server whose certificate is for NETWORK only; whose user has a password, and its authority; one certificate for a client; and another authority."""

    server: MariaDB
    authority: Authority
    client: Certificate
    stranger: Authority


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder)
    with MariaDB(*authority.of_server(NETWORK)) as server:
        for user, require in (("keeper", "NONE"), ("certified", "X509")):
            server.run(f"CREATE USER {user} IDENTIFIED BY '{PASSWORD}' REQUIRE {require}")
            server.run(f"GRANT ALL ON *.* TO {user}")
        yield Place(server, authority, authority.issue("client"), Authority(folder, "stranger"))


def settings(port: int, host: str = NETWORK, **more: Any) -> MySQLSettings:
    return replace(MySQLSettings(host, port, "mysql", "keeper", PASSWORD), **more)


def cipher(dialect: MySQL, database: str | None = "mysql") -> str:
    """Open a connection, and ask the server how it is encrypted."""
    with (
        closing(dialect.open(autocommit=True, database=database)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        return str(cursor.fetchone()[1])


def warnings_of(dialect: MySQL) -> list[str]:
    """Open two connections, and return what is in the log then."""
    with log_lines() as lines:
        for _ in range(2):
            cipher(dialect)
    return lines


def test_local_hosts() -> None:
    """Only what stays on this machine may go without encryption, and without a word."""
    assert [is_local(host) for host in ("/run/mysqld.sock", "localhost", "127.0.0.1", "127.8.8.8", "::1")] == [True] * 5
    assert not any(is_local(host) for host in ("10.0.0.1", "db", "::2", "localhost.example", "127.1", ""))


def test_preferred(secured: Place, mariadb: MariaDB) -> None:
    """To another host a connection is encrypted if the server can do that; each time the log warns, once, that nobody has checked who it is."""
    encrypted = MySQL(settings(secured.server.port), 5.0)
    (warning,) = warnings_of(encrypted)
    assert "has not shown who it is" in warning
    assert cipher(encrypted)
    assert encrypted.way is Way.UNVERIFIED
    mariadb.run(f"CREATE USER keeper IDENTIFIED BY '{PASSWORD}'")
    try:
        mariadb.run("GRANT ALL ON *.* TO keeper")
        clear = MySQL(settings(mariadb.port), 5.0)
        (warning,) = warnings_of(clear)
        assert "a network that is not encrypted" in warning
        assert not cipher(clear)
        assert clear.way is Way.CLEAR
    finally:
        mariadb.run("DROP USER keeper")


def test_preferred_on_this_machine(secured: Place) -> None:
    """What stays on this machine is not encrypted, unless there are files that ask for it, and nobody is warned."""
    for host in (LOCAL, secured.server.socket):
        dialect = MySQL(settings(secured.server.port, host), 5.0)
        assert warnings_of(dialect) == []
        assert not cipher(dialect)
        assert dialect.way is Way.LOCAL
    client = {"ssl_cert": str(secured.client.cert), "ssl_key": str(secured.client.key)}
    certified = MySQL(settings(secured.server.port, LOCAL, user="certified", **client), 5.0)
    assert cipher(certified)


def test_disabled(secured: Place) -> None:
    """Nothing is encrypted, and the log warns of that where it leaves the machine."""
    dialect = MySQL(settings(secured.server.port, ssl_mode="disabled"), 5.0)
    (warning,) = warnings_of(dialect)
    assert "not encrypted" in warning
    assert not cipher(dialect)
    assert warnings_of(MySQL(settings(secured.server.port, LOCAL, ssl_mode="disabled"), 5.0)) == []


@pytest.mark.parametrize("mode", ["required", "verify-ca", "verify-identity"])
def test_never_in_clear(secured: Place, mariadb: MariaDB, mode: str) -> None:
    """Once it is required, a server that offers no encryption, or whose offer somebody has struck out, hears nothing at all."""
    ca = str(secured.authority.ca)
    with (
        Proxy(secured.server.port, without_tls) as middle,
        Proxy(mariadb.port) as plain,
        Proxy(secured.server.port, without_tls) as careless,
    ):
        for proxy in (middle, plain):
            for host in (NETWORK, LOCAL):
                dialect = MySQL(settings(proxy.port, host, ssl_mode=mode, ssl_ca=ca), 5.0)
                for connect in (dialect.writer, lambda dialect=dialect: dialect.connect(writes=False)):
                    with pytest.raises(pymysql.OperationalError, match="doesn't support"):
                        connect()
                with pytest.raises(pymysql.OperationalError):
                    open_connection(dialect)
            assert proxy.heard == b""
        # That one would hear something.
        MySQL(settings(careless.port), 5.0).connect(writes=False).close()
        assert b"keeper" in careless.heard


def test_required_everywhere(secured: Place) -> None:
    """It is encrypted on this machine too, at a port and at a socket; then commits go by the driver."""
    for host in (NETWORK, LOCAL, secured.server.socket):
        dialect = MySQL(settings(secured.server.port, host, ssl_mode="required"), 5.0)
        assert cipher(dialect)
        assert cipher(dialect, None)
        assert open_connection(dialect) is None
    assert dialect.way is Way.UNVERIFIED
    line = open_connection(MySQL(settings(secured.server.port, LOCAL), 5.0))
    assert line is not None
    os.close(line.descriptor)


def test_who_the_server_is(secured: Place) -> None:
    """A server is used only if its certificate is signed by whom one trusts, and if that is asked for, is for the name by which it was reached."""
    port, ca = secured.server.port, str(secured.authority.ca)
    for mode, host in (("verify-ca", NETWORK), ("verify-ca", LOCAL), ("verify-identity", NETWORK)):
        dialect = MySQL(settings(port, host, ssl_mode=mode, ssl_ca=ca), 5.0)
        assert warnings_of(dialect) == []
        assert cipher(dialect)
        assert dialect.way is Way.VERIFIED
        with pytest.raises(pymysql.OperationalError, match="certificate verify failed"):
            cipher(MySQL(settings(port, host, ssl_mode=mode, ssl_ca=str(secured.stranger.ca)), 5.0))
        # Nobody whom the machine trusts has signed it.
        with pytest.raises(pymysql.OperationalError, match="certificate verify failed"):
            cipher(MySQL(settings(port, host, ssl_mode=mode), 5.0))
    with pytest.raises(pymysql.OperationalError, match=r"Hostname mismatch|IP address mismatch"):
        cipher(MySQL(settings(port, LOCAL, ssl_mode="verify-identity", ssl_ca=ca), 5.0))


def test_one_context(secured: Place) -> None:
    """All connections share what takes long to make."""
    dialect = MySQL(settings(secured.server.port), 5.0)
    with closing(dialect.connect(writes=False)) as first, closing(dialect.connect(writes=True)) as second:
        assert first.ctx is second.ctx is dialect.encryption.context


def test_files_that_cannot_be_used(secured: Place, tmp_path: Path) -> None:
    """A file that is missing, is none, or does not fit is named by its variable, and nothing is started."""
    nothing = tmp_path / "nothing.pem"
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    cert, key = str(secured.client.cert), str(secured.client.key)
    for variable, more in (
        ("MYSQL_SSL_CA", {"ssl_mode": "verify-ca", "ssl_ca": str(nothing)}),
        ("MYSQL_SSL_CA", {"ssl_mode": "verify-ca", "ssl_ca": str(text)}),
        ("MYSQL_SSL_CERT", {"ssl_cert": str(nothing)}),
        ("MYSQL_SSL_CERT", {"ssl_cert": cert}),
        ("MYSQL_SSL_CERT", {"ssl_cert": cert, "ssl_key": str(text)}),
        ("MYSQL_SSL_KEY", {"ssl_key": key}),
        ("MYSQL_SSL_MODE", {"ssl_mode": "disabled", "ssl_cert": cert, "ssl_key": key}),
    ):
        with pytest.raises(ConfigurationError, match=variable):
            MySQL(settings(1, **more), 5.0)


def test_daemon_with_a_certificate(secured: Place, tmp_path: Path) -> None:
    """
    A daemon whose user must show a certificate does so on each connection, be it for data, for its lock or for the schema; with a wrong
    authority, or a file that is not there, it ends with a sentence.
    """
    environ = {
        "MYSQL_HOST": NETWORK,
        "MYSQL_PORT": str(secured.server.port),
        "MYSQL_DATABASE": "printers",
        "MYSQL_USER": "certified",
        "MYSQL_PASSWORD": PASSWORD,
        "MYSQL_SSL_MODE": "VERIFY_IDENTITY",
        "MYSQL_SSL_CA": str(secured.authority.ca),
        "MYSQL_SSL_CERT": str(secured.client.cert),
        "MYSQL_SSL_KEY": str(secured.client.key),
    }
    with Daemon(tmp_path, environ) as daemon:
        daemon.create("printer")
        held = daemon.post("/resource/printer/A4/lock")
        assert daemon.put("/resource/printer/A4", "1", ticket=held.ticket).status == 204
        assert "The password" not in daemon.log
    for variable, path, sentence in (
        ("MYSQL_SSL_CA", str(secured.stranger.ca), "certificate verify failed"),
        (
            "MYSQL_SSL_CA",
            "/no/such.pem",
            "resourced: MYSQL_SSL_CA cannot be used, /no/such.pem: No such file or directory",
        ),
    ):
        folder = tmp_path / sentence[:11]
        folder.mkdir()
        log = Daemon(folder, environ | {variable: path}).fails()
        assert sentence in log
        assert "Traceback" not in log
        assert PASSWORD not in log
    checked = subprocess.run(
        [*RESOURCED, "check"],
        env={**daemon.environment, "MYSQL_SSL_CA": "/no/such.pem"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert checked.returncode == 1
    assert checked.stdout == "resourced: MYSQL_SSL_CA cannot be used, /no/such.pem: No such file or directory\n"


def test_asked_for_the_password_itself() -> None:
    """A server that wants the password as it is, as somebody in the middle might, does not get it where others can read it."""
    heard = bytearray()
    with closing(socket.create_server((LOCAL, 0))) as listener:
        able = CLIENT.PROTOCOL_41 | CLIENT.SECURE_CONNECTION | CLIENT.PLUGIN_AUTH | CLIENT.CONNECT_WITH_DB
        greeting = b"\x0a11\x00" + struct.pack("<I", 1) + b"12345678\x00" + struct.pack("<H", able & 0xFFFF)
        greeting += struct.pack("<BHHB10x", 45, 2, able >> 16, 21) + b"123456789012\x00mysql_native_password\x00"
        switch = b"\xfemysql_clear_password\x00"

        def ask() -> None:
            peer, _ = listener.accept()
            with peer, suppress(OSError):
                peer.sendall(len(greeting).to_bytes(3, "little") + b"\x00" + greeting)
                login = peer.recv(65536)
                peer.sendall(len(switch).to_bytes(3, "little") + bytes([login[3] + 1]) + switch)
                heard.extend(login + peer.recv(65536))

        asking = Thread(target=ask)
        asking.start()
        with pytest.raises(pymysql.OperationalError, match="in clear"):
            MySQL(settings(listener.getsockname()[1], ssl_mode="disabled"), 5.0).connect(writes=False)
        asking.join(20)
    assert b"keeper" in heard
    assert PASSWORD.encode() not in heard
