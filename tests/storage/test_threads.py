"""Threads that work one thing off after the other."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Event, current_thread
from typing import Any

import pytest
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from resourced.storage.sql.threads import Threads

pytestmark = pytest.mark.trial


class ThreadsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.told: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

    def ask(self, workers: Threads, work: Any, *parts: Any) -> None:
        workers.callInThreadWithCallback(lambda *outcome: self.told.put(outcome), work, *parts)

    def test_results_and_failures(self) -> None:
        """Each piece of work tells its result, or its failure, after which the thread goes on; one thread does them in their order."""
        workers = Threads(1, "test")
        self.addCleanup(workers.stop)
        self.ask(workers, divmod, 7, 2)
        self.ask(workers, divmod, 7, 0)
        self.ask(workers, lambda: current_thread().name)
        self.assertEqual(self.told.get(timeout=20), (True, (3, 1)))
        succeeded, failure = self.told.get(timeout=20)
        self.assertFalse(succeeded)
        self.assertIsInstance(failure, Failure)
        self.assertIsNotNone(failure.check(ZeroDivisionError))
        self.assertEqual(self.told.get(timeout=20), (True, "test-0"))

    def test_as_many_at_once_as_there_are_threads(self) -> None:
        """Two threads do two things at once."""
        workers = Threads(2, "test")
        self.addCleanup(workers.stop)
        first, second = Event(), Event()

        def meet(mine: Event, other: Event) -> bool:
            mine.set()
            return other.wait(20)

        self.ask(workers, lambda: meet(first, second))
        self.ask(workers, lambda: meet(second, first))
        for _ in range(2):
            self.assertEqual(self.told.get(timeout=30), (True, True))

    def test_stop_waits_for_all(self) -> None:
        """What was asked for before the end is done; and who was never asked for anything ends at once."""
        workers = Threads(2, "test")
        for number in range(100):
            self.ask(workers, lambda number=number: number)
        workers.stop()
        self.assertEqual(sorted(self.told.get_nowait()[1] for _ in range(100)), list(range(100)))
        Threads(1, "idle").stop()
