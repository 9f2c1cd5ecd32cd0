"""A connection to a MySQL server, used without the driver after its login, and how a script is written for it."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.statement import Statement, check, written_out

#: Has the server keep the time.
KEEP_TIME: Final = b"SET @kept = SYSDATE(6)"

#: Fails if the server has kept no time, or if that was longer ago than so many microseconds, or lies ahead because the clock was set.
_IN_TIME: Final = check("TIMESTAMPDIFF(MICROSECOND, @kept, SYSDATE(6)) BETWEEN 0 AND {}")

#: Not the time at which the statement began, as some servers are told to understand it; and without an hour that comes twice.
_CLOCK: Final = "SET SESSION time_zone = '+00:00'"
_CLOCK_GOES: Final = "SELECT SLEEP(0.001) = 0 AND SYSDATE(6) > NOW(6)"


class OpenConnection(NamedTuple):
    """
    A connection that nobody uses yet.

    :ivar descriptor: of its socket, which does not block.
    :ivar family: of its address.
    :ivar compound: whether the server takes statements as one, and answers once, as MariaDB does.
    """

    descriptor: int
    family: int
    compound: bool


def open_connection(dialect: MySQL) -> OpenConnection | None:
    """
    Open a connection, as for the work of a pool that writes.

    :returns: nothing if none can be used without the driver: they are encrypted, or the server does not take what ``whole`` returns.
    :raises pymysql.MySQLError: the server cannot be reached.
    """
    used: list[socket.socket] = []

    def our_own() -> socket.socket:
        used.append(_connected(dialect))
        return used[-1]

    connection = dialect.writer(our_own)
    # Whatever encrypts takes the socket over.
    if used[-1].fileno() >= 0 and _tells_time(connection):
        for compound in (True, False):
            with suppress(dialect.error):
                _try(connection, whole([], 60.0, compound=compound))
                used[-1].setblocking(False)
                return OpenConnection(used[-1].detach(), used[-1].family, compound)
    connection.close()
    return None


def whole(script: Sequence[Statement], seconds: float, *, compound: bool) -> bytes:
    """
    Write out a script such that its statements are done and committed, or the first that fails is the last.

    :param seconds: how long ago the server may have kept the time when it comes to the commit.
    """
    statements = [*script, Statement(_IN_TIME.format(max(0, int(seconds * 1e6))), ()), Statement("COMMIT", ())]
    text = written_out(statements)
    return (f"BEGIN NOT ATOMIC {text}; END" if compound else text).encode()


def _connected(dialect: MySQL) -> socket.socket:
    host = dialect.settings.host
    if not host.startswith("/"):
        connected = socket.create_connection((host, dialect.settings.port), dialect.timeout)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(dialect.timeout)
    try:
        connected.connect(host)
    except OSError:
        connected.close()
        raise
    return connected


def _tells_time(connection: Any) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_CLOCK)
        cursor.execute(KEEP_TIME.decode())
        cursor.execute(_CLOCK_GOES)
        return bool(cursor.fetchone()[0])


def _try(connection: Any, text: bytes) -> None:
    with connection.cursor() as cursor:
        cursor.execute(text.decode())
        while cursor.nextset():
            pass
