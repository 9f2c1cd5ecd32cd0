"""To freeze a process, and to be sure that it is frozen."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def freeze(pid: int) -> None:
    """
    Stop every thread of a process, and return when the last one stands still.

    A signal to a process stops one of its threads at some time, which then stops the others: until that is done any of them
    may go on, and a database server may well commit something yet.

    :raises TimeoutError: some thread still runs after ten seconds.
    """
    os.kill(pid, signal.SIGSTOP)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if all(_stopped(task) for task in Path(f"/proc/{pid}/task").iterdir()):
            return
        time.sleep(0.001)
    raise TimeoutError(f"process {pid} does not freeze")


def thaw(pid: int) -> None:
    """Let a frozen process go on where it was."""
    os.kill(pid, signal.SIGCONT)


def _stopped(task: Path) -> bool:
    try:
        # The name of the program stands before, in brackets, and may hold anything.
        state = (task / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "TtZX"
