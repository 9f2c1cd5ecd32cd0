"""
The speed of the installed daemon.

    python -m bench [--rounds 5] [--seconds 1.5] [--only "volatile cycle"] [--output DIRECTORY]
    python -m bench --peers

In the table ``x leaf`` is how many times as many requests are answered as by a bare leaf of twisted.web, ``x plain`` how many times as
many turns as by bench/plain.py, and so on; ``spread`` is by how many turns the luckiest client is ahead of the unluckiest, ``load`` the
generator's share of a CPU, which must not come near 1.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from bench import crowd, parked
from bench.report import Report
from bench.servers import MARIADB, Servers
from bench.throughput import PEER_WORKS, WORKS, alone, run
from tests.mariadb import MariaDB

STORES: Mapping[str, Mapping[str, str]] = {"volatile": {"RESOURCED_VOLATILE_LOCKS": "1"}, "sqlite": {}, "mariadb": {}}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    parser.add_argument("--only", default="", help="works whose names contain one of these, parted by commas")
    parser.add_argument(
        "--peers", action="store_true", help="beside etcd, ZooKeeper and Redis instead of the yardsticks"
    )
    parser.add_argument("--polls", type=int, default=10_000, help="how many long polls to park")
    parser.add_argument("--crowd", type=int, default=100_000, help="how many resources and held locks")
    parser.add_argument("--output", type=Path, help="where to put the table, JSON and plots")
    parser.add_argument("options", nargs="*", help="more options of the daemon, after --")
    arguments = parser.parse_args()
    rounds, seconds = arguments.rounds, arguments.seconds

    def wanted(name: str) -> bool:
        return any(part in name for part in arguments.only.split(","))

    works = [work for work in (PEER_WORKS if arguments.peers else WORKS) if wanted(work.name)]
    with ExitStack() as stack:
        servers = Servers(stack, tuple(arguments.options))
        report = Report(run(servers, works, rounds, seconds))
        if any(work.name == "mariadb cycle 1" for work in works):
            report.alone = list(alone(servers, rounds, seconds))
    for store, environ in () if arguments.peers else STORES.items():
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            if wanted(f"{store} parked") and store != "mariadb":
                report.parked[store] = parked.measure(Path(folder), environ, arguments.polls, 2 * seconds)
            if wanted(f"{store} crowd"):
                waiting = arguments.crowd // 10
                with ExitStack() as stack:
                    of = environ if store != "mariadb" else in_mariadb(stack.enter_context(MariaDB(*MARIADB)))
                    report.crowd[store] = crowd.measure(Path(folder), of, arguments.crowd, waiting, rounds, seconds)
    print("\n".join(report.lines()))
    if arguments.output:
        report.write(arguments.output, "performance-peers" if arguments.peers else "performance")


def in_mariadb(server: MariaDB) -> dict[str, str]:
    """Say to a daemon where its database is, but for the name."""
    return {"RESOURCED_STORE": "mysql", "MYSQL_PORT": str(server.port)}


if __name__ == "__main__":
    main()
