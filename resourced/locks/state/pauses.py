"""Whether the whole process stood still for a while: it was stopped, or its virtual machine was, or the reactor was kept from its work."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

#: How many seconds without a sign of life are a pause.
PAUSE: Final = 1.0
#: For how many seconds after a pause requests wait for what they need, rather than be refused.
LONGEST_PAUSE: Final = 5.0


class Pauses:
    """
    Notices a pause when it is over.

    After it a reactor may call whoever is overdue before it reads what has arrived meanwhile. So whoever acts on time that has passed looks
    here first.

    :param now: a clock in seconds that nobody sets.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        # No pause is noticed before the first sign of life.
        self._alive = inf
        self._ended = -inf

    def alive(self) -> None:
        """Take a sign of life; as long as the process runs there has to be one at least twice in ``PAUSE``."""
        self.look()
        self._alive = self._now()

    def look(self) -> float:
        """Return how long ago the last pause ended, in seconds; it may be one that has only just ended."""
        clock = self._now
        now = clock()
        if now - self._alive > PAUSE:
            self._alive = self._ended = now
        return now - self._ended
