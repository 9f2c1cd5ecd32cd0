"""How late the reactor is: the first thing that shows when somebody keeps it from its other work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds from one look to the next.
PERIOD: Final = 0.5


class Lag(Service):
    """
    Finds out, again and again, by how much a timer goes off too late.

    The next timer is set when the last one has gone off, not at fixed times as ``LoopingCall`` does it. There a late beat and
    one in time differ only in the last digits of two floats.

    :param tell: who gets the seconds, each time.
    """

    def __init__(self, clock: IReactorTime, *tell: Callable[[float], object]) -> None:
        self._clock = clock
        self._tell = tell
        self._timer: IDelayedCall | None = None

    def startService(self) -> None:
        """Begin to look."""
        super().startService()
        self._wait()

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._timer = self._clock.callLater(PERIOD, self._look, self._clock.seconds() + PERIOD)

    def _look(self, due: float) -> None:
        late = max(0.0, self._clock.seconds() - due)
        for tell in self._tell:
            tell(late)
        self._wait()
