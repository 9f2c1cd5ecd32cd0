"""For how long a lock may be taken to be held, if the server is not heard of again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakMethod

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds from a renewal in vain to the next, at most.
RETRY: Final = 5.0


class Lease:
    """
    The client's count of a lease, and its timers.

    It begins before the request was sent that the server answered, so it ends before the server's count. Whoever owns this is held
    weakly: for a lock that nobody has any more there is nothing to do.

    :param seconds: a clock that never goes back; it may go on while the reactor's stands still.
    :param renew: a method, called when a third of the lease is over.
    :param lapse: a method, called when it is over.
    :ivar length: in whole seconds, as the server last said.
    :ivar until: when it is over, by ``seconds()``.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        seconds: Callable[[], float],
        *,
        renew: Callable[[], object],
        lapse: Callable[[], object],
    ) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._renew: WeakMethod[Any] = WeakMethod(renew)
        self._lapse: WeakMethod[Any] = WeakMethod(lapse)
        self._timers: list[IDelayedCall] = []
        self.length = 0
        self.until = 0.0

    @property
    def left(self) -> float:
        """For how many seconds more it lasts; 0 when it is over."""
        return max(0.0, self.until - self._seconds())

    @property
    def over(self) -> bool:
        return self._seconds() >= self.until

    def begin(self, sent: float, length: int) -> None:
        """
        Begin it anew.

        :param sent: when the request that the server answered was about to be sent.
        """
        self.until, self.length = sent + length, length
        self.stop()
        self._after(sent + length / 3 - self._seconds(), self._due)
        self._after(self.left, self._end)

    def retry(self) -> None:
        """Have ``renew`` called once more, after a renewal in vain."""
        self._after(min(self.length / 6, RETRY), self._due)

    def stop(self) -> None:
        """Call nothing any more."""
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self._timers = []

    def _after(self, seconds: float, due: Callable[[], None]) -> None:
        self._timers.append(self._reactor.callLater(max(0.0, seconds), due))

    def _due(self) -> None:
        if (renew := self._renew()) is not None:
            renew()

    def _end(self) -> None:
        if (lapse := self._lapse()) is None:
            return
        if self.over:
            lapse()
        else:
            # The reactor's clock is not the one that counts.
            self._after(self.left, self._end)
