"""Clocks of a program that is started, to be set by a test: the time of day, and the seconds that only go forward."""

from __future__ import annotations

from pathlib import Path

#: What Python does first of all in the program.
_CUSTOMIZE = """
import os
import time

def setting(name):
    with open(os.path.join(os.environ["CLOCKS"], name)) as file:
        return float(file.read())

def of_day(true=time.time):
    return true() + setting("of_day")

def monotonic(true=time.monotonic):
    return true() + setting("monotonic")

def clock_gettime(clock, true=time.clock_gettime):
    return true(clock) + setting("of_day" if clock == time.CLOCK_REALTIME else "monotonic")

time.time, time.monotonic, time.clock_gettime = of_day, monotonic, clock_gettime
"""


class Clocks:
    """
    The clocks of a program.

    :param folder: where the settings are, which is made.
    :ivar environ: the variables with which the program has to be started.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(_CUSTOMIZE)
        self._passed = 0.0
        self.set_time_of_day(0)
        self.let_pass(0)
        self.environ = {"PYTHONPATH": str(folder), "CLOCKS": str(folder)}

    def set_time_of_day(self, seconds: float) -> None:
        """Set the program's time of day to so many seconds after the true one, or before it."""
        self._set("of_day", seconds)

    def let_pass(self, seconds: float) -> None:
        """Let it seem to the program as if so many seconds had passed at once."""
        self._passed += seconds
        self._set("monotonic", self._passed)

    def _set(self, name: str, seconds: float) -> None:
        (self._folder / "next").write_text(str(seconds))
        (self._folder / "next").replace(self._folder / name)
