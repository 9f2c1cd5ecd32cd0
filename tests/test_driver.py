"""
What is used of the inside of PyMySQL and Twisted is still there. If a test fails here, a new release has changed it.

Each message says what to look for in the new release, and what here depends on it.
"""

from __future__ import annotations

import inspect
import socket
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.protocol import MysqlPacket
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, _ChunkedTransferDecoder
from twisted.web.resource import Resource

from resourced.http.limits import EdgeLimits
from resourced.http.site import ResourcedSite
from resourced.http.strict import StrictChannel
from resourced.storage.sql import driver


def connected() -> tuple[Any, socket.socket]:
    """A connection of the driver that has a socket, to nobody."""
    ours, theirs = socket.socketpair()
    connection: Any = pymysql.connect(defer_connect=True)
    assert "_sock" in vars(connection), "PyMySQL keeps its socket elsewhere than in Connection._sock: see driver.cut"
    connection._sock = ours
    return connection, theirs


def test_a_connection_is_cut_from_another_thread() -> None:
    """The other side sees the end, and the driver's object is left as it was."""
    connection, server = connected()
    with server:
        driver.cut(connection)
        assert server.recv(10) == b"", "the connection goes on: see driver.cut"
        assert connection._sock is not None
        driver.cut(connection)
        connection._force_close()
        # There may be none any more.
        driver.cut(connection)


def test_a_connection_is_abandoned_without_a_word() -> None:
    """Nothing is written to the server."""
    assert hasattr(Connection, "_force_close"), "PyMySQL has renamed Connection._force_close: see driver.abandon"
    connection, server = connected()
    with server:
        driver.abandon(connection)
        assert server.recv(10) == b"", "the driver writes to the server first: see driver.abandon"


def test_the_driver_logs_in_on_a_socket_of_ours() -> None:
    """The direct committer makes the socket, and has the driver log in."""
    assert list(inspect.signature(Connection.connect).parameters)[1:] == ["sock"], (
        "PyMySQL takes no socket in Connection.connect any more: see direct.handshake"
    )


def test_the_driver_reads_an_error_packet() -> None:
    """The direct committer has the driver make exceptions of errors."""
    packet = b"\xff\x13\x04#23000Duplicate"
    try:
        MysqlPacket(packet, "utf8").raise_for_error()
    except pymysql.MySQLError as error:
        assert error.args[0] == 0x0413, "PyMySQL reads errors in another way: see direct.protocol"  # noqa: PT017
    else:
        raise AssertionError("PyMySQL raises nothing for an error: see direct.protocol")


def test_twisted_answers_every_bad_request_by_one_method() -> None:
    """What Twisted answers with 400 by itself is answered in JSON, because one private method is replaced."""
    private = "_respondToBadRequestAndDisconnect"
    assert private in vars(HTTPChannel), f"{private} is gone: see in HTTPChannel where 400 Bad Request is written"
    assert private in vars(StrictChannel)


def test_twisted_knows_how_long_a_chunk_is() -> None:
    """A chunk that is too long is refused when its length is known; without it, when too much has arrived."""
    channel: Any = ResourcedSite(Resource(), Clock(), EdgeLimits(max_body=100)).buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert isinstance(channel._transferDecoder, _ChunkedTransferDecoder), "see StrictChannel.rawDataReceived"
    channel.dataReceived(b"fff\r\n")
    assert transport.value().startswith(b"HTTP/1.1 413 "), (
        "_ChunkedTransferDecoder.length is no longer the chunk's length: see StrictChannel.rawDataReceived"
    )
    channel.connectionLost(Failure(ConnectionDone()))
