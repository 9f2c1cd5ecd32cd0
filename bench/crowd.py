"""What a cycle costs among very many resources, held locks, and tickets that wait for one lock, beside one on an empty server."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from statistics import median

from bench import clients, parked
from bench.drive import Kind, finish, http_answer
from bench.load import quantile
from bench.throughput import Load, measure_at
from tests.daemon import LOCK, Daemon

#: So that nothing lapses meanwhile.
PATIENT = ("--lease=86400", "--place=86400", "--max-queue=1000000", "--max-waiting=1000000")
#: How many clients fill a server.
CLIENTS = 32


def fill(daemon: Daemon, folder: Path, resources: int, waiting: int) -> None:
    """Make resources, lock a selector of each, and let tickets wait for one lock."""
    # By themselves, not by requests: each of those would be a commit of its own.
    with closing(sqlite3.connect(folder / "store", timeout=30)) as connection, connection:
        rows = [(str(uuid.uuid4()), f"crowd{number}", 86400) for number in range(resources)]
        connection.executemany("INSERT INTO resource (id, name, timeout) VALUES (?, ?, ?)", rows)
    for client in (clients.holders(range(resources), CLIENTS), clients.waiters(waiting, CLIENTS)):
        finish(daemon.port, Kind(client, http_answer), range(CLIENTS))


def measure(
    folder: Path, environ: Mapping[str, str], resources: int, waiting: int, rounds: int, seconds: float
) -> dict[str, float]:
    """
    Measure in alternation.

    :returns: ``resources``, which is the number of held locks too, and ``waiting``; ``cycle``, how many times as long as on the empty server a
        cycle takes, and ``queue``, to join and leave the long queue; ``lag_p99`` and ``lag_worst`` of the full server's reactor, in
        milliseconds.
    """
    for name in ("empty", "full"):
        (folder / name).mkdir()
    stores = {name: {**environ, "RESOURCED_STORE": f"sqlite:{folder / name}/store"} for name in ("empty", "full")}
    with (
        Daemon(folder / "empty", stores["empty"], PATIENT) as empty,
        Daemon(folder / "full", stores["full"], PATIENT) as full,
    ):
        for daemon in (empty, full):
            daemon.create("bench")
            daemon.post("/resource/bench/queued/lock", key=LOCK)
        fill(full, folder / "full", resources, waiting)
        ratios: dict[str, list[float]] = {"cycle": [], "queue": []}
        for _ in range(rounds):
            for kind, found in ratios.items():
                load = Load("", kind, 16)
                turns = [measure_at(daemon.port, load, seconds)["turns"] for daemon in (empty, full)]
                found.append(turns[0] / turns[1])
        lag = parked.lag(full, seconds)
        return {
            "resources": resources,
            "waiting": waiting,
            **{kind: median(found) for kind, found in ratios.items()},
            "lag_p99": quantile(lag, 0.99),
            "lag_worst": quantile(lag, 1),
        }
