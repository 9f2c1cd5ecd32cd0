"""
What is done once on a database that was restored from a backup, before anybody is served.

The database does not have what was given out after the backup was made. Those are fences, which other things may have seen, ids of events,
with which clients come back, and tickets. So the numbers go on far above all of that. All places of the backup end, as others may have had
the lock since.
"""

from __future__ import annotations

from typing import Final, Protocol

from twisted.logger import Logger

from resourced.locks.manager import LockManager
from resourced.model import Batch, Breaker

log = Logger()

#: By how much fences and ids of events go on: more than a daemon that gives out thirty thousand in a second does in a year. It fits some
#: eight million times into the numbers there are, and eight thousand times into those that JavaScript can tell apart.
LEAP: Final = 2**40

#: Whom the history names.
RESTORATION: Final = Breaker("", "resourced", "the database was restored from a backup")


class Restored(Protocol):
    """A store that remembers for which word it was last done."""

    async def commit(self, batch: Batch) -> None:
        """Keep numbers that are given out."""

    async def restored(self) -> str:
        """Return that word."""

    async def note_restored(self, word: str) -> None:
        """Take note of it."""


async def restore(store: Restored, locks: LockManager, word: str) -> None:
    """
    Let the numbers leap, and end all places, unless that was done for the same word before.

    The numbers leap each time, as that harms nobody. So no fence is given out twice, even if the same word is given again.

    :raises resourced.errors.StoreUnavailable: it is not known whether all was done. It is done again at the next start.
    :raises resourced.errors.EpochLost: another daemon has taken over.
    """
    last = await store.restored()
    fence, event = locks.leap(LEAP)
    await store.commit(Batch(fence, event=event))
    if last == word:
        log.warn(
            "RESOURCED_RESTORED={word} was acted on before: fences go on from {fence}, but no place was ended. "
            "Take it away; if the database was restored once more, say another word, such as the date.",
            word=word,
            fence=fence,
        )
        return
    ended = await locks.end_all(RESTORATION)
    await store.note_restored(word)
    log.warn(
        "The database was restored from a backup: {ended} places were ended, and fences go on from {fence}. "
        "Take RESOURCED_RESTORED away before the next start.",
        ended=ended,
        fence=fence,
    )
