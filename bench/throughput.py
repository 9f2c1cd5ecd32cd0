"""
How much servers do under load, each beside its rivals, all in turn within each round.

Everything runs at once on this machine, but only one server has work at a time; each round goes through all of them, so
what else the machine does meanwhile hits them alike. So the ratios, taken within each round, are worth more than the
figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench.load import ratio
from bench.servers import Servers, bare_commits


@dataclass(frozen=True)
class Load:
    """
    What one server has to do.

    :ivar server: its name in ``bench.servers``.
    :ivar kind: of the clients, in ``bench.load``.
    :ivar processes: of the load generator.
    :ivar warm: seconds before the measurement, at most as long as that.
    """

    server: str
    kind: str
    clients: int
    processes: int = 1
    warm: float = 0.4


@dataclass(frozen=True)
class Work:
    """
    One line of the table.

    :ivar rivals: who is measured beside ours, by the heads of their columns.
    """

    name: str
    ours: Load
    rivals: dict[str, Load] = field(default_factory=dict)


def beside_yardsticks(store: str, kind: str, clients: int, name: str) -> Work:
    leaf, plain = Load("leaf", "leaf", clients), Load(f"plain-{store}", kind, clients)
    return Work(f"{store} {name}", Load(store, kind, clients), {"leaf": leaf, "plain": plain})


STORES = ("volatile", "sqlite", "mariadb")
WORKS = tuple(
    beside_yardsticks(store, kind, clients, name)
    for store in STORES
    for kind, clients, name in (
        ("read", 64, "read 64"),
        ("put", 64, "put 64"),
        ("cycle", 1, "cycle 1"),
        ("cycle", 16, "cycle 16"),
        ("cycle", 64, "cycle 64"),
        ("shared", 2, "one lock 2"),
        ("shared", 50, "one lock 50"),
        ("shared", 500, "one lock 500"),
    )
)


def beside_peers(store: str, kind: str, clients: int, name: str) -> Work:
    # Java is slow until it has compiled what is used most.
    processes, warm = (2, 1.0) if kind == "cycle" and clients > 1 else (1, 1.0)
    peers = {peer: Load(peer, f"{peer}-{kind}", clients, processes, warm) for peer in ("etcd", "zookeeper", "redis")}
    return Work(f"{store} {name}", Load(store, kind, clients), {"leaf": Load("leaf", "leaf", clients), **peers})


PEER_WORKS = tuple(
    beside_peers(store, kind, clients, name)
    for store in ("mariadb", "sqlite", "volatile")
    for kind, clients, name in (
        ("cycle", 1, "cycle 1"),
        ("cycle", 64, "cycle 64"),
        ("shared", 50, "one lock 50"),
        ("shared", 500, "one lock 500"),
    )
)


@dataclass
class Result:
    """
    What was measured of one work, by the round.

    :ivar rounds: the figures of each server, ``ours`` among them.
    """

    work: str
    rounds: list[dict[str, dict[str, float]]] = field(default_factory=list)

    @property
    def rivals(self) -> list[str]:
        return [name for name in self.rounds[0] if name != "ours"]

    def middle(self, server: str, what: str) -> float:
        return float(median(figures[server][what] for figures in self.rounds))

    def turns(self, server: str) -> float:
        """
        Return how many turns a server did by the second: reads, writes, cycles of lock and unlock.

        Of the leaf, which knows only requests, it is as many requests as ours has in a turn.
        """
        if server != "leaf":
            return self.middle(server, "turns")
        return self.middle(server, "requests") * ratio(self.middle("ours", "turns"), self.middle("ours", "requests"))

    def ratio(self, rival: str) -> float:
        """Return how many times as much was done as by a rival, the median of the rounds: requests for the leaf, else turns."""
        what = "requests" if rival == "leaf" else "turns"
        return float(median(figures["ours"][what] / max(figures[rival][what], 0.5) for figures in self.rounds))

    @property
    def cpu(self) -> float:
        """The highest share of a CPU that a generator took."""
        return max(figure["cpu"] for figures in self.rounds for figure in figures.values())


def measure(servers: Servers, load: Load, seconds: float) -> dict[str, Any]:
    """Measure one server once."""
    with servers.fresh(load.server) as port:
        return measure_at(port, load, seconds, servers.pids.get(load.server, 0))


def measure_at(port: int, load: Load, seconds: float, pid: int = 0) -> dict[str, Any]:
    """Measure what listens at a port."""
    command = [sys.executable, "-m", "bench.load", load.kind, "--port", str(port), "--clients", str(load.clients)]
    command += ["--processes", str(load.processes), "--seconds", str(seconds), "--warm", str(min(load.warm, seconds))]
    command += ["--pid", str(pid)]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120 + 3 * seconds)
    figures: dict[str, Any] = json.loads(result.stdout)
    return figures


def run(servers: Servers, works: Sequence[Work], rounds: int, seconds: float) -> list[Result]:
    """Measure works in alternation."""
    results = {work.name: Result(work.name) for work in works}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for work in works:
            figures = {"ours": measure(servers, work.ours, seconds)}
            figures.update((name, measure(servers, rival, seconds)) for name, rival in work.rivals.items())
            results[work.name].rounds.append(figures)
    return list(results.values())


def alone(servers: Servers, rounds: int, seconds: float) -> Iterator[float]:
    """Tell how many times as long as two bare commits a durable cycle of one client alone takes, by the round."""
    for _ in range(rounds):
        bare = bare_commits(servers.mariadb, seconds)
        yield ratio(bare / 2, measure(servers, Load("mariadb", "cycle", 1), seconds)["turns"])
