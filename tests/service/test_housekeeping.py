"""What is done in the background, and when."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from resourced.errors import EpochLost, StoreUnavailable
from resourced.service.housekeeping import PAUSE, PERIOD, Housekeeping

pytestmark = pytest.mark.trial


class Work:
    """
    A chore of so many pieces.

    :ivar gate: what to wait for, if anything.
    :ivar error: what to fail with, if anything.
    """

    def __init__(self, name: str, done: list[str], left: int = 0) -> None:
        self.name = name
        self.left = left
        self.gate: Deferred[None] | None = None
        self.error: Exception | None = None
        self._done = done

    async def __call__(self) -> bool:
        self._done.append(self.name)
        if self.gate is not None:
            await self.gate
        if self.error is not None:
            raise self.error
        self.left = max(0, self.left - 1)
        return self.left > 0


class HousekeepingTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.done: list[str] = []
        self.first, self.second = Work("a", self.done), Work("b", self.done)
        self.housekeeping = Housekeeping(self.clock, [self.first, self.second])

    def after(self, step: Callable[[], object]) -> str:
        """What is done in a step."""
        self.done.clear()
        step()
        return "".join(self.done)

    def pass_time(self, seconds: float) -> str:
        return self.after(lambda: self.clock.advance(seconds))

    def test_rounds(self):
        """It looks at once, and again and again, whether there is something to do."""
        self.assertEqual(self.after(self.housekeeping.start), "ab")
        self.assertEqual(self.pass_time(PERIOD - 1), "")
        self.assertEqual([self.pass_time(1), self.pass_time(PERIOD)], ["ab", "ab"])

    def test_more(self):
        """While there is more of a chore it goes on, with pauses; the other does not wait for its end."""
        self.first.left = 4
        self.second.left = 2
        self.assertEqual(self.after(self.housekeeping.start), "ab")
        self.assertEqual(self.pass_time(PAUSE / 2), "")
        self.assertEqual([self.pass_time(PAUSE) for _ in range(4)], ["ab", "a", "a", ""])
        self.assertEqual(self.pass_time(PERIOD), "ab")

    def test_one_piece_at_a_time(self):
        """While a piece is under way nothing else is begun, however long that takes."""
        gate = self.first.gate = Deferred()
        self.assertEqual(self.after(self.housekeeping.start), "a")
        self.assertEqual(self.pass_time(10 * PERIOD), "")
        self.first.gate = None
        self.assertEqual(self.after(lambda: gate.callback(None)), "b")

    def test_store_away(self):
        """A store that is away, or another's, is no matter: the chore is done later, and the other now. Nothing is logged."""
        for error in (StoreUnavailable("away"), EpochLost("lost")):
            self.first.left, self.first.error = 5, error
            self.assertEqual(self.after(self.housekeeping.start), "ab")
            self.assertEqual(self.pass_time(PAUSE), "")
            self.first.left, self.first.error = 2, None
            self.assertEqual([self.pass_time(PERIOD), self.pass_time(PAUSE)], ["ab", "a"])
            self.housekeeping.stop()

    def test_bug(self):
        """A chore that fails in a way that nobody thought of is logged, and does not end the others."""
        self.first.error = LookupError("a bug")
        self.assertEqual(self.after(self.housekeeping.start), "ab")
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.assertEqual(self.pass_time(PERIOD), "ab")
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def test_stop(self):
        """Nothing is begun after it is stopped, whatever it was doing; it need not have been started."""
        self.housekeeping.stop()
        self.housekeeping.start()
        self.housekeeping.stop()
        self.assertEqual(self.pass_time(2 * PERIOD), "")
        self.first.left = 5
        self.housekeeping.start()
        self.housekeeping.stop()
        self.assertEqual(self.pass_time(PAUSE), "")
        gate = self.first.gate = Deferred()
        self.housekeeping.start()
        self.housekeeping.stop()
        self.assertEqual(self.after(lambda: gate.callback(None)), "")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_of_a_cluster_one_node_keeps_house(self):
        """A node whose turn it is not does nothing; when it has become its turn it begins anew, as another one has done it meanwhile."""
        ours = False
        housekeeping = Housekeeping(self.clock, [self.first], lambda: ours, lambda: self.done.append("anew, "))
        self.assertEqual(self.after(housekeeping.start), "")
        ours = True
        self.assertEqual(self.pass_time(PERIOD), "anew, a")
        self.assertEqual(self.pass_time(PERIOD), "a")
        self.first.left = 9
        self.assertEqual(self.pass_time(PERIOD), "a")
        ours = False
        # Not even what is left of the round.
        self.assertEqual(self.pass_time(PAUSE), "")
        self.assertEqual(self.pass_time(PERIOD), "")
        ours = True
        self.assertEqual(self.pass_time(PERIOD), "anew, a")
        housekeeping.stop()
