"""Partitions, and a daemon that owns all of them."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from resourced.cluster.alone import Alone
from resourced.cluster.interface import Mine, Ownership
from resourced.errors import StoreUnavailable
from resourced.partitions import PARTITIONS, partition_of

pytestmark = pytest.mark.trial


class PartitionTests(SynchronousTestCase):
    def test_a_group_stays_in_its_partition(self):
        """A group is in the same partition at every node and in every version, as it is kept in stores."""
        self.assertEqual([partition_of(name) for name in ("printer", "phones", "Á4", "")], [73, 53, 154, 46])

    def test_groups_are_spread(self):
        """All partitions are used, and none much more than the others."""
        counts = [0] * PARTITIONS
        for number in range(PARTITIONS * 100):
            counts[partition_of(f"group {number}")] += 1
        self.assertGreater(min(counts), 50)
        self.assertLess(max(counts), 150)


class AloneTests(SynchronousTestCase):
    def test_one_daemon_owns_everything(self):
        """A daemon that serves a store by itself owns all partitions, and cannot give them away."""
        alone: Ownership = Alone()
        self.assertEqual(alone.owner_of("printer"), Mine())
        [node] = alone.nodes()
        self.assertTrue(node.here)
        self.assertEqual(set(alone.partitions()), {node.id})
        self.failureResultOf(_drained(alone), StoreUnavailable)


def _drained(ownership: Ownership):
    return Deferred.fromCoroutine(ownership.drain())
