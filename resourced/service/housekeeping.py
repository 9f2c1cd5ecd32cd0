"""What is done in the background, a little at a time, by one daemon for the whole store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from resourced.errors import EpochLost, StoreUnavailable

log = Logger()

#: Seconds from the end of one round to the next.
PERIOD = 10.0
#: Seconds between two pieces of work, in which the store has time for others.
PAUSE = 0.05

#: Does a small piece of work, and tells whether there may be more of it.
Chore = Callable[[], Awaitable[bool]]


class Housekeeping:
    """
    Does chores for as long as there is something to do, and looks again and again whether there is.

    A store that is away is nothing to speak of here: others do, and whatever was not done is done later.

    :param ours: tells whether they are this daemon's to do.
    :param anew: is called when they have become so.
    """

    def __init__(
        self,
        clock: IReactorTime,
        chores: Sequence[Chore],
        ours: Callable[[], bool] = lambda: True,
        anew: Callable[[], object] = lambda: None,
    ) -> None:
        self._clock = clock
        self._chores = chores
        self._ours = ours
        self._anew = anew
        self._were_ours = True
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._running = Deferred.fromCoroutine(self._run())

    def stop(self) -> None:
        """Begin nothing more; what is under way in the store ends there."""
        if self._running is not None:
            self._running.cancel()
            self._running = None

    async def _run(self) -> None:
        with suppress(CancelledError):
            while True:
                await self._round()
                await deferLater(self._clock, PERIOD)

    async def _round(self) -> None:
        """Do a piece of each chore in turn until none of them has more."""
        chores = list(self._chores)
        while chores and self._still_ours():
            chores = [chore for chore in chores if await self._has_more(chore)]
            if chores:
                await deferLater(self._clock, PAUSE)

    def _still_ours(self) -> bool:
        were, self._were_ours = self._were_ours, self._ours()
        if self._were_ours and not were:
            self._anew()
        return self._were_ours

    async def _has_more(self, chore: Chore) -> bool:
        try:
            return await chore()
        except CancelledError:
            raise
        except (StoreUnavailable, EpochLost):
            return False
        except Exception:  # noqa: BLE001 - the other chores are not to suffer
            log.failure("The housekeeping failed with an unexpected error.")
            return False
