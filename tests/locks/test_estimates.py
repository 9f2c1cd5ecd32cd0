"""How long a request will wait, from how long others have: what is said, and when nothing is."""

from __future__ import annotations

import json
import random
import statistics

import pytest
from twisted.trial.unittest import SynchronousTestCase

from resourced.locks.state.estimates import KINDS, WRONG, Estimates
from tests import waits

pytestmark = pytest.mark.trial


class EstimateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.estimates = Estimates()

    def wait(self, seconds: float, position: int = 8, kind: str = "any") -> None:
        """Let a request wait for so long from a position on."""
        self.estimates.granted(kind, self.estimates.expect(kind, position, 100.0), 100.0 + seconds)

    def test_nothing_known(self):
        """Nothing is said of what is not known, or of what is known too little: a first wait may have been long by chance."""
        self.assertIsNone(self.estimates.seconds("any", 8))
        for _ in range(5):
            self.wait(80)
            self.assertIsNone(self.estimates.seconds("any", 8))

    def test_regular(self):
        """Where each position took ten seconds the next one does; of positions that nobody had nothing is said."""
        for _ in range(20):
            self.wait(80)
        self.assertAlmostEqual(self.estimates.seconds("any", 8), 80)
        self.assertAlmostEqual(self.estimates.seconds("any", 12), 120)
        self.assertIsNone(self.estimates.seconds("any", 2))
        self.assertIsNone(self.estimates.seconds("others", 8))

    def test_other_times(self):
        """When waits become longer nothing is said at first, and then how long they are now."""
        for _ in range(20):
            self.wait(80)
        for _ in range(8):
            self.wait(800)
        self.assertIsNone(self.estimates.seconds("any", 8))
        for _ in range(40):
            self.wait(800)
        self.assertEqual(round(self.estimates.seconds("any", 8) or 0, -2), 800)

    def test_by_chance(self):
        """Where chance decides nothing is said."""
        dice = random.Random(3)
        for _ in range(200):
            self.wait(dice.choice((1, 1000)))
            self.assertIsNone(self.estimates.seconds("any", 8))

    def test_at_once(self):
        """Waits of no time at all are no trouble."""
        for _ in range(20):
            self.wait(0)
        self.assertEqual(self.estimates.seconds("any", 8), 0)

    def test_bounded(self):
        """What is known of kinds that nobody asks for is forgotten: it takes so much memory and no more."""
        for _ in range(20):
            self.wait(80)
        for number in range(KINDS - 1):
            self.wait(1, kind=str(number))
        self.assertIsNotNone(self.estimates.seconds("any", 8))
        self.wait(80)
        for number in range(2 * KINDS):
            self.wait(1, kind=f"more {number}")
        self.assertEqual(len(self.estimates), KINDS)
        self.assertIsNone(self.estimates.seconds("any", 8))


class DayTests(SynchronousTestCase):
    """Whole days on the real locks."""

    def test_simulated(self):
        """On a busy day of twenty devices half of the estimates are wrong by 30 per cent at most."""
        jobs = waits.simulated(7, load=0.65, days=1, spread=0.7)
        found = waits.replay(jobs, waits.simulated_units())
        told = [each.wrong for each in found if each.about is not None]
        self.assertGreater(len(told), len(found) / 5)
        self.assertLess(statistics.median(told), WRONG)

    def test_recorded(self):
        """A recorded history is taken apart into the jobs that it tells of, however many units each had."""
        lines = [
            {"event": event, "resource": "phones", "selector": name, "owner": owner, "fence": fence, "seconds": seconds}
            | {"at": f"2026-11-23T10:{minute:02}:00.000Z"}
            for event, name, owner, fence, minute, seconds in (
                ("grant", "a", "Ada", 1, 0, 0.0),
                ("grant", "b", "Ada", 2, 0, 0.0),
                ("release", "a", "Ada", 1, 5, 300.0),
                ("write", "b", "Ada", 2, 5, 300.0),
                ("grant", "a", "Bob", 3, 5, 240.0),
                ("release", "b", "Ada", 2, 5, 300.0),
                ("expiry", "a", "Bob", 3, 7, 120.0),
                ("grant", "a", "Eve", 4, 7, 0.0),
            )
        ]
        jobs, units = waits.recorded([json.dumps(line) for line in lines])
        self.assertEqual([(job.at, job.want.count, job.held) for job in jobs], [(0.0, 2, 300.0), (60.0, 1, 120.0)])
        self.assertEqual(len(units), 2)
        [bob] = waits.replay(jobs, units)
        self.assertEqual((bob.position, bob.about, bob.waited), (1, None, 240.0))
