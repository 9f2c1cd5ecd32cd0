"""Timers for very many deadlines, most of which never come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: For how many seconds a deadline may be known before it gets a timer, if it comes later than that; and how many get one in one turn.
SOON, SLICE = 1.0, 1000


class HasDeadline(Protocol):
    """
    Something with a deadline.

    :ivar deadline: when, by the clock.
    :ivar timer: what will do it; nobody else has anything to do with it.
    """

    deadline: float
    timer: IDelayedCall | None

    def __hash__(self) -> int: ...


S = TypeVar("S", bound=HasDeadline)


class DeadlineTimers(Generic[S]):
    """
    Calls ``wake`` at or before each deadline; the callback must check again and set it anew.

    A timer of the reactor costs a microsecond to set and to cancel, and most locks are released long before theirs. So a new
    deadline only gets a timer if it still matters in a moment.

    :param wake: called with whom to wake.
    """

    def __init__(self, clock: IReactorTime, wake: Callable[[S], Any]) -> None:
        self._clock = clock
        self._wake = wake
        self._new: dict[S, None] = {}
        self._look: IDelayedCall | None = None

    def set(self, sleeper: S, now: float) -> None:
        """Take note of a deadline that is new, or was moved."""
        timer = sleeper.timer
        if timer is not None:
            # To move it forward costs a reactor a walk through all it has; one that rings too early only costs a look.
            if timer.getTime() <= sleeper.deadline:
                return
            timer.cancel()
        elif sleeper.deadline - now > SOON:
            self._new[sleeper] = None
            if self._look is None:
                self._look = self._clock.callLater(SOON, self._set_some)
            return
        self._start(sleeper, now)

    def __contains__(self, sleeper: S) -> bool:
        """Whether somebody will be woken."""
        return sleeper.timer is not None or sleeper in self._new

    def drop(self, sleeper: S) -> None:
        """Let a deadline pass without notice."""
        timer, sleeper.timer = sleeper.timer, None
        if timer is not None and timer.active():
            timer.cancel()
        self._new.pop(sleeper, None)
        if not self._new and self._look is not None:
            # So that nothing is left when everybody has gone.
            self._look.cancel()
            self._look = None

    def _start(self, sleeper: S, now: float) -> None:
        sleeper.timer = self._clock.callLater(max(0.0, sleeper.deadline - now), self._ring, sleeper)

    def _ring(self, sleeper: S) -> None:
        self.drop(sleeper)
        self._wake(sleeper)

    def _set_some(self) -> None:
        now = self._clock.seconds()
        for _ in range(min(SLICE, len(self._new))):
            sleeper = self._new.popitem()[0]
            if sleeper.timer is None:
                self._start(sleeper, now)
        self._look = self._clock.callLater(0, self._set_some) if self._new else None
