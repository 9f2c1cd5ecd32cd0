"""What came first of many things, while they come and go."""

from __future__ import annotations

import random
import timeit
from itertools import islice

import pytest
from twisted.trial.unittest import SynchronousTestCase

from resourced.locks.indexes.by_age import UNSORTED, ByAge

pytestmark = pytest.mark.trial


class ByAgeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.found: ByAge[str] = ByAge()

    def test_in_order(self):
        """Whatever came and went, and in whatever order: those that are there are listed, the oldest first."""
        dice = random.Random(7)
        there: dict[int, str] = {}
        for _ in range(20_000):
            number = dice.randrange(3 * UNSORTED)
            if number in there:
                self.found.remove(number)
                del there[number]
            else:
                there[number] = str(number)
                self.found.add(number, there[number])
            self.assertEqual(len(self.found), len(there))
            if dice.random() < 0.005:
                start = dice.randrange(3 * UNSORTED)
                self.assertEqual(
                    list(self.found.after(start)), sorted(each for each in there.items() if each[0] > start)
                )
                self.assertEqual(self.found.oldest(), there[min(there)] if there else None)

    def test_none(self):
        """Nothing is the oldest of nothing."""
        self.assertIsNone(self.found.oldest())
        self.assertEqual(list(self.found.after(0)), [])

    def test_unknown(self):
        """What is not there cannot go."""
        self.assertRaises(KeyError, self.found.remove, 1)

    def test_nobody_pays_for_all(self):
        """Who lists after very many have come, and most have gone, pays for the last few of them only."""
        for number in range(100_000):
            self.found.add(number, "")
        for number in range(90_000):
            self.found.remove(number)
        self.assertLess(self.found.unsorted, UNSORTED)
        self.assertLess(timeit.timeit(lambda: list(islice(self.found.after(0), 10)), number=1), 0.1)
        self.assertLess(timeit.timeit(self.found.oldest, number=1), 0.1)
