"""What a request for several things takes of the memory while it waits."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from resourced.locks.state.joints import JointAsk, JointQueued
from resourced.locks.state.limits import Times
from resourced.locks.state.requests import LockRequest, Queued
from resourced.locks.unit_cards import CardChange
from resourced.model import Breaker, LockKey
from resourced.testing import MemoryStore
from resourced.wants import ALL, Want
from tests.faulty import Life
from tests.leading import lead

pytestmark = pytest.mark.trial

MANY = 2500
UNITS = 50
LEASES = {"phones": 3600.0}


async def no_data(keys: Any) -> list[str | None]:
    return [None for _ in keys]


class MemoryTests(SynchronousTestCase):
    """Many tickets that wait, by name and for several things."""

    def setUp(self) -> None:
        self.disk = MemoryStore()
        self.successResultOf(Deferred.fromCoroutine(lead(self.disk)))
        self.successResultOf(Deferred.fromCoroutine(self.disk.create_resource("phones", 3600)))
        names = count(1)
        times = Times(lease=3600, place=3600, claim=3600)
        self.life = Life(self.disk, times=times, new_ticket=lambda: f"{next(names):032x}")
        self.life.open()
        self.addCleanup(self.life.bury)
        for number in range(UNITS):
            change = CardChange(tags=frozenset({"x", f"t{number}"}))
            self.successResultOf(self.life.locks.units.change(LockKey("phones", f"u{number}"), change, Breaker()))
        everything = Want("phones", tags=frozenset("x"), count=ALL)
        self.successResultOf(self.several(JointAsk((everything,), LEASES)))

    def several(self, ask: JointAsk) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.life.locks.several.acquire(ask, no_data))

    def for_wants(self, wants: int) -> Callable[[int], Deferred[Any]]:
        def ask(number: int) -> Deferred[Any]:
            some = (Want("phones", tags=frozenset({f"t{(number + each) % UNITS}"})) for each in range(wants))
            return self.several(JointAsk(tuple(some), LEASES, owner=f"job {number}"))

        return ask

    def by_name(self, number: int) -> Deferred[Any]:
        ask = LockRequest(LockKey("phones", "u0"), lease=3600, owner=f"job {number}")
        return Deferred.fromCoroutine(self.life.locks.acquire(ask))

    def memory(self, ask: Callable[[int], Deferred[Any]]) -> float:
        """Return how many bytes one of many takes that wait, beside its rows, where nobody else waits."""
        self.setUp()
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for number in range(MANY):
                self.assertIsInstance(self.successResultOf(ask(number)), (Queued, JointQueued))
            self.life.store.batches.clear()
            self.disk.joints.clear()
            self.disk.places.clear()
            gc.collect()
            return (tracemalloc.get_traced_memory()[0] - before) / MANY
        finally:
            tracemalloc.stop()

    def test_a_want_that_waits(self) -> None:
        """It takes at most 1.5 times as much as a ticket that waits by name, also if it is one of three."""
        ticket = self.memory(self.by_name)
        self.assertLessEqual(self.memory(self.for_wants(1)), 1.5 * ticket)
        self.assertLessEqual(self.memory(self.for_wants(3)), 3 * 1.5 * ticket)
