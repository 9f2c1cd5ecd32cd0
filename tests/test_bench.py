"""The bench measures: each kind of server and of load once, for a moment."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from bench.load import ratio
from bench.parts import WORKS as WORTH
from bench.throughput import WORKS, Result
from bench.without import PARTS
from tests.mariadb import PLACES

#: Seconds of a measurement, until everything has been done once in each: a machine that does much else needs longer.
LENGTHS = ("0.1", "0.3", "1", "10", "50")


def bench(folder, *options):
    """Run it once; return what it wrote for programs."""
    subprocess.run(
        [sys.executable, "-m", "bench", "--rounds", "1", "--output", folder, *options], check=True, timeout=300
    )
    [written] = folder.glob("*.json")
    assert written.with_suffix(".txt").read_text().startswith("=")
    return json.loads(written.read_text())


def measured(report):
    """Return the figures of each work, by the server."""
    return [figures for result in report["results"] for figures in result["rounds"]]


def is_measured(name, figure):
    """Whether a server has done anything; the leaf knows no turns."""
    return figure["requests"] > 0 and figure["cpu"] > 0 and (figure["turns"] > 0 or name == "leaf")


def test_beside_yardsticks(tmp_path):
    """The daemon and the yardsticks do what they are asked; parked polls and a crowd are measured too."""
    only = "sqlite put,mariadb cycle 1,volatile parked,volatile crowd,mariadb crowd"
    for seconds in LENGTHS:
        folder = tmp_path / seconds
        report = bench(folder, "--seconds", seconds, "--only", only, "--polls", "30", "--crowd", "40")
        done = (is_measured(name, figure) for figures in measured(report) for name, figure in figures.items())
        if all(done) and all(report["alone"]):
            break
    assert [result["work"] for result in report["results"]] == [
        work.name for work in WORKS if any(part in work.name for part in only.split(","))
    ]
    for figures in measured(report):
        assert set(figures) == {"ours", "leaf", "plain"}
        for name, figure in figures.items():
            assert is_measured(name, figure), name
            assert figure["cpu"] <= 1.1
    assert [figure > 0 for figure in report["alone"]] == [True]
    assert report["parked"]["volatile"]["kib"] > 0
    assert all(report["crowd"][store]["cycle"] > 0 for store in ("volatile", "mariadb"))


def test_nothing_measured():
    """Where nothing was done in time there is no ratio, and no failure."""
    assert (ratio(3, 2), ratio(3, 0)) == (1.5, 0.0)
    nothing = {"requests": 0.0, "turns": 0.0, "cpu": 0.0}
    result = Result("sqlite put", [{"ours": nothing, "leaf": nothing, "plain": nothing}])
    assert (result.turns("leaf"), result.ratio("leaf"), result.ratio("plain")) == (0, 0, 0)


def printed(module, *options):
    """Run another part of it once; return the lines that it prints."""
    command = [sys.executable, "-m", module, "--rounds", "1", *options]
    return subprocess.run(command, check=True, timeout=600, capture_output=True, text=True).stdout.splitlines()


def test_streams():
    """Those who lock are measured with and without some who follow."""
    for seconds in LENGTHS:
        lines = printed("bench.streams", "--streams", "20", "--seconds", seconds, "--store", "volatile")
        rows = [line.split() for line in lines[1:]]
        if all(float(row[2]) > 0 for row in rows):
            break
    assert [int(row[0]) for row in rows] == [0, 10, 20]
    assert all(float(row[2]) > 0 for row in rows)


def test_parts():
    """The daemon is measured beside itself with each part of its fast path taken out."""
    for seconds in LENGTHS:
        lines = printed("bench.parts", "--seconds", seconds, "--clients", "4", "--only", "volatile read")
        rows = [line.split() for line in lines if line.startswith("volatile read")]
        if all(float(row[4]) > 0 for row in rows):
            break
    parts = WORTH["volatile", "read"].split()
    assert [row[3] for row in rows] == parts
    assert all(float(row[4]) > 0 for row in rows)


def test_every_part_is_measured():
    """Each part that can be taken out is measured by some work."""
    assert {part for parts in WORTH.values() for part in parts.split()} == set(PARTS)


@pytest.mark.skipif(not shutil.which("etcd", path=PLACES), reason="the others are only there after make bench-peers")
def test_peers(tmp_path):
    """The other servers have their locks taken and released."""
    report = bench(tmp_path, "--peers", "--seconds", "2", "--only", "volatile cycle 64")
    assert len(report["results"]) == 1
    for figures in measured(report):
        assert all(figures[peer]["turns"] > 0 for peer in ("etcd", "zookeeper", "redis"))


def test_pools():
    """Requests for several units are measured beside those for one lock, in a crowd, and for all units at once."""
    few = ("--units", "12", "--jobs", "20", "--waiting", "20", "--all", "30", "--held", "0.05", "--store", "volatile")
    for seconds in LENGTHS:
        lines = printed("bench.pools", "--seconds", seconds, *few)
        ratios = [float(line.partition(": ")[2].split()[0]) for line in lines]
        if all(ratio > 0 for ratio in ratios):
            break
    assert len(ratios) == 3
    assert all(ratio > 0 for ratio in ratios)


def test_nodes():
    """Nodes are measured that are asked directly, and such as pass requests on."""
    command = [sys.executable, "-m", "bench.nodes", "--nodes", "2", "--rounds", "1", "--seconds", "1", "--clients", "4"]
    shown = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True).stdout
    rows = {line[:12].strip(): line.split()[-1] for line in shown.splitlines()}
    assert {"alone", "2 direct", "2 passed on"} <= rows.keys()
    assert float(rows["2 passed on"]) > 0
