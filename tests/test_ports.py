"""Ports that tests give to their servers."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.ports import BLOCK, free_port

ROOT = Path(__file__).parent.parent
PROGRAM = f"from tests.ports import free_port; print(*(free_port() for _ in range({BLOCK})), flush=True); input()"


def test_no_two_processes_have_one():
    """A port that one process was given is given to no other as long as that lives, though nobody listens there yet."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", PROGRAM], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for _ in range(3)
        ]
        given = [port for process in processes if process.stdout for port in process.stdout.readline().split()]
        for process in processes:
            process.communicate("\n")
    assert len(given) == len({*given}) == 3 * BLOCK


def test_the_same_comes_late():
    """A process is given a port anew only when it was given all others that are free."""
    given = [free_port() for _ in range(BLOCK // 2)]
    assert len({*given}) == len(given)
