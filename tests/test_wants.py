"""What requests want, as the store keeps it."""

from __future__ import annotations

import pytest
from twisted.trial.unittest import SynchronousTestCase

from resourced.wants import ALL, Want, wants_from, wants_text

pytestmark = pytest.mark.trial


class WantsTextTests(SynchronousTestCase):
    """Wants survive the store."""

    def test_they_come_back(self) -> None:
        """All that a want says comes back, whatever its names are."""
        wants = (
            Want("phones", tags=frozenset({"android", "5g"}), count=2),
            Want("bänke/1", selector='"3"'),
            Want("licence", count=ALL),
        )
        self.assertEqual(wants_from(wants_text(wants)), wants)

    def test_the_order_of_tags_does_not_matter(self) -> None:
        """Equal wants are equal texts."""
        first, second = (wants_text([Want("a", tags=frozenset(tags))]) for tags in (["x", "y"], ["y", "x"]))
        self.assertEqual(first, second)
