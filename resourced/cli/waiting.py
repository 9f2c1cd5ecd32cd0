"""What is said of a wait on stderr: on a terminal a line that is updated, elsewhere a line for each change."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, Self

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as NoAnswer
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from resourced.cli.output import escaped, say, whole_clock_time
from resourced.client import ClientError, Holder, Waiting

_CLEAR: Final = "\r\x1b[K"

#: Seconds from one line to the next: on a terminal, and elsewhere if nothing changes.
_TICK: Final = 1.0
_REMINDER: Final = 60.0

#: Seconds that it may take to find out who holds a lock.
_LOOK_TIMEOUT: Final = 3.0

Look = Callable[[], Coroutine[Any, Any, Holder | None]]


class Waits:
    """
    Tells how a wait stands: when it begins, whenever the holder changes, and once a minute. A terminal shows it from second to second,
    in a line that is gone when the wait is over.

    :param lock: what is waited for.
    :param look: tells who holds it; if that fails, less is told.
    """

    def __init__(self, reactor: IReactorTime, lock: str, look: Look) -> None:
        self._reactor = reactor
        self._lock = lock
        self._look = look
        self._terminal = os.isatty(2)
        self._waiting = Waiting(position=0, ticket="", rejoined=0, trouble="")
        self._holder: Holder | None = None
        self._seen_at = 0.0
        self._looking: Deferred[None] = succeed(None)
        self._again = LoopingCall(self._tell)
        self._again.clock = reactor
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._looking.cancel()
        if self._again.running:
            self._again.stop()
        if self._drawn:
            self._write(_CLEAR)

    def update(self, waiting: Waiting) -> None:
        """Learn how it stands now."""
        before, self._waiting = self._waiting, waiting
        if waiting.position != before.position:
            # Nobody gets the lock whom this does not bring closer to it.
            self._looking.cancel()
            self._looking = Deferred.fromCoroutine(self._look_and_tell()).addErrback(_unless_cancelled)
        elif self._terminal or (waiting.trouble and not before.trouble):
            self._begin()

    async def look(self) -> None:
        """Find out who holds the lock, if that can be known."""
        try:
            self._holder = await Deferred.fromCoroutine(self._look()).addTimeout(_LOOK_TIMEOUT, self._reactor)
        except (ClientError, NoAnswer):
            self._holder = None
        self._seen_at = self._reactor.seconds()

    @property
    def standing(self) -> str:
        """What is waited for, and how that stands."""
        position = f", position {self._waiting.position}" if self._waiting.position else ""
        if self._waiting.about is not None:
            position += f", in about {whole_clock_time(self._waiting.about)}"
        if self._holder is None:
            return f"{self._lock}{position}"
        seconds = self._holder.held + self._reactor.seconds() - self._seen_at
        return f"{self._lock}{position}, held by {self._holder.owner} for {whole_clock_time(seconds)}"

    async def _look_and_tell(self) -> None:
        before = self._holder
        await self.look()
        now = self._holder
        if self._terminal or now is None or before is None or now.fence != before.fence:
            self._begin()

    def _begin(self) -> None:
        """Tell it now, and from then on from time to time."""
        if self._again.running:
            self._again.stop()
        self._again.start(_TICK if self._terminal else _REMINDER)

    def _tell(self) -> None:
        line = f"waiting for {self.standing}"
        if self._waiting.trouble:
            line += f"; {self._waiting.trouble}"
        if not self._terminal:
            say(line)
            return
        with suppress(OSError):
            # In the background it would write over what is in the foreground.
            if os.tcgetpgrp(2) == os.getpgrp():
                width = os.get_terminal_size(2).columns - 1
                line = escaped(line).replace("\n", " ")
                self._write(f"{_CLEAR}{line[:width] if width > 0 else line}")
                self._drawn = True

    def _write(self, text: str) -> None:
        with suppress(OSError):
            os.write(2, text.encode("utf-8", "backslashreplace"))


def _unless_cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)
