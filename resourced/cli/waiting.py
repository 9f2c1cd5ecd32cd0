"""How a wait for a lock looks: a live line on a terminal, and nothing elsewhere."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Self

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from resourced.cli.output import clock_time, printable
from resourced.client import Waiting

_CLEAR = "\r\x1b[K"


class LiveLine:
    """
    A line on stderr that tells how a wait stands, from second to second; it is gone when the wait is over.

    :param lock: what is waited for.
    """

    def __init__(self, reactor: IReactorTime, lock: str) -> None:
        self._reactor = reactor
        self._lock = lock
        self._began = reactor.seconds()
        self._waiting = Waiting(position=0, ticket="", rejoined=0, trouble="")
        self._tick = LoopingCall(self._draw)
        self._tick.clock = reactor
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._tick.running:
            self._tick.stop()
        if self._drawn:
            self._write(_CLEAR)

    def update(self, waiting: Waiting) -> None:
        """Show how it stands now."""
        self._waiting = waiting
        if not os.isatty(2):
            return
        if self._tick.running:
            self._draw()
        else:
            self._tick.start(1.0)

    def _draw(self) -> None:
        waited = f"waited {clock_time(self._reactor.seconds() - self._began)}"
        position = f"position {self._waiting.position} in the queue, " if self._waiting.position else ""
        trouble = f", {self._waiting.trouble}" if self._waiting.trouble else ""
        with suppress(OSError):
            # In the background it would write over what is in the foreground.
            if os.tcgetpgrp(2) == os.getpgrp():
                width = os.get_terminal_size(2).columns - 1
                line = printable(f"{self._lock}: {position}{waited}{trouble}").replace("\n", " ")
                self._write(f"{_CLEAR}{line[:width] if width > 0 else line}")
                self._drawn = True

    def _write(self, text: str) -> None:
        with suppress(OSError):
            os.write(2, text.encode("utf-8", "backslashreplace"))
