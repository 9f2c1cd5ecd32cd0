"""
What nodes of a cluster take of a processor, and what it costs to pass a request on.

    python -m bench.nodes [--nodes 1,2,4] [--clients 16] [--rounds 3] [--seconds 3]

Clients lock and unlock selectors that nobody else wants, durably, in one MariaDB. ``alone`` is a daemon that is no node. ``direct`` asks of each
node what it owns. ``passed on`` asks one node for what another one owns. ``owner`` and ``passer`` are microseconds of a processor for each
request, idle nodes counted in. Everything runs on this machine, so the turns say little of more machines.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.clients import cycle_at
from bench.drive import Kind, http_answer, measure, processor_time
from bench.report import table
from tests.clustered import Nodes
from tests.daemon import Daemon, eventually
from tests.mariadb import MariaDB

#: How many resources there are for each client: some of them have to be each node's.
RESOURCES = 8


class Figures(NamedTuple):
    """
    What came of one load.

    :ivar owner: microseconds of a processor for each request, at the nodes that decide; the same for ``passer``.
    """

    turns: float
    owner: float
    passer: float


def drive(port: int, paths: Sequence[str], seconds: float) -> tuple[float, float]:
    """Have clients of one node; return how many turns they took by the second, and requests."""
    # What a run leaves behind must not be in the way of the next.
    fresh = [f"{path}{time.time_ns()}" for path in paths]
    found = measure(
        port,
        Kind(lambda tally, number: cycle_at(fresh[number], tally, number), http_answer),
        range(len(paths)),
        seconds / 4,
        seconds,
    )
    return float(found["turns"]), float(found["requests"])


def load(
    owners: Sequence[Daemon], passers: Sequence[Daemon], work: Sequence[tuple[int, Sequence[str]]], seconds: float
) -> Figures:
    """
    Measure.

    :param work: the port that is asked, and for what.
    """

    def cpu() -> list[float]:
        return [sum(processor_time(node.pid) for node in nodes) for nodes in (owners, passers)]

    with multiprocessing.get_context("fork").Pool(len(work)) as pool:
        driving = pool.starmap_async(drive, [(port, paths, seconds) for port, paths in work], 1)
        # In the middle of what they measure.
        time.sleep(0.4 * seconds)
        began, before = time.perf_counter(), cpu()
        time.sleep(0.6 * seconds)
        took, after = time.perf_counter() - began, cpu()
        results = driving.get()
    requests = sum(rate for _, rate in results) * took
    owner, passer = (1e6 * (end - start) / requests for start, end in zip(before, after, strict=True))
    return Figures(sum(turns for turns, _ in results), owner, passer)


def owned(nodes: Sequence[Daemon], wanted: int) -> list[list[str]]:
    """Create resources; return so many paths of each node that it owns."""
    found: dict[str, list[str]] = {f"http://127.0.0.1:{node.port}": [] for node in nodes}
    for number in range(wanted * len(nodes) * RESOURCES):
        answer = nodes[0].post("/resource", f'{{"name": "bench{number}"}}')
        assert answer.status == 201, answer
        owner = answer.headers.get("x-resourced-node") or f"http://127.0.0.1:{nodes[0].port}"
        found[owner].append(f"/resource/bench{number}/x")
    return [found[f"http://127.0.0.1:{node.port}"][:wanted] for node in nodes]


def started(cluster: Nodes, count: int) -> list[Daemon]:
    """Start so many nodes, and wait until each knows the owner of everything; or for none, a daemon that is no node."""
    if not count:
        alone = cluster.make()
        alone.arguments = ()
        return [cluster.exits.enter_context(alone)]
    nodes = [cluster.add() for _ in range(count)]
    cluster.settle(*nodes)

    def known() -> bool:
        seen = [node.get("/cluster").json["partitions"] for node in nodes]
        return 0 not in seen[0] and all(each == seen[0] for each in seen)

    eventually(known, what="each node knows the owner of everything")
    return nodes


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.nodes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", default="1,2,4", help="how many nodes, with commas between")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    rows: list[list[str]] = []

    def add(name: str, measured: Callable[[], Figures]) -> None:
        found = [measured() for _ in range(options.rounds)]
        turns, owner, passer = (median(column) for column in zip(*found, strict=True))
        rows.append([name, f"{turns:.0f}", f"{owner:.0f}", f"{passer:.0f}" if passer else ""])

    with MariaDB() as server, tempfile.TemporaryDirectory() as folder:
        for count in (0, *map(int, options.nodes.split(","))):
            (Path(folder) / str(count)).mkdir()
            cluster = Nodes(server, Path(folder) / str(count))
            with cluster.exits:
                nodes = started(cluster, count)
                shares = owned(nodes, max(1, options.clients // len(nodes)))
                work = [(node.port, paths) for node, paths in zip(nodes, shares, strict=True)]
                add(f"{count} direct" if count else "alone", partial(load, nodes, [], work, options.seconds))
                if count > 1:
                    passed = [(nodes[1].port, shares[0])]
                    add(f"{count} passed on", partial(load, nodes[:1], nodes[1:2], passed, options.seconds))
    print("\n".join(table(["load", "turns/s", "owner us", "passer us"], rows)))


if __name__ == "__main__":
    main()
