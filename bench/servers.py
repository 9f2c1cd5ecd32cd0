"""All that is measured, in processes of their own, started when first needed; and what a database alone can do."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

import pymysql

from bench import etcd, redis, zookeeper
from bench.process import running
from tests.daemon import Daemon
from tests.mariadb import MariaDB
from tests.ports import free_port
from tests.preloaded import WITHOUT

#: More than the tests' server has, which is made for a quick start.
MARIADB = ("--innodb-buffer-pool-size=256M", "--innodb-log-file-size=96M", "--max-connections=1000")

PEERS: Mapping[str, Callable[[Path], AbstractContextManager[int]]] = {
    "etcd": etcd.server,
    "redis": redis.server,
    "zookeeper": zookeeper.server,
}


class Servers:
    """
    The servers by their names.

    The daemon is ``volatile``, ``sqlite`` or ``mariadb``, for how it keeps its locks; ``plain-`` before it names the yardstick
    that does the same; ``without`` and a part behind it, that this part of its fast path is taken out, see ``bench.without``;
    ``other`` before it, that it is another version.

    :param other: the program that starts the other version.
    :ivar pids: the processes of the daemons among them.
    """

    def __init__(self, stack: ExitStack, options: tuple[str, ...] = (), other: str = "") -> None:
        self._stack = stack
        self._options = options
        self._other = other
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        self._ports: dict[str, int] = {}
        self.pids: dict[str, int] = {}
        self._mariadb: MariaDB | None = None

    @property
    def mariadb(self) -> MariaDB:
        if self._mariadb is None:
            self._mariadb = self._stack.enter_context(MariaDB(*MARIADB))
        return self._mariadb

    def port(self, name: str) -> int:
        """Return where a server listens."""
        if name not in self._ports:
            self._ports[name] = self._start(name)
        return self._ports[name]

    @contextmanager
    def fresh(self, name: str) -> Iterator[int]:
        """Have a server for one measurement: of etcd a new one, which does not get over clients that hang up while they wait."""
        if name != "etcd":
            yield self.port(name)
            return
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, etcd.server(Path(folder)) as port:
            yield port

    def _start(self, name: str) -> int:
        folder = self._folder / name.replace(" ", "-")
        folder.mkdir()
        if name in PEERS:
            return self._stack.enter_context(PEERS[name](folder))
        port = free_port()
        name, without, part = name.partition(" without ")
        if name == "leaf":
            return self._script("leaf", port)
        kind, _, of = name.rpartition("-")
        if kind == "plain":
            where = (str(self.mariadb.port), "plain") if of == "mariadb" else (str(folder / "store"),)
            return self._script("plain", port, *where, "volatile" if of == "volatile" else "durable")
        environ: dict[str, str] = {"RESOURCED_STORE": f"sqlite:{folder}/store"}
        if of == "mariadb":
            database = f"resourced_without_{part}" if without else f"resourced_{kind}"
            environ = {"RESOURCED_STORE": "mysql", "MYSQL_PORT": str(self.mariadb.port), "MYSQL_DATABASE": database}
        elif of == "volatile":
            environ["RESOURCED_VOLATILE_LOCKS"] = "1"
        daemon = Daemon(folder, environ, self._options, port=port)
        if without:
            daemon.command = (*WITHOUT, part)
        if kind == "other":
            daemon.command = (self._other,)
        self._stack.enter_context(daemon).create("bench")
        self.pids[name + without + part] = daemon.pid
        return port

    def _script(self, name: str, port: int, *arguments: str) -> int:
        command = (sys.executable, "-m", f"bench.{name}", str(port), *arguments)
        return self._stack.enter_context(running(*command, port=port))


def bare_commits(server: MariaDB, seconds: float) -> float:
    """How many commits of one small row each a connection alone can do, by the second."""
    connection = pymysql.connect(host="127.0.0.1", port=server.port, user="root", autocommit=True, ssl_disabled=True)
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE IF NOT EXISTS bare")
        cursor.execute("CREATE TABLE IF NOT EXISTS bare.row (id INT PRIMARY KEY, value INT)")
        cursor.execute("REPLACE INTO bare.row VALUES (1, 0)")
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            cursor.execute("UPDATE bare.row SET value = value + 1 WHERE id = 1")
            done += 1
        return done / (time.perf_counter() - began)
