"""To read server-sent events as their standard has it (WHATWG HTML, 9.2.6), as far as this server makes use of it."""

from __future__ import annotations

import json
import re
import socket
from contextlib import suppress
from typing import Any, NamedTuple, Self

from tests.daemon import PATIENCE, READ, Daemon


class Sent(NamedTuple):
    """
    What came before an empty line.

    :ivar data: the value of its JSON, if it has any.
    """

    id: int | None
    event: str
    data: Any
    comments: int


def blocks(text: bytes) -> list[Sent]:
    """Read all that is whole."""
    return [_block(block) for block in text.decode().split("\n\n")[:-1]]


def _block(block: str) -> Sent:
    fields = {"id": "", "event": "", "data": ""}
    comments = 0
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        if name:
            assert not fields[name], f"{name} is there twice: {block!r}"
            fields[name] = value.removeprefix(" ")
        else:
            comments += 1
    data = json.loads(fields["data"]) if fields["data"] else None
    return Sent(int(fields["id"]) if fields["id"] else None, fields["event"], data, comments)


def unchunked(body: bytes) -> bytes:
    """Return what chunks are there as a whole (RFC 9112, 7.1)."""
    whole = b""
    while (head := re.match(rb"([0-9A-Fa-f]+)\r\n", body)) is not None:
        size, start = int(head[1], 16), head.end()
        if not size or len(body) < start + size + 2:
            break
        whole += body[start : start + size]
        body = body[start + size + 2 :]
    return whole


class Listener:
    """
    A client that follows the events of a daemon, and reads when it is asked what it knows.

    :param room: how many bytes the system keeps for it while it does not read, if not as many as it likes.
    """

    def __init__(self, daemon: Daemon, query: str = "", *, last: int | None = None, room: int = 0) -> None:
        self._got = b""
        self._gone = False
        self.ended = False
        self._socket = socket.socket()
        if room:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(("127.0.0.1", daemon.port))
        resumed = "" if last is None else f"last-event-id: {last}\r\n"
        self._socket.sendall(
            f"GET /events{query} HTTP/1.1\r\nHost: localhost\r\nx-api-key: {READ}\r\n{resumed}\r\n".encode()
        )
        # Until its first id is there, it may miss something.
        while b"\n\n" not in self._got.partition(b"\r\n\r\n")[2]:
            data = self._socket.recv(1024)
            assert data, self._got
            self._got += data
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Go away."""
        self._gone = True
        self._socket.close()

    @property
    def blocks(self) -> list[Sent]:
        """Everything that it was sent by now, or before it went away."""
        if not self._gone:
            with suppress(BlockingIOError, ConnectionResetError):
                while data := self._socket.recv(1 << 20):
                    self._got += data
                self.ended = True
        return blocks(unchunked(self._got.partition(b"\r\n\r\n")[2]))

    @property
    def whole(self) -> bool:
        """Whether the answer has come to its end, which is not the same as that of the connection."""
        return bool(self.blocks) and self._got.endswith(b"\r\n0\r\n\r\n")

    @property
    def events(self) -> list[Any]:
        """All events."""
        return [block.data for block in self.blocks if block.event not in {"", "reset"}]

    @property
    def ids(self) -> list[int]:
        """The ids of all events."""
        return [event["id"] for event in self.events]

    @property
    def resets(self) -> int:
        """How often it was told that something may be missing."""
        return sum(block.event == "reset" for block in self.blocks)

    @property
    def last(self) -> int:
        """The id from which it would go on."""
        return [block.id for block in self.blocks if block.id is not None][-1]
