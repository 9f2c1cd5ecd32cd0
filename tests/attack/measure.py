"""What an attack is, what it costs, and the connections that it is made on."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from tests.daemon import WRITE, Answer, Daemon

MIB = 1 << 20
HOST = b"Host: localhost\r\n"
KEY = b"x-api-key: %s\r\n" % WRITE.encode()


@dataclass(frozen=True)
class Attack:
    """
    An attack.

    :ivar run: carries it out; raises ``AssertionError`` if it was let through, and leaves the daemon in order.
    :ivar memory: how many MiB it may take at most.
    :ivar rows: how many rows it may take at most, of places, losses and events.
    :ivar environ: settings that the daemon has for it.
    :ivar keys: what is in its key file.
    """

    name: str
    run: Callable[[Daemon], None]
    memory: int
    rows: int = 0
    environ: Mapping[str, str] = field(default_factory=dict)
    keys: str = ""

    def daemon(self, folder: Path, **more: str) -> Daemon:
        """Make the daemon that it is tried on."""
        if self.keys:
            (folder / "keys.toml").write_text(self.keys)
            more["RESOURCED_KEYS"] = "keys.toml"
        return Daemon(folder, {**self.environ, **more})


@dataclass(frozen=True)
class Cost:
    """
    What an attack has cost.

    :ivar before: the memory of the daemon in MiB; ``after`` is its peak until the attack was over.
    :ivar rows: how many more there were when it was over.
    :ivar seconds: of the processor.
    :ivar wrong: why it was let through, if it was.
    """

    before: float
    after: float
    rows: int
    seconds: float
    wrong: str = ""

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
    before, rows, seconds = _memory(daemon.pid, "VmRSS"), sum(rows_of(daemon).values()), _processor(daemon.pid)
    wrong = ""
    try:
        attack.run(daemon)
    except (AssertionError, OSError) as error:
        wrong = f"let through: {error}".split("\n")[0]
    cost = Cost(
        before,
        _memory(daemon.pid, "VmHWM"),
        sum(rows_of(daemon).values()) - rows,
        _processor(daemon.pid) - seconds,
        wrong,
    )
    if not wrong and cost.memory > attack.memory:
        return replace(cost, wrong="takes too much memory")
    if not wrong and cost.rows > attack.rows:
        return replace(cost, wrong="takes too many rows")
    return cost


def rows_of(daemon: Daemon) -> dict[str, int]:
    """Count what a daemon with a store in a file keeps of tickets and of what has happened."""
    with closing(sqlite3.connect(f"file:{daemon.folder}/resourced.sqlite?mode=ro", uri=True)) as database:
        there = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
        return {
            name: database.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0]
            for name in ("place", "loss", "event")
            if name in there
        }


def _memory(pid: int, which: str) -> float:
    found = re.search(rf"{which}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def _processor(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


# -- Connections


@contextmanager
def connections(daemon: Daemon, count: int) -> Iterator[list[socket.socket]]:
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


def push(connection: socket.socket, data: bytes) -> int:
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


def status(connection: socket.socket) -> int:
    """Read the status of an answer."""
    line = b""
    while b"\r\n" not in line:
        data = connection.recv(64)
        assert data, "the connection was closed without an answer"
        line += data
    return int(line.split()[1])


def others_are_served(daemon: Daemon) -> None:
    for _ in range(10):
        assert daemon.get("/health", key="").status == 200
        assert daemon.get("/metrics").status == 200


def figure(daemon: Daemon, name: str) -> int:
    """Return a figure out of its metrics."""
    found = re.search(rf"^{re.escape(name)} (\S+)", daemon.get("/metrics").body.decode(), re.MULTILINE)
    assert found is not None, f"there is no {name}"
    return int(float(found[1]))


def answers(daemon: Daemon, requests: Sequence[bytes]) -> list[Answer]:
    """Send many requests on one connection, fifty at a time, and return what is answered."""
    got = []
    with (
        closing(socket.create_connection(("127.0.0.1", daemon.port), 60)) as connection,
        connection.makefile("rb") as file,
    ):
        for start in range(0, len(requests), 50):
            part = requests[start : start + 50]
            connection.sendall(b"".join(part))
            got += [_answer(file) for _ in part]
    return got


def _answer(file: BinaryIO) -> Answer:
    line = file.readline()
    assert line, "the connection was closed without an answer"
    headers = {}
    while header := file.readline().strip():
        name, _, value = header.decode().partition(":")
        headers[name.lower()] = value.strip()
    return Answer(int(line.split()[1]), headers, file.read(int(headers.get("content-length", 0))))
