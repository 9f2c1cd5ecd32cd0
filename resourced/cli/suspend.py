"""Noticing that the machine has slept, which no timer does: it goes off late by as long as that was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

#: Seconds from one look to the next, and how far two clocks may drift apart meanwhile that both go right.
_LOOK: Final = 1.0
_DRIFT: Final = 0.5


class Wakes:
    """
    Calls a function soon after each time that the machine has slept, until it is stopped.

    :param reactor: whose clock stands still then.
    :param elapsed: a clock that does not.
    :param woke: what is called.
    """

    def __init__(self, reactor: IReactorTime, elapsed: Callable[[], float], woke: Callable[[], object]) -> None:
        self._reactor = reactor
        self._elapsed = elapsed
        self._woke = woke
        self._ahead = self._drift()
        self._looks = LoopingCall(self._look)
        self._looks.clock = reactor
        self._looks.start(_LOOK, now=False)

    def stop(self) -> None:
        """Look no more."""
        self._looks.stop()

    def _drift(self) -> float:
        return self._elapsed() - self._reactor.seconds()

    def _look(self) -> None:
        before, self._ahead = self._ahead, self._drift()
        if self._ahead - before > _DRIFT:
            self._woke()
