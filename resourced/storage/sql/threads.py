"""Threads that do one piece of work after the other: what ``adbapi`` needs of a thread pool, and no more."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

from twisted.python.failure import Failure

Told = Callable[[bool, Any], object]
Job = tuple[Told, Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Threads:
    """
    As many threads as there are connections. Whoever ends the process without ``stop`` does not wait for them.

    The threads of ``twisted.python.threadpool`` would keep the process alive while a database does not answer.
    """

    def __init__(self, size: int, name: str) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads = [Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(size)]
        self._started = False

    def start(self) -> None:
        """Nothing: the threads are started when there is something to do."""

    def stop(self) -> None:
        """Return when all that was asked for is done."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads if self._started else ():
            thread.join()

    def callInThreadWithCallback(self, told: Told, work: Callable[..., Any], *parts: Any, **named: Any) -> None:
        """
        Do work in a thread.

        :param told: called in that thread, with whether it succeeded, and its result or a failure.
        """
        self._jobs.put((told, work, parts, named))
        if not self._started:
            self._started = True
            for thread in self._threads:
                thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            told, work, parts, named = job
            try:
                result = work(*parts, **named)
            except BaseException:  # noqa: BLE001 - whoever is told decides
                told(False, Failure())
            else:
                told(True, result)
            # What is done may be large, and the next may be long in coming.
            del job, told, work, parts, named
