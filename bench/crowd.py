"""What a cycle costs among very many resources, held locks, and tickets that wait for one lock, beside one on an empty server."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from statistics import median

import pymysql

from bench import clients, parked
from bench.drive import Kind, finish, http_answer
from bench.load import quantile
from bench.throughput import Load, measure_at
from tests.daemon import LOCK, Daemon

#: So that nothing lapses meanwhile.
PATIENT = ("--lease=86400", "--place=86400", "--max-queue=1000000", "--max-waiting=1000000")
#: How many clients fill a server.
CLIENTS = 32


def insert(environ: Mapping[str, str], resources: int) -> None:
    """Make resources by themselves, not by requests: each of those would be a commit of its own."""
    rows = [(str(uuid.uuid4()), f"crowd{number}", 86400) for number in range(resources)]
    statement = "INSERT INTO resource (id, name, timeout) VALUES (%s, %s, %s)"
    if "MYSQL_PORT" in environ:
        port, database = int(environ["MYSQL_PORT"]), environ["MYSQL_DATABASE"]
        server = pymysql.connect(host="127.0.0.1", port=port, user="root", database=database, ssl_disabled=True)
        with closing(server), server.cursor() as cursor:
            cursor.executemany(statement, rows)
            server.commit()
        return
    path = environ["RESOURCED_STORE"].partition(":")[2]
    with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        connection.executemany(statement.replace("%s", "?"), rows)


def fill(daemon: Daemon, environ: Mapping[str, str], resources: int, waiting: int) -> None:
    """Make resources, lock a selector of each, and let tickets wait for one lock."""
    insert(environ, resources)
    for client in (clients.holders(range(resources), CLIENTS), clients.waiters(waiting, CLIENTS)):
        finish(daemon.port, Kind(client, http_answer), range(CLIENTS))


def measure(
    folder: Path, environ: Mapping[str, str], resources: int, waiting: int, rounds: int, seconds: float
) -> dict[str, float]:
    """
    Measure in alternation.

    :param environ: of both daemons; without a store each has an SQLite file.
    :returns: ``resources``, which is the number of held locks too, and ``waiting``; ``cycle``, how many times as long as on the empty server a
        cycle takes, and ``queue``, to join and leave the long queue; ``cycle_cpu`` and ``queue_cpu``, how many times as much of a processor the
        daemon takes for them, which depends less on what else the machine does; ``lag_p99`` and ``lag_worst`` of the full server's reactor, in
        milliseconds.
    """
    for name in ("empty", "full"):
        (folder / name).mkdir()
    stores = {
        name: {"RESOURCED_STORE": f"sqlite:{folder / name}/store", "MYSQL_DATABASE": name, **environ}
        for name in ("empty", "full")
    }
    with (
        Daemon(folder / "empty", stores["empty"], PATIENT) as empty,
        Daemon(folder / "full", stores["full"], PATIENT) as full,
    ):
        for daemon in (empty, full):
            daemon.create("bench")
            daemon.post("/resource/bench/queued/lock", key=LOCK)
        fill(full, stores["full"], resources, waiting)
        kinds = ("cycle", "queue")
        ratios: dict[str, list[float]] = {name: [] for kind in kinds for name in (kind, f"{kind}_cpu")}
        for number in range(rounds):
            # Forth and back, so that none always comes after the same one.
            order = {"empty": empty, "full": full} if number % 2 else {"full": full, "empty": empty}
            for kind in kinds:
                load = Load("", kind, 16)
                of = {name: measure_at(daemon.port, load, seconds, daemon.pid) for name, daemon in order.items()}
                # On a busy machine there may be nothing done, and no processor time counted, in a short measurement.
                turns = {name: max(figures["turns"], 0.5) for name, figures in of.items()}
                cpu = {name: max(figures["server_cpu"], 0.001) / turns[name] for name, figures in of.items()}
                ratios[kind].append(turns["empty"] / turns["full"])
                ratios[f"{kind}_cpu"].append(cpu["full"] / cpu["empty"])
        lag = parked.lag(full, seconds)
        return {
            "resources": resources,
            "waiting": waiting,
            **{kind: median(found) for kind, found in ratios.items()},
            "lag_p99": quantile(lag, 0.99),
            "lag_worst": quantile(lag, 1),
        }
