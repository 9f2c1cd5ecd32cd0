"""One deadline that is moved often, by a timer that is started seldom."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: How late a deadline may be looked at before that means that the process stood still, in seconds; and how much longer it is then.
LATE = 1.5


class Deadline:
    """
    Calls a function when the time is over that was given last.

    A timer that runs out too early looks again, so a busy connection starts and cancels no timers at all.

    :param lapsed: what is called.
    :ivar due: when the time is over, by the clock; nothing if there is no deadline, as whoever holds this may say.
    """

    __slots__ = ("_clock", "_lapsed", "_timer", "due")

    def __init__(self, clock: IReactorTime, lapsed: Callable[[], object]) -> None:
        self._clock = clock
        self._lapsed = lapsed
        self.due: float | None = None
        self._timer: IDelayedCall | None = None

    def set(self, seconds: float) -> None:
        """Let the time be over in so many seconds, instead of whenever that was."""
        self.due = self._clock.seconds() + seconds
        if self._timer is not None:
            if self._timer.getTime() <= self.due:
                return
            self._timer.cancel()
        self._timer = self._clock.callLater(max(0.0, seconds), self._look)

    def stop(self) -> None:
        """Let there never be a deadline again, and know nobody any more: both would be garbage in a circle."""
        self.due = None
        self._lapsed = lambda: None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self.due is None:
            return
        left = self.due - self._clock.seconds()
        if left > 0:
            self.set(left)
        elif left < -LATE:
            # Nothing was read for a while, so what the client did in time may not be known yet.
            self.set(LATE)
        else:
            self._lapsed()
