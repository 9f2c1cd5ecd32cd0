"""The names of tickets."""

from __future__ import annotations

import os
import re

import pytest
from twisted.trial.unittest import SynchronousTestCase

from resourced.locks.state.tickets import BYTES, DRAWN, Names

pytestmark = pytest.mark.trial


class NamesTests(SynchronousTestCase):
    def test_nobody_can_guess(self):
        """A name is 128 bits of what the system says is random, in hex digits."""
        self.assertEqual(BYTES, 16)
        for _ in range(2 * DRAWN + 1):
            self.assertRegex(Names(os.urandom).draw(), re.compile("^[0-9a-f]{32}$"))

    def test_never_twice(self):
        """Every random byte is used in one name, and none in two, however many names are drawn."""
        asked = []

        def random(count: int) -> bytes:
            asked.append(count)
            return b"".join(
                number.to_bytes(BYTES, "big") for number in range((len(asked) - 1) * DRAWN, len(asked) * DRAWN)
            )

        names = Names(random)
        drawn = [int(names.draw(), 16) for _ in range(5 * DRAWN)]
        self.assertEqual(sorted(drawn), list(range(5 * DRAWN)))
        self.assertEqual(asked, [BYTES * DRAWN] * 5)

    def test_drawn_late(self):
        """Nothing is drawn before the first name is asked for: until then the process may still fork."""
        Names(lambda _: self.fail("It was asked already."))
