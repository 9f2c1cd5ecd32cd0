"""What was measured, for people and for programs: a table, JSON, and plots where matplotlib is installed (the extra ``bench``)."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from bench.throughput import Result


@dataclass
class Report:
    """
    All that a run has to say.

    :ivar alone: how many times as long as two bare commits a durable cycle of one client alone takes, by the round.
    :ivar parked: of long polls, and ``crowd``, by the store; as their modules have it.
    """

    results: list[Result]
    alone: list[float] = field(default_factory=list)
    parked: dict[str, dict[str, float]] = field(default_factory=dict)
    crowd: dict[str, dict[str, float]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Write it as tables of reStructuredText, ratios first."""
        lines: list[str] = []
        if self.results:
            rivals = self.results[0].rivals
            heads = [
                "work",
                *(f"x {rival}" for rival in rivals),
                "req/s",
                "turns/s",
                *(f"{rival}/s" for rival in rivals),
            ]
            heads += ["p50 ms", "p99 ms", "hand-over p99", "spread", "load"]
            lines += table(heads, [row(result, rivals) for result in self.results])
        if self.alone:
            many = f"{median(self.alone):.2f}"
            lines += ["", f"A durable cycle of one client alone takes {many} times as long as two bare commits."]
        for store, found in self.parked.items():
            lines += ["", *table([f"parked, {store}", *list(found)[1:]], [[f"{x:.2f}" for x in found.values()]])]
        for store, found in self.crowd.items():
            values = [f"{value:.2f}" if value < 100 else f"{value:.0f}" for value in found.values()]
            lines += ["", *table([f"crowd, {store}", *list(found)[1:]], [values])]
        return lines

    def write(self, folder: Path, name: str) -> None:
        """Put everything into files whose names begin with ``name``."""
        folder.mkdir(parents=True, exist_ok=True)
        machine = {"python": platform.python_version(), "twisted": version("twisted"), "processors": os.cpu_count()}
        machine["system"] = platform.platform()
        (folder / f"{name}.json").write_text(json.dumps({"machine": machine, **asdict(self)}, indent=1))
        (folder / f"{name}.txt").write_text("\n".join([*self.lines(), ""]))
        if self.results:
            plot(self.results, folder / name)


def row(result: Result, rivals: Sequence[str]) -> list[str]:
    """Write a line of the table: medians over the rounds."""
    return [
        result.work,
        *(f"{result.ratio(rival):.2f}" for rival in rivals),
        *(f"{result.middle('ours', what):.0f}" for what in ("requests", "turns")),
        *(f"{result.turns(rival):.0f}" for rival in rivals),
        *(f"{result.middle('ours', what):.2f}" for what in ("p50", "p99", "handover_p99")),
        f"{result.middle('ours', 'spread'):.0f}",
        f"{result.cpu:.2f}",
    ]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) for cells in [heads, *rows]
    ]
    return [rule, lines[0].rstrip(), rule, *(line.rstrip() for line in lines[1:]), rule]


def plot(results: Sequence[Result], path: Path) -> None:
    """Draw what each server does of each work; without matplotlib, nothing."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        return
    servers = ["ours", *results[0].rivals]
    figure: Any = Figure(figsize=(9, 1.2 + 0.14 * (len(servers) + 1) * len(results)), layout="constrained")
    axes = figure.subplots()
    for place, server in enumerate(servers):
        axes.barh(
            [at + (place + 0.5) / (len(servers) + 1) for at in range(len(results))],
            [result.turns(server) for result in results],
            height=1 / (len(servers) + 1),
            label="resourced" if server == "ours" else server,
        )
    axes.set_yticks([at + 0.4 for at in range(len(results))], [result.work for result in results])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel(
        "turns (a read, a write, a lock and its unlock) per second; of the leaf as many requests as a turn has"
    )
    axes.legend(loc="lower right")
    for suffix in ("svg", "png"):
        figure.savefig(path.with_suffix(f".{suffix}"), dpi=120)
