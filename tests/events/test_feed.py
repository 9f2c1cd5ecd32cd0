"""What has happened comes to all who follow it: in its order, once, and without haste."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from resourced.auth.keys import Identity, Permission
from resourced.errors import EventsForgotten
from resourced.events.feed import BYTES, MOMENT, PAGE, PAUSE, REST, SLICE, Feed, View, described
from resourced.locks.journal.group_commit import PAUSE as JOURNAL_PAUSE
from resourced.locks.journal.listeners import Listeners
from resourced.locks.state.requests import LockRequest, Written
from resourced.model import Batch, Event, EventKind, LockKey
from resourced.testing import MemoryStore
from tests.faulty import FaultyStore, Life, Outcome
from tests.leading import lead

pytestmark = pytest.mark.trial

A4 = LockKey("printer", "A4")
READER = Identity("someone", Permission.READ)
ALL = View(READER, "")


def grant(id_: int, resource: str = "printer") -> Event:
    return Event(id_, EventKind.GRANT, 1_700_000_000_123, LockKey(resource, "A4"), "ci-7", id_, 0.0)


class Follower:
    """
    Somebody who follows a feed.

    :ivar ids: of the events that it got.
    :ivar pieces: how many events came at once, each time that it was its turn.
    :ivar resets: how often it was told that something was missing.
    """

    def __init__(self, feed: Feed, after: int | None = None, view: View = ALL) -> None:
        self.ids: list[int] = []
        self.pieces: list[int] = []
        self.resets = 0
        self._feed = feed
        self._view = view
        self.running = Deferred.fromCoroutine(self._run(feed.newest if after is None else after))

    async def _run(self, after: int) -> None:
        while True:
            await self._feed.turn(after)
            try:
                spelled, after = await self._feed.read(after, self._view)
            except EventsForgotten:
                self.resets += 1
                after = self._feed.newest
                continue
            ids = [int(number) for number in re.findall(rb"^id: (\d+)$", spelled, re.MULTILINE)]
            self.pieces.append(len(ids))
            self.ids += ids

    def go(self) -> None:
        self.running.addErrback(lambda _: None)
        self.running.cancel()


class FeedTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.disk = MemoryStore()
        self.successResultOf(Deferred.fromCoroutine(lead(self.disk)))
        self.store = FaultyStore(self.disk)
        self.feed = self.make()

    def make(self, **options: Any) -> Feed:
        return Feed(self.clock, self.store, **options)

    def follow(self, *args: Any, **more: Any) -> Follower:
        follower = Follower(self.feed, *args, **more)
        self.addCleanup(follower.go)
        return follower

    def keep(self, *events: Event) -> None:
        """Have events in the store."""
        self.successResultOf(
            Deferred.fromCoroutine(self.disk.commit(Batch(0, events=list(events), event=events[-1].id)))
        )

    def happen(self, *ids: int) -> None:
        """Let something happen, in the store too."""
        events = [grant(id_) for id_ in ids]
        self.keep(*events)
        self.feed.happened(events)

    def settle(self, seconds: float = 5.0) -> None:
        """Let time pass, so that everybody has had their turn."""
        self.clock.pump([REST] * int(seconds / REST))


class LiveTests(FeedTestCase):
    def test_in_order(self):
        """Who follows gets everything from there on, once and in its order."""
        early = self.follow()
        self.happen(1, 2)
        self.settle()
        late = self.follow()
        self.happen(5)
        self.happen(6)
        self.settle()
        self.assertEqual((early.ids, late.ids), ([1, 2, 5, 6], [5, 6]))

    def test_first_word_is_quick(self):
        """What happens after a while of silence is told in the next turn of the reactor."""
        self.clock.advance(10)
        follower = self.follow()
        self.happen(1)
        self.assertEqual(follower.ids, [])
        self.clock.advance(0)
        self.assertEqual(follower.ids, [1])

    def test_gathered(self):
        """What happens within a moment is told at once, however much it is."""
        follower = self.follow()
        for id_ in range(1, 101):
            self.happen(id_)
        self.clock.advance(0)
        for id_ in range(101, 151):
            self.happen(id_)
            self.clock.advance(MOMENT / 100)
        self.clock.advance(MOMENT)
        self.assertEqual((follower.pieces, len(follower.ids)), ([100, 50], 150))

    def test_slices(self):
        """However many follow, only a few of them have their turn before others have theirs; in the end all know all."""
        followers = [self.follow() for _ in range(SLICE * 3)]
        self.happen(1)
        for told in (1, 2, 3):
            self.clock.advance(REST)
            self.assertEqual(sum(follower.ids == [1] for follower in followers), SLICE * told)

    def test_cost_of_an_event(self):
        """To take note of an event costs the same whether nobody follows or thousands do: they are looked at later."""
        touched: list[int] = []

        class Watched(dict[Any, Any]):
            def __iter__(self) -> Any:
                touched.append(1)
                return super().__iter__()

        self.feed._level = Watched()
        for _ in range(1000):
            self.follow()
        self.feed.happened([grant(1)])
        self.feed.happened([grant(2)])
        self.assertEqual((touched, len(self.clock.getDelayedCalls())), ([], 1))

    def test_nobody_starves(self):
        """Who has a long way to go does not keep the others from what is new."""
        self.happen(*range(1, 50 * PAGE))
        late, live = self.follow(0), self.follow()
        self.settle(MOMENT)
        self.happen(50 * PAGE)
        self.settle(2 * MOMENT)
        self.assertEqual(live.ids, [50 * PAGE])
        self.assertLess(len(late.ids), 49 * PAGE)
        self.settle()
        self.assertEqual(late.ids, list(range(1, 50 * PAGE + 1)))

    def test_pages(self):
        """Nobody gets more than a page at once."""
        self.happen(*range(1, 2 * PAGE + 2))
        follower = self.follow(0)
        self.settle()
        self.assertEqual(follower.pieces, [PAGE, PAGE, 1])

    def test_large_pages(self):
        """Nor more bytes than a connection holds; but one event in any case."""
        name = "x" * (BYTES // 4)
        self.feed.happened([grant(id_, name) for id_ in range(1, 11)])
        self.feed.happened([grant(11, "x" * 2 * BYTES), grant(12)])
        follower, blind = self.follow(0), self.follow(0, View(READER, "p"))
        self.settle()
        self.assertEqual((follower.ids, max(follower.pieces)), ([*range(1, 13)], 3))
        self.assertEqual(blind.ids, [12])

    def test_views(self):
        """Everybody sees what they may see and want to see, and goes on from there."""
        views = [ALL, View(READER, "p"), View(READER, "x"), View(Identity("b", Permission.READ, ("pl", "s")), "")]
        followers = [self.follow(view=view) for view in views]
        for start in (1, 4):
            events = [grant(start, "printer"), grant(start + 1, "plotter"), grant(start + 2, "scanner")]
            self.feed.happened(events)
            self.settle()
        self.assertEqual([f.ids for f in followers], [[1, 2, 3, 4, 5, 6], [1, 2, 4, 5], [], [2, 3, 5, 6]])

    def test_gone(self):
        """Nothing is left of those who go, whether they wait for news or for their turn."""
        waits, queues = self.follow(), self.follow()
        self.happen(1)
        for _ in range(SLICE):
            self.follow()
        waits.go()
        queues.go()
        self.assertEqual(self.feed.waiting, SLICE)
        self.settle()
        self.assertEqual((waits.ids, queues.ids), ([], []))


class SpellingTests(SynchronousTestCase):
    def test_described(self):
        """An event is told with its time in UTC, to the millisecond, and its seconds to three places."""
        event = Event(7, EventKind.EXPIRY, 1_763_917_800_007, LockKey("a b", "A4"), "ci", 3, 1.23456, "press")
        self.assertEqual(
            described(event),
            {
                "id": 7,
                "at": "2025-11-23T17:10:00.007Z",
                "event": "expiry",
                "resource": "a b",
                "selector": "A4",
                "owner": "ci",
                "key": "press",
                "fence": 3,
                "seconds": 1.235,
            },
        )


class PastTests(FeedTestCase):
    def make(self, **options: Any) -> Feed:
        return super().make(**{"room": 10, **options})

    def test_room(self):
        """Only the newest events are in memory, and hardly more than there is room for."""
        self.feed = self.make(room=32)
        for id_ in range(1, 1001):
            self.feed.happened([grant(id_)])
            self.assertLessEqual(len(self.feed.recent), 34)
        self.assertGreaterEqual(len(self.feed.recent), 32)

    def test_slow(self):
        """Who comes back after a long time gets all in its order, from the store and then from memory."""
        for id_ in range(1, 5 * PAGE, 2):
            self.happen(id_)
        late = self.follow(0)
        self.happen(5 * PAGE)
        self.settle()
        self.assertEqual(late.ids, [*range(1, 5 * PAGE, 2), 5 * PAGE])

    def test_restart(self):
        """After a restart, when nothing is in memory, it is the same."""
        self.happen(*range(1, 51))
        self.feed = self.make()
        self.feed.resumed(50)
        late, live = self.follow(20), self.follow()
        self.settle()
        self.happen(51)
        self.settle()
        self.assertEqual((late.ids, live.ids), ([*range(21, 52)], [51]))

    def test_shared(self):
        """Many who come back to nearly the same place are one question to the store."""
        asked = []
        ask = self.store.events_since

        async def counted(after: int, limit: int) -> list[Event]:
            asked.append(after)
            return await ask(after, limit)

        self.store.events_since = counted  # type: ignore[method-assign]
        self.happen(*range(1, 2 * PAGE))
        followers = [self.follow(after) for after in range(PAGE, PAGE + 50)]
        self.settle()
        self.assertEqual(
            [f.ids for f in followers], [[*range(after + 1, 2 * PAGE)] for after in range(PAGE, PAGE + 50)]
        )
        self.assertEqual(asked, [PAGE])

    def test_shared_page_that_has_grown(self):
        """Who comes later to a page that was read before gets what has happened since too, and nothing that it knew."""
        self.happen(*range(1, 51))
        self.follow(5)
        self.settle()
        self.happen(*range(51, 101))
        early, late = self.follow(5), self.follow(60)
        self.settle()
        self.assertEqual((early.ids, late.ids), ([*range(6, 101)], [*range(61, 101)]))

    def test_nothing_kept(self):
        """Without a history in the store, who has fallen too far behind is told so, and goes on with what is new."""
        self.feed = self.make(kept=False)
        slow = self.follow()
        self.happen(*range(1, 51))
        self.settle()
        self.assertEqual((slow.ids, slow.resets), ([], 1))
        self.happen(51)
        self.settle()
        self.assertEqual((slow.ids, slow.resets), ([51], 1))

    def test_forgotten(self):
        """Who comes back after the store has forgotten some of what has happened since is told so."""
        self.happen(*range(1, 51))
        for id_ in range(1, 21):
            del self.disk.events_kept[id_]
        gone, there = self.follow(19), self.follow(20)
        self.settle()
        self.assertEqual((gone.ids, gone.resets), ([], 1))
        self.assertEqual((there.ids, there.resets), ([*range(21, 51)], 0))

    def test_store_away(self):
        """While the store is away nobody is told anything wrong; when it is back it goes on."""
        self.happen(*range(1, 51))
        self.store.away = True
        late = self.follow(0)
        self.settle(2 * PAUSE)
        self.assertEqual((late.ids, late.resets), ([], 0))
        self.store.heal()
        self.settle(2 * PAUSE)
        self.assertEqual(late.ids, [*range(1, 51)])

    def test_gone_while_reading(self):
        """Who goes while the store is asked, or while others are, leaves the way to the others free."""
        self.happen(*range(1, 51))
        self.store.away = True
        first, second, third = self.follow(0), self.follow(0), self.follow(0)
        self.settle(PAUSE)
        second.go()
        first.go()
        self.store.heal()
        self.settle(2 * PAUSE)
        self.assertEqual((first.ids, second.ids, third.ids), ([], [], [*range(1, 51)]))

    def test_ahead_of_what_was_told(self):
        """What the store has already, and nobody was told of yet, comes in its time and once."""
        self.happen(*range(1, 51))
        self.keep(grant(51))
        late = self.follow(5)
        self.settle()
        self.assertEqual(late.ids, [*range(6, 51)])
        self.feed.happened([grant(51)])
        self.settle()
        self.assertEqual(late.ids, [*range(6, 52)])


YEAR = 366 * 86400.0


class FailureTests(SynchronousTestCase):
    """A follower of a whole life of the daemon, whose store fails."""

    durable = True

    def setUp(self) -> None:
        self.disk = MemoryStore()
        self.successResultOf(Deferred.fromCoroutine(lead(self.disk)))
        self.successResultOf(Deferred.fromCoroutine(self.disk.create_resource("printer", 0)))
        self.life = self.start()

    def start(self, seconds: float = 0.0) -> Life:
        life = Life(self.disk, durable=self.durable, seconds=seconds)
        self.addCleanup(life.bury)
        self.successResultOf(life.open())
        return life

    def follow(self, after: int | None = None) -> Follower:
        follower = Follower(self.life.feed, after)
        self.addCleanup(follower.go)
        return follower

    def lock(self, selector: str = "A4", ticket: str = "") -> Deferred[Any]:
        locks = self.life.locks
        return self.life.heard(
            Deferred.fromCoroutine(locks.grants.wait(LockRequest(LockKey("printer", selector), lease=0, ticket=ticket)))
        )

    def go_wrong(self, outcome: Outcome, do: Callable[[], Deferred[Any]]) -> None:
        """Do something whose commit goes wrong, and let the store recover."""
        self.life.store.outcome = outcome
        self.failureResultOf(do())
        self.life.store.heal()
        self.settle(JOURNAL_PAUSE)

    def settle(self, seconds: float = 1.0) -> None:
        self.life.clock.pump([0.01] * int(seconds / 0.01))

    def on_disk(self) -> list[int]:
        return sorted(self.disk.events_kept)

    def test_unanswered(self):
        """What was kept although nobody was told so is told after the store's return, before anything newer."""
        follower = self.follow()
        self.successResultOf(self.lock())
        self.settle()
        self.go_wrong(Outcome.UNANSWERED, lambda: self.lock("A5"))
        self.successResultOf(self.lock("A6"))
        self.settle()
        self.assertEqual(follower.ids, self.on_disk())
        self.assertEqual({event.key.selector for event in self.disk.events_kept.values()}, {"A4", "A5", "A6"})
        self.assertEqual(follower.resets, 0)

    def test_failed(self):
        """What was not kept is never told."""
        follower = self.follow()
        self.go_wrong(Outcome.FAILED, lambda: self.lock("A5"))
        self.successResultOf(self.lock("A6"))
        self.settle()
        self.assertEqual(follower.ids, self.on_disk())
        self.assertEqual([event.key.selector for event in self.disk.events_kept.values()], ["A6"])

    def test_told_after_it_is_kept(self):
        """Nothing is told before it is kept."""
        follower = self.follow()
        self.life.store.slow = True
        locking = self.lock()
        self.settle()
        self.assertEqual(follower.ids, [])
        self.life.store.finish()
        self.successResultOf(locking)
        self.settle()
        self.assertEqual(follower.ids, self.on_disk())

    def test_crash(self):
        """Who comes back after a crash gets what was kept just before it, although nobody was told."""
        before = self.follow()
        self.successResultOf(self.lock())
        self.settle()
        self.life.store.slow = True
        self.lock("A5")
        self.life.crash(Outcome.DONE)
        self.assertEqual(len(before.ids), 1)
        self.life = self.start(100)
        after = self.follow(before.ids[-1])
        self.settle()
        self.assertEqual(before.ids + after.ids, self.on_disk())
        self.assertEqual(len(self.on_disk()), 2)

    def test_listener_that_fails(self):
        """A listener that fails keeps no lock from anyone."""
        self.life.feed.happened = lambda _: 1 / 0  # type: ignore[assignment,method-assign]
        self.life.journal.listeners = Listeners(happened=self.life.feed.happened)
        self.successResultOf(self.lock())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class VolatileFailureTests(FailureTests):
    """Where locks are kept in memory only, nobody can say later what was not told in time; so it is said that it is missing."""

    durable = False

    def on_disk(self) -> list[int]:
        return [*self.disk.events_kept]

    def write(self, ticket: str, data: str = "1") -> Deferred[Written]:
        return self.life.heard(self.life.locks.write(A4, "id", ticket, data))

    def test_unanswered(self):
        """After a write of which nobody knows what became, followers are told that something may be missing."""
        held = self.successResultOf(self.lock())
        follower = self.follow()
        self.go_wrong(Outcome.UNANSWERED, lambda: self.write(held.ticket))
        self.successResultOf(self.lock("A6"))
        self.settle()
        self.assertEqual((follower.resets, len(follower.ids)), (1, 1))

    def test_failed(self):
        """It is the same if the write was not kept."""
        held = self.successResultOf(self.lock())
        follower = self.follow()
        self.go_wrong(Outcome.FAILED, lambda: self.write(held.ticket))
        self.settle()
        self.assertEqual((follower.resets, follower.ids), (1, []))

    def test_clock_is_set(self):
        """A clock that is set after the start, forward or back, keeps nothing from followers and changes the order of nothing."""
        for wrong in (10 * YEAR, -10 * YEAR):
            self.life = Life(self.disk, durable=self.durable, wrong=wrong)
            self.addCleanup(self.life.bury)
            self.successResultOf(self.life.open())
            follower = self.follow()
            for number, now in enumerate((0.0, -wrong, wrong, 0.0)):
                self.life.wrong = now
                self.successResultOf(self.lock(f"B{number}"))
                self.settle()
                self.assertEqual(len(follower.ids), number + 1)
            self.assertEqual(follower.ids, sorted(follower.ids))
            self.assertEqual(follower.resets, 0)

    def test_told_after_it_is_kept(self):
        """A write is told after it is kept; what happens to locks is told at once, but never before what came earlier."""
        follower = self.follow()
        held = self.successResultOf(self.lock())
        self.settle()
        self.assertEqual(len(follower.ids), 1)
        self.life.store.slow = True
        writing = self.write(held.ticket)
        self.successResultOf(self.lock("A5"))
        self.settle()
        self.assertEqual(len(follower.ids), 1)
        self.life.store.finish()
        self.successResultOf(writing)
        self.settle()
        self.assertEqual(len(follower.ids), 3)
        self.assertEqual(follower.ids, sorted(follower.ids))
        self.assertEqual([event.kind for event in self.disk.events_kept.values()], [EventKind.WRITE])

    def test_crash(self):
        """After a crash nobody knows what happened before, and no event has the id of an earlier one."""
        before = self.follow()
        self.successResultOf(self.lock())
        self.settle()
        self.life.crash()
        self.life = self.start(100)
        fresh = self.follow()
        self.successResultOf(self.lock())
        self.settle()
        after = self.follow(before.ids[-1])
        self.settle()
        self.successResultOf(self.lock("A5"))
        self.settle()
        self.assertEqual((fresh.resets, len(fresh.ids)), (0, 2))
        self.assertEqual((after.resets, after.ids), (1, fresh.ids[1:]))
        self.assertGreater(fresh.ids[0], before.ids[-1])
