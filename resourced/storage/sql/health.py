"""What is wrong with the database at present, and one line in the log when that changes."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from math import inf
from threading import Lock
from typing import Final

from twisted.logger import Logger

from resourced.errors import StoreUnavailable

#: Seconds after which a fault that is seen again is news again. Not seen for so long while others succeed, it is over.
QUIET: Final = 10.0
#: Seconds for which one refused statement says something about the database as a whole.
RECENT: Final = 0.5


class Fault(Enum):
    """
    A way in which a database fails: a word for programs, and a sentence for people.

    Neither says where the database is: ``/health``, which shows them, asks for no key.
    """

    UNREACHABLE = ("store_unreachable", "The database cannot be reached.")
    SILENT = ("store_silent", "The database does not answer in time.")
    PARTED = ("store_parted", "The connections to the database reach different servers.")
    CROWDED = ("store_crowded", "The database takes no more connections.")
    READ_ONLY = ("store_read_only", "The database can only be read at present.")
    FULL = ("store_full", "The database has no space left.")
    OVERSIZED = ("store_packet_too_large", "The database does not take packets of this size.")
    UNLOGGED = (
        "store_binlog_format",
        "The database server has binlog_format=STATEMENT, which the daemon cannot work with: set it to ROW or MIXED.",
    )
    REFUSED = ("store_refused", "The database refused a statement.")

    @property
    def sentence(self) -> str:
        return self.value[1]

    @property
    def passing(self) -> bool:
        """Whether it is about one statement, such that the next one may well succeed."""
        return self in {Fault.FULL, Fault.OVERSIZED, Fault.UNLOGGED, Fault.REFUSED}

    def error(self) -> StoreUnavailable:
        """Return what a client is told of it."""
        error = StoreUnavailable(self.sentence)
        error.code = self.value[0]
        return error


class Health:
    """
    How a database does, as all who use it find out together. Their threads may call it at the same time.

    Requests fail by the thousand while a database is away, and the log has one line when that begins and one when it is over.
    A passing fault is over when it was not seen for a while: in between other statements may succeed.

    :param database: what it is called in the log.
    :param now: a clock in seconds that nobody sets.
    """

    _log = Logger()

    def __init__(self, database: str, now: Callable[[], float]) -> None:
        self._database = database
        self._now = now
        self._lock = Lock()
        # Who found which fault last, and has not been served since.
        self._found: dict[str, Fault] = {}
        self._seen: dict[Fault, float] = {}
        self._told = False

    def found(self, who: str, fault: Fault, code: int) -> None:
        """
        Take note of a failure.

        :param who: a name for those who fail and succeed together.
        :param code: the database's own number for it. Its text may have a piece of the data in it, so it stays out of the log.
        """
        with self._lock:
            now = self._now()
            news = fault not in self._found.values() and now - self._seen.get(fault, -inf) > QUIET
            self._seen[fault] = now
            self._found[who] = fault
            self._told = self._told or news
        if news:
            self._log.warn(
                "{sentence} ({database}, error {code})", sentence=fault.sentence, database=self._database, code=code
            )

    def served(self, who: str) -> None:
        """Take note of a success."""
        if not (self._found or self._told):
            return
        with self._lock:
            self._found.pop(who, None)
            now = self._now()
            # Who failed long ago and was not asked since will hardly fail now that others succeed.
            self._found = {other: fault for other, fault in self._found.items() if now - self._seen[fault] < QUIET}
            over = self._told and not self._found and not self._recent(QUIET)
            if over:
                self._told = False
        if over:
            self._log.info("The database can be used again.")

    def fault(self, within: float = inf) -> StoreUnavailable | None:
        """
        Return what is wrong, if anything is.

        :param within: only what was seen in so many seconds. Nobody may have tried since a longer time whether it is still so.
        """
        with self._lock:
            now = self._now()
            # What was wrong with one statement may be so for most of the others, but soon nobody can tell.
            known = self._recent(RECENT)
            known += [fault for fault in self._found.values() if now - self._seen[fault] < within]
            return max(known, key=self._seen.__getitem__).error() if known else None

    def _recent(self, seconds: float) -> list[Fault]:
        """Return the passing faults that were seen in the last so many seconds, whatever succeeded since."""
        now = self._now()
        return [fault for fault, seen in self._seen.items() if fault.passing and now - seen < seconds]
