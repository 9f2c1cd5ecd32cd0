"""Names in their order, while they come and go."""

from __future__ import annotations

import random
import timeit

import pytest
from twisted.trial.unittest import SynchronousTestCase

from resourced.locks.indexes.sorted_index import UNSORTED, Index

pytestmark = pytest.mark.trial


class IndexTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.there: set[str] = set()
        self.index = Index(self.there)

    def toggle(self, name: str) -> None:
        """Let a name come, or go."""
        self.there ^= {name}
        self.index.touch(name)

    def test_in_order(self):
        """Whatever came and went, and however often it was listed meanwhile: those that are there are listed, in their order."""
        dice = random.Random(7)
        for _ in range(20_000):
            self.toggle(str(dice.randrange(3 * UNSORTED)))
            if dice.random() < 0.002:
                start = str(dice.randrange(3 * UNSORTED))
                self.assertEqual(list(self.index.since(start)), sorted(name for name in self.there if name >= start))

    def test_gone_and_back(self):
        """A name that went and came back is listed once."""
        for _ in range(5):
            self.toggle("a")
        self.assertEqual(list(self.index.since("")), ["a"])
        self.toggle("a")
        self.toggle("a")
        self.assertEqual(list(self.index.since("")), ["a"])

    def test_nobody_pays_for_all(self):
        """Who lists after very many have come pays for the last few of them only."""
        for number in range(100_000):
            self.toggle(str(number))
        self.assertLess(self.index.unsorted, UNSORTED)
        self.assertLess(timeit.timeit(lambda: next(self.index.since("5")), number=1), 0.1)
