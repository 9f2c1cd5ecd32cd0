"""What a node decides about: only what it owns for certain, and it forgets nothing that it may have to give away."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from twisted.trial.unittest import SynchronousTestCase

from resourced.errors import NotOwner
from resourced.locks.state import territory as module
from resourced.locks.state.territory import Territory
from resourced.model import Resource
from resourced.partitions import partition_of, partition_of_ticket, ticket_in

pytestmark = pytest.mark.trial

HOME = partition_of("printer")


def resource(name: str, group: str = "") -> Resource:
    return Resource(f"id of {name}", name, 0, group)


class TerritoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.territory = Territory()

    def test_the_whole(self) -> None:
        """A daemon without other nodes decides about everything, whether it was learned or not."""
        self.assertTrue(self.territory.whole)
        self.territory.check("anything")
        self.territory.check_group("anything")
        self.territory.check_ticket("00")
        self.assertTrue(self.territory.owns(resource("anything")))

    def test_what_is_owned_and_learned(self) -> None:
        """A node decides about resources of its partitions, by their groups, once it has learned these."""
        self.territory.begin({HOME}, {})
        self.assertRaises(NotOwner, self.territory.check, "scanner")
        self.territory.learn(resource("scanner", "printer"))
        self.territory.check("scanner")
        self.territory.learn(resource("scanner", "another group"))
        self.assertRaises(NotOwner, self.territory.check, "scanner")
        self.territory.check_group("printer")
        self.assertRaises(NotOwner, self.territory.check_group, "another group")
        self.territory.check_ticket(ticket_in(HOME, "f" * 32))
        self.assertRaises(NotOwner, self.territory.check_ticket, ticket_in(HOME ^ 1, "f" * 32))

    def test_what_was_given_up(self) -> None:
        """What was learned of a partition before it was given up counts no more when it is back: its owner may have changed it."""
        other = next(name for name in map(str, range(999)) if partition_of(name) != HOME)
        self.territory.begin({HOME, partition_of(other)}, {})
        for name in ("printer", other):
            self.territory.learn(resource(name))
        changes = self.territory.changes
        self.territory.give_up({HOME})
        self.assertRaises(NotOwner, self.territory.check, "printer")
        self.assertRaises(NotOwner, self.territory.check_still, "printer")
        self.territory.check(other)
        self.territory.add({HOME}, {"printer": HOME})
        self.assertRaises(NotOwner, self.territory.check, "printer")
        self.territory.check_still("printer")
        self.territory.learn(resource("printer"))
        self.territory.check("printer")
        self.assertEqual(self.territory.changes, changes + 2)

    def test_what_is_forgotten(self) -> None:
        """If many resources were learned, those are forgotten of which nothing else is known."""
        with patch.object(module, "REMEMBERED", 3):
            territory = Territory()
            territory.begin(set(range(256)), {})
            for number in range(5):
                territory.learn(resource(str(number)))
            territory.tidy(lambda: {"3"})
        territory.check("3")
        self.assertRaises(NotOwner, territory.check, "2")
        self.assertEqual(territory.names(range(256)), {"3"})

    def test_tickets_name_their_partition(self) -> None:
        """The ticket of a request for several things says in which partition it is; a malformed one says nothing."""
        self.assertEqual(partition_of_ticket(ticket_in(200, "0" * 32)), 200)
        self.assertEqual(len(ticket_in(7, "0" * 32)), 32)
        self.assertIsNone(partition_of_ticket("not a ticket"))
