"""A while of torture on each store; and that the torture notices when a safeguard is missing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import galera
from tests.daemon import eventually

ROOT = Path(__file__).parent.parent

#: Seconds that a run may take in all, on a machine that does much else.
PATIENCE = 300
#: Of each run: enough to meet most of what there is, on any machine; whatever has not happened by then does in one of the next runs.
SHORT = ("--seconds", "20", "--clients", "8", "--jobs", "5")
#: Of each run of nodes, in which less has to happen.
OF_NODES = ("--seconds", "12", "--clients", "6", "--jobs", "4", "--nodes", "3")
#: How many runs there may be until everything has happened.
RUNS = 6


@dataclass
class Run:
    """A torture in a process of its own."""

    process: subprocess.Popen[str]
    began: float

    @classmethod
    def start(cls, *arguments: str) -> Run:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture", *arguments],
            cwd=ROOT,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return cls(process, time.monotonic())

    def table(self) -> str:
        """Wait until it has ended, and return what it printed."""
        printed, _ = self.process.communicate(timeout=PATIENCE)
        return printed

    def close(self) -> None:
        """End it by the way that is the worst, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def figure(table: str, pattern: str) -> int:
    """Return the sum of the figures whose whole name matches."""
    found = re.findall(rf"^  (?:{pattern})\s+(\d+)$", table, re.MULTILINE)
    return sum(map(int, found))


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[str, Run]]:
    """A run on each store, both at the same time."""
    with ExitStack() as stack:
        runs = {}
        for store in ("sqlite", "mysql"):
            runs[store] = run = Run.start(*SHORT, "--store", store)
            stack.callback(run.close)
        yield runs


#: How often each of these must have happened at least, by the name of the figure.
ALWAYS = {
    "daemon killed.*|both daemons killed.*|database (?:frozen|file locked), daemon killed": 1,
    "times a daemon began to serve": 2,
    "of these after standing by": 1,
    "client frozen: holding": 2,
    "client frozen: (?:writing|awaiting)": 1,
    "client killed.*": 1,
    "connections cut by clients": 5,
    "grants": 50,
    "writes acknowledged": 50,
    "grants of several": 20,
    "units given back as broken": 1,
    "units taken out of service": 1,
    "locks broken": 1,
}
ENOUGH = {
    "sqlite": ALWAYS | {"database file locked.*|disk full|daemon frozen.*": 1},
    "mysql": ALWAYS
    | {
        "database killed.*|database frozen|(?:all )?database connections? cut.*": 1,
        "daemon frozen, deposed, thawed|daemon deposed with writes stuck|guard cut.*": 1,
    },
}


@pytest.mark.parametrize("store", ["sqlite", "mysql"])
def test_a_while(runs, store):
    """Whatever dies, freezes or is cut off: no lock is lost or given twice, no write is lost or done twice, and it all goes on."""
    tables = ""
    for number in range(RUNS):
        with closing(Run.start(*SHORT, "--store", store) if number else runs[store]) as run:
            table = run.table()
        assert run.process.returncode == 0, table
        assert table.endswith("no violations\n")
        tables += table
        if all(figure(tables, name) >= least for name, least in ENOUGH[store].items()):
            return
    pytest.fail(tables)


@pytest.mark.deadline(600)
@pytest.mark.parametrize("store", ["mysql", "galera"])
def test_a_while_of_nodes(store):
    """Three nodes that share everything keep what one daemon keeps, whichever of them, or of their databases, dies, freezes or comes back."""
    if store == "galera":
        galera.require()
    happened = {"node killed.*|all nodes but one killed.*|node frozen.*|node stopped.*": 1, "grants": 30}
    tables = ""
    for _ in range(RUNS):
        with closing(Run.start(*OF_NODES, "--store", store)) as run:
            table = run.table()
        assert run.process.returncode == 0, table
        tables += table
        if all(figure(tables, name) >= least for name, least in happened.items()):
            return
    pytest.fail(tables)


#: What clients have seen that must not be, whatever else went wrong.
BROKEN = re.compile("is lost$|both held it|had been given out$|let go of$|before its time$", re.MULTILINE)
#: Enough to show what is missing, in a run that is short.
UNFENCED = (
    *("--seconds", "20", "--store", "mysql", "--without", "fencing", "--only", "depose"),
    *("--clients", "16", "--jobs", "0"),
)
#: What clients have seen of a pool that must not be, by the safeguard that is missing.
POOLS = {
    "whole": re.compile(r"wants .* and got", re.MULTILINE),
    "kept": re.compile(r"has overtaken several", re.MULTILINE),
}


def unkept(missing: str) -> tuple[str, ...]:
    return (
        *("--seconds", "6", "--store", "sqlite", "--without", missing, "--only", "no_fault"),
        *("--clients", "6", "--jobs", "6"),
    )


def unguarded(store: str) -> tuple[str, ...]:
    return ("--seconds", "15", "--store", store, "--without", "guard", "--clients", "6", "--jobs", "0")


@pytest.fixture(scope="module")
def maimed() -> Iterator[dict[str, Run]]:
    """Runs without one of the safeguards, which show what is missing however slow they are."""
    with ExitStack() as stack:
        runs = {
            **{store: Run.start(*unguarded(store)) for store in ("sqlite", "mysql")},
            **{missing: Run.start(*unkept(missing)) for missing in POOLS},
        }
        for run in runs.values():
            stack.callback(run.close)
        yield runs


def test_without_fencing():
    """
    With the store's checks switched off violations are found.

    What they save from is a daemon that was deposed while it slept: when it wakes there are writes in its buffers that it
    has not noticed it must not do.  Wherever a daemon cannot be deposed before its lease is over, as on SQLite, where only its end lets go of
    the guard, the lock manager in its memory is enough.
    """
    for seed in ("1", "2", "3", "4"):
        # Alone: on a machine that does much else the clients ask less often, and a daemon has fewer writes in its buffers.
        with closing(Run.start(*UNFENCED, "--seed", seed)) as run:
            table = run.table()
        if BROKEN.search(table):
            assert run.process.returncode == 1, table
            return
    pytest.fail(table)


@pytest.mark.parametrize("store", ["sqlite", "mysql"])
def test_without_guard(maimed, store):
    """With the guard switched off instead, the store's checks are enough: two daemons take the store from each other in turn."""
    for number in range(RUNS):
        with closing(Run.start(*unguarded(store)) if number else maimed[store]) as run:
            table = run.table()
        assert run.process.returncode == 0, table
        if figure(table, "daemon ended: 1 Another daemon has taken over.*"):
            return
    pytest.fail(table)


@pytest.mark.parametrize("missing", POOLS)
def test_pools_without_a_safeguard(maimed, missing):
    """A request that gets a part of what it wants is found, and so is one for which nothing is kept."""
    for number in range(RUNS):
        with closing(Run.start(*unkept(missing)) if number else maimed[missing]) as run:
            table = run.table()
        if POOLS[missing].search(table):
            assert run.process.returncode == 1, table
            return
    pytest.fail(table)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_behind(number, tmp_path):
    """However it ends, all its processes and files go with it."""
    # A fork would show the arguments and variables of the process that forked it.
    environ = os.environ | {"TMPDIR": str(tmp_path), "TESTS_EXEC": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.torture", "--clients", "4", "--store", "mysql"],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: list(tmp_path.glob("torture-*/c3.0.client")), what="the clients run")
        running = of_folder(tmp_path)
        assert len(running) >= 6
        process.send_signal(number)
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
    eventually(lambda: not of_folder(tmp_path), what="all processes have ended")
    eventually(lambda: not list(tmp_path.iterdir()), what="all files are gone")


def of_folder(folder: Path) -> list[int]:
    """Find the processes that have to do with a folder, by their arguments or their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if bytes(folder) in told and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found
