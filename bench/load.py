"""
A load generator for all kinds of servers here.

    python -m bench.load --port 9501 --clients 64 --seconds 2 cycle

It prints a line of JSON. Its own share of a CPU is in it: near 1 it was the generator that was measured, so ``--processes``
spreads the clients over more of them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from contextlib import suppress
from typing import Any

from bench import clients, etcd, redis, zookeeper
from bench.drive import Kind, measure

KINDS: dict[str, Kind] = {**clients.KINDS, **etcd.KINDS, **redis.KINDS, **zookeeper.KINDS}


def quantile(ordered: list[float], part: float) -> float:
    """Return a quantile in milliseconds."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000 if ordered else 0.0


def ratio(figure: float, other: float) -> float:
    """Return how many times as much a figure is as another one; nothing, if that was not measured."""
    return figure / other if other else 0.0


def summary(results: list[dict[str, Any]]) -> dict[str, float]:
    """Put together what several generators have measured at once."""
    waits, handovers = (sorted(each for result in results for each in result[what]) for what in ("waits", "handovers"))
    shares = [share for result in results for share in result["shares"]]
    return {
        "requests": sum(result["requests"] for result in results),
        "turns": sum(result["turns"] for result in results),
        "p50": quantile(waits, 0.5),
        "p99": quantile(waits, 0.99),
        "handover_p99": quantile(handovers, 0.99),
        "spread": max(shares) - min(shares),
        "cpu": max(result["cpu"] for result in results),
        "server_cpu": max(result["server_cpu"] for result in results),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--warm", type=float, default=0.3)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--pid", type=int, default=0, help="of the server, to measure what it takes of a processor")
    options = parser.parse_args()
    kind = KINDS[options.kind]
    parts = [range(n, options.clients, options.processes) for n in range(options.processes)]
    if options.processes == 1:
        results = [measure(options.port, kind, parts[0], options.warm, options.seconds, options.pid)]
    else:
        with multiprocessing.get_context("fork").Pool(options.processes) as pool:
            jobs = ((options.port, kind, part, options.warm, options.seconds, options.pid) for part in parts)
            results = pool.starmap(measure, jobs, 1)
    with suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(summary(results)) + "\n")


if __name__ == "__main__":
    main()
