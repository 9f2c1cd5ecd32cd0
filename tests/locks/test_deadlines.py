"""Timers for deadlines, which fire in time although most are never really set."""

from __future__ import annotations

import random
from math import inf
from typing import Any

import pytest
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from resourced.locks.indexes.deadlines import SLICE, SOON, DeadlineTimers

pytestmark = pytest.mark.trial

#: All times are multiples of it.
STEP = SOON / 8
TIMES = (STEP, SOON / 2, SOON, SOON + STEP, 2 * SOON, 4 * SOON)


class Sleeper:
    def __init__(self) -> None:
        self.deadline = inf
        self.timer: IDelayedCall | None = None


class AlarmsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.alarms: DeadlineTimers[Sleeper] = DeadlineTimers(self.clock, self.wake)
        #: Who was woken at which time, at his deadline or later.
        self.woken: list[tuple[Sleeper, float]] = []

    def wake(self, sleeper: Sleeper) -> None:
        now = self.clock.seconds()
        if now < sleeper.deadline:
            self.alarms.set(sleeper, now)
        else:
            self.woken.append((sleeper, now))

    def set(self, seconds: float, sleeper: Sleeper | None = None) -> Sleeper:
        sleeper = sleeper or Sleeper()
        sleeper.deadline = self.clock.seconds() + seconds
        self.alarms.set(sleeper, self.clock.seconds())
        return sleeper

    def pass_by(self, seconds: float) -> None:
        """Let time pass, in steps that no deadline of these tests falls between."""
        self.clock.pump([STEP] * round(seconds / STEP))

    def armed(self, sleeper: Sleeper) -> bool:
        return sleeper in self.alarms

    def test_in_time(self):
        """Everybody is woken just when his deadline comes, be it soon or late, and moved or not before it came."""
        for first in TIMES:
            for second in (None, *TIMES):
                for after in (time for time in (0.0, *TIMES) if time < first):
                    sleeper = self.set(first)
                    self.pass_by(after)
                    if second is not None:
                        self.set(second, sleeper)
                    self.pass_by(2 * TIMES[-1])
                    self.assertEqual(self.woken, [(sleeper, sleeper.deadline)])
                    self.assertEqual(self.clock.getDelayedCalls(), [])
                    self.woken.clear()

    def test_dropped(self):
        """Who is dropped is not woken, and nothing is left of his alarm, whether it was set already or not."""
        for seconds in (SOON / 2, 10 * SOON):
            for after in (0.0, SOON / 4, 2 * SOON):
                sleeper = self.set(seconds)
                self.assertTrue(self.armed(sleeper))
                self.clock.advance(after)
                self.alarms.drop(sleeper)
                self.assertFalse(self.armed(sleeper))
                self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(100 * SOON)
        self.assertEqual([now for _, now in self.woken], [2 * SOON + SOON / 4])

    def test_cheap(self):
        """Those who are dropped at once cost no timer of their own."""
        sleepers = [self.set(10 * SOON) for _ in range(1000)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for sleeper in sleepers:
            self.alarms.drop(sleeper)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_very_many(self):
        """No more than some are really set in one turn, however many came together; all are woken in time."""
        turns: list[int] = []
        self.patch(self.clock, "callLater", self.counting(turns))
        sleepers = {self.set(10 * SOON) for _ in range(2 * SLICE)}
        self.pass_by(SOON)
        self.assertEqual(turns, [SLICE] * 2)
        self.pass_by(9 * SOON)
        self.assertEqual({sleeper for sleeper, now in self.woken if now == 10 * SOON}, sleepers)

    def counting(self, turns: list[int]) -> Any:
        """Make a ``callLater`` that counts how many alarms were set before it was asked for the next turn, or for none any more."""
        later = self.clock.callLater

        def call_later(seconds: float, work: Any, *arguments: Any) -> IDelayedCall:
            if arguments:
                turns[-1] += 1
                return later(seconds, work, *arguments)

            def turn() -> None:
                turns.append(0)
                work()

            return later(seconds, turn)

        return call_later

    def test_whatever_happens(self):
        """Set, moved and dropped in any order: whoever was not dropped is woken at his last deadline, and nobody else."""
        dice = random.Random(3)
        sleepers: set[Sleeper] = set()
        for _ in range(20_000):
            for sleeper, now in self.woken:
                self.assertEqual(now, sleeper.deadline)
                sleepers.remove(sleeper)
            self.woken.clear()
            self.assertTrue(all(self.armed(sleeper) for sleeper in sleepers))
            chosen = dice.choice(sorted(sleepers, key=id)) if sleepers and dice.random() < 0.5 else None
            if chosen is None:
                sleepers.add(self.set(dice.choice(TIMES)))
            elif dice.random() < 0.5:
                self.set(dice.choice(TIMES), chosen)
            else:
                self.alarms.drop(chosen)
                sleepers.remove(chosen)
            if dice.random() < 0.3:
                self.clock.advance(STEP)
