"""
Whether locks hold while everything around them fails: ``python -m tests.torture``.

Two daemons, one of which stands by, or the nodes of a cluster; a database; and some dozens of clients, all of them real processes.  While the clients
count, servers and clients are killed, frozen and cut off from each other.  In the end what all clients were told is judged.
The exit status is 1 if anything in it could not be true of a lock.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Final

from tests.daemon import WRITE, Daemon
from tests.torture import servers
from tests.torture.asking import Settings
from tests.torture.board import Board
from tests.torture.cluster import ClusterTormentor, GaleraBase
from tests.torture.faults import ClientTormentor, Log, ServerTormentor
from tests.torture.guardian import Guardian
from tests.torture.history import Rules, check
from tests.torture.nodes import NodesTormentor
from tests.torture.pool_history import check_pools
from tests.torture.record import load
from tests.torture.report import Report
from tests.torture.servers import Base, MySQLBase, SQLiteBase, Supervised
from tests.torture.steward import UNITS

LEASE: Final = 3
SHORT: Final = 2
PLACE: Final = 1.2
CLAIM: Final = 1.0
TIMEOUT: Final = 1.0
#: By resource, the timeout that it is made with and the lease that it has by that.
RESOURCES: Final = {"short": (SHORT, SHORT), "usual": (0, LEASE), "bench": (SHORT, SHORT), "rack": (0, LEASE)}
#: Those that may be asked for together.
GROUPS: Final = {"bench": "lab", "rack": "lab"}
SELECTORS: Final = (*(f"{name}/{part}" for name in ("short", "usual") for part in "abcd"), *UNITS)
#: For how many seconds a fault of the servers may still be the cause of something.
AFTERMATH: Final = 15.0
#: How long the last increments of all clients may take.
FINISH: Final = 120.0
#: How long a daemon may take to end, on any machine.
END: Final = 60.0


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=1.0, help="for how long faults are made (default: 1)")
    length.add_argument("--seconds", type=float, help="the same in seconds")
    parser.add_argument("--seed", default="", help="what all chance depends on (default: another one each time)")
    parser.add_argument("--store", choices=["mysql", "sqlite", "galera"], default="mysql")
    parser.add_argument(
        "--nodes", type=int, default=0, help="so many nodes of a cluster; at most 3 on galera (default: none)"
    )
    parser.add_argument("--clients", type=int, default=30, help="those that want one lock at a time (default: 30)")
    parser.add_argument("--jobs", type=int, default=12, help="those that want several things at once (default: 12)")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=["fencing", "guard", "beat", "lease", "still", "whole", "kept"],
        help="take a safeguard out, see tests/unfenced.py: most of them must be noticed; may be given more than once",
    )
    parser.add_argument("--only", default="", help="how the names of the servers' faults begin (default: all of them)")
    parser.add_argument(
        "--rest", type=float, default=0.0, help="for how many seconds all is let be after each fault of the servers"
    )
    parser.add_argument("--keep", action="store_true", help="leave all logs where they are")
    parsed = parser.parse_args(arguments)
    parsed.seconds = parsed.minutes * 60 if parsed.seconds is None else parsed.seconds
    parsed.seed = parsed.seed or secrets.token_hex(4)
    return parsed


def main(arguments: list[str]) -> int:
    chosen = options(arguments)
    # A shell that starts it in the background has it ignore this one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    guardian = Guardian()
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    guardian.remove(folder)
    try:
        report = run(chosen, guardian, folder)
        if chosen.keep:
            guardian.keep(folder)
            report.title += f"; logs in {folder}"
    finally:
        guardian.close()
    sys.stdout.write(report.text())
    return 1 if report.violations else 0


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def run(chosen: argparse.Namespace, guardian: Guardian, folder: Path) -> Report:
    """Run it all, and judge what came of it."""
    log = Log()
    missing = chosen.without
    with ExitStack() as stack:
        base = _base(chosen.store, guardian, folder)
        stack.callback(base.remove)
        names = [f"node{number}" for number in range(chosen.nodes)] or ["left", "right"]
        daemons = [
            _daemon(folder / name, base, i, missing, guardian, node=bool(chosen.nodes)) for i, name in enumerate(names)
        ]
        for daemon in daemons:
            stack.callback(daemon.kill)
        leases = {name: float(RESOURCES[name.partition("/")[0]][1]) for name in SELECTORS}
        _prepare(daemons)
        roles = ["client"] * chosen.clients + ["job"] * chosen.jobs + ["steward"]
        settings = [
            Settings(f"c{i}", i, f"{chosen.seed}/client/{i}", WRITE, [d.port for d in daemons], leases, "", "", role)
            for i, role in enumerate(roles)
        ]
        clients = ClientTormentor(random.Random(f"{chosen.seed}/clients"), log, guardian, folder, settings)
        intruder = _intruder(folder / "intruder", base)
        dice = random.Random(f"{chosen.seed}/servers")
        tormentor = (
            NodesTormentor(dice, log, daemons, base, TIMEOUT, intruder, chosen.only)
            if chosen.nodes and not isinstance(base, SQLiteBase)
            else ClusterTormentor(dice, log, daemons, base, TIMEOUT, intruder, chosen.only, Board(folder / "board"))
            if isinstance(base, GaleraBase)
            else ServerTormentor(dice, log, daemons, base, TIMEOUT, intruder, chosen.only)
        )
        tormentor.rest = chosen.rest
        stack.callback(tormentor.abort)
        stack.callback(clients.abort)
        clients.launch()
        _supervise(daemons, 1.0)
        tormentor.start()
        clients.start()
        _supervise(daemons, chosen.seconds)
        # Two that know nothing of each other take the store from each other for ever.
        finish = _finish(tormentor, clients, daemons[:1] if {"guard", "still"} & {*missing} else daemons)
        for daemon in daemons:
            _end(daemon)
        final = base.values()
        cards = base.cards()
    ops = [op for path in sorted(folder.glob("*.client")) for op in load(path)]
    rules = Rules({name: float(lease) for name, (_, lease) in RESOURCES.items()}, min(PLACE, CLAIM))
    logs = "".join(daemon.log for daemon in daemons)
    report = Report(
        title=f"{chosen.seconds:g} s on {base.kind}{f', {chosen.nodes} nodes,' if chosen.nodes else ''} with {chosen.clients} clients and {chosen.jobs} jobs, seed {chosen.seed}"
        + (f", without {' and '.join(missing)}" if missing else ""),
        log=log,
        ops=ops,
        statuses=sum((daemon.statuses for daemon in daemons[1:]), daemons[0].statuses),
        takeovers=_takeovers([daemon.log for daemon in daemons]),
        confirm_leader=logs.count("Serving."),
        finish=finish,
    )
    report.violations = [
        # Two that know nothing of each other depose each other, which hurts nobody.
        *([] if "guard" in missing else _deposed_for_nothing(daemons, log)),
        *log.wrong,
        *check(ops, final, rules),
        *check_pools(ops, UNITS, cards, rules.patience),
        # Last, because of these there may be more than are shown.
        *(text for daemon in daemons for text in daemon.wrong),
    ]
    errors = "".join(path.read_text(errors="replace") for path in folder.glob("clients.err"))
    if errors:
        report.violations.append(f"a client has a bug:\n{errors[-3000:]}")
    return report


def _base(store: str, guardian: Guardian, folder: Path) -> MySQLBase | SQLiteBase | GaleraBase:
    if store == "galera":
        return GaleraBase(guardian)
    return MySQLBase(guardian) if store == "mysql" else SQLiteBase(folder)


def _daemon(folder: Path, base: Base, number: int, missing: list[str], guardian: Guardian, *, node: bool) -> Supervised:
    folder.mkdir()
    daemon = Supervised(
        folder,
        {
            **servers.environ(LEASE, PLACE, CLAIM, TIMEOUT),
            **base.environ_of(number),
            "RESOURCED_CLUSTER_KEY": "what-only-nodes-know" if node else "",
        },
        ("--standby",),
        servers.command(missing),
        guardian=guardian,
    )
    if node:
        daemon.arguments = ("--cluster", "--advertise", f"http://127.0.0.1:{daemon.port}")
    return daemon


def _intruder(folder: Path, base: Base) -> Callable[[], subprocess.Popen[bytes]]:
    folder.mkdir()
    daemon = Daemon(
        folder, {**servers.environ(LEASE, PLACE, CLAIM, TIMEOUT), **base.environ_of(2)}, (), servers.command([])
    )

    def launch() -> subprocess.Popen[bytes]:
        daemon.launch()
        assert daemon.process is not None
        process, daemon.process = daemon.process, None
        return process

    return launch


def _prepare(daemons: list[Supervised]) -> None:
    daemons[0].start()
    for name, (timeout, _) in RESOURCES.items():
        daemons[0].create(name, timeout)
        if name in GROUPS:
            daemons[0].request("PATCH", f"/resource/{name}", body=json.dumps({"group": GROUPS[name]}))
    for selector, tags in UNITS.items():
        daemons[0].request("PATCH", f"/resource/{selector}", body=json.dumps({"tags": tags}))
    for daemon in daemons[1:]:
        daemon.launch()


def _supervise(daemons: list[Supervised], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for daemon in daemons:
            daemon.keep()
        time.sleep(0.02)


def _finish(tormentor: ServerTormentor, clients: ClientTormentor, daemons: list[Supervised]) -> float:
    """Make no more faults, keep some daemons up, and see that everybody gets what they want."""
    took: list[float] = []

    def stop() -> None:
        tormentor.stop()
        clients.stop()
        took.append(clients.finish(FINISH))

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    while thread.is_alive():
        _supervise(daemons, 0.05)
    return took[0]


def _end(daemon: Supervised) -> None:
    daemon.strike(signal.SIGTERM, status=-signal.SIGTERM)
    end = time.monotonic() + END
    while daemon.runs and time.monotonic() < end:
        time.sleep(0.02)
    if daemon.runs:
        daemon.wrong.append(f"a daemon did not end within {END:g} seconds after SIGTERM")
        daemon.kill()


def _deposed_for_nothing(daemons: list[Supervised], log: Log) -> list[str]:
    """Find daemons that were deposed although nothing had been done to anybody for a while."""
    return [
        "a daemon was deposed that nothing had been done to"
        for daemon in daemons
        for when in daemon.deposed
        if not any(began <= when <= ended + AFTERMATH for began, ended, _ in log.spans)
    ]


def _takeovers(logs: list[str]) -> int:
    count = 0
    for log in logs:
        waits = False
        for text in log.splitlines():
            if "waiting for its end" in text:
                waits = True
            elif "Serving." in text:
                count += waits
                waits = False
    return count


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
