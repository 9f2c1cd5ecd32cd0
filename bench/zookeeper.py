"""
ZooKeeper as a lock server, by the recipe that kazoo and Curator share, in ZooKeeper's own protocol.

A client makes an ephemeral, numbered node, looks at all nodes of the lock, and has it if its own is the first; else it watches the
one before its own.
"""

from __future__ import annotations

import socket
import struct
import time
import uuid
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from bench.drive import Client, Kind, Tally
from bench.process import running
from tests.daemon import eventually
from tests.mariadb import program
from tests.ports import free_port

CREATE, DELETE, GET_DATA, GET_CHILDREN = 1, 2, 4, 8
EPHEMERAL_AND_NUMBERED = 3
NO_NODE, NODE_EXISTS = -101, -110
CLASSPATH = "/etc/zookeeper/conf_example:/usr/share/java/zookeeper.jar"
RUN = f"/lock-{time.time_ns()}"

_HEADER = struct.Struct(">iqi")
_OPEN_TO_ALL = struct.pack(">ii", 1, 31) + b"".join(struct.pack(">i", len(s)) + s for s in (b"world", b"anyone"))


def text(value: str) -> bytes:
    return struct.pack(">i", len(value)) + value.encode()


def frame(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def answer(data: bytes) -> int:
    """Tell how long the first frame is."""
    if len(data) < 4:
        return 0
    length = 4 + int.from_bytes(data[:4], "big")
    return length if len(data) >= length else 0


OPEN = frame(struct.pack(">iqiqi", 0, 0, 10_000, 0, 16) + bytes(16) + b"\0")


class Session:
    """One client's requests, by their numbers."""

    def __init__(self) -> None:
        self._xid = 0
        self.changed: set[str] = set()

    def open(self) -> Client:
        yield OPEN

    def call(self, kind: int, path: str, *rest: bytes) -> Generator[bytes | float, bytes, tuple[int, bytes]]:
        """Send a request; return the error of its answer and what it says."""
        self._xid += 1
        got = yield frame(struct.pack(">ii", self._xid, kind) + text(path) + b"".join(rest))
        while True:
            xid, _, error = _HEADER.unpack_from(got, 4)
            if xid == self._xid:
                return error, got[20:]
            self._see(got)
            got = yield b""

    def watch(self, path: str) -> Client:
        """Wait until something happens to a node that is watched."""
        while path not in self.changed:
            self._see((yield b""))
        self.changed.clear()

    def _see(self, event: bytes) -> None:
        (length,) = struct.unpack_from(">i", event, 28)
        self.changed.add(event[32 : 32 + length].decode())

    def create(self, path: str, flags: int) -> Generator[bytes | float, bytes, str]:
        error, said = yield from self.call(CREATE, path, struct.pack(">i", 0), _OPEN_TO_ALL, struct.pack(">i", flags))
        if error not in {0, NODE_EXISTS}:
            raise ValueError(f"error {error} for {path}")
        return said[4:].decode()

    def children(self, path: str) -> Generator[bytes | float, bytes, list[str]]:
        _, said = yield from self.call(GET_CHILDREN, path, b"\0")
        names, at = [], 4
        for _ in range(*struct.unpack_from(">i", said)):
            (length,) = struct.unpack_from(">i", said, at)
            names.append(said[at + 4 : at + 4 + length].decode())
            at += 4 + length
        return names


def number_of(name: str) -> str:
    return name[-10:]


def locks(tally: Tally, number: int, path: str, *, contended: bool) -> Client:
    session = Session()
    yield from session.open()
    for parent in (RUN, path):
        yield from session.create(parent, 0)
    while True:
        mine = yield from session.create(f"{path}/{uuid.uuid4().hex}__lock__", EPHEMERAL_AND_NUMBERED)
        while True:
            names = yield from session.children(path)
            before = max((n for n in names if number_of(n) < number_of(mine)), key=number_of, default="")
            if not before:
                break
            error, _ = yield from session.call(GET_DATA, f"{path}/{before}", b"\1")
            if error != NO_NODE:
                yield from session.watch(f"{path}/{before}")
        if contended:
            tally.taken()
            tally.releasing()
        error, _ = yield from session.call(DELETE, mine, struct.pack(">i", -1))
        if error:
            raise ValueError("the lock was lost")
        tally.turn(number)


def cycle(tally: Tally, number: int) -> Client:
    return locks(tally, number, f"{RUN}/{number}", contended=False)


def shared(tally: Tally, number: int) -> Client:
    return locks(tally, number, f"{RUN}/shared", contended=True)


KINDS = {"zookeeper-cycle": Kind(cycle, answer), "zookeeper-shared": Kind(shared, answer)}


@contextmanager
def server(folder: Path) -> Iterator[int]:
    """Run a server alone; it has every change on the disk before it answers."""
    port = free_port()
    settings = folder / "zoo.cfg"
    lines = ["tickTime=2000", f"dataDir={folder}", f"clientPort={port}", "clientPortAddress=127.0.0.1"]
    settings.write_text("\n".join([*lines, "maxClientCnxns=0", "admin.enableServer=false", ""]))
    java = [program("java"), "-Dzookeeper.root.logger=ERROR,CONSOLE", "-Dzookeeper.forceSync=yes", "-cp", CLASSPATH]
    main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
    with running(*java, main, str(settings), port=port, folder=folder):
        eventually(lambda: serves(port), what="ZooKeeper opens sessions")
        yield port


def serves(port: int) -> bool:
    """Tell whether a session can be had: ZooKeeper listens before."""
    with closing(socket.create_connection(("127.0.0.1", port), 1)) as client:
        client.sendall(OPEN)
        with suppress(OSError):
            return bool(client.recv(100))
    return False
