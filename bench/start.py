"""
How long the daemon takes from the start of its process to its first good answer, and how much memory it has when idle.

    .venv/bin/python -m bench.start [--times 11]

Each start is on an SQLite file: first on one that is made by it, then on one that is there.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from tests.daemon import Daemon

REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Figures(NamedTuple):
    """Seconds to the first answer, and megabytes of memory when idle."""

    seconds: float
    megabytes: float


def health(port: int) -> bool:
    """Ask once, with as little work as it can be done with: the client must not slow down what it measures."""
    with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), 5)) as client:
        client.sendall(REQUEST)
        return client.recv(64).startswith(b"HTTP/1.1 200 ")
    return False


def memory(pid: int) -> float:
    """Read the resident memory of a process, in megabytes."""
    with suppress(FileNotFoundError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    kilobytes = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True)
    return int(kilobytes.stdout) / 1024


def measure(folder: Path) -> Figures:
    """Start a daemon once."""
    daemon = Daemon(folder)
    began = time.perf_counter()
    daemon.launch()
    try:
        while not health(daemon.port):
            if time.perf_counter() - began > 60:
                sys.exit(f"The daemon does not answer:\n{daemon.log}")
            time.sleep(0.002)
        seconds = time.perf_counter() - began
        return Figures(seconds, memory(daemon.pid))
    finally:
        daemon.kill()


def row(what: str, all_figures: Iterable[Figures]) -> str:
    """Write a line of the table."""
    seconds, megabytes = zip(*all_figures, strict=True)
    return (
        f"{what:<10} {statistics.median(seconds):9.3f} {min(seconds):7.3f} {max(seconds):7.3f}"
        f" {statistics.median(megabytes):10.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the start of the daemon, and its memory when idle.")
    parser.add_argument("--times", type=int, default=11, help="how many starts of each kind (default 11)")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder))  # what is not compiled yet is by this
        fresh = []
        for number in range(times):
            (Path(folder) / str(number)).mkdir()
            fresh.append(measure(Path(folder) / str(number)))
        again = [measure(Path(folder)) for _ in range(times)]
    print(f"{'SQLite':<10} {'median s':>9} {'best':>7} {'worst':>7} {'idle MB':>10}")
    print(row("new file", fresh))
    print(row("old file", again))


if __name__ == "__main__":
    main()
