"""What all nodes do, told in the order of its ids: everything once, however late, and however much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from resourced.auth.keys import Identity, Permission
from resourced.errors import StoreUnavailable
from resourced.events.feed import Feed, View
from resourced.events.gathering import MANY, PERIOD, REACH, Gathering
from resourced.model import Event, EventKind, LockKey
from tests.wire import WebTests

pytestmark = pytest.mark.trial

ALL = View(Identity("", Permission.READ), "")


class Trail:
    """
    The events of a store.

    :ivar settled: up to which id none comes any more.
    """

    def __init__(self) -> None:
        self.events: dict[int, Event] = {}
        self.settled = 0
        self.away = False

    def add(self, *ids: int) -> None:
        for id_ in ids:
            self.events[id_] = Event(id_, EventKind.GRANT, 0, LockKey("printer", "A4"), "", 1, 0.0)

    async def newest_event(self) -> int:
        if self.away:
            raise StoreUnavailable("It is away.")
        return max((id_ for id_ in self.events if id_ <= self.settled), default=0)

    async def events_before(self, before: int, limit: int) -> Sequence[Event]:
        return [self.events[id_] for id_ in sorted(self.events, reverse=True) if id_ < before][:limit]

    async def events_since(self, after: int, limit: int) -> list[Event]:
        return [self.events[id_] for id_ in sorted(self.events) if id_ > after][:limit]


class GatheringTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.trail = Trail()
        self.feed = Feed(self.clock, self.trail)
        self.gathering = Gathering(self.clock, self.trail, self.feed)
        self.told: list[int] = []

    def begin(self) -> None:
        self.gathering.start()
        self.addCleanup(self.gathering.stop)
        self.reached = self.feed.newest
        Deferred.fromCoroutine(self.follow())

    async def follow(self) -> None:
        while True:
            await self.feed.turn(self.reached)
            spelled, self.reached = await self.feed.read(self.reached, ALL)
            self.told += [int(line[4:]) for line in spelled.decode().splitlines() if line.startswith("id: ")]

    def advance(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.05)):
            self.clock.advance(0.05)

    def test_in_order(self):
        """An event is told when no earlier one can come any more, whichever is there first."""
        self.trail.add(2)
        self.trail.settled = 2
        self.begin()
        self.trail.add(260, 515)
        self.trail.settled = 300
        self.advance(2 * PERIOD)
        self.assertEqual(self.told, [260])
        self.trail.add(514)
        self.trail.settled = 600
        self.advance(2 * PERIOD)
        self.assertEqual(self.told, [260, 514, 515])

    def test_very_many(self):
        """If there are too many at once they are read from the store; none is left out."""
        self.begin()
        self.trail.add(*range(1, 3 * MANY))
        self.trail.settled = 3 * MANY
        self.advance(30)
        self.assertEqual(self.told, list(range(1, 3 * MANY)))

    def test_store_away(self):
        """What happens while the store does not answer is told later; and that a node begins with lower numbers takes nothing back."""
        self.begin()
        self.trail.add(2)
        self.trail.settled, self.trail.away = 2, True
        self.advance(3)
        self.trail.away = False
        self.advance(2 * PERIOD)
        self.trail.settled = 0
        self.advance(2 * PERIOD)
        self.trail.add(3)
        self.trail.settled = 3
        self.advance(2 * PERIOD)
        self.assertEqual(self.told, [2, 3])

    def test_reach(self):
        """Whoever comes from another node, which was faster, waits for this one; but not for an event that there will never be."""
        self.begin()
        self.trail.add(2)
        reached = Deferred.fromCoroutine(self.gathering.reach(2))
        self.assertNoResult(reached)
        self.trail.settled = 2
        self.advance(2 * PERIOD)
        self.successResultOf(reached)
        never = Deferred.fromCoroutine(self.gathering.reach(999))
        self.advance(REACH + 2 * PERIOD)
        self.successResultOf(never)


class FollowTests(WebTests):
    def test_from_a_faster_node(self):
        """Whoever has seen more at another node than this one knows goes on when this one has gathered it, and is told of no gap."""

        async def reach(event: int) -> None:
            self.feed.happened([Event(event, EventKind.GRANT, 0, LockKey("printer", "A4"), "", 1, 0.0)])

        for waits in (True, False):
            self.restart()
            if waits:
                follow: Any = self.api.endpoints["History.follow"].handler
                self.patch(follow.__self__, "_reach", reach)
            stream = self.begin("GET", "/events", headers=[("Last-Event-ID", "770")])
            self.assertEqual(b"event: reset" in stream.transport.value(), not waits)
            stream.hang_up()
