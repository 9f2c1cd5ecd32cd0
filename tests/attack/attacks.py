"""The attacks. Each takes a daemon that runs, raises ``AssertionError`` if it was let through, and leaves the daemon in order."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.daemon import WRITE, Daemon, eventually

MIB = 1 << 20
HOST = b"Host: localhost\r\n"
KEY = b"x-api-key: %s\r\n" % WRITE.encode()


@dataclass(frozen=True)
class Attack:
    """
    An attack.

    :ivar run: carries it out.
    :ivar memory: how many MiB it may take at most.
    :ivar environ: settings that the daemon has for it.
    """

    name: str
    run: Callable[[Daemon], None]
    memory: int
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """
    What an attack has cost.

    :ivar before: the memory of the daemon in MiB; ``after`` is its peak until the attack was over.
    :ivar seconds: of the processor.
    """

    before: float
    after: float
    seconds: float

    @property
    def memory(self) -> float:
        return self.after - self.before


def cost_of(attack: Attack, daemon: Daemon) -> Cost:
    """Carry an attack out; return what it has cost."""
    for _ in range(20):
        # What is needed once, whoever asks, does not count.
        for path in ("/health", "/openapi.json", "/metrics", "/nothing"):
            daemon.get(path)
    # The peak begins to be measured anew.
    Path(f"/proc/{daemon.pid}/clear_refs").write_text("5")
    before, seconds = _memory(daemon.pid, "VmRSS"), _processor(daemon.pid)
    attack.run(daemon)
    return Cost(before, _memory(daemon.pid, "VmHWM"), _processor(daemon.pid) - seconds)


def _memory(pid: int, which: str) -> float:
    found = re.search(rf"{which}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def _processor(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


# -- Connections


@contextmanager
def _connections(daemon: Daemon, count: int) -> Iterator[list[socket.socket]]:
    """Open some connections that take little before they are full, as those of a client do that does not read."""
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            connection = socket.socket()
            opened.append(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(20)
            connection.connect(("127.0.0.1", daemon.port))
        yield opened
    finally:
        for connection in opened:
            connection.close()


def _push(connection: socket.socket, data: bytes) -> int:
    """Send as much as is taken within a moment; return how much that was."""
    sent, view = 0, memoryview(data)
    connection.settimeout(0.2)
    try:
        while sent < len(data):
            sent += connection.send(view[sent:])
    except OSError:
        # Nobody reads it any more, or it is refused.
        pass
    finally:
        connection.settimeout(20)
    return sent


def _status(connection: socket.socket) -> int:
    """Read the status of an answer."""
    line = b""
    while b"\r\n" not in line:
        data = connection.recv(64)
        assert data, "the connection was closed without an answer"
        line += data
    return int(line.split()[1])


def _others_are_served(daemon: Daemon) -> None:
    for _ in range(10):
        assert daemon.get("/health", key="").status == 200
        assert daemon.get("/metrics").status == 200


def _buffered(daemon: Daemon) -> int:
    found = re.search(r"^resourced_buffered_bytes (\S+)", daemon.get("/metrics").body.decode(), re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


# -- What is tried


def unread_answers(daemon: Daemon) -> None:
    """Five clients ask for long answers, a thousand times each, and read none."""
    with _connections(daemon, 5) as connections:
        for connection in connections:
            _push(
                connection,
                b"GET /openapi.json HTTP/1.1\r\n"
                + HOST
                + b"\r\n"
                + (b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n") * 1000,
            )
        _others_are_served(daemon)
    eventually(lambda: _buffered(daemon) == 0, what="nothing is left of it")


def bodies_without_keys(daemon: Daemon) -> None:
    """Three hundred clients without a key send a megabyte each, all but the last byte of it."""
    head = b"POST /resource HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % MIB
    with _connections(daemon, 300) as connections:
        for connection in connections:
            connection.sendall(head)
        for connection in connections:
            assert _status(connection) == 401
            _push(connection, b"x" * (MIB - 1))
        _others_are_served(daemon)


def bodies_of_a_tenant(daemon: Daemon) -> None:
    """Clients with a key send more than all together may have in memory; those beyond are refused."""
    head = b"POST /resource HTTP/1.1\r\n" + HOST + KEY + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % MIB
    with _connections(daemon, 40) as connections:
        answers = []
        for connection in connections:
            connection.sendall(head)
            answers.append(_status(connection))
            if answers[-1] == 100:
                _push(connection, b"x" * (MIB - 1))
        assert answers == [100] * 16 + [503] * 24
        assert daemon.get("/health", key="").status == 200
        assert _buffered(daemon) == 16 * MIB
    eventually(lambda: _buffered(daemon) == 0, what="nothing is left of it")


def tiny_chunks(daemon: Daemon) -> None:
    """A body comes in a million chunks of one byte."""
    head = b"POST /resource HTTP/1.1\r\n" + HOST + KEY + b"Transfer-Encoding: chunked\r\n\r\n"
    with _connections(daemon, 1) as (connection,):
        connection.sendall(head)
        _push(connection, b"1\r\nx\r\n" * MIB)
        assert _status(connection) == 413


def large_chunk(daemon: Daemon) -> None:
    """A chunk is announced that is larger than a body may be; that is refused before it comes."""
    head = b"POST /resource HTTP/1.1\r\n" + HOST + KEY + b"Transfer-Encoding: chunked\r\n\r\n"
    with _connections(daemon, 1) as (connection,):
        connection.sendall(head + b"%x\r\nx" % (MIB + 1))
        assert _status(connection) == 413


def behind_a_stream(daemon: Daemon) -> None:
    """A client that follows the events sends forty megabytes behind its request."""
    with closing(socket.create_connection(("127.0.0.1", daemon.port), 20)) as connection:
        connection.sendall(b"GET /events HTTP/1.1\r\n" + HOST + KEY + b"\r\n")
        assert _status(connection) == 200
        assert _push(connection, b"x" * (40 * MIB)) < 40 * MIB
        _others_are_served(daemon)


ATTACKS = (
    Attack("answers that nobody reads", unread_answers, 8),
    Attack("bodies without keys", bodies_without_keys, 24),
    Attack("bodies of a tenant", bodies_of_a_tenant, 40, {"RESOURCED_MAX_BUFFERED": str(16 * MIB)}),
    Attack("a million chunks", tiny_chunks, 8),
    Attack("a large chunk", large_chunk, 8),
    Attack("bytes behind a stream", behind_a_stream, 8),
)
