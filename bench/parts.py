"""
What each part of the fast path is worth: the daemon beside itself with that part taken out.

    python -m bench.parts [--rounds 20] [--seconds 0.5] [--only "volatile cycle"] [--without parser,cache] [--clients 64]

All daemons run at once, but only one has work at a time: each round goes through all of them. In the table ``x cpu`` is how many times as much
of a processor a turn takes without the part, and ``x turns`` how many times as many turns are done with it; each is the median over the
rounds. The former depends less on what else the machine does. The line ``nothing`` takes nothing out: it shows how exact the others are.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from statistics import median, quantiles

from bench.drive import Connection, Driver, Tally, processor_time
from bench.load import KINDS
from bench.report import table
from bench.servers import Servers

#: The parts that are taken out, by the work that they should be good for.
WORKS: Mapping[tuple[str, str], str] = {
    ("volatile", "cycle"): "nothing dispatch parser request answer internals cache",
    ("volatile", "read"): "nothing dispatch parser request answer internals cache threads",
    ("mariadb", "cycle"): "nothing dispatch parser internals commits cache threads",
    ("sqlite", "cycle"): "nothing dispatch parser internals cache threads",
}
#: With nothing taken out.
WHOLE = "whole"


class Measured:
    """One daemon, its clients, and how fast they were by the round."""

    def __init__(self, stack: ExitStack, port: int, pid: int, kind: str, clients: int) -> None:
        self.turns: list[float] = []
        self.cpu: list[float] = []
        self._pid = pid
        self._tally = Tally()
        of = KINDS[kind]
        connections = [Connection(port, of.client(self._tally, number)) for number in range(clients)]
        self._driver = stack.enter_context(closing(Driver(connections, of, self._tally)))

    def drive(self, seconds: float) -> tuple[float, float]:
        """Return turns by the second, and seconds of a processor for each."""
        self._tally.clear()
        began, cpu = time.perf_counter(), processor_time(self._pid)
        self._driver.drive(lambda: time.perf_counter() >= began + seconds)
        turns = max(self._tally.turns, 1)
        return turns / (time.perf_counter() - began), (processor_time(self._pid) - cpu) / turns

    def measure(self, seconds: float) -> None:
        """Measure one round."""
        turns, cpu = self.drive(seconds)
        self.turns.append(turns)
        self.cpu.append(cpu)


def measure(store: str, kind: str, parts: Sequence[str], options: argparse.Namespace) -> list[list[str]]:
    """Return the lines of the table for one work."""
    with ExitStack() as stack:
        servers = Servers(stack)
        names = {part: store if part == WHOLE else f"{store} without {part}" for part in (WHOLE, *parts)}
        ports = {part: servers.port(name) for part, name in names.items()}
        daemons = {
            part: Measured(stack, ports[part], servers.pids[name], kind, options.clients)
            for part, name in names.items()
        }
        for daemon in daemons.values():
            daemon.drive(options.seconds)
        for number in range(options.rounds):
            # Forth and back, so that none always comes after the same one.
            for daemon in list(daemons.values())[:: -1 if number % 2 else 1]:
                daemon.measure(options.seconds)
        whole = daemons.pop(WHOLE)
        return [line(f"{store} {kind} {options.clients}", part, whole, daemon) for part, daemon in daemons.items()]


def line(work: str, part: str, whole: Measured, without: Measured) -> list[str]:
    cpu = [other / ours for ours, other in zip(whole.cpu, without.cpu, strict=True)]
    turns = [ours / other for ours, other in zip(whole.turns, without.turns, strict=True)]
    low, _, high = quantiles(cpu, n=4) if len(cpu) > 1 else cpu * 3
    return [work, part, f"{median(cpu):.2f}", f"{low:.2f} to {high:.2f}", f"{median(turns):.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--only", default="", help="works whose names contain one of these, parted by commas")
    parser.add_argument("--without", default="", help="only these parts, parted by commas")
    options = parser.parse_args()
    lines = []
    for (store, kind), parts in WORKS.items():
        if any(part in f"{store} {kind}" for part in options.only.split(",")):
            wanted = [part for part in parts.split() if not options.without or part in options.without.split(",")]
            lines += measure(store, kind, wanted, options)
    print("\n".join(table(["work", "without", "x cpu", "quartiles", "x turns"], lines)))


if __name__ == "__main__":
    main()
