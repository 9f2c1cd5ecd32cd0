"""How a MySQL server is spoken to, packet by packet, as far as statements take it that do not select."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import pymysql
from pymysql.constants import COMMAND, CR, SERVER_STATUS
from pymysql.protocol import MysqlPacket
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

#: Bytes before each packet: three with its length, one with its number.
_HEAD: Final = 4
#: More bytes than any answer has that is no row.
_LONGEST: Final = 1 << 16

_OK: Final = 0x00
_ERROR: Final = 0xFF
#: How many bytes a number takes that begins with such a one; any other is the number itself.
_LENGTHS: Final[Mapping[int, int]] = {0xFC: 3, 0xFD: 4, 0xFE: 9}


class CommitProtocol(Protocol):
    """
    A connection to a MySQL server that has been logged in to. One asks, then waits for the answer, then asks again.

    Anything that is no answer ends it, since nobody could tell any more what the next answer belongs to.

    :param over: called once when the connection is of no use any more.
    :ivar alive: whether it is.
    """

    transport: Any

    def __init__(self, over: Callable[[], object]) -> None:
        self._over = over
        self._rest = b""
        self._asked: Deferred[pymysql.MySQLError | None] | None = None
        self._number = 0
        self.alive = True

    def ask(self, text: bytes) -> Deferred[pymysql.MySQLError | None]:
        """
        Send statements with ``;`` between them. The server does one after the other, up to the first that fails.

        The answer is why that one failed, or nothing if all are done. If it is that the connection is lost, nobody knows how many are.
        """
        if self._asked is not None or not self.alive:
            raise RuntimeError("There is a question already, or nobody to ask.")
        asked = self._asked = Deferred()
        self._number = 1
        # The command is a byte of the packet.
        self.transport.write(b"%b\x00%c%b" % ((len(text) + 1).to_bytes(3, "little"), COMMAND.COM_QUERY, text))
        return asked

    def leave(self) -> None:
        """Say goodbye; else the server would note that it was left."""
        if self.alive:
            self.transport.write(b"\x01\x00\x00\x00%c" % COMMAND.COM_QUIT)
            self.transport.loseConnection()
            self._end(lost())

    def give_up(self, error: pymysql.MySQLError) -> None:
        """Hang up, and let this be the answer to whoever waits for one."""
        if self.alive:
            self.transport.abortConnection()
            self._end(error)

    def dataReceived(self, data: bytes) -> None:
        """Take what has come apart into packets."""
        data = self._rest + data
        start, end = 0, len(data)
        while self.alive and end - start >= _HEAD:
            body = start + _HEAD
            after = body + int.from_bytes(data[start : start + 3], "little")
            if after - body > _LONGEST:
                self.give_up(lost())
            if after > end:
                break
            self._take(data[start + 3], data[body:after])
            start = after
        self._rest = data[start:]

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # noqa: ARG002 - no way of going is better
        """The server is gone."""
        self._end(lost())

    def _take(self, number: int, packet: bytes) -> None:
        if self._asked is None or number != self._number:
            self.give_up(lost())
            return
        self._number = (number + 1) % 256
        try:
            last, error = _understood(packet)
        except (IndexError, ValueError, struct.error):
            self.give_up(lost())
            return
        if last:
            self._answer(error)

    def _answer(self, error: pymysql.MySQLError | None) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.callback(error)

    def _end(self, error: pymysql.MySQLError) -> None:
        if self.alive:
            self.alive = False
            self._over()
            self._answer(error)


def lost() -> pymysql.MySQLError:
    """Return what the driver raises when a connection is gone."""
    return pymysql.OperationalError(CR.CR_SERVER_LOST, "Lost connection to MySQL server during query")


def _understood(packet: bytes) -> tuple[bool, pymysql.MySQLError | None]:
    """
    Return whether a packet is the last of an answer, and the error that it tells of, as the driver raises it.

    :raises IndexError, ValueError, struct.error: it is no packet of an answer.
    """
    if packet[0] == _ERROR:
        try:
            MysqlPacket(packet, "utf8").raise_for_error()
        except pymysql.MySQLError as error:
            return True, error
    if packet[0] != _OK:
        raise ValueError("It is about rows.")
    at = 1
    # The rows that were found, and the last id that was made: numbers of any length.
    for _ in range(2):
        at += _LENGTHS.get(packet[at], 1)
    (status,) = struct.unpack_from("<H", packet, at)
    if status & SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES:
        raise ValueError(
            "The session takes a backslash for a letter, so text in statements would be read in another way."
        )
    return not status & SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS, None
