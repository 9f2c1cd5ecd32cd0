"""
Two versions of the daemon in one run: the one that is installed here, beside another.

    python -m bench.versions ../other/bin/resourced [--rounds 20] [--seconds 0.5] [--only "sqlite cycle"]

Both run at once, but only one has work at a time. In the table ``x turns`` is how many times as many turns are done by the one that is
installed here, and ``x cpu`` how many times as much of a processor the other one takes for a turn. Each is the median over the rounds.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from bench.parts import Measured, line
from bench.report import table
from bench.servers import Servers
from bench.throughput import STORES

WORKS = (("read", 64), ("put", 64), ("cycle", 1), ("cycle", 64), ("shared", 50), ("shared", 500))


def measure(store: str, kind: str, clients: int, options: argparse.Namespace) -> list[str]:
    """Return the line of the table for one work, with daemons of its own: clients leave locks behind."""
    with ExitStack() as stack:
        servers = Servers(stack, other=options.other)
        names = (store, f"other-{store}")
        ports = [servers.port(name) for name in names]
        here, other = (
            Measured(stack, port, servers.pids[name], kind, clients) for port, name in zip(ports, names, strict=True)
        )
        for daemon in (here, other):
            daemon.drive(options.seconds)
        for number in range(options.rounds):
            for daemon in (here, other) if number % 2 else (other, here):
                daemon.measure(options.seconds)
        return line(f"{store} {kind} {clients}", "other", here, other)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", help="the program that starts the other version")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument("--only", default="", help="works whose names contain one of these, parted by commas")
    options = parser.parse_args()
    lines = [
        measure(store, kind, clients, options)
        for store in STORES
        for kind, clients in WORKS
        if any(part in f"{store} {kind} {clients}" for part in options.only.split(","))
    ]
    print("\n".join(table(["work", "beside", "x cpu", "quartiles", "x turns"], lines)))


if __name__ == "__main__":
    main()
