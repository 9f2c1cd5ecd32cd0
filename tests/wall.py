"""The daemon, on a machine whose wall clock is set by a file, at any moment; for tests. ``python -m tests.wall`` runs it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

#: Names the file with what the wall clock is wrong by, in seconds.
VARIABLE = "WALL_CLOCK_FILE"
COMMAND = (sys.executable, "-m", "tests.wall")
HOME = Path(__file__).resolve().parent.parent


class WallClock:
    """
    What the wall clock of a daemon is wrong by.

    :param file: where it is kept.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0.0)

    @property
    def environ(self) -> dict[str, str]:
        """The variables that a daemon needs to go by it."""
        return {VARIABLE: str(self._file), "PYTHONPATH": str(HOME)}

    def set(self, wrong: float) -> None:
        """Let it be wrong by so many seconds from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(repr(wrong))
        new.replace(self._file)


def run() -> None:
    """Run the daemon."""
    file = Path(os.environ.pop(VARIABLE))
    right = time.time
    time.time = lambda: right() + float(file.read_text())

    from resourced.tap import main

    main()


if __name__ == "__main__":
    run()
