"""
How many requests the installed daemon answers, beside two yardsticks that are measured in turn with it.

    .venv/bin/python -m bench.throughput [--rounds 5] [--seconds 1.5] [--only volatile] [--json FILE]

Everything runs at once on this machine, but only one server has work at a time; each round goes through all of them, so
what else the machine does meanwhile hits them alike. So the ratios, taken within each round, are worth more than the
figures. ``load`` is the generator's share of a CPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pymysql

from tests.daemon import Daemon, eventually, free_port
from tests.mariadb import MariaDB

#: More than the tests' server has, which is made for a quick start.
MARIADB = ("--innodb-buffer-pool-size=256M", "--innodb-log-file-size=96M")


@dataclass(frozen=True)
class Work:
    """
    One line of the table.

    :ivar store: which daemon, by its name below.
    :ivar plain: which of the plain servers does the same, or none.
    :ivar processes: of the load generator.
    """

    name: str
    kind: str
    store: str
    plain: str
    clients: int
    processes: int = 1


WORKS = (
    Work("volatile read", "read", "volatile", "plain-volatile", 64),
    Work("volatile cycle 1", "cycle", "volatile", "plain-volatile", 1),
    Work("volatile cycle 16", "cycle", "volatile", "plain-volatile", 16),
    Work("volatile cycle 64", "cycle", "volatile", "plain-volatile", 64),
    Work("volatile one lock 2", "shared", "volatile", "plain-volatile", 2),
    Work("volatile one lock 50", "shared", "volatile", "plain-volatile", 50),
    Work("volatile one lock 500", "shared", "volatile", "plain-volatile", 500),
    Work("mariadb read", "read", "mariadb", "plain-mariadb", 64),
    Work("mariadb put", "put", "mariadb", "plain-mariadb", 64),
    Work("mariadb cycle 1", "cycle", "mariadb", "plain-mariadb", 1),
    Work("mariadb cycle 16", "cycle", "mariadb", "plain-mariadb", 16),
    Work("mariadb cycle 64", "cycle", "mariadb", "plain-mariadb", 64),
    Work("mariadb one lock 2", "shared", "mariadb", "plain-mariadb", 2),
    Work("mariadb one lock 50", "shared", "mariadb", "plain-mariadb", 50),
    Work("mariadb one lock 500", "shared", "mariadb", "plain-mariadb", 500),
    Work("sqlite put", "put", "sqlite", "plain-sqlite", 64),
    Work("sqlite cycle 1", "cycle", "sqlite", "plain-sqlite", 1),
    Work("sqlite cycle 64", "cycle", "sqlite", "plain-sqlite", 64),
)


@contextmanager
def script(*arguments: str, port: int) -> Iterator[int]:
    """Run a yardstick."""
    process = subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: answers(port), what=arguments[0])
        yield port
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        return Daemon(Path(), port=port).get("/", key="", timeout=1).status > 0
    except OSError:
        return False


def load(port: int, work: Work, kind: str, seconds: float) -> dict[str, Any]:
    """Measure one server once."""
    command = [sys.executable, "-m", "bench.load", kind, "--port", str(port), "--clients", str(work.clients)]
    command += ["--processes", str(work.processes), "--seconds", str(seconds)]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60 + 3 * seconds)
    figures: dict[str, Any] = json.loads(result.stdout)
    return figures


class Servers:
    """
    All that are measured, started when they are first needed.

    :ivar pids: the processes of the daemons among them, by their names.
    """

    def __init__(self, stack: ExitStack, options: tuple[str, ...]) -> None:
        self._stack = stack
        self._options = options
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
        if name not in self._ports:
            self._ports[name] = self._start(name)
        return self._ports[name]

    def _start(self, name: str) -> int:
        port = free_port()
        if name == "leaf":
            return self._stack.enter_context(script("bench.leaf", str(port), port=port))
        kind, _, of = name.rpartition("-")
        if kind == "plain":
            store = (
                (str(self.mariadb.port), "plain", "durable")
                if of == "mariadb"
                else (str(self._folder / f"plain-{of}"), "durable" if of == "sqlite" else "volatile")
            )
            return self._stack.enter_context(script("bench.plain", str(port), *store, port=port))
        folder = self._folder / name
        folder.mkdir()
        environ: Mapping[str, str] = {"RESOURCED_STORE": f"sqlite:{folder}/store"}
        if name == "mariadb":
            environ = {"RESOURCED_STORE": "mysql", "MYSQL_PORT": str(self.mariadb.port)}
        elif name == "volatile":
            environ = {**environ, "RESOURCED_VOLATILE_LOCKS": "1"}
        daemon = self._stack.enter_context(Daemon(folder, environ, self._options, port=port))
        daemon.create("bench")
        self.pids[name] = daemon.pid
        return port


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--only", default="", help="works whose names contain one of these, parted by commas")
    parser.add_argument("--no-plain", action="store_true", help="leave out the slow yardstick")
    parser.add_argument("--json", type=Path)
    parser.add_argument("options", nargs="*", help="more options of the daemon, after --")
    arguments = parser.parse_args()
    works = [work for work in WORKS if any(part in work.name for part in arguments.only.split(","))]
    rounds: dict[str, list[dict[str, dict[str, Any]]]] = {work.name: [] for work in works}
    bare: list[float] = []
    with ExitStack() as stack:
        servers = Servers(stack, tuple(arguments.options))
        for number in range(arguments.rounds):
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
            for work in works:
                figures = {
                    "leaf": load(servers.port("leaf"), work, "leaf", arguments.seconds),
                    "ours": load(servers.port(work.store), work, work.kind, arguments.seconds),
                }
                if not arguments.no_plain:
                    figures["plain"] = load(servers.port(work.plain), work, work.kind, arguments.seconds)
                if work.name == "mariadb cycle 1":
                    bare.append(bare_commits(servers.mariadb, arguments.seconds / 2) / figures["ours"]["turns"])
                rounds[work.name].append(figures)
    print(f"{'':<22} {'req/s':>8} {'turns/s':>8} {'leaf':>7} {'x leaf':>6} {'plain':>7} {'x plain':>7}", end="")
    print(f" {'p50 ms':>7} {'p99 ms':>7} {'hand p99':>8} {'spread':>6} {'load':>5}")
    for work in works:
        print(row(work.name, rounds[work.name]))
    if bare:
        print(f"\nA durable cycle of one client alone takes {median(bare) / 2:.2f} times as long as two bare commits.")
    if arguments.json:
        arguments.json.write_text(json.dumps(rounds, indent=1))


def row(name: str, figures: list[dict[str, dict[str, Any]]]) -> str:
    """Write a line of the table: medians over the rounds."""

    def middle(server: str, what: str) -> float:
        return float(median(figure[server][what] for figure in figures))

    def ratio(server: str) -> float:
        return float(median(figure["ours"]["requests"] / figure[server]["requests"] for figure in figures))

    plain = f"{middle('plain', 'requests'):7.0f} {ratio('plain'):7.2f}" if "plain" in figures[0] else f"{'':15}"
    return (
        f"{name:<22} {middle('ours', 'requests'):8.0f} {middle('ours', 'turns'):8.0f}"
        f" {middle('leaf', 'requests'):7.0f} {ratio('leaf'):6.2f} {plain}"
        f" {middle('ours', 'p50'):7.2f} {middle('ours', 'p99'):7.2f} {middle('ours', 'handover_p99'):8.2f}"
        f" {middle('ours', 'spread'):6.0f} {max(figure['ours']['cpu'] for figure in figures):5.2f}"
    )


if __name__ == "__main__":
    main()
